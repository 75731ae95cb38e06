"""The slopes of the loss, or of a part of P, at one time, in closed form.

In: the `Solution` and its `Cotangents` at a time. Out: numbers in the order of
`gradient.flat`, with networks and times on the last axes. The first are slopes by the
rows of Q0, from `Cotangents`; the others are slopes by entries of the generator F, one
block for each pair of kinds of rows. docs/theory.md, section 3.
"""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._xla import kept, traced_once
from ..batching.blocks import total
from .constants import GradientConstants
from .cotangents import Cotangents, Solution, evaluate_cotangents
from .lanes import contracted, crossed
from .slope_by_p import SlopeByP, kinds


@traced_once
def slopes_by_numbers(
    x: GradientConstants, t: Float[Array, "..."], a: Solution, slope: SlopeByP
) -> list[Float[Array, "numbers ..."]]:
    """The numbers of `gradient.flat`, for a slope by P, as consecutive parts."""
    by = evaluate_cotangents(x, a, slope)
    pairs = [_two_grow, _one_grows, _none_grows]
    if x.sizes[1] > 0:
        pairs += [_rest_grow, _rest_fall, functools.partial(_of_rest_alone, t)]
    parts = [by.lower, *[kept(lambda f=f: f(x, a, by)) for f in pairs]]
    return [part.reshape(-1, *t.shape) for part in parts]


# The gradient by an entry of dF and its mirror image. First, entries between the rows
# of two modes:


def _two_grow(x: GradientConstants, a: Solution, by: Cotangents) -> Array:
    """Two growing rows. The gradient by a pair is the sum of both its entries."""
    m, scales = x.sizes[0], a.scales
    kappa, decay = x.base.kappa, scales.decay[:m]

    def carried():
        rising = contracted(by.lower[:m], x.lower[:m])
        ratio = jnp.minimum(scales.grown[:m], 1.0)
        falling = contracted(by.above[:m], x.lower[:m] * ratio)
        return scales.less[:m, :m] * jnp.where(_is_upper(rising), rising, falling)

    def bent():
        bend = crossed(a.p[:, :m], by.by_p[:, :m]) / 2
        bend += a.limit[:m, None] * by.by_p[:m, :m]
        return scales.bend[:m, :m] * bend

    carry, bend = kept(carried), kept(bent)
    late = a.is_late[:m, None] & a.is_late[None, :m]
    lack = _lack(
        jnp.minimum(kappa[:, None], kappa[None]),
        jnp.maximum(decay[:, None], decay[None]),
        scales.less[:m, :m],
        scales.ratio[:m, :m],
    )
    target = jnp.where(_zero(kappa[:, None], kappa[None]), 0.5, 1.0)
    grow, _, _ = kinds(x.base, x.is_wide)
    pull = by.slope.between(grow, grow)
    return carry + bend - _of_limit(by, lack, target, late) * pull


def _one_grows(x: GradientConstants, a: Solution, by: Cotangents) -> Array:
    """A growing and a decaying row."""
    m, r, _ = x.sizes
    fall, scales = slice(m + r, None), a.scales
    kappa, decay = x.base.kappa, scales.decay[:m]
    found = contracted(by.lower[:m], x.lower[fall]) + by.by_p[fall, :m].swapaxes(0, 1)
    found *= scales.more[:m, :m]
    found += scales.mixed[:m, :m] * contracted(a.q[:m], by.spanned[r:])
    both = decay[:, None] * decay[None]
    lean = _lean(by, kappa[:, None], kappa[None], both, a.is_late[:m, None])
    grows, _, falls = kinds(x.base, x.is_wide)
    return found - lean * by.slope.between(grows, falls)


def _none_grows(x: GradientConstants, a: Solution, by: Cotangents) -> Array:
    """Two decaying rows. The gradient by a pair is the sum of both its entries."""
    m, r, _ = x.sizes
    kappa, scales = x.base.kappa, a.scales
    decay = scales.decay[:m]
    found = contracted(by.by_q[m + r :], a.still[r:])
    found *= jnp.where(_is_upper(found), decay[None], decay[:, None])
    found *= scales.less[:m, :m]
    found -= scales.bend[:m, :m] * contracted(by.spanned[r:], a.still[r:]) / 2
    _, _, fall = kinds(x.base, x.is_wide)
    target = jnp.where(_zero(kappa[:, None], kappa[None]), 0.5, 0.0)
    return found - _of_limit(by, target, target) * by.slope.between(fall, fall)


# Entries between left-over rows and a mode's row:


def _rest_grow(x: GradientConstants, a: Solution, by: Cotangents) -> Array:
    """A left-over row and a mode's growing row."""
    m, r, _ = x.sizes
    rest, scales = slice(m, m + r), a.scales
    rate, rest_decay = x.rates[m:], scales.decay[m:]
    kappa, decay = x.base.kappa, scales.decay[:m]
    late, rest_late = a.is_late[None, :m], a.is_late[rest, None]
    rising = contracted(x.lower[rest], by.lower[:m])
    # `both` holds if left-over rows grow.
    falling = contracted(by.above[rest], x.lower[:m] * jnp.minimum(scales.grown[:m], 1))
    both = scales.less[None, m, :m] * (rising + falling)
    bend = crossed(a.p[:, rest], by.by_p[:, :m]) + crossed(by.by_p[:, rest], a.p[:, :m])
    bend = bend / 2 + a.limit[None, :m] * by.by_p[:m, rest].swapaxes(0, 1)
    bend += a.limit[rest, None] * by.by_p[rest, :m]
    both += scales.bend[None, m, :m] * bend
    slower = jnp.maximum(rest_decay, decay)
    lack = jnp.minimum(rate, kappa), slower, scales.less[m, :m], scales.ratio[m, :m]
    lack = _of_limit(by, 2 * _lack(*lack)[None], 2.0, late & rest_late)
    # `one` holds if they don't.
    one = scales.more[None, m, :m] * (rising + by.by_p[rest, :m])
    one += scales.mixed[:m, m][None] * contracted(by.spanned[:r], a.q[:m])
    lean = _lean(by, kappa[None], rate[None], (decay * rest_decay)[None], late)
    grow, beyond, _ = kinds(x.base, x.is_wide)
    pulled = by.slope.between(beyond, grow)
    grows = x.rest_grows[None, None]
    return jnp.where(grows, both - lack * pulled, one - lean * pulled)


def _rest_fall(x: GradientConstants, a: Solution, by: Cotangents) -> Array:
    """A left-over row and a mode's decaying row."""
    m, r, _ = x.sizes
    rest, fall, scales = slice(m, m + r), slice(m + r, None), a.scales
    rate, rest_decay = x.rates[m:, None], scales.decay[m:, None]
    kappa, decay = x.base.kappa[None], scales.decay[None, :m]
    spanned = contracted(by.spanned[:r], a.still[r:])
    # `one` holds if left-over rows grow.
    one = contracted(by.lower[rest], x.lower[fall]) + by.by_p[fall, rest].swapaxes(0, 1)
    one = scales.more[None, m, :m] * one + scales.mixed[None, m, :m] * spanned
    lean = _lean(by, rate, kappa, decay * rest_decay, a.is_late[rest, None])
    # `none` holds if they don't.
    none = contracted(by.by_q[rest], a.still[r:])
    none += contracted(a.still[:r], by.by_q[fall])
    none = scales.less[None, m, :m] * rest_decay * none
    none -= scales.bend[None, m, :m] * spanned
    target = jnp.where(_zero(kappa, rate), 1.0, 0.0)
    slow = _of_limit(by, target, target)
    _, beyond, falls = kinds(x.base, x.is_wide)
    pulled = by.slope.between(beyond, falls)
    grows = x.rest_grows[None, None]
    return jnp.where(grows, one - lean * pulled, none - slow * pulled)


def _of_rest_alone(
    t: Array, x: GradientConstants, a: Solution, by: Cotangents
) -> Array:
    """The rate that left-over rows share."""
    m, r, _ = x.sizes
    rest, scales = slice(m, m + r), a.scales
    bend, rate, decay = scales.bend[m, m], x.rates[m], scales.decay[m]
    rise = total(total(by.lower[rest] * x.lower[rest]))
    bent = total(total(a.p[:, rest] * by.by_p[:, rest])) / 2
    bent += total(a.limit[i] * by.by_p[i, i] for i in range(m, m + r))
    lack = _lack(rate, decay, scales.less[m, m], scales.ratio[m, m])
    lack = _of_limit(by, lack[None], 1.0, a.is_late[rest])
    _, beyond, _ = kinds(x.base, x.is_wide)
    pulled = by.slope.between(beyond, beyond)
    pulled = total(lack[i] * pulled[i, i] for i in range(r))
    rise = t * rise + bend * bent - pulled
    carried = total(total(by.by_q[rest] * a.q[rest]))
    spanned = total(total(a.still[:r] * by.spanned[:r])) / 2
    fall = t * carried - bend * spanned
    return jnp.where(x.rest_grows, rise, fall)


def _lack(smaller: Array, decay: Array, less: Array, ratio: Array) -> Array:
    """1 - 2 x y `bend` for two growing rates x, y; late, nothing cancels in it."""
    return (1 + smaller * less * (1 + ratio)) * decay * decay


def _lean(
    by: Cotangents, grows: Array, other: Array, both: Array, late: Array
) -> Array:
    """How the limit depends on dF between a growing and another row.

    Late, it is only the part that is not yet reached.
    """
    zero = _zero(grows, other)
    share = 2 * grows / jnp.where(zero, 1.0, grows + other)
    target = jnp.where(zero, 1.0, share)
    return _of_limit(by, jnp.where(zero, 1.0, share * both), target, late)


def _of_limit(
    by: Cotangents,
    lack: Array,
    target: Array | float,
    late: Array | bool = True,
) -> Array:
    """What P lacks of its limit, late; and of its target, if the slope is from that."""
    lack = jnp.where(late, lack, target)
    return lack if by.slope.from_target else lack - target


def _zero(a: Array, b: Array) -> Bool[Array, "..."]:
    """Where both rates are zero: |F| has no derivative there and counts as constant."""
    return (a == 0) & (b == 0)


def _is_upper(x: Float[Array, "m m ..."]) -> Bool[Array, "m m ..."]:
    """A mask of the pairs of modes whose second row grows no faster."""
    upper = jnp.triu(jnp.ones(x.shape[:2], bool))
    return upper.reshape(*x.shape[:2], *[1] * (x.ndim - 2))
