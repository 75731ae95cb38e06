r"""The loss at one time in scalar arithmetic, written out for small sizes.

The formulas of riccati.py, entry by entry. Under `jax.vmap` every scalar becomes a
lane, and XLA makes one loop of it all, whose numbers hardly leave the registers: many
times faster than arrays of a few entries (docs/speed.md).

Rows are named by what they do: a mode has one that grows and one that decays, and
left-over directions share a rate. The growing rows are triangular in the columns of
`Lanes`, so K = (orthonormal) R is found from its last column on, by modified
Gram-Schmidt, which keeps the zeros.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .frame import Frame
from .riccati import gaps

LARGEST = 5  # inputs, outputs: XLA's CPU code generator fails beyond 2000 operations

Scalar = Float[Array, ""]


def fits(frame: Frame) -> bool:
    """Whether a problem is small enough to be written out."""
    n_out, n_in = frame.left.shape[0], frame.right.shape[0]
    modes, columns = frame.s.size, frame.lower.shape[1]
    return modes > 0 and n_out + n_in <= 2 * LARGEST and columns <= LARGEST


class Lanes(eqx.Module):
    """A frame with a column for every mode, and what does not depend on time.

    Column j < modes belongs to the growing row of mode j where it was `chosen`. Where
    it was not, the column is that of a row that does not grow, or empty.
    """

    grow: Float[Array, "modes columns"]  # rows of Q0
    rest: Float[Array, "rest columns"]
    fall: Float[Array, "modes columns"]
    grow_echelon: Float[Array, "modes modes"]  # rows not chosen, by columns chosen
    rest_echelon: Float[Array, "rest modes"]
    fall_echelon: Float[Array, "modes modes"]
    inverse: Float[Array, "columns modes"]
    chosen: Bool[Array, " modes"]
    rest_chosen: Bool[Array, " rest"]
    of_rest: Bool[Array, " columns"]  # columns of a chosen left-over row
    settles: Bool[Array, " modes"]  # what `excess` leaves out of these columns is zero
    kappa: Float[Array, " modes"]
    steps: Float[Array, " modes"]  # from a growing rate to the next, at last to `rate`
    rate: Scalar  # of the left-over rows
    s: Float[Array, " modes"]
    cos: Float[Array, " modes"]
    sin: Float[Array, " modes"]

    def __init__(self, frame: Frame):
        m = frame.s.size
        count, columns = frame.lower.shape
        n = max(m, columns)
        rest = slice(m, count - m)
        is_mode = frame.chosen < m
        # Growing rows have a column of their own, the others what is free.
        taken = jnp.zeros(n, bool).at[jnp.where(is_mode, frame.chosen, n)]
        taken = taken.set(True, mode="drop")
        free = jnp.argsort(taken, stable=True)[:columns]
        place = jnp.where(is_mode, frame.chosen, free[jnp.cumsum(~is_mode) - 1])

        def spread(x: Float[Array, "k columns"]) -> Float[Array, "k n"]:
            return jnp.zeros((x.shape[0], n), x.dtype).at[:, place].set(x)

        lower = spread(frame.lower)
        echelon = jnp.where(
            taken[None, :m], spread(frame.drop(frame.echelon))[:, :m], 0
        )
        inverse = jnp.where(
            taken[None, :m], spread(spread(frame.inverse).T).T[:, :m], 0
        )
        self.grow, self.rest, self.fall = lower[:m], lower[rest], lower[::-1][:m]
        self.grow_echelon, self.rest_echelon = echelon[:m], echelon[rest]
        self.fall_echelon = echelon[::-1][:m]
        self.inverse = inverse
        self.chosen = taken[:m]
        self.rest_chosen = frame.is_chosen[rest]
        row_is_rest = (frame.chosen >= m) & (frame.chosen < count - m)
        self.of_rest = jnp.zeros(n, bool).at[place].set(row_is_rest)
        left_out = jnp.any(jnp.triu(inverse, 1) != 0, axis=0)
        if columns >= m:
            left_out |= jnp.any(self.grow_echelon != 0, axis=0)
        self.settles = self.chosen & ~left_out
        self.kappa = frame.rates[:m]
        self.rate = (
            frame.rates[m] if m < count - m else jnp.zeros((), frame.rates.dtype)
        )
        gap = gaps(frame)
        last = jnp.where(self.rate > 0, gap[m - 1, m], self.kappa[-1])
        self.steps = jnp.append(jnp.diagonal(gap, 1)[: m - 1], last)
        self.s, self.cos, self.sin = frame.s, frame.cos, frame.sin


def excess(frame: Frame, t: Scalar) -> Scalar:
    r"""$|W_2 W_1 - \Sigma|^2 / 2$; nothing cancels as it vanishes."""
    x = Lanes(frame)
    (m, n), r = x.grow.shape, x.rest.shape[0]
    modes, rest, columns = range(m), range(r), range(n)
    bottleneck = frame.lower.shape[1] < m
    wide = frame.right.shape[0] > frame.left.shape[0]

    # Exponentials, as products: e^{-kappa t}, and ratios of growing rows.
    step = [_once(jnp.exp(-x.steps[i] * t)) for i in modes]
    rest_decay = _once(jnp.exp(-jnp.abs(x.rate) * t)) if r else jnp.ones_like(t)
    rest_up = jnp.where(x.rate > 0, rest_decay, 1.0)
    rest_down = jnp.where(x.rate < 0, rest_decay, 1.0)
    ratio: list[list[Scalar]] = [[jnp.ones_like(t)] * m for _ in range(m + 1)]
    for i in range(1, m + 1):  # the last: left-over rows
        for j in range(i):
            ratio[i][j] = ratio[i - 1][j] * step[i - 1] if j < i - 1 else step[j]
    decay = [ratio[m][j] * rest_up for j in modes]
    free = [jnp.where(x.of_rest[j], rest_up, 1.0) for j in columns]
    shrink = [
        jnp.where(x.chosen[j], decay[j], free[j]) if j < m else free[j] for j in columns
    ]

    # The columns of K: rows that grow, left-over ones, rows that decay, the start.
    root = [_once(jnp.sqrt(_gain(x.kappa[i], t))) for i in modes]
    rest_root = _once(jnp.sqrt(_gain(jnp.abs(x.rate), t))) if r else jnp.ones_like(t)
    k: list[dict[tuple[str, int], Scalar]] = []
    for j in columns:
        column = {}
        for i in range(j, m):
            column["grow", i] = x.grow[i, j] * root[i] * ratio[i][j]
        fade = jnp.where(x.chosen[j], ratio[m][j], 1.0) if j < m else None
        for i in rest:
            entry = x.rest[i, j] * rest_root
            column["rest", i] = entry if fade is None else entry * fade
        for i in modes:
            column["fall", i] = x.fall[i, j] * root[i] * shrink[j]
        column["start", j] = shrink[j]
        k.append(column)
    _orthonormalise(k)

    # Rows of q, by what their rows of K are multiplied with.
    inverse_root = [_once(1 / root[i]) for i in modes]
    down = [decay[i] * inverse_root[i] for i in modes]
    grow = [
        {j: k[j]["grow", i] * inverse_root[i] for j in columns[: i + 1]} for i in modes
    ]
    fall = [{j: k[j]["fall", i] * down[i] for j in columns} for i in modes]
    rest_factor = rest_down * _once(1 / rest_root)
    others = [{j: k[j]["rest", i] * rest_factor for j in columns} for i in rest]

    # A mode's part of the inputs (where inputs are left over, of the outputs). Once it
    # is `late`, its distance from the limit: all that is left is small.
    at: list[dict[int, Scalar]] = []
    near: list[dict[int, Scalar]] = []
    missing: list[Scalar] = []
    for i in modes:
        late = x.settles[i] & _is_late(x, i, t, decay, ratio, root, rest_root)
        mine, theirs = (x.cos[i], -x.sin[i]) if wide else (x.sin[i], x.cos[i])
        slow = _overlap(x, k, i, root, rest_root, decay, ratio, bottleneck)
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
        missing.append(jnp.where(late, 0.0, x.s[i]))

    total = jnp.zeros_like(t)
    for j in modes:
        for i in modes:
            # Entry (i, j) of the function's error in the singular basis, or (j, i).
            mine, theirs = (x.sin[i], x.cos[i]) if wide else (x.cos[i], -x.sin[i])
            side = near[j]
            if bottleneck:
                side = {c: jnp.where(x.chosen[i], near[j][c], at[j][c]) for c in side}
            entry = mine * _dot(grow[i], side) + theirs * _dot(fall[i], at[j])
            if i == j:
                entry -= missing[j]
            total += entry * entry
        for i in rest:
            chosen = x.rest_chosen[i]
            side = {c: jnp.where(chosen, near[j][c], at[j][c]) for c in columns}
            entry = _dot(others[i], side)
            total += entry * entry
    return total / 2


def _orthonormalise(k: list[dict[tuple[str, int], Scalar]]) -> None:
    """Replace sparse columns by orthonormal ones of the same span, the last first."""
    for late in range(len(k) - 1, -1, -1):
        unit = k[late]
        scale = _once(jax.lax.rsqrt(_dot(unit, unit)))
        for row in unit:
            unit[row] = unit[row] * scale
        for early in range(late):
            column = k[early]
            along = _dot(unit, column)
            for row in unit:
                part = unit[row] * along
                column[row] = column[row] - part if row in column else -part


def _overlap(
    x: Lanes,
    k: list[dict[tuple[str, int], Scalar]],
    mode: int,
    root: list[Scalar],
    rest_root: Scalar,
    decay: list[Scalar],
    ratio: list[list[Scalar]],
    bottleneck: bool,
) -> list[Scalar]:
    """The part of K that was not chosen, with what it would be made of by the others.

    `others.T @ above[:, mode]` of `riccati.solve`.
    """
    m, r = x.kappa.size, x.rest.shape[0]
    found = []
    for column in k:
        terms = [
            column["fall", i] * root[i] * x.fall_echelon[i, mode] for i in range(m)
        ]
        terms += [
            column["start", i] * x.inverse[i, mode]
            for i in range(mode, len(k))
            if ("start", i) in column
        ]
        part = sum(terms[1:], terms[0]) * decay[mode]
        for i in range(r):
            entry = column["rest", i] * rest_root * ratio[m][mode]
            part += entry * x.rest_echelon[i, mode]
        if bottleneck:
            for i in range(mode + 1, m):
                if ("grow", i) in column:
                    entry = column["grow", i] * root[i] * ratio[i][mode]
                    part += entry * x.grow_echelon[i, mode]
        found.append(part)
    return found


def _is_late(
    x: Lanes,
    mode: int,
    t: Scalar,
    decay: list[Scalar],
    ratio: list[list[Scalar]],
    root: list[Scalar],
    rest_root: Scalar,
) -> Bool[Array, ""]:
    """Whether a mode is nearer to its limit than to its start, by a bound.

    What was not chosen is then small against what was, in this column.
    """
    m = x.kappa.size
    gain = root[-1] * root[-1]  # the largest
    start, fall, rest, grow = (
        jnp.sum(part[:, mode] ** 2)
        for part in (x.inverse, x.fall_echelon, x.rest_echelon, x.grow_echelon)
    )
    bound = decay[mode] * decay[mode] * (start + gain * fall)
    if x.rest.shape[0] > 0:
        bound += (ratio[m][mode] * rest_root) ** 2 * rest
    if mode + 1 < m:
        bound += ratio[mode + 1][mode] ** 2 * gain * grow
    return 2 * x.kappa[mode] * bound < 1


def _gain(rate: Scalar, t: Scalar) -> Scalar:
    """(1 - e^{-2 rate t}) / (2 rate), for a rate that isn't negative."""
    zero = rate == 0
    twice = 2 * jnp.where(zero, 1.0, rate)
    return jnp.where(zero, t, -jnp.expm1(-twice * t) / twice)


def _dot(a: dict, b: dict) -> Scalar:
    """The sum of products over the entries of `a` that `b` has too."""
    terms = [value * b[key] for key, value in a.items() if key in b]
    return sum(terms[1:], terms[0])


def _once(x: Scalar) -> Scalar:
    """`x`, for many uses of the result of an expensive operation.

    XLA does not fuse such a result into a loop that uses it twice, and would write it,
    and all that depends on it, to memory. It does fuse a cheap operation on it.
    """
    return jnp.minimum(x, jnp.finfo(x.dtype).max)
