"""The zero-balanced weights of Braun et al. (2022)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._init import LambdaBalanced
from .._linalg import dot
from .._network import LinearNetwork

# Their code multiplies the square roots of the singular values by this in both layers.
SPREAD = 1.15


def zero_balanced(scale: float | Float[Array, ""]) -> LambdaBalanced:
    """Balanced weights from a Gaussian product of standard deviation `scale`.

    The singular values are 1.15 squared times the product's, as in the source's code.
    """
    return LambdaBalanced(0.0, SPREAD * scale)


def padded(
    sizes: Float[Array, " 3"],
    scale: Float[Array, ""],
    draws: Float[Array, "3 largest largest"],
) -> LinearNetwork:
    """Zero-balanced weights of any sizes (in, hidden, out), in matrices of one shape.

    Units beyond the sizes have zero weights, which stay zero if their inputs are not
    correlated with targets: one compiled program serves networks of every size.
    `draws` are standard normal. `hidden` must be at least `min(in, out)`.
    """
    units = jnp.arange(draws.shape[-1])
    there = [jnp.where(units < size, 1.0, 0.0) for size in sizes]
    w1 = there[1][:, None] * draws[0] * there[0][None]
    w2 = there[2][:, None] * draws[1] * there[1][None]
    u, s, vt = jnp.linalg.svd(dot(w2, w1))
    root = SPREAD * scale * jnp.sqrt(jnp.where(units < jnp.min(sizes), s, 0.0))
    # A rotation of the existing units, and of the others among themselves.
    same = there[1][:, None] == there[1][None]
    r, _ = jnp.linalg.qr(jnp.where(same, draws[2], 0.0))
    return LinearNetwork((dot(r, root[:, None] * vt), dot(u * root[None], r.T)))
