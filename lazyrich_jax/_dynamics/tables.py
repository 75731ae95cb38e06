"""What of a solution does not depend on time, by what its rows do."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from .._linalg import dot, short_dot
from .frame import Frame
from .riccati import exponents, gaps, growth


class AbstractTables(eqx.Module):
    """What does not depend on time, of one network or, on the last axes, of many."""

    @property
    def weight(self) -> int:
        """How much memory is needed for what is made of them, a rough multiple."""
        return 1

    @property
    @abc.abstractmethod
    def sizes(self) -> tuple[int, int, int]:
        """The number of modes, left-over directions and columns."""


class Tables(AbstractTables):
    """What does not depend on time, of one network or, on the last axes, of many.

    Rows are named by what they do: a mode has one that grows and one that decays, and
    left-over directions share a rate. "By modes" are columns in the place of the
    chosen growing row, zero where that was not chosen.
    """

    grow: Float[Array, "modes columns ..."]  # rows of Q0
    rest: Float[Array, "rest columns ..."]
    fall: Float[Array, "modes columns ..."]
    lags: Float[Array, "more columns ..."]  # exponents of rows that don't decay
    v: Float[Array, "columns ..."]  # growth of the chosen rows
    kappa: Float[Array, "modes ..."]
    rate: Float[Array, "..."]  # of left-over directions
    # The rows that were not chosen, and the start, by the chosen rows, by modes.
    grow_echelon: Float[Array, "modes modes ..."]
    rest_echelon: Float[Array, "rest modes ..."]
    fall_echelon: Float[Array, "modes modes ..."]
    inverse: Float[Array, "columns modes ..."]
    mode_lags: Float[Array, "more modes ..."]  # as `lags`, by modes
    next_lags: Float[Array, "modes ..."]  # from a mode to the next
    unchosen: tuple[Float[Array, "modes ..."], ...]  # squares of these four
    chosen: Bool[Array, "more ..."]  # modes, left-over directions
    settles: Bool[Array, "modes ..."]  # what `_overlap` leaves out is zero
    s: Float[Array, "modes ..."]
    cos: Float[Array, "modes ..."]
    sin: Float[Array, "modes ..."]
    left: Float[Array, "out out ..."]
    right: Float[Array, "in in ..."]

    def __init__(self, frame: Frame):
        m = frame.s.size
        count = frame.rates.size
        rest = slice(m, count - m)
        self.grow, self.rest = frame.lower[:m], frame.lower[rest]
        self.fall = frame.lower[::-1][:m]
        shared = slice(0, m + (count > 2 * m))  # left-over rows share a rate
        self.lags = jnp.minimum(exponents(frame, growth(frame.rates))[shared], 0.0)
        self.v = growth(frame.chosen_rates)
        self.kappa = frame.rates[:m]
        self.rate = frame.rates[m] if count > 2 * m else jnp.zeros_like(self.v[0])
        to_modes = frame.chosen[:, None] == jnp.arange(m)[None]
        to_modes = to_modes.astype(frame.lower.dtype)
        echelon = dot(frame.drop(frame.echelon), to_modes)
        self.grow_echelon, self.rest_echelon = echelon[:m], echelon[rest]
        self.fall_echelon = echelon[::-1][:m]
        self.inverse = dot(frame.inverse, to_modes)
        gap = gaps(frame)[shared, :m]
        up = frame.rates[shared, None] > 0
        self.mode_lags = jnp.minimum(jnp.where(up, gap, -self.kappa[None]), 0.0)
        self.next_lags = jnp.append(jnp.diagonal(self.mode_lags, -1)[: m - 1], 0.0)
        parts = self.inverse, self.fall_echelon, self.rest_echelon, self.grow_echelon
        self.unchosen = tuple(jnp.sum(part * part, axis=0) for part in parts)
        self.chosen = frame.is_chosen[: count - m]
        self.settles = self.chosen[:m]
        if frame.lower.shape[1] >= m:
            self.settles &= jnp.all(self.grow_echelon == 0, axis=0)
        self.s, self.cos, self.sin = frame.s, frame.cos, frame.sin
        self.left, self.right = frame.left, frame.right

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The number of modes, left-over directions and columns."""
        return self.grow.shape[0], self.rest.shape[0], self.grow.shape[1]


class Lanes(AbstractTables):
    """As `Tables`, for the loss in scalars (lanes.py), with the columns in place.

    Column j < modes belongs to the growing row of mode j where it was `chosen`; where
    it was not, to a row that does not grow. In a bottleneck, with fewer columns than
    modes, the columns are the frame's, and `of_modes` says what they belong to.
    """

    grow: Float[Array, "modes columns ..."]  # rows of Q0
    rest: Float[Array, "rest columns ..."]
    fall: Float[Array, "modes columns ..."]
    grow_echelon: Float[Array, "modes modes ..."]  # rows not chosen, by columns chosen
    rest_echelon: Float[Array, "rest modes ..."]
    fall_echelon: Float[Array, "modes modes ..."]
    inverse: Float[Array, "columns modes ..."]
    chosen: Bool[Array, "modes ..."]
    rest_chosen: Bool[Array, "rest ..."]
    of_rest: Bool[Array, "columns ..."]  # columns of a chosen left-over row
    # Per mode, of what was not chosen: sums of squares of the start, and of rows that
    # decay, are left over, and grow.
    unchosen: tuple[Float[Array, "modes ..."], ...]
    settles: Bool[Array, "modes ..."]  # nothing is left out in these columns
    of_modes: Bool[Array, "columns modes ..."]  # of the frame's columns
    kappa: Float[Array, "modes ..."]
    steps: Float[Array, "modes ..."]  # between growing rates, at last to `rate`
    rate: Float[Array, "..."]  # of the left-over rows
    s: Float[Array, "modes ..."]
    cos: Float[Array, "modes ..."]
    sin: Float[Array, "modes ..."]
    is_wide: bool = eqx.field(static=True)  # inputs are left over

    def __init__(self, frame: Frame):
        m = frame.s.size
        count, n = frame.lower.shape
        rest = slice(m, count - m)
        modes = jnp.arange(m)
        self.chosen = frame.is_chosen[:m]
        self.rest_chosen = frame.is_chosen[rest]
        is_mode = frame.chosen < m
        if n < m:
            place = jnp.eye(n, dtype=bool)
        else:  # growing rows have a column of their own, others what is free
            slots = jnp.arange(n)
            is_free = jnp.append(~self.chosen, jnp.ones(n - m, bool))
            same = jnp.cumsum(is_free)[:, None] == jnp.cumsum(~is_mode)[None]
            place = jnp.where(
                is_mode[None],
                frame.chosen[None] == slots[:, None],
                is_free[:, None] & same,
            )
        # From the frame's columns to these, and to the modes (zero where not chosen).
        dtype = frame.lower.dtype
        place = place.astype(dtype)
        self.of_modes = frame.chosen[:, None] == modes[None]
        to_modes = self.of_modes.astype(dtype)
        lower = short_dot(frame.lower, place.T)
        echelon = short_dot(frame.drop(frame.echelon), to_modes)
        self.inverse = short_dot(place, frame.inverse, to_modes)
        self.grow, self.rest, self.fall = lower[:m], lower[rest], lower[::-1][:m]
        self.grow_echelon, self.rest_echelon = echelon[:m], echelon[rest]
        self.fall_echelon = echelon[::-1][:m]
        parts = self.inverse, self.fall_echelon, self.rest_echelon, self.grow_echelon
        self.unchosen = tuple(jnp.sum(part * part, axis=0) for part in parts)
        of_rest = (frame.chosen >= m) & (frame.chosen < count - m)
        self.of_rest = jnp.any((place > 0) & of_rest[None], axis=1)
        if n < m:
            self.settles = self.chosen
        else:
            left_out = jnp.any(jnp.triu(self.inverse, 1) != 0, axis=0)
            left_out |= jnp.any(self.grow_echelon != 0, axis=0)
            self.settles = self.chosen & ~left_out
        self.kappa = frame.rates[:m]
        self.rate = frame.rates[m] if m < count - m else jnp.zeros((), dtype)
        gap = gaps(frame)
        last = jnp.where(self.rate > 0, gap[m - 1, m], self.kappa[-1])
        self.steps = jnp.append(jnp.diagonal(gap, 1)[: m - 1], last)
        self.s, self.cos, self.sin = frame.s, frame.cos, frame.sin
        self.is_wide = frame.right.shape[0] > frame.left.shape[0]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The number of modes, left-over directions and columns."""
        return self.grow.shape[0], self.rest.shape[0], self.grow.shape[1]


class AdjointTables(AbstractTables):
    """`Tables`, and what else of the problem its gradient needs."""

    base: Tables
    lower: Float[Array, "rows columns ..."]  # rows of Q0
    echelon: Float[Array, "rows columns ..."]  # those not chosen, by those chosen
    inverse: Float[Array, "columns columns ..."]
    place: Float[Array, "columns rows ..."]  # one where a column's row is
    chosen: Bool[Array, "rows ..."]
    exponents: Float[Array, "more columns ..."]  # the base's `lags`, and positive ones
    # Left-over rows share a rate.
    rates: Float[Array, "rates ..."]  # their sizes
    gaps: Float[Array, "rates rates ..."]  # of these

    def __init__(self, frame: Frame):
        m, count = frame.s.size, frame.rates.size
        shared = slice(0, m + (count > 2 * m))
        self.base = Tables(frame)
        self.lower = by_kind(frame.lower, m)
        self.echelon = by_kind(frame.drop(frame.echelon), m)
        self.inverse = frame.inverse
        is_at = jnp.arange(count)[:, None] == frame.chosen[None]
        self.place = by_kind(is_at.astype(frame.lower.dtype), m).T
        self.chosen = by_kind(frame.is_chosen, m)
        self.exponents = exponents(frame, growth(frame.rates))[shared]
        s = frame.strengths[shared]
        self.rates = jnp.abs(frame.rates[shared])
        sums = self.rates[:, None] + self.rates[None]
        sums = jnp.where(sums == 0, 1.0, sums)
        self.gaps = jnp.abs(s[:, None] - s[None]) * ((s[:, None] + s[None]) / sums)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The number of modes, left-over directions and columns."""
        return self.base.sizes

    @property
    def weight(self) -> int:
        """Of gradients, with what they are made of."""
        return 2

    @property
    def rest_grows(self) -> Bool[Array, "..."]:
        """Whether left-over directions do."""
        return self.base.rate > 0

    @property
    def is_wide(self) -> bool:
        """Whether inputs are left over, or else, if any, outputs."""
        return self.base.right.shape[0] > self.base.left.shape[0]


def by_kind(rows: Shaped[Array, "rows *k"], modes: int) -> Shaped[Array, "rows *k"]:
    """Rows by falling rate as those that grow, are left over, and decay, by modes."""
    return jnp.concatenate([rows[: rows.shape[0] - modes], rows[::-1][:modes]])
