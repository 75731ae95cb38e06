r"""Divided differences of decays, $f(x) = (1 - e^{-2xt}) / 2x$.

In: two rates and a time. Out: differences of f over differences of rates, without the
subtraction of nearly equal numbers. docs/theory.md, section 3.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._linalg import mean_decay


def decay_difference(
    rates: Float[Array, " k"], gap: Float[Array, "k k"], t: Float[Array, ""]
) -> Float[Array, "k k"]:
    r"""$-(f(x) - f(y)) / (x - y)$ for $f(x) = (1 - e^{-2xt}) / 2x$: positive.

    The pairs are all pairs of non-negative `rates` x, y, with `gap` = |x - y|. The
    value is $-f'$ at equal rates and at most $t^2$ and $1 / 2xy$. Small rates use a
    series, large ones a form that never subtracts nearly equal numbers.
    """
    larger = jnp.maximum(rates[:, None], rates[None])
    smaller = jnp.minimum(rates[:, None], rates[None])
    decayed = jnp.exp(-2 * smaller * t) * t * mean_decay(2 * gap * t)
    return decay_quotient(larger, smaller, t * mean_decay(2 * smaller * t) - decayed, t)


def decay_quotient(
    larger: Float[Array, "..."],
    smaller: Float[Array, "..."],
    far: Float[Array, "..."],
    t: Float[Array, "..."],
) -> Float[Array, "..."]:
    """`decay_difference` of pairs of rates; `far` is its product with the larger rate.

    Small rates use a series instead of `far`.
    """
    near = 4 * larger * t < 1
    x, y = (2 * t * jnp.where(near, z, 0.0) for z in (larger, smaller))
    terms = [-((-1) ** k) / math.factorial(k + 1) for k in range(1, 16)]
    series = 2 * t * t * _divided(terms, x, y)
    return jnp.where(near, series, far / jnp.where(near, 1.0, larger))


def mixed_difference(
    rise: Float[Array, "..."], fall: Float[Array, "..."], t: Float[Array, ""]
) -> Float[Array, "..."]:
    r"""$(f(y) e^{-xt} - f(x) e^{-yt}) / (x + y)$ for $f(x) = (1 - e^{-2xt}) / 2x$.

    `rise` is x and `fall` is y, both non-negative. The value tends to
    $t^2 (y - x) t / 6$ as they vanish.
    """
    a, b = rise * t, fall * t
    far = mean_decay(2 * b) * jnp.exp(-a) - mean_decay(2 * a) * jnp.exp(-b)
    return mixed_quotient(rise, fall, t * far, jnp.exp(-(a + b)), t)


def mixed_quotient(
    rise: Float[Array, "..."],
    fall: Float[Array, "..."],
    far: Float[Array, "..."],
    decay: Float[Array, "..."],
    t: Float[Array, "..."],
) -> Float[Array, "..."]:
    """`mixed_difference`, given its product `far` with x + y.

    `decay` is e^{-(x + y) t}. Small rates use a series instead of `far`.
    """
    a, b = rise * t, fall * t
    near = jnp.maximum(a, b) < 1
    u, v = (jnp.where(near, z, 0.0) ** 2 for z in (a, b))
    # Divided differences of sinh(sqrt(u)) / sqrt(u).
    terms = [1 / math.factorial(2 * k + 1) for k in range(1, 10)]
    series = t * t * decay * jnp.where(near, b - a, 0.0) * _divided(terms, u, v)
    return jnp.where(near, series, far / jnp.where(near, 1.0, rise + fall))


def _divided(
    terms: list[float], x: Float[Array, "..."], y: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The sum of `terms[k]` times the sum of x^i y^j, i + j = k."""
    power, sums = jnp.ones_like(y), jnp.ones_like(x)
    series = jnp.zeros_like(x * y)
    for term in terms:
        series += term * sums
        power = power * y
        sums = sums * x + power
    return series
