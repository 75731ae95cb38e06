"""Products of the solution with a slope by P.

In: `GradientConstants`, a `Solution` and a `SlopeByP`. Out: `Cotangents`. `first.vary`
maps a change of the problem to a change of the solution. This module applies the
transpose of the same formulas to a slope, as products of small matrices with networks
and times on the last axes. docs/theory.md, section 3.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._xla import kept
from .constants import GradientConstants
from .exponentials import Exponentials
from .lanes import contracted, crossed
from .slope_by_p import SlopeByP
from .solution import Solution, decay_of_rows
from .solved import Solved


class Cotangents(eqx.Module):
    """Products of the solution with a slope D by P."""

    slope: SlopeByP  # 2 D
    by_q: Float[Array, "rows columns ..."]  # 2 D q
    by_p: Float[Array, "rows up ..."]  # 2 D p
    spanned: Float[Array, "others columns ..."]  # `still` q' 2 D q
    lower: Float[Array, "rows columns ..."]  # the gradient by the rows of Q0
    above: Float[Array, "up columns ..."]  # by `from_above` of `first.as_start`


def evaluate_cotangents(
    x: GradientConstants, a: Solution, slope: SlopeByP
) -> Cotangents:
    """The products with a slope from which slopes.py makes the gradient."""
    by_q, by_p = slope.times(x, a.q), slope.times(x, a.p)
    core = kept(lambda: crossed(a.q, by_q))
    spanned = kept(lambda: contracted(a.still, core))
    lower, above = _at_start(x, a.solved, a.scales, by_q, core)
    return Cotangents(slope, by_q, by_p, spanned, lower, above)


def _at_start(
    x: GradientConstants,
    solved: Solved,
    scales: Exponentials,
    by_q: Array,
    core: Array,
) -> tuple[Array, Array]:
    """The transpose of `first.as_start`: from slopes by q to slopes by Q0.

    Returns the gradient by `from_below` (as by Q0) and by `from_above`.
    """
    m, r, _ = x.sizes
    inverse = solved.inverse
    inside = scales.split[None] & x.base.is_pivot
    half = kept(lambda: contracted(core, inverse))
    within = kept(lambda: contracted(inverse, half.swapaxes(0, 1)))

    def outside():
        found = decay_of_rows(x, solved)[:, None] * contracted(by_q, inverse)
        found -= scales.root[:, None] * contracted(scales.k, within.swapaxes(0, 1))
        return jnp.where(inside[:, None], 0.0, found)

    beyond = kept(outside)

    def of_pivots():
        shrink = solved.at.shrink
        found = crossed(x.inverse, shrink[:, None] * within)
        below = found * shrink[None] - crossed(x.echelon, beyond * scales.grown)
        above = found * shrink[:, None] - crossed(scales.grown_echelon, beyond)
        split = scales.split[None, None]
        return jnp.where(split, below, 0.0), jnp.where(split, above, 0.0)

    below, above = kept(of_pivots)

    def of_rows():
        up = slice(0, m + r)
        lower = beyond * scales.grown + crossed(x.place, below)
        return lower, beyond[up] + crossed(x.place[:, up], above)

    return kept(of_rows)
