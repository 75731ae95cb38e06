"""Exponentials of the gradient: the factors that depend on rates and time only.

In: `GradientConstants` and times. Out: `Exponentials` for rows, columns and pairs of
rates, with networks and times on the last axes.
"""

import functools
from collections.abc import Iterable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._decays import decay_quotient, mixed_quotient
from ..._linalg import gain_of_decay
from ..._xla import kept, mapped
from .constants import GradientConstants
from .solved import AtTime


class Exponentials(eqx.Module):
    """Exponentials at a time."""

    grown: Float[Array, "rows columns ..."]  # e^{`exponents` t}
    grown_echelon: Float[Array, "rows columns ..."]  # `echelon` times `grown` up to one
    k: Float[Array, "rows columns ..."]  # K without the start
    root: Float[Array, "rows ..."]  # root of the gain
    split: Bool[Array, "..."]  # see `first.as_start`
    decay: Float[Array, "rates ..."]  # e^{-x t}
    # For every pair of rates x, y:
    ratio: Float[Array, "rates rates ..."]  # e^{-|x - y| t}
    less: Float[Array, "rates rates ..."]  # (1 - e^{-|x - y| t}) / |x - y|
    more: Float[Array, "rates rates ..."]  # (1 - e^{-(x + y) t}) / (x + y)
    bend: Float[Array, "rates rates ..."]  # see `decay_difference`
    mixed: Float[Array, "rates rates ..."]  # see `mixed_difference`


def evaluate_exponentials(
    x: GradientConstants, t: Float[Array, "..."]
) -> tuple[AtTime, Exponentials]:
    """The exponentials at the times `t`."""
    m, r, _ = x.sizes

    def of_time():
        largest = jnp.log(jnp.finfo(t.dtype).max) / 4
        grown = jnp.exp(jnp.minimum(x.base.exponents * t[None, None], largest))
        half = jnp.exp(-x.rates / 2 * t[None])
        decay = half * half
        gain = gain_of_decay(x.rates, decay, t[None])
        root = jnp.sqrt(gain)
        return jnp.exp(-x.base.v * t[None]), grown, half, decay, gain, root, 1 / root

    shrink, grown, half, decay, gain, root, inverse_root = kept(of_time)
    at = AtTime(shrink, grown, decay, root, inverse_root, m)

    def of_rows():
        falling = jnp.broadcast_to(shrink[None], (m, *shrink.shape))
        all_grown = jnp.concatenate([grown[:m], *[grown[m:]] * r, falling])
        of_all = jnp.concatenate([root[:m], *[root[m:]] * r, root[:m]])
        ratio = jnp.minimum(all_grown, 1.0)
        k = x.lower * ratio * of_all[:, None]
        return all_grown, x.echelon * ratio, x.coefficients * ratio, k, of_all

    all_grown, grown_echelon, coefficients, k, of_all = kept(of_rows)

    def of_columns():
        return _largest(coefficients), _largest(all_grown)

    top, most = kept(of_columns)

    def is_split():
        return _largest(most) > _largest(top) + 1e-30

    def of_pairs(first):
        """The functions of one rate paired with all rates."""
        rate, rate_half, rate_decay, rate_gain, gaps = first
        close = jnp.exp(-gaps / 2 * t[None])
        ratio, both = close * close, rate_half[None] * half
        sums, other = rate[None] + x.rates, x.rates
        less = gain_of_decay(gaps / 2, close, t[None])
        more = gain_of_decay(sums / 2, both, t[None])
        far = jnp.maximum(rate_gain[None], gain)  # the gain of the smaller rate
        far -= jnp.maximum(rate_decay[None], decay) ** 2 * less * (1 + ratio) / 2
        larger, smaller = jnp.maximum(rate[None], other), jnp.minimum(rate[None], other)
        bend = decay_quotient(larger, smaller, far, t[None])
        far = gain * rate_decay[None] - rate_gain[None] * decay
        mixed = mixed_quotient(rate[None], other, far, both * both, t[None])
        return ratio, less, more, bend, mixed

    rows = x.rates, half, decay, gain, x.gaps
    pairs = kept(lambda: mapped(of_pairs, rows))
    scales = Exponentials(
        all_grown, grown_echelon, k, of_all, kept(is_split), decay, *pairs
    )
    return at, scales


def _largest(arrays: Iterable[Array]) -> Array:
    """The entrywise maximum."""
    return functools.reduce(jnp.maximum, list(arrays))
