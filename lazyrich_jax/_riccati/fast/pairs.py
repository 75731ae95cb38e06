"""Entries of dF by pairs of rows, and the numbers that stand for them.

"Up" rows are a mode's growing rows and the left-over rows, "others" are the left-over
rows and a mode's decaying rows. Left-over rows count among the up rows if they grow,
else among the others: their entries in the wrong place are zero.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..batching.blocks import total
from .constants import GradientConstants
from .numbers import Numbers


class Pairs(NamedTuple):
    """Numbers for pairs of rows."""

    up: Float[Array, "up up ..."]
    across: Float[Array, "others up ..."]
    others: Float[Array, "others others ..."]


def of_up(x: GradientConstants, rates: Float[Array, "rates ..."]) -> Array:
    """`rates`, numbers by rates on the first axis, repeated for the up rows."""
    m, r, _ = x.sizes
    return rates if r < 2 else jnp.concatenate([rates[:m], *[rates[m:]] * r])


def of_others(x: GradientConstants, rates: Float[Array, "rates ..."]) -> Array:
    """`rates`, numbers by rates on the first axis, repeated for the other rows."""
    m, r, _ = x.sizes
    return rates if r == 0 else jnp.concatenate([*[rates[m:]] * r, rates[:m]])


def of_pairs(x: GradientConstants, rates: Float[Array, "rates rates ..."]) -> Pairs:
    """`rates`, numbers by pairs of rates, repeated for the pairs of rows.

    "Across" has the up row's rate first.
    """
    up, others = of_up(x, rates), of_others(x, rates).swapaxes(0, 1)
    turned = up.swapaxes(0, 1)
    return Pairs(
        of_up(x, turned).swapaxes(0, 1), of_others(x, turned), of_others(x, others)
    )


def joined(x: GradientConstants, change: Numbers) -> Pairs:
    """The entries of dF."""
    r = x.sizes[1]
    if r == 0:
        return Pairs(change.grow, change.across.swapaxes(0, 1), change.fall)
    grows = x.rest_grows[None, None]

    def in_place(entries: Array) -> tuple[Array, Array]:
        return jnp.where(grows, entries, 0.0), jnp.where(grows, 0.0, entries)

    def turned(entries: Array) -> Array:
        return entries.swapaxes(0, 1)

    def block(rows: list[list[Array]]) -> Array:
        return jnp.concatenate([jnp.concatenate(row, axis=1) for row in rows])

    eye = jnp.eye(r, dtype=bool).reshape(r, r, *[1] * (change.numbers.ndim - 1))
    grow_up, grow_other = in_place(change.rest_grow)
    fall_up, fall_other = in_place(change.rest_fall)
    own_up, own_other = in_place(jnp.where(eye, change.rest[None], 0.0))
    return Pairs(
        block([[change.grow, turned(grow_up)], [grow_up, own_up]]),
        block(
            [
                [grow_other, jnp.zeros_like(own_up)],
                [turned(change.across), turned(fall_up)],
            ]
        ),
        block([[own_other, fall_other], [turned(fall_other), change.fall]]),
    )


def split(x: GradientConstants, slopes: Pairs) -> list[Array]:
    """The transpose of `joined`, as the parts of `Numbers` after `lower`."""
    m, r, _ = x.sizes
    up, across, others = slopes
    parts = [up[:m, :m], across[r:, :m].swapaxes(0, 1), others[r:, r:]]
    if r == 0:
        return parts
    grows = x.rest_grows
    grow = up[m:, :m] + up[:m, m:].swapaxes(0, 1)
    fall = others[:r, r:] + others[r:, :r].swapaxes(0, 1)
    own = total(jnp.where(grows, up[m + i, m + i], others[i, i]) for i in range(r))
    return [
        *parts,
        jnp.where(grows[None, None], grow, across[:r, :m]),
        jnp.where(grows[None, None], across[r:, m:].swapaxes(0, 1), fall),
        own[None],
    ]


def is_upper(x: Float[Array, "m m ..."]) -> Bool[Array, "m m ..."]:
    """A mask of the pairs of up rows whose second row grows no faster."""
    upper = jnp.triu(jnp.ones(x.shape[:2], bool))
    return upper.reshape(*x.shape[:2], *[1] * (x.ndim - 2))
