"""Regression tasks: inputs, targets and their correlations."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Real

from . import _checks, _display, _dtypes
from ._linalg import dot, square_norm
from ._whitening import Whitening, white_inputs, whiten
from ._xla import compiled


class Task(eqx.Module):
    r"""A regression task: $P$ inputs with their targets.

    The loss is $L(W) = \frac{1}{2P} \sum_n \|y_n - W x_n\|^2$. For a linear network it
    depends on the samples only through $\Sigma = \frac1P \sum_n y_n x_n^\top$ and
    $\Sigma_{xx} = \frac1P \sum_n x_n x_n^\top$ (Domine et al. 2025, section 2).

    **Attributes:**

    - `x`: the inputs, shape (samples, in).
    - `y`: the targets, shape (samples, out).

    Both are converted to the wider of their dtypes, single or double precision.

    **Raises:** `ValueError` if `x` or `y` is not a finite matrix, or their numbers
    of samples differ; `TypeError` if one is not real, or in half precision.

    ```python
    import jax
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    print(task.input_output_correlation.shape)  # (2, 3)
    ```
    """

    x: Float[Array, "samples in"]
    y: Float[Array, "samples out"]

    def __init__(
        self, x: Real[ArrayLike, "samples in"], y: Real[ArrayLike, "samples out"]
    ):
        self.x, self.y = _dtypes.promoted(
            x=_checks.as_matrix("x", x), y=_checks.as_matrix("y", y)
        )
        _checks.require(
            self.x.shape[0] == self.y.shape[0],
            "`x` and `y` must have as many samples (rows), but `x` had "
            f"{self.x.shape[0]} and `y` had {self.y.shape[0]}.",
        )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes of a batch of tasks; empty for one task.

        A batch is data for `jax.vmap`: every method needs one task.
        """
        return self.x.shape[:-2]

    @property
    def in_size(self) -> int:
        """The number of inputs."""
        return self.x.shape[-1]

    @property
    def out_size(self) -> int:
        """The number of outputs."""
        return self.y.shape[-1]

    @property
    def samples(self) -> int:
        """The number of samples."""
        return self.x.shape[-2]

    @property
    @compiled
    def input_output_correlation(self) -> Float[Array, "out in"]:
        r"""$\Sigma = \frac1P \sum_n y_n x_n^\top$."""
        _checks.one("task", self)
        return dot(self.y.mT, self.x) / self.samples

    @property
    @compiled
    def input_correlation(self) -> Float[Array, "in in"]:
        r"""$\Sigma_{xx} = \frac1P \sum_n x_n x_n^\top$ (not centred)."""
        _checks.one("task", self)
        return dot(self.x.mT, self.x) / self.samples

    @property
    @compiled
    def input_variance(self) -> Float[Array, ""]:
        r"""The mean eigenvalue $c$ of $\Sigma_{xx}$: $c I$ is nearest to it."""
        _checks.one("task", self)
        return square_norm(self.x) / self.x.size

    @property
    @compiled
    def anisotropy(self) -> Float[Array, ""]:
        r"""$\|\Sigma_{xx} - cI\|_F / (c\sqrt{N_i})$: zero for isotropic inputs."""
        c = self.input_variance
        residual = self.input_correlation - c * jnp.eye(self.in_size, dtype=c.dtype)
        # Zero inputs have no direction to be isotropic in.
        safe = jnp.where(c > 0, c, 1.0)
        relative = jnp.sqrt(square_norm(residual)) / (safe * self.in_size**0.5)
        return jnp.where(c > 0, relative, jnp.inf)

    @compiled
    def loss(self, function: Float[Array, "out in"]) -> Float[Array, ""]:
        """The loss of the linear map `function`, shape (out, in)."""
        _checks.one("task", self)
        task, function = _dtypes.promoted(task=self, function=function)
        residual = task.y - dot(task.x, function.mT)
        return square_norm(residual) / (2 * task.samples)

    @compiled
    def loss_gradient(self, function: Float[Array, "out in"]) -> Float[Array, "out in"]:
        r"""$\partial L / \partial W = W \Sigma_{xx} - \Sigma$ at `function`."""
        _checks.one("task", self)
        task, function = _dtypes.promoted(task=self, function=function)
        return dot(function, task.input_correlation) - task.input_output_correlation

    def whitened(
        self, rank: int | None = None, tol: Real[ArrayLike, ""] | None = None
    ) -> "Task":
        r"""The task with its targets and inputs of $\Sigma_{xx} = I$, up to rounding.

        Without arguments the new inputs are the white inputs nearest to the old ones
        (zero-phase whitening, $\Sigma_{xx}^{-1/2} x_n$), as many as these.

        Data with constant or dependent columns, or few samples, have no such inputs.
        With `rank` or `tol` the new inputs are the coordinates in the leading singular
        directions of `x`, each divided by its standard deviation (about zero: inputs
        are not centred). `whitening` has the map. Training on white inputs is not
        training on the old ones.

        **Arguments:**

        - `rank`: the number of directions to keep.
        - `tol`: keep the directions with singular values above `tol` times the largest.
          Zero keeps all but those of rounding size, and loses nothing of the inputs.

        **Raises:** `ValueError` if the inputs don't span every direction, or `rank` of
        them: too few samples, or dependent inputs (traced: NaN); for a `tol` outside
        of [0, 1), and both arguments at once; for `tol` and traced inputs.

        ```python
        import jax
        import jax.numpy as jnp
        import lazyrich_jax as lr

        x = jax.random.normal(jax.random.key(0), (20, 3))
        x = jnp.concatenate([x, jnp.zeros((20, 2))], axis=1)  # as pixels in a corner
        white = lr.Task(x, x[:, :1]).whitened(tol=1e-6)
        print(white.in_size)  # 3
        ```
        """
        _checks.one("task", self)
        return Task(whiten(self.x, rank, tol)[0], self.y)

    def whitening(
        self, rank: int | None = None, tol: Real[ArrayLike, ""] | None = None
    ) -> Whitening:
        """The map from the inputs to those of `whitened`, with the same arguments.

        It takes other samples, and first layers there and back.

        **Raises:** as `whitened`.
        """
        _checks.one("task", self)
        return whiten(self.x, rank, tol)[1]

    def reversed(self) -> "Task":
        """The task with its inputs and the negative of its targets (reversal)."""
        _checks.one("task", self)
        return Task(self.x, -self.y)

    @classmethod
    def random_regression(
        cls,
        in_size: int,
        out_size: int,
        samples: int,
        *,
        target_scale: Real[ArrayLike, ""] = 1.0,
        key: PRNGKeyArray,
    ) -> "Task":
        """Random targets of standard deviation `target_scale` for white inputs.

        The inputs have mean zero and identity correlation, both up to rounding (the
        regression task of Domine et al. 2025, appendix on implementation).

        **Raises:** `ValueError` unless `samples > in_size`: removal of the mean uses
        one sample.
        """
        scale = _checks.as_scalar("target_scale", target_scale)
        scale = _checks.finite("target_scale", scale)
        _checks.random_key(key)
        xkey, ykey = jax.random.split(key)
        x = white_inputs(xkey, in_size, samples, scale.dtype)
        out_size = _checks.size("out_size", out_size)
        return cls(x, scale * jax.random.normal(ykey, (samples, out_size), scale.dtype))

    @classmethod
    def teacher(
        cls,
        function: Real[ArrayLike, "out in"],
        samples: int,
        *,
        noise: Real[ArrayLike, ""] = 0.0,
        key: PRNGKeyArray,
    ) -> "Task":
        """Targets from a linear teacher, `y = function @ x + noise * normal`.

        `function` has shape (out, in); a teacher network's is `teacher.function`. The
        inputs are white as in `random_regression`. Without noise the correlation equals
        `function` up to rounding.

        **Raises:** `ValueError` unless `samples > in` and `noise >= 0` (traced: NaN).
        """
        function = _checks.as_matrix("function", function)
        noise = _checks.as_scalar("noise", noise)
        noise = _checks.positive("noise", noise, zero=True)
        function, noise = _dtypes.promoted(function=function, noise=noise)
        _checks.random_key(key)
        xkey, ykey = jax.random.split(key)
        x = white_inputs(xkey, function.shape[1], samples, function.dtype)
        y = dot(x, function.mT)
        return cls(x, y + noise * jax.random.normal(ykey, y.shape, y.dtype))

    @classmethod
    def hierarchy(cls, levels: int = 3, *, separate: bool = False) -> "Task":
        r"""The semantic hierarchy: `2**levels` items, described by as many attributes.

        Items are the leaves of a binary tree. One attribute is +1 for every item;
        each branching of the tree adds an attribute, +1 on one side, -1 on the other
        and 0 outside. Inputs are one-hot items, so `x = I` and
        $\Sigma_{xx} = I / 2^{\text{levels}}$; targets are the items' attributes, rows
        of `y`. This is the orientation of Braun et al. (2022): the network converges to
        `y.T`, its input representation is hierarchical and its output
        representation diagonal. (The code of Domine's thesis swaps the two.)

        The singular values repeat. `separate=True` multiplies the i-th attribute
        (from 1) by `1 + 0.1 / i`, as in every hierarchy run of Braun et al.

        **Raises:** `ValueError` unless `levels` is an integer of at least 1.
        """
        levels = _checks.size("levels", levels)
        items = 2**levels
        attributes = [np.ones((1, items), int)]
        for level in range(levels):
            half = items >> (level + 1)
            sides = np.repeat([1, -1], half)
            attributes.append(np.kron(np.eye(2**level, dtype=int), sides))
        y = np.concatenate(attributes).T
        if separate:
            y = y * (1 + 0.1 / np.arange(1, items + 1))
        dtype = jnp.result_type(float)
        return cls(np.eye(items, dtype=dtype), y.astype(dtype))

    @classmethod
    def from_correlation(cls, sigma: Real[ArrayLike, "out in"]) -> "Task":
        r"""A task with white inputs whose input-output correlation is `sigma`.

        It has `in` samples, $x = \sqrt{N_i} I$, without noise: the loss of `sigma` is
        zero.
        """
        sigma = _checks.as_matrix("sigma", sigma)
        root = sigma.shape[1] ** 0.5
        return cls(root * np.eye(sigma.shape[1], dtype=sigma.dtype), root * sigma.mT)

    def __repr__(self) -> str:
        """The sizes, the number of samples and the dtype."""
        return _display.line(
            self,
            lambda: (
                f"{self.in_size} inputs, {self.out_size} outputs, "
                f"{self.samples} samples"
            ),
            lambda: self.batch_shape,
        )

    def _repr_html_(self) -> str | None:
        """The inputs' variance and the correlation, of one concrete task."""
        return _display.shown(self, lambda: self.batch_shape, self._content)

    def _content(self) -> tuple[dict[str, str], str]:
        sigma = self.input_output_correlation
        strengths = jnp.linalg.svd(sigma, compute_uv=False)
        rows = {
            "variance of the inputs": f"{float(self.input_variance):.4g}",
            "anisotropy of the inputs": f"{float(self.anisotropy):.2g}",
            "singular values": _display.numbers(strengths),
        }
        return rows, _display.heat_map(sigma, "input-output correlation")
