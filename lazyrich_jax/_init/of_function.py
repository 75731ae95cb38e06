"""The lambda-balanced network of a given function."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._balanced import (
    Weights,
    beside_fixed,
    leading_pair,
    modes_of_matrix,
    with_surplus,
)
from .._feasible import feasible_lmda
from .._network import LinearNetwork
from .._xla import on_any_mesh


def balanced_network(
    function: Real[ArrayLike, "out in"],
    lmda: Real[ArrayLike, ""],
    hidden_size: int | None = None,
    *,
    throw: bool = True,
) -> LinearNetwork:
    r"""The two-layer network of a function with $W_2^\top W_2 - W_1W_1^\top=\lambda I$.

    With $A = U S V^\top$ for `function`, the first hidden units are its modes, in
    falling order of S:

    $$W_1 = S_1 V^\top, \qquad W_2 = U S_2, \qquad
    S_1 S_2 = S, \qquad S_2^2 - S_1^2 = \lambda I.$$

    Units beyond the `min(in, hidden, out)` modes follow. They have weights
    $\sqrt{|\lambda|}$ in the larger layer, along directions orthogonal to the modes',
    and none in the other one.

    **Arguments:**

    - `function`: (out, in). A function of rank above `hidden_size` is replaced by its
      best approximation of that rank.
    - `lmda`: the balance, of any sign; positive needs `hidden_size <= out`, negative
      `hidden_size <= in`.
    - `hidden_size`: `min(in, out)` by default.
    - `throw`: whether an infeasible traced `lmda`, or a derivative that doesn't exist,
      stops the program (the default) or gives NaN.

    The function and the balance determine the network up to a rotation of its hidden
    units, except for unequal sizes and `lmda` not zero in two cases. With
    `in < hidden < out` (or `out < hidden < in`) they leave open along which outputs
    (inputs) the units beyond the modes lie: as near as possible to fixed directions.
    With fewer hidden units than `max(in, out)` they leave open where modes of strength
    zero lie: on singular vectors.

    All that no rotation of hidden units changes is a differentiable function of
    `function` and `lmda`, also at equal singular values, and to second order. The frame
    of hidden units is deterministic but not continuous: singular vectors jump where
    singular values cross. The derivatives of the weights belong to a continuous frame.
    No derivative exists, and it is refused,

    - by `function` where a mode has strength zero, unless `lmda` is not zero and
      `hidden_size >= max(in, out)`;
    - by `function` where `hidden_size` cuts through equal singular values;
    - by `lmda` where a hidden unit is zero in both layers.

    **Raises:** `ValueError` for a `function` that is not a finite matrix (traced: NaN
    weights) and an infeasible `lmda`; a runtime error for refused derivatives.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    network = lr.balanced_network(jnp.diag(jnp.array([2.0, 0.5])), lmda=1.0)
    print(network.function, network.lmda)

    def size(lmda):
        network = lr.balanced_network(jnp.eye(2), lmda)
        return jnp.trace(network.output_representation)

    print(jax.grad(size)(0.0))  # 1.0
    ```
    """
    function = _checks.as_matrix("function", function)
    lmda = _checks.as_scalar("lmda", lmda)
    function, lmda = _dtypes.promoted(function=function, lmda=lmda)
    n_out, n_in = function.shape
    size = min(n_in, n_out) if hidden_size is None else hidden_size
    size = _checks.size("hidden_size", size)
    lmda = feasible_lmda(lmda, (n_in, size, n_out), throw=throw)
    return LinearNetwork(_of_multiple(function, 1.0, lmda, size, throw))


def network_of_multiple(
    direction: Float[Array, "out in"],
    factor: Float[Array, ""],
    lmda: Float[Array, ""],
    size: int,
) -> LinearNetwork:
    """`balanced_network` of a positive multiple of a matrix, of `size` hidden units.

    A map over factors and balances decomposes the matrix once. What `balanced_network`
    refuses is NaN here.
    """
    n_out, n_in = direction.shape
    lmda = feasible_lmda(lmda, (n_in, size, n_out), throw=False)
    return LinearNetwork(_of_multiple(direction, factor, lmda, size, False))


@on_any_mesh
@eqx.filter_jit
def _of_multiple(
    direction: Float[Array, "out in"],
    factor: Float[Array, ""] | float,
    lmda: Float[Array, ""],
    size: int,
    throw: bool,
) -> Weights:
    modes = modes_of_matrix(direction, full=size >= max(direction.shape))
    modes = modes._replace(s=jax.lax.stop_gradient(factor) * modes.s)
    pair = leading_pair(factor * direction, lmda, modes, size, throw)
    # The hidden units are the modes themselves.
    units = jnp.eye(size, dtype=lmda.dtype)
    return with_surplus(pair, units, lmda, beside_fixed(pair, size), throw)
