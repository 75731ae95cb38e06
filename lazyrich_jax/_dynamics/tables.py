"""What of a solution does not depend on time, by what its rows do."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

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
