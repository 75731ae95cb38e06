"""Random lambda-balanced weights."""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Real

from .. import _checks, _dtypes
from .._balanced import OF_LMDA, with_surplus
from .._feasible import feasible_lmda
from .._linalg import dot, split_singular_values
from .._network import LinearNetwork
from .._singular import singular_vectors
from .._task import Task
from .._xla import on_any_mesh
from .base import AbstractInitialiser

OF_STRENGTHS = (
    "Derivatives of aligned weights with respect to `strengths` must be taken where no "
    "mode has the strength and the balance zero, but one had. The weights have no "
    "derivative there: they grow as the root of the strength."
)
OF_TASK = (
    "Derivatives of aligned weights with respect to the task must be taken where its "
    "modes have positive singular values, but one was zero. The sign or direction of "
    "its singular vectors jumps there."
)


class _Balanced(AbstractInitialiser):
    """Balanced weights whose function has the singular values of a Gaussian product."""

    lmda: Float[Array, ""] | Float[Array, " modes"]
    scale: Float[Array, ""]
    throw: bool = eqx.field(static=True)

    def __init__(self, lmda: Array, scale: Real[ArrayLike, ""], throw: bool):
        scale = _checks.as_scalar("scale", scale)
        self.lmda = _checks.finite("lmda", lmda)
        self.scale = _checks.positive("scale", scale, throw=throw)
        self.throw = throw

    @abc.abstractmethod
    def _modes(
        self, sizes: tuple[int, int, int]
    ) -> tuple[Task | None, Float[Array, "..."] | None]:
        """The task and the strengths of the function's modes, if they are given."""

    def __call__(
        self, in_size: int, hidden_size: int, out_size: int, *, key: PRNGKeyArray
    ) -> LinearNetwork:
        """Draw a network; the draw differs for different sizes."""
        sizes = (
            _checks.size("in_size", in_size),
            _checks.size("hidden_size", hidden_size),
            _checks.size("out_size", out_size),
        )
        _checks.random_key(key)
        task, strengths = self._modes(sizes)
        task, strengths, lmda, scale = _dtypes.promoted(
            task=task, strengths=strengths, lmda=self.lmda, scale=self.scale
        )
        lmda = feasible_lmda(lmda, sizes, throw=self.throw)
        sigma = None if task is None else task.input_output_correlation
        return _draw_balanced(lmda, scale, sizes, sigma, strengths, key, self.throw)


class LambdaBalanced(_Balanced):
    r"""Random weights with $W_2^\top W_2 - W_1 W_1^\top = \lambda I$ exactly.

    This is Algorithm 1 of Domine et al. 2025 for every feasible size and sign. The
    published form omits the bottleneck and valid signs at `hidden = min(in, out)`. For
    one key, the function's singular vectors and values don't depend on `lmda`, and the
    values grow as `scale**2`.

    **Arguments:**

    - `lmda`: the balance, any sign; positive needs `hidden_size <= out_size`,
      negative `hidden_size <= in_size`.
    - `scale`: the standard deviation of the Gaussian weights whose product gives the
      function.
    - `throw`: whether an infeasible traced `lmda` or `scale` (under `jax.jit` or
      `jax.vmap`) stops the program (the default) or gives that network NaN weights.

    **Raises:** `ValueError` for an infeasible `lmda`, a non-positive `scale` or size.

    ```python
    import jax
    import lazyrich_jax as lr

    network = lr.LambdaBalanced(lmda=-2.0)(3, 2, 4, key=jax.random.key(0))
    print(network.lmda)  # -2.0
    ```
    """

    def __init__(
        self,
        lmda: Real[ArrayLike, ""] = 0.0,
        scale: Real[ArrayLike, ""] = 1.0,
        *,
        throw: bool = True,
    ):
        super().__init__(_checks.as_scalar("lmda", lmda), scale, throw)

    def _modes(self, sizes: tuple[int, int, int]) -> tuple[None, None]:
        return None, None


class Aligned(_Balanced):
    r"""Balanced weights whose function shares the task's singular vectors.

    $W_2 W_1 = U A V^\top$ with $\Sigma = U S V^\top$ and $A \ge 0$ (the aligned
    initialisation of Saxe et al. 2014 and Domine et al. 2025, Algorithm 2). Every mode
    then learns independently (`lazyrich_jax.theory.aligned_modes`). The modes are in
    decreasing order of S. There are `min(in, hidden, out)` of them.

    **Arguments:**

    - `task`: the task to align with.
    - `lmda`: the balance, as in `lazyrich_jax.LambdaBalanced`, or one balance for each
      mode. Those may have any signs. Hidden units without a mode then have no weights.
      With different balances it is not lambda-balanced: `Exact(start="aligned")`.
    - `scale`, `throw`: as in `lazyrich_jax.LambdaBalanced`.
    - `strengths`: the strengths A at `scale = 1`, which grow as `scale**2`: one number,
      or one for each mode. By default they are the singular values that
      `LambdaBalanced` gives for the same key, in decreasing order.

    What no rotation of the hidden units changes is differentiable by `lmda`, `scale`,
    `strengths` and the task. Derivatives that don't exist are a runtime error (without
    `throw`: NaN). These are those by `lmda` or `strengths` where a mode has both zero,
    and those by a task whose singular values repeat or, in its modes, vanish: singular
    vectors have none there. Derivatives by the task are refused at equal strengths too.
    `lazyrich_jax.balanced_network` has no need of distinct singular values.

    **Raises:** as `LambdaBalanced`; `ValueError` for sizes that don't fit the task,
    strengths that are negative or not finite, and a number of balances or strengths
    other than that of the modes.

    ```python
    import jax
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(levels=2)
    aligned = lr.Aligned(task, lmda=[5.0, 0.0, 0.0, -1.0], strengths=0.01)
    network = aligned(4, 4, 4, key=jax.random.key(0))
    ```
    """

    task: Task
    strengths: Float[Array, "..."] | None

    def __init__(
        self,
        task: Task,
        lmda: Real[ArrayLike, "..."] | Sequence[float] = 0.0,
        scale: Real[ArrayLike, ""] = 1.0,
        *,
        strengths: Real[ArrayLike, "..."] | Sequence[float] | None = None,
        throw: bool = True,
    ):
        _checks.instance("task", task, Task, "build one with `Task(x, y)`")
        super().__init__(_per_mode("lmda", lmda), scale, throw)
        self.task = task
        if strengths is not None:
            strengths = _per_mode("strengths", strengths)
            strengths = _checks.positive("strengths", strengths, zero=True, throw=throw)
        self.strengths = strengths

    def _modes(
        self, sizes: tuple[int, int, int]
    ) -> tuple[Task, Float[Array, "..."] | None]:
        for name, size, of_task in (
            ("in_size", sizes[0], self.task.in_size),
            ("out_size", sizes[2], self.task.out_size),
        ):
            _checks.require(
                size == of_task,
                f"`{name}` must be the task's, {of_task}, but it was {size}.",
            )
        count = min(sizes)
        for name, values in (("lmda", self.lmda), ("strengths", self.strengths)):
            shape = () if values is None else values.shape
            _checks.require(
                shape in ((), (count,)),
                f"`{name}` must be one number or one for each of the {count} modes of "
                f"sizes {_checks.sizes_text(sizes)}, but its shape was {shape}.",
            )
        return self.task, self.strengths


def _per_mode(name: str, value: Real[ArrayLike, "..."] | Sequence[float]) -> Array:
    """`value` as a scalar or a vector."""
    array = _dtypes.as_real(name, value)
    _checks.require(
        array.ndim <= 1,
        f"`{name}` must be one number or one for each mode, but its shape was "
        f"{array.shape}; to sweep over it use `jax.vmap`.",
    )
    return array


@on_any_mesh
@eqx.filter_jit
def _draw_balanced(
    lmda: Float[Array, "*balances"],
    scale: Float[Array, ""],
    sizes: tuple[int, int, int],
    sigma: Float[Array, "out in"] | None,
    strengths: Float[Array, "*strengths"] | None,
    key: PRNGKeyArray,
    throw: bool,
) -> LinearNetwork:
    """A balanced network whose function's modes are a Gaussian product's.

    `sigma` and `strengths` replace the singular vectors and values, if they are given.
    """
    in_size, hidden_size, out_size = sizes
    k = min(sizes)
    dtype = jnp.result_type(*(x for x in (lmda, scale, sigma) if x is not None))
    lmda, scale = lmda.astype(dtype), scale.astype(dtype)
    key1, key2, rkey = jax.random.split(key, 3)
    w1 = jax.random.normal(key1, (hidden_size, in_size), dtype)
    w2 = jax.random.normal(key2, (out_size, hidden_size), dtype)
    u, s, vt = jnp.linalg.svd(dot(w2, w1))
    v = vt.mT
    if sigma is not None:
        u, v = _modes_of_task(sigma.astype(dtype), k, throw)
    s = s[:k] if strengths is None else jnp.broadcast_to(strengths, (k,))
    s1, s2 = _layers(s, scale, jnp.broadcast_to(lmda, (k,)), throw)
    r = jax.random.orthogonal(rkey, hidden_size, dtype=dtype)
    pair = s1[:, None] * v[:, :k].mT, u[:, :k] * s2[None]
    further = v[:, k:hidden_size].mT, u[:, k:hidden_size]
    # Units beyond the modes have the balance of all modes, or else none.
    beyond = lmda if lmda.ndim == 0 else jnp.zeros((), dtype)
    return LinearNetwork(with_surplus(pair, r, beyond, further, throw))


def _modes_of_task(
    sigma: Float[Array, "out in"], k: int, throw: bool
) -> tuple[Float[Array, "out out"], Float[Array, "in in"]]:
    """Singular vectors, whose derivatives need `k` positive singular values."""
    s = jnp.linalg.svd(jax.lax.stop_gradient(sigma), compute_uv=False)
    zero = s[k - 1] <= jnp.finfo(s.dtype).eps ** 0.5 * s[0]
    sigma = _checks.refuse_derivative(sigma, zero, message=OF_TASK, throw=throw)
    u, _, v = singular_vectors(sigma, throw)
    return u, v


def _layers(
    s: Float[Array, " modes"],
    scale: Float[Array, ""],
    lmda: Float[Array, " modes"],
    throw: bool,
) -> tuple[Float[Array, " modes"], Float[Array, " modes"]]:
    """The singular values of both layers; modes of no strength and balance have none.

    These have derivatives by the scale only.
    """
    zero = (scale**2 * s == 0) & (lmda == 0)
    s = _checks.refuse_derivative(s, zero, message=OF_STRENGTHS, throw=throw)
    lmda = _checks.refuse_derivative(lmda, zero, message=OF_LMDA, throw=throw)
    pair = split_singular_values(jnp.where(zero, 1.0, scale**2 * s), lmda)
    return jnp.where(zero, 0.0, pair[0]), jnp.where(zero, 0.0, pair[1])
