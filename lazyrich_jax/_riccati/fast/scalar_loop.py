"""The loss of few units in scalar arithmetic.

In: `ScalarConstants` and times. Out: losses (networks, times). The formulas are those
of reference/solution.py, entry by entry. Every scalar is an array over networks and
times. XLA makes one loop of all, whose numbers hardly leave the registers
(docs/speed.md).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._xla import has_kernels, keeping, kept, sizes
from ..batching import kernel
from ..batching.blocks import evaluated, more_times
from ..batching.primitive import Operation, count
from ..frame import Frame
from .constants import ScalarConstants
from .scalar_rows import (
    Column,
    Exponentials,
    Scalar,
    dot,
    exponentials,
    orthonormal_columns,
)


def fits(frame: Frame) -> bool:
    """Whether a problem is small enough for written-out arithmetic."""
    n_out, n_in = frame.left.shape[0], frame.right.shape[0]
    modes, columns = frame.s.size, frame.lower.shape[1]
    return (
        modes > 0
        and n_out + n_in <= 2 * sizes.SCALAR_UNITS
        and columns <= sizes.SCALAR_UNITS
    )


def excess(frame: Frame, ts: Float[Array, " times"]) -> Float[Array, " times"]:
    r"""$|W_2 W_1 - \Sigma|^2 / 2$, without cancellation near zero."""
    one = jax.tree.map(lambda x: x[None], ScalarConstants(frame))
    return losses(one, ts[None])[0]


def _in_a_loop(x: ScalarConstants, ts: Float[Array, "some times"]) -> Array:
    """The losses of all networks at all times."""
    shape = count((x, ts)), ts.shape[1]
    x = jax.lax.optimization_barrier(x)  # keeps the constants out of the loop

    def losses():
        last = jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1)[..., None], x)
        return jnp.broadcast_to(_excess(last, ts), shape)

    # `kept` separates the loop from sums over its result: a joint loop is six times
    # as slow.
    with keeping(True):
        return kept(losses)


def _excess(x: ScalarConstants, t: Scalar) -> Scalar:
    m, r, n = x.sizes
    modes, rest, columns = range(m), range(r), range(n)
    bottleneck = n < m
    e = exponentials(x, t)
    k = orthonormal_columns(x, e)

    # Rows of q: rows of K times a factor each.
    grow = [
        {j: k[j]["grow", i] * e.grow_factor[i] for j in columns[: i + 1]} for i in modes
    ]
    fall = [{j: k[j]["fall", i] * e.fall_factor[i] for j in columns} for i in modes]
    others = [{j: k[j]["rest", i] * e.rest_factor for j in columns} for i in rest]

    # `at` has each mode's row of the inputs (of the outputs if inputs are left over).
    # `near` has its distance from the limit once it is late: all terms are small.
    at: list[dict[int, Scalar]] = []
    near: list[dict[int, Scalar]] = []
    missing: list[Scalar] = []
    for i in modes:
        late = x.settles[i] & _is_late(x, i, e)
        mine, theirs = (x.cos[i], -x.sin[i]) if x.is_wide else (x.sin[i], x.cos[i])
        slow = _overlap(x, k, i, e)
        direct, distant = {}, {}
        for j in columns:
            falls = theirs * fall[i][j]
            direct[j] = falls + mine * grow[i][j] if j in grow[i] else falls
            other = falls - 2 * x.kappa[i] * mine * slow[j]
            if j in grow[i]:
                other += mine * e.decay[i] * e.decay[i] * grow[i][j]
            distant[j] = jnp.where(late, other, direct[j])
        at.append(direct)
        near.append(distant)
        lost = 0.0 if x.falls is None else x.falls.lost[i]
        missing.append(jnp.where(late, lost, x.s[i]))

    total = jnp.zeros_like(t)
    for j in modes:
        for i in modes:
            # The function's error in the singular basis: entry (j, i) if `is_wide`,
            # else (i, j).
            mine, theirs = (x.sin[i], x.cos[i]) if x.is_wide else (x.cos[i], -x.sin[i])
            side = near[j]
            if bottleneck:
                side = {c: jnp.where(x.is_pivot[i], near[j][c], at[j][c]) for c in side}
            entry = mine * dot(grow[i], side) + theirs * dot(fall[i], at[j])
            if i == j:
                entry -= missing[j]
            total += entry * entry
        for i in rest:
            pivot = x.is_pivot[m + i]
            side = {c: jnp.where(pivot, near[j][c], at[j][c]) for c in columns}
            entry = dot(others[i], side)
            total += entry * entry
    return total / 2


_in_blocks = functools.partial(evaluated, _excess, lambda x: (), False)


def _on_cuda(x: ScalarConstants, ts: Float[Array, "some times"]) -> Array:
    """The losses of all networks at all times, by one kernel where there can be one."""
    if has_kernels() and kernel.fits(x, ts):
        return kernel.in_one_kernel(_excess, x, ts)
    return _in_blocks(x, ts)


losses = Operation(
    "lazyrich_excess_of_few",
    lambda x, ts: (ts.shape[1],),
    _in_a_loop,
    _in_blocks,
    more_times,
    _on_cuda,
)


def _overlap(
    x: ScalarConstants,
    k: list[Column],
    mode: int,
    e: Exponentials,
) -> list[Scalar]:
    """Overlap of K's non-pivot rows with their expression in the pivot rows.

    It is `others.T @ above[:, mode]` in `reference.solution`.
    """
    m, r, n = x.sizes
    bottleneck = n < m
    found = []
    for column in k:
        terms = [
            column["fall", i] * e.fall[i] * x.mode_echelon[m + r + i, mode]
            for i in range(m)
        ]
        terms += [
            column["start", i] * x.mode_inverse[i, mode]
            for i in range(0 if bottleneck else mode, len(k))
            if ("start", i) in column
        ]
        part = sum(terms[1:], terms[0]) * e.decay[mode]
        for i in range(r):
            entry = column["rest", i] * e.rest * e.ratio[m][mode]
            part += entry * x.mode_echelon[m + i, mode]
        if bottleneck:
            for i in range(mode + 1, m):
                if ("grow", i) in column:
                    entry = column["grow", i] * e.grow[i] * e.ratio[i][mode]
                    part += entry * x.mode_echelon[i, mode]
        found.append(part)
    return found


def _is_late(x: ScalarConstants, mode: int, e: Exponentials) -> Bool[Array, "..."]:
    """Whether a mode is nearer to its limit than to its start, by a bound.

    The bound is on the mode's column of `above` in `reference.solution`.
    """
    m, r, _ = x.sizes
    fall_gain = gain = e.fall[-1] * e.fall[-1]  # the largest
    if x.falls is not None and mode + 1 < m:
        others = [root * root for root in e.grow[mode + 1 :]]
        gain = functools.reduce(jnp.maximum, others)
    start, fall, rest, grow = (square[mode] for square in x.square_sums)
    bound = e.decay[mode] * e.decay[mode] * (start + fall_gain * fall)
    if r > 0:
        bound += (e.ratio[m][mode] * e.rest) ** 2 * rest
    if mode + 1 < m:
        bound += e.ratio[mode + 1][mode] ** 2 * gain * grow
    return 2 * x.kappa[mode] * bound < 1
