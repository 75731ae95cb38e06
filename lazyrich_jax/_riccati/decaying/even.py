r"""Even functions of v, given $y = v^2$: all derivatives exist at zero.

An integral around a maximum has nodes in pairs, $\pm v$. Their sums are even, and
analytic in the width of the maximum. Odd parts, left to cancel by themselves, would
have derivatives like one over the width's root, times rounding.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

TERMS = 10  # of power series, for y up to 1


def cosh(
    y: Float[Array, "..."], exponent: Float[Array, "..."] | float = 0.0
) -> Float[Array, "..."]:
    r"""$e^x\cosh v$, x the exponent."""
    near, far, root = _split(y)
    found = (jnp.exp(exponent + root) + jnp.exp(exponent - root)) / 2
    return jnp.where(far, found, jnp.exp(exponent) * series(near, 0))


def sinh_quotient(
    y: Float[Array, "..."], exponent: Float[Array, "..."] | float = 0.0
) -> Float[Array, "..."]:
    r"""$e^x\sinh(v)/v$, x the exponent."""
    near, far, root = _split(y)
    found = (jnp.exp(exponent + root) - jnp.exp(exponent - root)) / (2 * root)
    return jnp.where(far, found, jnp.exp(exponent) * series(near, 1))


def series(
    y: Float[Array, "..."], first: int, terms: int = TERMS
) -> Float[Array, "..."]:
    """The sum of y^k / (2k + first)!: cosh for `first` 0, sinh(v) / v for 1."""
    return polynomial(y, [1 / math.factorial(2 * k + first) for k in range(terms)])


def polynomial(y: Float[Array, "..."], terms: list[float]) -> Float[Array, "..."]:
    """The sum of `terms[k]` y^k."""
    found = jnp.zeros_like(y)
    for term in reversed(terms):
        found = found * y + term
    return found


def _split(y: Float[Array, "..."]) -> tuple[Array, Array, Array]:
    """Small y and zeros, where y is large, and the roots of large y and ones."""
    far = y > 1
    return jnp.where(far, 0.0, y), far, jnp.sqrt(jnp.where(far, y, 1.0))
