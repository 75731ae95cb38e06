r"""Even functions of v, given $y = v^2$: all derivatives exist at zero.

An integral around a maximum has nodes in pairs, $\pm v$. Their sums are even, and
analytic in the width of the maximum. Odd parts, left to cancel by themselves, would
have derivatives like one over the width's root, times rounding.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

TERMS = 10  # of power series, for y of size up to 1


def cosh(y: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$\cosh v$, and $\cos\sqrt{-y}$ for a negative y."""
    near, root, size = _split(y)
    far = jnp.where(y > 0, jnp.cosh(root), jnp.cos(root))
    return jnp.where(size > 1, far, series(near, 0))


def sinh_quotient(y: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$\sinh(v)/v$, and $\sin(\sqrt{-y})/\sqrt{-y}$ for a negative y."""
    near, root, size = _split(y)
    far = jnp.where(y > 0, jnp.sinh(root), jnp.sin(root)) / root
    return jnp.where(size > 1, far, series(near, 1))


def series(
    y: Float[Array, "..."], first: int, terms: int = TERMS
) -> Float[Array, "..."]:
    """The sum of y^k / (2k + first)!: cosh for `first` 0, sinh(v) / v for 1."""
    found = jnp.zeros_like(y)
    for k in reversed(range(terms)):
        found = found * y + 1 / math.factorial(2 * k + first)
    return found


def _split(y: Float[Array, "..."]) -> tuple[Array, Array, Array]:
    """Small y, the roots of the sizes of large y and ones, and the sizes."""
    size = jnp.abs(y)
    near = jnp.where(size > 1, 0.0, y)
    return near, jnp.sqrt(jnp.where(size > 1, size, 1.0)), size
