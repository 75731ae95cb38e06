"""The eigenvalues of F: gaps, exponentials, and a time after which nothing changes.

In: a `Frame` or another `Echelon`. Out: arrays by rows, or by rows and the columns of
the pivot rows. Nothing here overflows, and gaps of large rates are not found by
subtraction.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._linalg import mean_decay
from .echelon import Echelon


def gaps(frame: Echelon) -> Float[Array, "rows rows"]:
    """The gaps w_i - w_j.

    Two rates of one sign have the gap (s_i^2 - s_j^2) / (w_i + w_j). Their subtraction
    would lose all digits when |lambda| is large.
    """
    s, w = frame.strengths, frame.rates
    return _gap((s[:, None], w[:, None]), (s[None], w[None]))


def _gap(a: tuple[Array, Array], b: tuple[Array, Array]) -> Array:
    """The gap of two rates, each with its strength before it."""
    (s, w), (other, v) = a, b
    alike = w * v > 0
    apart = (s - other) * ((s + other) / jnp.where(alike, w + v, 1.0))
    return jnp.where(alike, apart, w - v)


def decay(
    frame: Echelon, rates: Float[Array, " rows"], t: Float[Array, ""]
) -> Float[Array, "rows columns"]:
    """e^{(w_i - v_k) t} for w = `rates` and v the growth of the pivot rows.

    The values are cut at one: a positive exponent belongs to a row that doesn't depend
    on pivot row k.
    """
    return jnp.exp(jnp.minimum(exponents(frame, rates), 0.0) * t)


def exponents(
    frame: Echelon, rates: Float[Array, " rows"]
) -> Float[Array, "rows columns"]:
    """w_i - v_k for w = `rates` and v the growth of the pivot rows.

    `rates` are the frame's rates or their growth.
    """
    s, w = frame.strengths[:, None], frame.rates[:, None]
    gap = _gap((s, w), (frame.at_pivots(s[:, 0])[None], frame.pivot_rates[None]))
    v = growth(frame.pivot_rates)[None]
    both = (rates[:, None] > 0) & (v > 0)
    return jnp.where(both, gap, rates[:, None] - v)


def last_time(dtype: jnp.dtype) -> float:
    """The finite time that stands for infinity."""
    return float(jnp.finfo(dtype).max) ** (1 / 3)


def settled(frame: Echelon, t: Float[Array, "*ts"]) -> Float[Array, "*ts"]:
    """The times, with `settled_time` in place of infinity."""
    return jnp.where(t >= last_time(t.dtype), settled_time(frame), t)


def settled_time(frame: Echelon) -> Float[Array, ""]:
    """A time after which nothing changes, for derivatives at infinity.

    Time multiplies the rounding of derivatives, so the time is no later than needed. It
    is 40 times the slowest time scale, plus the logarithmic delay of a start that is
    tiny or near a saddle. Modes of rate zero change as 1/t for ever: derivatives keep
    half of their digits there.
    """
    rates = jnp.append(jnp.abs(gaps(frame)), jnp.abs(frame.rates))
    slowest = jnp.min(jnp.where(rates > 0, rates, jnp.inf))
    fastest = jnp.where(frame.rates[0] > 0, frame.rates[0], 1.0)
    time = 40 + 2 * jnp.log1p(jnp.max(jnp.abs(frame.echelon)))
    time = time / jnp.minimum(slowest, fastest)
    v = growth(frame.pivot_rates)
    tiny = jnp.log1p(jnp.abs(jnp.diagonal(frame.inverse)) * jnp.sqrt(v))
    time += jnp.max(jnp.where(v > 0, 2 * tiny / jnp.where(v > 0, v, 1.0), 0.0))
    algebraic = 1 / (jnp.finfo(rates.dtype).eps ** 0.5 * fastest)
    time = jnp.where(jnp.any(frame.rates == 0), jnp.maximum(time, algebraic), time)
    return jax.lax.stop_gradient(jnp.minimum(time, last_time(rates.dtype)))


def gain(rates: Float[Array, " k"], t: Float[Array, ""]) -> Float[Array, " k"]:
    """(1 - e^{-2|w|t}) / 2|w|, which is at most t and at most 1 / 2|w|.

    It is (e^{2wt} - 1) / 2w, divided by e^{2wt} where w > 0.
    """
    return t * mean_decay(2 * jnp.where(rates > 0, rates, -rates) * t)


def growth(rates: Float[Array, " k"]) -> Float[Array, " k"]:
    """Positive rates unchanged, zero for the others."""
    return jnp.where(rates > 0, rates, 0.0)
