"""What of a solution does not depend on time, by what its rows do."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from .._linalg import dot
from .frame import Frame
from .riccati import exponents, gaps, growth


class AbstractTables(eqx.Module):
    """What does not depend on time, of one network or, on the last axes, of many."""

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
