"""The slopes of the loss at one time, in closed form.

In: `GradientConstants` and times. Out: numbers in the order of `gradient.flat`, with
networks and times on the last axes. The first are slopes by the rows of Q0, from
`Cotangents`; the others are slopes by entries of the generator F, one block for each
pair of kinds of rows. docs/theory.md, section 3.
"""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._xla import kept
from ..batching.blocks import total
from .constants import GradientConstants
from .cotangents import Cotangents, evaluate_cotangents
from .exponentials import Exponentials
from .values import contracted, crossed


def slopes_of_one(
    x: GradientConstants, t: Float[Array, "..."]
) -> list[Float[Array, "numbers ..."]]:
    scales, a = evaluate_cotangents(x, t)
    pairs = [_two_grow, _one_grows, _none_grows]
    if x.sizes[1] > 0:
        pairs += [_rest_grow, _rest_fall, functools.partial(_of_rest_alone, t)]
    parts = [a.lower, *[kept(lambda f=f: f(x, scales, a)) for f in pairs]]
    return [part.reshape(-1, *t.shape) for part in parts]


# The gradient by an entry of dF and its mirror image. First, entries between the rows
# of two modes:


def _two_grow(x: GradientConstants, scales: Exponentials, a: Cotangents) -> Array:
    """Two growing rows. The gradient by a pair is the sum of both its entries."""
    m = x.sizes[0]
    kappa, decay, e = x.base.kappa, scales.decay[:m], a.error[:m, :m]

    def carried():
        rising = contracted(a.lower[:m], x.lower[:m])
        ratio = jnp.minimum(scales.grown[:m], 1.0)
        falling = contracted(a.above[:m], x.lower[:m] * ratio)
        return scales.less[:m, :m] * jnp.where(_is_upper(e), rising, falling)

    def bent():
        bend = crossed(a.p[:, :m], a.by_p[:, :m]) / 2
        bend += a.limit[:m, None] * a.by_p[:m, :m]
        return scales.bend[:m, :m] * bend

    carry, bend = kept(carried), kept(bent)
    late = a.is_late[:m, None] & a.is_late[None, :m]
    lack = _lack(
        jnp.minimum(kappa[:, None], kappa[None]),
        jnp.maximum(decay[:, None], decay[None]),
        scales.less[:m, :m],
        scales.ratio[:m, :m],
    )
    lack = jnp.where(late, lack, jnp.where(_zero(kappa[:, None], kappa[None]), 0.5, 1))
    cos, sin, other_cos, other_sin = _angles(x)
    pull = cos * other_sin * e + sin * other_cos * e.swapaxes(0, 1)
    return carry + bend - lack * pull


def _one_grows(x: GradientConstants, scales: Exponentials, a: Cotangents) -> Array:
    """A growing and a decaying row."""
    m, r, _ = x.sizes
    fall = slice(m + r, None)
    kappa, decay, e = x.base.kappa, scales.decay[:m], a.error[:m, :m]
    found = contracted(a.lower[:m], x.lower[fall]) + a.by_p[fall, :m].swapaxes(0, 1)
    found *= scales.more[:m, :m]
    found += scales.mixed[:m, :m] * contracted(a.q[:m], a.spanned[r:])
    both = decay[:, None] * decay[None]
    lean = _lean(kappa[:, None], kappa[None], both, a.is_late[:m, None])
    cos, sin, other_cos, other_sin = _angles(x)
    return found - lean * (cos * other_cos * e - sin * other_sin * e.swapaxes(0, 1))


def _none_grows(x: GradientConstants, scales: Exponentials, a: Cotangents) -> Array:
    """Two decaying rows. The gradient by a pair is the sum of both its entries."""
    m, r, _ = x.sizes
    kappa, decay, e = x.base.kappa, scales.decay[:m], a.error[:m, :m]
    found = contracted(a.by_q[m + r :], a.still[r:])
    found *= jnp.where(_is_upper(e), decay[None], decay[:, None])
    found *= scales.less[:m, :m]
    found -= scales.bend[:m, :m] * contracted(a.spanned[r:], a.still[r:]) / 2
    cos, sin, other_cos, other_sin = _angles(x)
    pulled = sin * other_cos * e + cos * other_sin * e.swapaxes(0, 1)
    return found + jnp.where(_zero(kappa[:, None], kappa[None]), pulled / 2, 0.0)


# Entries between left-over rows and a mode's row:


def _rest_grow(x: GradientConstants, scales: Exponentials, a: Cotangents) -> Array:
    """A left-over row and a mode's growing row."""
    m, r, _ = x.sizes
    rest = slice(m, m + r)
    rate, rest_decay = x.rates[m:], scales.decay[m:]
    kappa, decay = x.base.kappa, scales.decay[:m]
    late, rest_late = a.is_late[None, :m], a.is_late[rest, None]
    rising = contracted(x.lower[rest], a.lower[:m])
    # `both` holds if left-over rows grow.
    falling = contracted(a.above[rest], x.lower[:m] * jnp.minimum(scales.grown[:m], 1))
    both = scales.less[None, m, :m] * (rising + falling)
    bend = crossed(a.p[:, rest], a.by_p[:, :m]) + crossed(a.by_p[:, rest], a.p[:, :m])
    bend = bend / 2 + a.limit[None, :m] * a.by_p[:m, rest].swapaxes(0, 1)
    bend += a.limit[rest, None] * a.by_p[rest, :m]
    both += scales.bend[None, m, :m] * bend
    slower = jnp.maximum(rest_decay, decay)
    lack = jnp.minimum(rate, kappa), slower, scales.less[m, :m], scales.ratio[m, :m]
    lack = jnp.where(late & rest_late, 2 * _lack(*lack)[None], 2.0)
    # `one` holds if they don't.
    one = scales.more[None, m, :m] * (rising + a.by_p[rest, :m])
    one += scales.mixed[:m, m][None] * contracted(a.spanned[:r], a.q[:m])
    lean = _lean(kappa[None], rate[None], (decay * rest_decay)[None], late)
    _, _, cos, sin = _angles(x)
    pulled = (cos if x.is_wide else sin) * _rest_error(x, a)
    grows = x.rest_grows[None, None]
    return jnp.where(grows, both - lack * pulled, one - lean * pulled)


def _rest_fall(x: GradientConstants, scales: Exponentials, a: Cotangents) -> Array:
    """A left-over row and a mode's decaying row."""
    m, r, _ = x.sizes
    rest, fall = slice(m, m + r), slice(m + r, None)
    rate, rest_decay = x.rates[m:, None], scales.decay[m:, None]
    kappa, decay = x.base.kappa[None], scales.decay[None, :m]
    spanned = contracted(a.spanned[:r], a.still[r:])
    # `one` holds if left-over rows grow.
    one = contracted(a.lower[rest], x.lower[fall]) + a.by_p[fall, rest].swapaxes(0, 1)
    one = scales.more[None, m, :m] * one + scales.mixed[None, m, :m] * spanned
    lean = _lean(rate, kappa, decay * rest_decay, a.is_late[rest, None])
    # `none` holds if they don't.
    none = contracted(a.by_q[rest], a.still[r:]) + contracted(a.still[:r], a.by_q[fall])
    none = scales.less[None, m, :m] * rest_decay * none
    none -= scales.bend[None, m, :m] * spanned
    slow = jnp.where(_zero(kappa, rate), 1.0, 0.0)
    _, _, cos, sin = _angles(x)
    pulled = (-sin if x.is_wide else cos) * _rest_error(x, a)
    grows = x.rest_grows[None, None]
    return jnp.where(grows, one - lean * pulled, none - slow * pulled)


def _of_rest_alone(
    t: Array, x: GradientConstants, scales: Exponentials, a: Cotangents
) -> Array:
    """The rate that left-over rows share."""
    m, r, _ = x.sizes
    rest, bend = slice(m, m + r), scales.bend[m, m]
    rise = total(total(a.lower[rest] * x.lower[rest]))
    bent = total(total(a.p[:, rest] * a.by_p[:, rest])) / 2
    bent += total(a.limit[i] * a.by_p[i, i] for i in range(m, m + r))
    carried = total(total(a.by_q[rest] * a.q[rest]))
    spanned = total(total(a.still[:r] * a.spanned[:r])) / 2
    fall = t * carried - bend * spanned
    return jnp.where(x.rest_grows, t * rise + bend * bent, fall)


def _angles(x: GradientConstants) -> tuple[Array, Array, Array, Array]:
    """The cosines and sines of a pair's first and second modes."""
    cos, sin = x.base.cos, x.base.sin
    return cos[:, None], sin[:, None], cos[None], sin[None]


def _rest_error(x: GradientConstants, a: Cotangents) -> Array:
    """The function's error beyond the modes, by left-over directions."""
    m = x.sizes[0]
    return a.error[:, m:].swapaxes(0, 1) if x.is_wide else a.error[m:]


def _lack(smaller: Array, decay: Array, less: Array, ratio: Array) -> Array:
    """1 - 2 x y `bend` for two growing rates x, y; late, nothing cancels in it."""
    return (1 + smaller * less * (1 + ratio)) * decay * decay


def _lean(grows: Array, other: Array, both: Array, late: Array) -> Array:
    """How the limit depends on dF between a growing and another row.

    Late, it is only the part that is not yet reached.
    """
    zero = _zero(grows, other)
    share = 2 * grows / jnp.where(zero, 1.0, grows + other)
    return jnp.where(zero, 1.0, share * jnp.where(late, both, 1.0))


def _zero(a: Array, b: Array) -> Bool[Array, "..."]:
    """Where both rates are zero: |F| has no derivative there and counts as constant."""
    return (a == 0) & (b == 0)


def _is_upper(x: Float[Array, "m m ..."]) -> Bool[Array, "m m ..."]:
    """A mask of the pairs of modes whose second row grows no faster."""
    upper = jnp.triu(jnp.ones(x.shape[:2], bool))
    return upper.reshape(*x.shape[:2], *[1] * (x.ndim - 2))
