"""The solution P = QQ^T at a time, with what its derivatives need.

In: `GradientConstants` and times. Out: a `Solution`, and the slope of the loss by P,
with networks and times on the last axes. Rows are in the order grow, rest, fall; a
mode's first row counts as growing even at rate zero. docs/theory.md, section 3.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._xla import kept, traced_once
from ..batching.blocks import total
from .constants import GradientConstants
from .exponentials import Exponentials, evaluate_exponentials
from .lanes import contracted, crossed, same
from .slope_by_p import SlopeByP, of_error
from .solved import Solved, solve


class Solution(eqx.Module):
    """The solution P = `q @ q.T` at a time.

    "up" rows are growing and left-over ones, "others" left-over and decaying ones.
    """

    scales: Exponentials
    solved: Solved
    q: Float[Array, "rows columns ..."]
    still: Float[Array, "others columns ..."]  # e^{-Wt} q
    p: Float[Array, "rows up ..."]  # P, minus its limit for columns that are late
    limit: Float[Array, "up ..."]  # 2 W for columns that are late, else zero
    is_late: Bool[Array, "up ..."]  # whether a column of P is near its limit


@traced_once
def evaluate_solution(x: GradientConstants, t: Float[Array, "..."]) -> Solution:
    """The solution and the exponentials at one time."""
    base = x.base
    m, r, _ = x.sizes
    up, fall = slice(0, m + r), slice(m + r, None)
    at, scales = evaluate_exponentials(x, t)
    solved = solve(base, t, at, with_inverse=True)

    def rows():
        grow, rest, down = solved.q(base)
        rest_up = jnp.where(x.rest_grows, at.rest_decay, 1.0) / at.rest_root
        still = (
            solved.rest * rest_up[None, None],
            solved.fall * at.inverse_root[:, None],
        )
        return jnp.concatenate([grow, rest, down]), jnp.concatenate(still)

    q, still = kept(rows)
    distance, limit, is_late = _from_limits(x, solved, scales, q)

    def product():
        pivot = x.base.is_pivot[up, None]
        p = jnp.where(pivot, contracted(q[up], distance), contracted(q[up], q[up]))
        return jnp.concatenate([p, contracted(q[fall], q[up])])

    return Solution(scales, solved, q, still, kept(product), limit, is_late)


def slope_of_loss(
    x: GradientConstants, a: Solution, t: Float[Array, "..."]
) -> SlopeByP:
    """The slope of the loss by P."""
    m = x.sizes[0]
    others = kept(lambda: contracted(a.q[m:], a.q[-m:]))
    return of_error(kept(lambda: _error(x, a.p, others, a.is_late, t)))


def _from_limits(
    x: GradientConstants, solved: Solved, scales: Exponentials, q: Array
) -> tuple[Array, Array, Array]:
    """Up rows of q, or their distance from the limit; the limit; which rows are late.

    `solution._deviation` has the formula.
    """
    base = x.base
    m, r, _ = x.sizes
    up = slice(0, m + r)
    v = base.v

    def overlaps():
        above = scales.grown_echelon * scales.root[:, None]
        start = x.inverse * solved.at.shrink[None]
        units = jnp.concatenate([solved.grow, solved.rest, solved.fall])
        overlap = crossed(above, units) + crossed(start, solved.start)
        squares = total(row * row for rows in (above, start) for row in rows)
        late = 2 * v * squares < 1
        late &= v > 0
        overlap = jnp.where(late[:, None], 2 * v[:, None] * overlap, 0.0)
        return overlap, late.astype(q.dtype)

    overlap, late = kept(overlaps)

    def distances():
        place = x.place[:, up]
        is_late = total(place * late[:, None]) > 0
        decay = jnp.concatenate([solved.at.decay, *[solved.at.rest_decay[None]] * r])
        rates = jnp.concatenate([base.kappa, *[base.rate[None]] * r])
        near = q[up] * (decay * decay)[:, None] - crossed(place, overlap)
        distance = jnp.where(is_late[:, None], near, q[up])
        return distance, jnp.where(is_late, 2 * rates, 0.0), is_late

    return kept(distances)


def _error(
    x: GradientConstants, p: Array, others: Array, is_late: Array, t: Array
) -> Float[Array, "out in ..."]:
    """The function's error in the singular basis, without cancellation near zero."""
    m, r, _ = x.sizes
    cos, sin = x.base.cos[:, None], x.base.sin[:, None]
    other_cos, other_sin = x.base.cos[None], x.base.sin[None]
    grow, fall = p[:m, :m], p[m + r :, :m]
    error = cos * (other_sin * grow + other_cos * fall.swapaxes(0, 1))
    error -= sin * (other_sin * fall + other_cos * others[r:])
    missing = jnp.where(is_late[:m], 0.0, x.base.s)
    error -= jnp.where(same(m, t), missing[None], 0.0)
    grow, fall = p[m : m + r, :m], others[:r]
    if x.is_wide:
        rest = (other_cos * grow - other_sin * fall).swapaxes(0, 1)
        return jnp.concatenate([error, rest], axis=1)
    return jnp.concatenate([error, other_sin * grow + other_cos * fall])


def decay_of_rows(x: GradientConstants, solved: Solved) -> Float[Array, "rows ..."]:
    """e^{wt} of rows that decay, one for rows that grow."""
    rest = jnp.where(x.base.rate < 0, solved.at.rest_decay, 1.0)
    decay = solved.at.decay
    return jnp.concatenate([jnp.ones_like(decay), *[rest[None]] * x.sizes[1], decay])
