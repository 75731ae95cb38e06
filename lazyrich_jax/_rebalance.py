"""Pairs of layers with a chosen balance and an unchanged function."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from . import _checks, _dtypes
from ._balanced import rebalanced_pair
from ._feasible import feasible_lmda
from ._linalg import norm, split_singular_values

Pair = tuple[Float[Array, "hidden *in"], Float[Array, "out hidden *window"]]

OF_UNIT = (
    "Derivatives of weights rebalanced by unit must be taken where every unit has "
    "weights on its larger side, the columns of w2 for a positive `lmda`, the rows of "
    "w1 for a negative one and both at zero, but one had none. Its new weights have no "
    "derivative there."
)
SECOND = (
    "Second derivatives of weights rebalanced by unit must be taken where every unit "
    "has weights in both layers, but one had none in one layer."
)


def rebalance(
    w1: Real[ArrayLike, "hidden *in"],
    w2: Real[ArrayLike, "out hidden *window"],
    lmda: Real[ArrayLike, ""],
    *,
    heads: int = 1,
    per_unit: bool = False,
) -> Pair:
    r"""Two layers with the balance `lmda` and the function of the given ones.

    For linear layers the result has $W_2^\top W_2 - W_1 W_1^\top = \lambda I$ and the
    same product $W_2 W_1$. Its hidden basis is the one nearest to the given weights.

    With `per_unit` each hidden unit is only rescaled: row i of `w1` is multiplied by
    $c_i > 0$ and column i of `w2` divided by it. Every diagonal entry of the balance is
    then `lmda`. This leaves the function of a network with ReLU, or any other function
    with $\phi(cz) = c\,\phi(z)$, unchanged (Du et al. 2018, section 2). It is possible
    for every size and sign. A unit without weights in one layer has no effect. Its
    weights in the smaller layer become zero, and those in the larger layer have norm
    $\sqrt{|\lambda|}$, with equal entries if there was no direction.

    A bias of the first layer is a further column of `w1`, the weights of an input of
    one: `jnp.column_stack([w1, b1])`.

    **Arguments:**

    - `w1`: the weights into the hidden units, (hidden, in), or those of a convolution,
      (channels, in, *window).
    - `w2`: the weights out of the hidden units, (out, hidden), or (out, channels,
      *window). A dense layer that follows a flattened convolution has one axis of
      positions: `w2.reshape(out, channels, positions)`.
    - `lmda`: the balance, a scalar.
    - `heads`: the number of heads of attention. Consecutive hidden units form a head,
      and each head is rebalanced alone. The pairs of attention are
      `rebalance(value, output, lmda, heads=heads)` and, for scores without rotary
      positions, `rebalance(key, query.T, lmda, heads=heads)`.
    - `per_unit`: whether units are only rescaled.

    **Returns:** `(w1, w2)`, in the shapes given and one dtype.

    **Raises:** `ValueError` for weights that don't chain and, without `per_unit`, if
    the sizes of a head don't allow the sign of `lmda`: positive needs `hidden <= out`,
    negative needs `hidden <= in` (times the window). A traced `lmda` of the wrong sign
    gives NaN weights. Derivatives exist where those of `LinearNetwork.rebalanced` do;
    with `per_unit`, where every unit has weights on its larger side. Elsewhere a
    derivative is a runtime error.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    keys = jax.random.split(jax.random.key(0), 3)
    w1, w2 = jax.random.normal(keys[0], (8, 3)), jax.random.normal(keys[1], (2, 8))
    v1, v2 = lr.rebalance(w1, w2, 1.0, per_unit=True)
    x = jax.random.normal(keys[2], (3,))
    print(w2 @ jax.nn.relu(w1 @ x) - v2 @ jax.nn.relu(v1 @ x))  # zero, to rounding
    ```
    """
    below, above = _layer("w1", w1), _layer("w2", w2)
    hidden = below.shape[0]
    _checks.require(
        above.shape[1] == hidden,
        "`w2` must have a column for each row of `w1`, but their shapes were "
        f"{above.shape} and {below.shape}; each is (out, in), or (out, in, *window).",
    )
    heads = _checks.size("heads", heads)
    _checks.require(
        hidden % heads == 0,
        f"`heads` must divide the number of hidden units, {hidden}, but it was "
        f"{heads}.",
    )
    below, above, balance = _dtypes.promoted(
        w1=below, w2=above, lmda=_checks.as_scalar("lmda", lmda)
    )
    # Rows are the units, of the second layer too.
    rows = below.reshape(heads, hidden // heads, -1)
    columns = jnp.moveaxis(above, 1, 0)
    moved, columns = columns.shape, columns.reshape(heads, hidden // heads, -1)
    if per_unit:
        balance = _checks.finite("lmda", balance)
        rows, columns = _rescaled(rows, columns, balance)
    else:
        sizes = rows.shape[2], rows.shape[1], columns.shape[2]
        balance = feasible_lmda(balance, sizes)
        rows, columns = _rotated(rows, columns, balance)
    return rows.reshape(below.shape), jnp.moveaxis(columns.reshape(moved), 0, 1)


def _layer(name: str, value: object) -> Float[Array, "out in *window"]:
    """`value` as the finite weights of a dense or convolutional layer."""
    array = _dtypes.as_real(name, value)
    _checks.require(
        array.ndim >= 2 and min(array.shape) > 0,
        f"`{name}` must be the weights of a layer, (out, in) or (out, in, *window), "
        f"without an empty side, but its shape was {array.shape}.",
    )
    return _checks.finite(name, array)


@eqx.filter_jit
def _rotated(
    rows: Float[Array, "heads units in"],
    columns: Float[Array, "heads units out"],
    lmda: Float[Array, ""],
) -> tuple[Array, Array]:
    """The linear form, by head."""
    below, above = jax.vmap(rebalanced_pair, (0, 0, None))(rows, columns.mT, lmda)
    return below, above.mT


@eqx.filter_jit
def _rescaled(
    rows: Float[Array, "heads units in"],
    columns: Float[Array, "heads units out"],
    lmda: Float[Array, ""],
) -> tuple[Array, Array]:
    """The form for homogeneous activations, by unit."""
    below, above = norm(rows, axis=-1), norm(columns, axis=-1)
    # The scale is a quotient by the larger side, which needs a direction.
    gone = jnp.where(lmda > 0, above, jnp.where(lmda < 0, below, below * above)) == 0
    half_gone = jnp.any((below == 0) | (above == 0))
    lost = jnp.any(gone)
    rows, columns, lmda = (
        _checks.refuse_second_derivative(x, half_gone, message=SECOND)
        for x in (rows, columns, lmda)
    )
    rows, columns = (
        _checks.refuse_derivative(x, lost, message=OF_UNIT) for x in (rows, columns)
    )
    lmda = _checks.refuse_derivative(lmda, lost & (lmda == 0), message=OF_UNIT)
    below, above = norm(rows, axis=-1), norm(columns, axis=-1)
    first, second = split_singular_values(below * above, lmda)
    larger = jnp.where(lmda >= 0, second, first)
    outward = jnp.where(lmda >= 0, above, below)
    safe = ~gone & (larger > 0)
    ratio = jnp.where(safe, outward, 1.0) / jnp.where(safe, larger, 1.0)
    factor = jnp.where(lmda >= 0, ratio, 1 / ratio)
    # A unit without a direction: equal entries in the larger layer, none in the other.
    fresh1, fresh2 = (
        jnp.broadcast_to((size / x.shape[-1] ** 0.5)[..., None], x.shape)
        for size, x in ((first, rows), (second, columns))
    )
    kept = safe[..., None]
    return (
        jnp.where(kept, rows * factor[..., None], fresh1),
        jnp.where(kept, columns / factor[..., None], fresh2),
    )
