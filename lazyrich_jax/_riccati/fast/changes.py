"""The change of a part of P at one time, for a change of the problem.

In: `GradientConstants`, a `Solution` and `Numbers`. Out: the change, with networks and
times on the last axes. `first.vary` has the same formulas; cotangents.py and slopes.py
have their transposes. The change of P is M + M' minus `OfLimit`, with
M = `by_q` q' + `by_p` p'. docs/theory.md, section 3.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._xla import kept
from . import limits
from .constants import GradientConstants
from .lanes import contracted, crossed
from .numbers import Numbers
from .pairs import Pairs, is_upper, joined, of_others, of_pairs
from .solution import Solution, decay_of_rows
from .values import on_side


def change_of_part(
    part: str, x: GradientConstants, a: Solution, change: Numbers
) -> Float[Array, "rows columns ..."]:
    """The change of a part of P in the basis of the units.

    `part` is "qqt" (all of it), "inputs", "outputs" or "function".
    """
    r = x.sizes[1]
    entries = kept(lambda: joined(x, change)) if r > 0 else joined(x, change)
    by_q, by_p = _moved(x, a, change, entries)
    limit = kept(lambda: _of_limit(x, a, entries))
    pairs = {
        "inputs": [("inputs", "inputs")],
        "outputs": [("outputs", "outputs")],
        "function": [("outputs", "inputs")],
    }
    pairs["qqt"] = pairs["inputs"] + pairs["function"] + pairs["outputs"]

    def on(side: str) -> tuple[Array, Array]:
        def factors():
            return (
                jnp.concatenate([along(by_q), along(by_p)], axis=1),
                jnp.concatenate([along(a.q), along(a.p)], axis=1),
            )

        def along(rows: Array) -> Array:
            return on_side(side, x.base, x.base.by_kind(rows))

        return kept(factors)

    sides = {side: on(side) for side in {side for pair in pairs[part] for side in pair}}
    bases = {"inputs": x.base.right, "outputs": x.base.left}

    def block(one: str, other: str) -> Array:
        def found():
            moved, still = zip(sides[one], sides[other], strict=True)
            moved = contracted(moved[0], still[1]) + contracted(still[0], moved[1])
            return moved - limit.between(one, other, x)

        inside = kept(found)
        half = kept(lambda: contracted(bases[one], inside.swapaxes(0, 1)))
        return kept(lambda: contracted(half, bases[other]))

    blocks = [block(*pair) for pair in pairs[part]]
    if len(blocks) == 1:
        return blocks[0]

    def all_blocks():
        inputs, function, outputs = blocks
        above = jnp.concatenate([inputs, function.swapaxes(0, 1)], axis=1)
        return jnp.concatenate([above, jnp.concatenate([function, outputs], axis=1)])

    return kept(all_blocks)


class OfLimit(NamedTuple):
    """The part of the limit's change that P does not follow, by kinds of rows."""

    grow: Float[Array, "modes modes ..."]
    across: Float[Array, "modes modes ..."]  # between growing and decaying rows
    fall: Float[Array, "modes modes ..."]
    rest_grow: Float[Array, "rest modes ..."]
    rest_fall: Float[Array, "rest modes ..."]
    rest: Float[Array, "rest rest ..."]

    def between(self, one: str, other: str, x: GradientConstants) -> Array:
        """By the singular vectors of two sides, "inputs" or "outputs"."""

        def shares(side: str) -> tuple[Array, Array]:
            """A mode's components along its growing and its decaying row."""
            cos, sin = x.base.cos, x.base.sin
            return (sin, cos) if side == "inputs" else (cos, -sin)

        def of_rest(side: str) -> Array:
            up, down = shares(side)
            return up[None] * self.rest_grow + down[None] * self.rest_fall

        (up, down), (other_up, other_down) = shares(one), shares(other)
        found = up[:, None] * other_up[None] * self.grow
        found += up[:, None] * other_down[None] * self.across
        found += down[:, None] * other_up[None] * self.across.swapaxes(0, 1)
        found += down[:, None] * other_down[None] * self.fall
        if x.sizes[1] == 0:
            return found
        with_rest = "inputs" if x.is_wide else "outputs"
        if other == with_rest:
            found = jnp.concatenate([found, of_rest(one).swapaxes(0, 1)], axis=1)
        if one == with_rest:
            below = [of_rest(other)] + [self.rest] * (other == with_rest)
            found = jnp.concatenate([found, jnp.concatenate(below, axis=1)])
        return found


def _of_limit(x: GradientConstants, a: Solution, entries: Pairs) -> OfLimit:
    m, r, _ = x.sizes
    up = 2 * limits.two_grow(x, a, False) * entries.up
    across = limits.one_grows(x, a, False) * entries.across
    others = 2 * limits.none_grows(x, False) * entries.others
    return OfLimit(
        up[:m, :m],
        across[r:, :m].swapaxes(0, 1),
        others[r:, r:],
        up[m:, :m] + across[:r, :m],
        across[r:, m:].swapaxes(0, 1) + others[:r, r:],
        up[m:, m:] + others[:r, :r],
    )


def _moved(
    x: GradientConstants, a: Solution, change: Numbers, entries: Pairs
) -> tuple[Float[Array, "rows columns ..."], Float[Array, "rows up ..."]]:
    """The changes `by_q` and `by_p`."""
    m, r, _ = x.sizes
    up, scales, inverse = slice(0, m + r), a.scales, a.solved.inverse

    weighted = kept(lambda: _weighted(x, a, entries))
    rise, sink, lean, mix, bend, fade, fall_bend = weighted

    def of_start():
        lower, given = x.lower, change.lower
        gained = contracted(rise, lower[up].swapaxes(0, 1)) + crossed(lean, lower[m:])
        start = lower[up] * jnp.minimum(scales.grown[up], 1.0)
        same = jnp.broadcast_to(given[m + r :], (m, *gained.shape[1:]))
        below = jnp.concatenate([given[up] + gained, same])
        return below, contracted(sink, start.swapaxes(0, 1))

    def spanned():
        found = contracted(mix, a.q[up].swapaxes(0, 1))
        return found - contracted(fall_bend, a.still.swapaxes(0, 1)) / 2

    beyond, within = _at_start(x, a, *kept(of_start))
    span = kept(spanned)
    half = kept(lambda: contracted(within, inverse.swapaxes(0, 1)))
    core = kept(lambda: crossed(half, inverse) + crossed(span, a.still))

    def by_q():
        found = decay_of_rows(x, a.solved)[:, None] * contracted(
            beyond, inverse.swapaxes(0, 1)
        )
        found += contracted(a.q, core)
        faded = contracted(fade, a.still.swapaxes(0, 1))
        return jnp.concatenate([found[:m], found[m:] + faded])

    def by_p():
        grow, rest, fall = x.base.by_kind(contracted(a.p, bend.swapaxes(0, 1)) / 2)
        bent = a.limit[:, None] * bend
        rest += bent[m:] + lean[:r]
        return jnp.concatenate([grow + bent[:m], rest, fall + lean[r:]])

    return kept(by_q), kept(by_p)


def _weighted(x: GradientConstants, a: Solution, entries: Pairs) -> tuple[Array, ...]:
    """Entries of dF times the functions of time with which they enter."""
    scales = a.scales
    less, bend = of_pairs(x, scales.less), of_pairs(x, scales.bend)
    carry, decay = less.up * entries.up, of_others(x, scales.decay)
    slower = jnp.maximum(decay[:, None], decay[None])
    upper = is_upper(carry)
    return (
        jnp.where(upper, carry, 0.0),
        jnp.where(upper, 0.0, carry),
        of_pairs(x, scales.more).across * entries.across,
        of_pairs(x, scales.mixed).across * entries.across,
        bend.up * entries.up,
        less.others * slower * entries.others,
        bend.others * entries.others,
    )


def _at_start(
    x: GradientConstants,
    a: Solution,
    below: Float[Array, "rows columns ..."],
    above: Float[Array, "up columns ..."],
) -> tuple[Float[Array, "rows columns ..."], Float[Array, "columns columns ..."]]:
    """`first.as_start`: changes beyond the range of Q0, and within it."""
    m, r, _ = x.sizes
    scales, shrink = a.scales, a.solved.at.shrink
    split, up = scales.split[None], slice(0, m + r)

    def of_pivots():
        at_below = contracted(x.place, below.swapaxes(0, 1))
        at_above = contracted(x.place[:, up], above.swapaxes(0, 1))
        return tuple(jnp.where(split[None], y, 0.0) for y in (at_below, at_above))

    at_below, at_above = kept(of_pivots)

    def outside():
        found = below - contracted(x.echelon, at_below.swapaxes(0, 1))
        found = found * scales.grown
        found -= contracted(scales.grown_echelon, at_above.swapaxes(0, 1))
        found = jnp.concatenate([found[up] + above, found[m + r :]])
        return jnp.where((split & x.base.is_pivot)[:, None], 0.0, found)

    def start():
        return at_below * shrink[None] + at_above * shrink[:, None]

    beyond, inside = kept(outside), kept(start)

    def within():
        found = shrink[:, None] * contracted(x.inverse, inside.swapaxes(0, 1))
        return found - crossed(scales.k, scales.root[:, None] * beyond)

    return beyond, kept(within)
