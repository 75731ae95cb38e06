"""The loss of few units in scalar arithmetic.

In: `ScalarConstants` and times. Out: losses (networks, times). The formulas are those
of reference/solution.py, entry by entry. Every scalar is an array over networks and
times. XLA makes one loop of all, whose numbers hardly leave the registers
(docs/speed.md).

Rows are named by kind: "grow" and "fall" are a mode's rows, "rest" a left-over row. The
growing rows are triangular in the columns of `ScalarConstants`. Modified Gram-Schmidt
from the last column on finds K = (orthonormal) R and keeps the zeros.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._linalg import gain_of_decay
from ..._xla import has_kernels, inverse_root, keeping, kept, once, sizes
from ..batching import kernel
from ..batching.blocks import evaluated, more_times
from ..batching.primitive import Operation, count
from ..frame import Frame
from .constants import ScalarConstants

Scalar = Float[Array, "..."]  # for one network at one time, or for many


class Roots(NamedTuple):
    """Roots of the gains of rows by kind."""

    grow: Sequence[Scalar]
    fall: Sequence[Scalar]
    rest: Scalar


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

    # Exponentials as products: e^{-kappa t}, and ratios of growing rows.
    step = [once(jnp.exp(-x.steps[i] * t)) for i in modes]
    rest_decay = once(jnp.exp(-jnp.abs(x.rate) * t)) if r else jnp.ones_like(t)
    rest_up = jnp.where(x.rate > 0, rest_decay, 1.0)
    rest_down = jnp.where(x.rate < 0, rest_decay, 1.0)
    ratio: list[list[Scalar]] = [[jnp.ones_like(t)] * m for _ in range(m + 1)]
    for i in range(1, m + 1):  # row m stands for the left-over rows
        for j in range(i):
            ratio[i][j] = ratio[i - 1][j] * step[i - 1] if j < i - 1 else step[j]
    decay = [ratio[m][j] * rest_up for j in modes]
    mode = [_of_mode(x, i, decay[i], t) for i in modes]
    root, fall_root, up, down = zip(*mode, strict=True)
    rest_gain = gain_of_decay(jnp.abs(x.rate), rest_decay, t)
    rest_inverse_root = once(inverse_root(rest_gain))
    rest_root = rest_gain * rest_inverse_root
    roots = Roots(root, fall_root, rest_root)

    # The columns of K: rows that grow, left-over ones, rows that decay, the start.
    k: list[dict[tuple[str, int], Scalar]] = []
    for j in columns:
        shrink = jnp.where(x.of_rest[j], rest_up, 1.0)
        lag = dict.fromkeys(range(m + 1), jnp.ones_like(t))
        if not bottleneck and j < m:
            shrink = jnp.where(x.is_pivot[j], decay[j], shrink)
            lag = {i: ratio[i][j] for i in range(j, m)}
            lag[m] = jnp.where(x.is_pivot[j], ratio[m][j], 1.0)
        for mode in range(j, m) if bottleneck else ():
            is_own = x.of_modes[j, mode]
            shrink = jnp.where(is_own, decay[mode], shrink)
            for i in range(mode + 1, m + 1):
                lag[i] = jnp.where(is_own, ratio[i][mode], lag[i])
        column = {("start", j): shrink}
        for i in range(j, m):
            column["grow", i] = x.grow[i, j] * root[i] * lag[i]
        for i in rest:
            column["rest", i] = x.rest[i, j] * rest_root * lag[m]
        for i in modes:
            column["fall", i] = x.fall[i, j] * fall_root[i] * shrink
        k.append(column)
    _orthonormalise(k)

    # Rows of q: rows of K times a factor each.
    grow = [{j: k[j]["grow", i] * up[i] for j in columns[: i + 1]} for i in modes]
    fall = [{j: k[j]["fall", i] * down[i] for j in columns} for i in modes]
    rest_factor = rest_down * rest_inverse_root
    others = [{j: k[j]["rest", i] * rest_factor for j in columns} for i in rest]

    # `at` has each mode's row of the inputs (of the outputs if inputs are left over).
    # `near` has its distance from the limit once it is late: all terms are small.
    at: list[dict[int, Scalar]] = []
    near: list[dict[int, Scalar]] = []
    missing: list[Scalar] = []
    for i in modes:
        late = x.settles[i] & _is_late(x, i, t, decay, ratio, roots)
        mine, theirs = (x.cos[i], -x.sin[i]) if x.is_wide else (x.sin[i], x.cos[i])
        slow = _overlap(x, k, i, roots, decay, ratio, bottleneck)
        direct, distant = {}, {}
        for j in columns:
            falls = theirs * fall[i][j]
            direct[j] = falls + mine * grow[i][j] if j in grow[i] else falls
            other = falls - 2 * x.kappa[i] * mine * slow[j]
            if j in grow[i]:
                other += mine * decay[i] * decay[i] * grow[i][j]
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
            entry = mine * _dot(grow[i], side) + theirs * _dot(fall[i], at[j])
            if i == j:
                entry -= missing[j]
            total += entry * entry
        for i in rest:
            pivot = x.rest_is_pivot[i]
            side = {c: jnp.where(pivot, near[j][c], at[j][c]) for c in columns}
            entry = _dot(others[i], side)
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


def _of_mode(
    x: ScalarConstants, i: int, decay: Scalar, t: Scalar
) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """The roots of the gains of a mode's rows, and the rows' factors from K to q.

    The row that grows comes before the one that falls.
    """

    def roots(rate: Scalar, decay: Scalar) -> tuple[Scalar, Scalar]:
        gain = gain_of_decay(rate, decay, t)
        inverse = once(inverse_root(gain))
        return gain * inverse, inverse

    if x.falls is None:
        root, inverse = roots(x.kappa[i], decay)
        return root, root, inverse, decay * inverse
    sunk, fallen = (
        once(jnp.exp(-rate[i] * t)) for rate in (x.falls.sink, x.falls.fall)
    )
    root, inverse = roots(x.kappa[i] + x.falls.sink[i], decay * sunk)
    fall_root, fall_inverse = roots(x.falls.fall[i], fallen)
    return root, fall_root, sunk * inverse, fallen * fall_inverse


def _orthonormalise(k: list[dict[tuple[str, int], Scalar]]) -> None:
    """Replace sparse columns by orthonormal ones of the same span, from the last on."""
    for late in range(len(k) - 1, -1, -1):
        unit = k[late]
        scale = once(inverse_root(_dot(unit, unit)))
        for row in unit:
            unit[row] = unit[row] * scale
        for early in range(late):
            column = k[early]
            along = _dot(unit, column)
            for row in unit:
                part = unit[row] * along
                column[row] = column[row] - part if row in column else -part


def _overlap(
    x: ScalarConstants,
    k: list[dict[tuple[str, int], Scalar]],
    mode: int,
    roots: Roots,
    decay: list[Scalar],
    ratio: list[list[Scalar]],
    bottleneck: bool,
) -> list[Scalar]:
    """Overlap of K's non-pivot rows with their expression in the pivot rows.

    It is `others.T @ above[:, mode]` in `reference.solution`.
    """
    m, r, _ = x.sizes
    found = []
    for column in k:
        terms = [
            column["fall", i] * roots.fall[i] * x.fall_echelon[i, mode]
            for i in range(m)
        ]
        terms += [
            column["start", i] * x.inverse[i, mode]
            for i in range(0 if bottleneck else mode, len(k))
            if ("start", i) in column
        ]
        part = sum(terms[1:], terms[0]) * decay[mode]
        for i in range(r):
            entry = column["rest", i] * roots.rest * ratio[m][mode]
            part += entry * x.rest_echelon[i, mode]
        if bottleneck:
            for i in range(mode + 1, m):
                if ("grow", i) in column:
                    entry = column["grow", i] * roots.grow[i] * ratio[i][mode]
                    part += entry * x.grow_echelon[i, mode]
        found.append(part)
    return found


def _is_late(
    x: ScalarConstants,
    mode: int,
    t: Scalar,
    decay: list[Scalar],
    ratio: list[list[Scalar]],
    roots: Roots,
) -> Bool[Array, "..."]:
    """Whether a mode is nearer to its limit than to its start, by a bound.

    The bound is on the mode's column of `above` in `reference.solution`.
    """
    m, r, _ = x.sizes
    fall_gain = gain = roots.fall[-1] * roots.fall[-1]  # the largest
    if x.falls is not None and mode + 1 < m:
        others = [root * root for root in roots.grow[mode + 1 :]]
        gain = functools.reduce(jnp.maximum, others)
    start, fall, rest, grow = (square[mode] for square in x.square_sums)
    bound = decay[mode] * decay[mode] * (start + fall_gain * fall)
    if r > 0:
        bound += (ratio[m][mode] * roots.rest) ** 2 * rest
    if mode + 1 < m:
        bound += ratio[mode + 1][mode] ** 2 * gain * grow
    return 2 * x.kappa[mode] * bound < 1


def _dot(a: dict, b: dict) -> Scalar:
    """The sum of products over the entries that `a` and `b` share."""
    terms = [value * b[key] for key, value in a.items() if key in b]
    return sum(terms[1:], terms[0])
