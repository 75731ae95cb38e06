"""Members of the class of wide random layers: drawn, or with a given function."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Real

from .. import _checks, _dtypes, _wide
from .._network import LinearNetwork
from .._xla import compiled
from .base import AbstractInitialiser


class WideOrthogonal(AbstractInitialiser):
    r"""Random orthogonal weights of a wide layer: $W_2W_1 = 0$ at the start.

    $W_1^\top W_1 = l_1 I$, $W_2W_2^\top = l_2 I$ and $W_2W_1 = 0$ with the input scale
    $l_1$ and the output scale $l_2$. Gaussian weights of standard deviations
    $\sigma_1$, $\sigma_2$ tend to this as the width w grows, with $l_1 = w\sigma_1^2$
    and $l_2 = w\sigma_2^2$. The eigenvalues of $W_2^\top W_2 - W_1W_1^\top$ are $l_2$
    (`out` times), $-l_1$ (`in` times) and zero: these weights aren't lambda-balanced.
    `lazyrich_jax.wide_network` gives members of the same class with other functions.

    **Arguments:**

    - `input_scale`, `output_scale`: non-negative and not both zero. With one zero scale
      the layer is zero. The larger their sum, the lazier is learning.

    **Raises:** `ValueError` for other scales (traced: NaN weights) and for
    `hidden_size < in_size + out_size`. A derivative by a scale at zero, which does not
    exist, is a runtime error.

    ```python
    import jax
    import lazyrich_jax as lr

    network = lr.WideOrthogonal(0.5, 2.0)(3, 8, 2, key=jax.random.key(0))
    print(*network.effective_scales)  # 0.5 2.0 to rounding
    ```
    """

    input_scale: Float[Array, ""]
    output_scale: Float[Array, ""]

    def __init__(
        self, input_scale: Real[ArrayLike, ""], output_scale: Real[ArrayLike, ""]
    ):
        self.input_scale, self.output_scale = _wide.checked_scales(
            input_scale, output_scale
        )

    def __call__(
        self, in_size: int, hidden_size: int, out_size: int, *, key: PRNGKeyArray
    ) -> LinearNetwork:
        """Draw a network; the draw differs for different sizes."""
        _checks.random_key(key)
        in_size = _checks.size("in_size", in_size)
        out_size = _checks.size("out_size", out_size)
        hidden_size = _wide_enough(hidden_size, in_size, out_size)
        first, second = _dtypes.promoted(
            input_scale=self.input_scale, output_scale=self.output_scale
        )
        first = _wide.no_derivative_at_zero("input_scale", first)
        second = _wide.no_derivative_at_zero("output_scale", second)
        sizes = (in_size, hidden_size, out_size)
        return LinearNetwork(_orthogonal(first, second, sizes, key))


def wide_network(
    function: Real[ArrayLike, "out in"],
    input_scale: Real[ArrayLike, ""],
    output_scale: Real[ArrayLike, ""],
    hidden_size: int | None = None,
) -> LinearNetwork:
    r"""The network of a function in the class of wide random layers.

    With the input scale $l_1$, the output scale $l_2$ and $A = W_2W_1$,

    $$W_1^\top W_1 = \sqrt{A^\top A + c^2} - \tfrac\lambda2, \quad
    W_2W_2^\top = \sqrt{AA^\top + c^2} + \tfrac\lambda2, \quad
    c = \tfrac{l_1 + l_2}2, \quad \lambda = l_2 - l_1,$$

    so that the eigenvalues of $W_2^\top W_2 - W_1W_1^\top$ are $l_2$ (`out` times),
    $-l_1$ (`in` times) and zero. Gradient flow keeps a network in this class, with
    isotropic inputs (docs/theory.md). $[W_1^\top; W_2]$ is the symmetric root of
    $QQ^\top$; hidden units beyond `in + out` are zero.

    **Arguments:**

    - `function`: (out, in).
    - `input_scale`, `output_scale`: non-negative and not both zero.
    - `hidden_size`: `in + out` by default.

    **Raises:** `ValueError` for other scales (traced: NaN weights) and for
    `hidden_size < in + out`. The weights are differentiable, also where singular values
    of the function repeat or vanish. A derivative by a scale at zero, which does not
    exist, is a runtime error.
    """
    function = _checks.as_matrix("function", function)
    first, second = _wide.checked_scales(input_scale, output_scale)
    function, first, second = _dtypes.promoted(
        function=function, input_scale=first, output_scale=second
    )
    n_out, n_in = function.shape
    size = n_in + n_out if hidden_size is None else hidden_size
    size = _wide_enough(size, n_in, n_out)
    first = _wide.no_derivative_at_zero("input_scale", first)
    second = _wide.no_derivative_at_zero("output_scale", second)
    return LinearNetwork(_of_function(function, first, second, size))


def _wide_enough(hidden_size: int, in_size: int, out_size: int) -> int:
    size = _checks.size("hidden_size", hidden_size)
    _checks.require(
        size >= in_size + out_size,
        f"`hidden_size` must be at least `in + out`, {in_size + out_size}, but it was "
        f"{size}: the hidden directions of all inputs and outputs are linearly "
        "independent.",
    )
    return size


@functools.partial(compiled, static_argnums=2)
def _orthogonal(
    first: Float[Array, ""],
    second: Float[Array, ""],
    sizes: tuple[int, int, int],
    key: PRNGKeyArray,
) -> tuple[Float[Array, "hidden in"], Float[Array, "out hidden"]]:
    n_in, hidden, n_out = sizes
    draw = jax.random.normal(key, (hidden, n_in + n_out), first.dtype)
    q, r = jnp.linalg.qr(draw)
    # With these signs all orthonormal columns are equally likely.
    q = q * jnp.where(jnp.diagonal(r) < 0, -1.0, 1.0).astype(q.dtype)[None]
    return jnp.sqrt(first) * q[:, :n_in], jnp.sqrt(second) * q[:, n_in:].mT


@functools.partial(compiled, static_argnums=3)
def _of_function(
    function: Float[Array, "out in"],
    first: Float[Array, ""],
    second: Float[Array, ""],
    hidden_size: int,
) -> tuple[Float[Array, "hidden in"], Float[Array, "out hidden"]]:
    q = _wide.root(function, first, second)
    q = jnp.pad(q, ((0, 0), (0, hidden_size - len(q))))
    n_in = function.shape[1]
    return q[:n_in].mT, q[n_in:]
