"""Products of small matrices, with networks and times on the last axes, the lanes.

In: arrays (rows, columns, ...). Out: their products. Without lanes they are matrix
products; with lanes their sums are written out, and fill vectors (docs/speed.md).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._linalg import dot
from ..batching.blocks import total


def contracted(
    a: Float[Array, "i c ..."], b: Float[Array, "j c ..."]
) -> Float[Array, "i j ..."]:
    """`a @ b.T`; for lanes the sum is written out."""
    if max(a.ndim, b.ndim) == 2:
        return dot(a, b.T)
    return total(a[:, None, c] * b[None, :, c] for c in range(a.shape[1]))


def crossed(
    a: Float[Array, "k i ..."], b: Float[Array, "k j ..."]
) -> Float[Array, "i j ..."]:
    """`a.T @ b`; for lanes the sum is written out."""
    return contracted(a.swapaxes(0, 1), b.swapaxes(0, 1))


def same(n: int, t: Float[Array, "..."]) -> Bool[Array, "n n ..."]:
    """The mask of a matrix's diagonal."""
    return jnp.eye(n, dtype=bool).reshape(n, n, *[1] * t.ndim)
