"""Products of small matrices, with networks and times on the last axes, the lanes.

In: arrays (rows, columns, ...). Out: their products. Without lanes they are matrix
products; with lanes their sums are written out, and fill vectors (docs/speed.md).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._linalg import dot
from ..batching.blocks import total


def contracted(
    a: Float[Array, "i c ..."], b: Float[Array, "j c ..."]
) -> Float[Array, "i j ..."]:
    """`a @ b.T`; for lanes the sum is written out."""
    return dot(a, b.T) if max(a.ndim, b.ndim) == 2 else _written_out(a, b)


@jax.custom_vjp
def _written_out(a: Array, b: Array) -> Array:
    return total(a[:, None, c] * b[None, :, c] for c in range(a.shape[1]))


def _transposes(args: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    # JAX would transpose each term for itself, into sums that fill no vectors.
    a, b = args
    by_a = _written_out(slope, b.swapaxes(0, 1))
    by_b = _written_out(slope.swapaxes(0, 1), a.swapaxes(0, 1))
    return _summed_like(a, by_a), _summed_like(b, by_b)


def _summed_like(x: Array, slope: Array) -> Array:
    """The sum over lanes that share one `x`."""
    pairs = enumerate(zip(x.shape, slope.shape, strict=True))
    shared = tuple(i for i, (one, many) in pairs if one != many)
    return jnp.sum(slope, axis=shared, keepdims=True)


_written_out.defvjp(lambda a, b: (_written_out(a, b), (a, b)), _transposes)


def crossed(
    a: Float[Array, "k i ..."], b: Float[Array, "k j ..."]
) -> Float[Array, "i j ..."]:
    """`a.T @ b`; for lanes the sum is written out."""
    return contracted(a.swapaxes(0, 1), b.swapaxes(0, 1))


def same(n: int, t: Float[Array, "..."]) -> Bool[Array, "n n ..."]:
    """The mask of a matrix's diagonal."""
    return jnp.eye(n, dtype=bool).reshape(n, n, *[1] * t.ndim)
