"""The slopes of the loss, or of a part of P, at one time, in closed form.

In: the `Solution` and its `Cotangents` at a time. Out: numbers in the order of
`numbers.flat`, with networks and times on the last axes. The first are slopes by the
rows of Q0, from `Cotangents`; the others are slopes by entries of the generator F.
changes.py has the transpose. docs/theory.md, section 3.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._xla import kept, traced_once
from . import limits
from .constants import GradientConstants
from .cotangents import Cotangents, evaluate_cotangents
from .lanes import contracted, crossed
from .pairs import Pairs, is_upper, of_others, of_pairs, split
from .slope_by_p import SlopeByP, kinds
from .solution import Solution


@traced_once
def slopes_by_numbers(
    x: GradientConstants, t: Float[Array, "..."], a: Solution, slope: SlopeByP
) -> list[Float[Array, "numbers ..."]]:
    """The numbers of `numbers.flat`, for a slope by P, as consecutive parts."""
    by = evaluate_cotangents(x, a, slope)
    pairs = _two_grow, _one_grows, _none_grows
    pairs = Pairs(*[kept(lambda f=f: f(x, a, by)) for f in pairs])
    parts = [
        by.lower,
        *(kept(lambda: split(x, pairs)) if x.sizes[1] > 0 else split(x, pairs)),
    ]
    return [part.reshape(-1, *t.shape) for part in parts]


def _two_grow(x: GradientConstants, a: Solution, by: Cotangents) -> Array:
    """Two growing rows. The gradient by a pair is the sum of both its entries."""
    m, r, _ = x.sizes
    up, scales = slice(0, m + r), a.scales

    def carried():
        rising = contracted(by.lower[up], x.lower[up])
        ratio = jnp.minimum(scales.grown[up], 1.0)
        falling = contracted(by.above, x.lower[up] * ratio)
        less = of_pairs(x, scales.less).up
        return less * jnp.where(is_upper(rising), rising, falling)

    def bent():
        bend = crossed(a.p, by.by_p) / 2 + a.limit[:, None] * by.by_p[up]
        return of_pairs(x, scales.bend).up * bend

    carry, bend = kept(carried), kept(bent)
    grow, rest, _ = kinds(x.base, x.is_wide)
    rows = [grow, rest][: 1 + (r > 0)]
    pull = by.slope.between(rows, rows)
    return carry + bend - limits.two_grow(x, a, by.slope.from_target) * pull


def _one_grows(x: GradientConstants, a: Solution, by: Cotangents) -> Array:
    """A growing row and another."""
    m, r, _ = x.sizes
    up, others, scales = slice(0, m + r), slice(m, None), a.scales
    found = contracted(x.lower[others], by.lower[up]) + by.by_p[others]
    found *= of_pairs(x, scales.more).across
    found += of_pairs(x, scales.mixed).across * contracted(by.spanned, a.q[up])
    grow, rest, fall = kinds(x.base, x.is_wide)
    rows, columns = [rest, fall][r == 0 :], [grow, rest][: 1 + (r > 0)]
    lean = limits.one_grows(x, a, by.slope.from_target)
    return found - lean * by.slope.between(rows, columns)


def _none_grows(x: GradientConstants, a: Solution, by: Cotangents) -> Array:
    """Two other rows. The gradient by a pair is the sum of both its entries."""
    m, r, _ = x.sizes
    scales, decay = a.scales, of_others(x, a.scales.decay)
    found = contracted(by.by_q[m:], a.still)
    found *= jnp.maximum(decay[None], decay[:, None])
    found *= of_pairs(x, scales.less).others
    found -= of_pairs(x, scales.bend).others * contracted(by.spanned, a.still) / 2
    _, rest, fall = kinds(x.base, x.is_wide)
    rows = [rest, fall][r == 0 :]
    slow = limits.none_grows(x, by.slope.from_target)
    return found - slow * by.slope.between(rows, rows)
