"""The parts of a solution that do not depend on time.

In: a `Frame`. Out: arrays of one network; inside a block of many, networks are the last
axis. `Constants` are for values, `GradientConstants` for the slopes of the loss,
`ScalarConstants` for the loss of few units.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..._linalg import dot, running_count, short_dot
from ..batching.blocks import AbstractConstants
from ..frame import Frame
from ..rates import exponents, gaps, growth


class AbstractOfFrame(AbstractConstants):
    """Parts of a frame's solution that do not depend on time."""

    @property
    @abc.abstractmethod
    def sizes(self) -> tuple[int, int, int]:
        """The number of modes, left-over directions and columns."""

    @property
    def columns(self) -> int:
        """The number of columns of K."""
        return self.sizes[2]

    @property
    def entries(self) -> int:
        """The number of entries of K."""
        m, r, n = self.sizes
        return (2 * m + r + n) * n


class AbstractWithRows(AbstractOfFrame):
    """Constants that have the rows of Q0."""

    lower: eqx.AbstractVar[Float[Array, "rows columns ..."]]  # rows of Q0
    s: eqx.AbstractVar[Float[Array, "modes ..."]]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The number of modes, left-over directions and columns."""
        (rows, columns), m = self.lower.shape[:2], self.s.shape[0]
        return m, rows - 2 * m, columns


class Falls(eqx.Module):
    """How modes fall under weight decay; without it both rows have the rate kappa."""

    sink: Float[Array, "modes ..."]  # of growing rows that fall, else zero
    fall: Float[Array, "modes ..."]  # of falling rows
    lost: Float[Array, "modes ..."]  # what learned modes lack of their strength


def falls_of(frame: Frame) -> Falls | None:
    if frame.decay is None:
        return None
    m = frame.s.size
    lost = jnp.minimum(frame.s, frame.decay)
    return Falls(growth(-frame.rates[:m]), -frame.rates[-m:], lost)


class Constants(AbstractWithRows):
    """Arrays without time, of one network or, on the last axes, of many.

    Rows are named by kind: "grow" and "fall" are a mode's growing and decaying row,
    "rest" are the left-over directions, which share a rate. "By modes" means one column
    per mode: the column of its growing row if that is a pivot, else zero.
    """

    lower: Float[Array, "rows columns ..."]  # rows of Q0
    exponents: Float[Array, "more columns ..."]  # of rows that don't decay
    v: Float[Array, "columns ..."]  # growth of the pivot rows
    kappa: Float[Array, "modes ..."]  # growth of growing rows
    falls: Falls | None
    rate: Float[Array, "..."]  # rate of the left-over directions
    # The other rows and the start, expressed by the pivot rows, by modes.
    mode_echelon: Float[Array, "rows modes ..."]
    mode_inverse: Float[Array, "columns modes ..."]
    mode_lags: Float[Array, "more modes ..."]  # `exponents` by modes, at most zero
    next_lags: Float[Array, "modes ..."]  # lag of the next mode behind each mode
    square_sums: Float[Array, "4 modes ..."]  # see `_square_sums`
    is_pivot: Bool[Array, "rows ..."]
    settles: Bool[Array, "modes ..."]  # a pivot, and `_overlap` omits no term of it
    s: Float[Array, "modes ..."]
    cos: Float[Array, "modes ..."]
    sin: Float[Array, "modes ..."]
    left: Float[Array, "out out ..."]
    right: Float[Array, "in in ..."]

    def __init__(self, frame: Frame):
        m = frame.s.size
        count = frame.rates.size
        shared = slice(0, m + (count > 2 * m))  # left-over rows share a rate
        self.lower = frame.lower
        self.exponents = exponents(frame, growth(frame.rates))[shared]
        self.v = growth(frame.pivot_rates)
        self.kappa, self.falls = growth(frame.rates[:m]), falls_of(frame)
        self.rate = frame.rates[m] if count > 2 * m else jnp.zeros_like(self.v[0])
        to_modes = frame.place[:, :m].astype(frame.lower.dtype)
        self.mode_echelon = dot(frame.off_pivots(frame.echelon), to_modes)
        self.mode_inverse = dot(frame.inverse, to_modes)
        gap = gaps(frame)[shared, :m]
        up = frame.rates[shared, None] > 0
        self.mode_lags = jnp.minimum(jnp.where(up, gap, -self.kappa[None]), 0.0)
        self.next_lags = jnp.append(jnp.diagonal(self.mode_lags, -1)[: m - 1], 0.0)
        self.square_sums = _square_sums(self.mode_inverse, self.mode_echelon)
        self.is_pivot = frame.is_pivot
        self.settles = self.is_pivot[:m]
        if frame.lower.shape[1] >= m:
            self.settles &= ~_any(self.mode_echelon[:m])
        self.s, self.cos, self.sin = frame.s, frame.cos, frame.sin
        self.left, self.right = frame.left, frame.right

    def by_kind(self, rows: Float[Array, "rows k ..."]) -> tuple[Array, Array, Array]:
        """Growing rows, left-over directions and decaying rows."""
        m, r, _ = self.sizes
        return rows[:m], rows[m : m + r], rows[m + r :]


class ScalarConstants(AbstractWithRows):
    """`Constants` for the loss in scalars, with columns in a fixed order.

    Column j < modes belongs to the growing row of mode j if that is a pivot, else to
    another kind of row. In a bottleneck, with fewer columns than modes, the columns are
    the frame's, and `of_modes` names their modes.
    """

    lower: Float[Array, "rows columns ..."]  # rows of Q0
    # The other rows and the start, expressed by the pivot rows, by modes.
    mode_echelon: Float[Array, "rows modes ..."]
    mode_inverse: Float[Array, "columns modes ..."]
    is_pivot: Bool[Array, "rows ..."]
    of_rest: Bool[Array, "columns ..."]  # the column's pivot is a left-over row
    square_sums: Float[Array, "4 modes ..."]  # see `_square_sums`
    settles: Bool[Array, "modes ..."]  # a pivot, and `_overlap` omits no term of it
    of_modes: Bool[Array, "columns modes ..."]  # which mode a frame's column belongs to
    kappa: Float[Array, "modes ..."]  # growth of growing rows
    falls: Falls | None
    steps: Float[Array, "modes ..."]  # gaps of kappa; last: to `rate` or 0
    rate: Float[Array, "..."]  # rate of the left-over rows
    s: Float[Array, "modes ..."]
    cos: Float[Array, "modes ..."]
    sin: Float[Array, "modes ..."]
    is_wide: bool = eqx.field(static=True)  # more inputs than outputs

    def __init__(self, frame: Frame):
        m = frame.s.size
        count, n = frame.lower.shape
        self.is_pivot = frame.is_pivot
        is_mode = frame.pivots < m
        if n < m:
            place = jnp.eye(n, dtype=bool)
        else:  # growing pivot rows have their mode's column, others a free one
            slots = jnp.arange(n)
            is_free = jnp.append(~self.is_pivot[:m], jnp.ones(n - m, bool))
            same = running_count(is_free)[:, None] == running_count(~is_mode)[None]
            place = jnp.where(
                is_mode[None],
                frame.pivots[None] == slots[:, None],
                is_free[:, None] & same,
            )
        # `place` maps the frame's columns to these, `to_modes` to modes with a pivot.
        dtype = frame.lower.dtype
        place = place.astype(dtype)
        self.of_modes = frame.place[:, :m]
        to_modes = self.of_modes.astype(dtype)
        self.lower = short_dot(frame.lower, place.T)
        self.mode_echelon = short_dot(frame.off_pivots(frame.echelon), to_modes)
        self.mode_inverse = short_dot(place, frame.inverse, to_modes)
        self.square_sums = _square_sums(self.mode_inverse, self.mode_echelon)
        of_rest = (frame.pivots >= m) & (frame.pivots < count - m)
        self.of_rest = jnp.any((place > 0) & of_rest[None], axis=1)
        if n < m:
            self.settles = self.is_pivot[:m]
        else:
            left_out = jnp.any(jnp.triu(self.mode_inverse, 1) != 0, axis=0)
            left_out |= _any(self.mode_echelon[:m])
            self.settles = self.is_pivot[:m] & ~left_out
        self.kappa, self.falls = growth(frame.rates[:m]), falls_of(frame)
        self.rate = frame.rates[m] if m < count - m else jnp.zeros((), dtype)
        gap = gaps(frame)
        last = jnp.where(self.rate > 0, gap[m - 1, m], self.kappa[-1])
        step = jnp.diagonal(gap, 1)[: m - 1]
        step = jnp.where(self.kappa[1:] > 0, step, self.kappa[:-1])
        self.steps = jnp.append(step, last)
        self.s, self.cos, self.sin = frame.s, frame.cos, frame.sin
        self.is_wide = frame.right.shape[0] > frame.left.shape[0]


class GradientConstants(AbstractOfFrame):
    """`Constants`, and further constants of the loss's gradient."""

    base: Constants
    echelon: Float[Array, "rows columns ..."]  # other rows, by the pivot rows
    coefficients: Float[Array, "rows columns ..."]  # `Frame.coefficients`
    inverse: Float[Array, "columns columns ..."]
    place: Float[Array, "columns rows ..."]  # one at each column's pivot row
    # The modes' rates, then the one that left-over rows share.
    rates: Float[Array, "rates ..."]  # absolute values
    gaps: Float[Array, "rates rates ..."]  # their absolute differences

    def __init__(self, frame: Frame):
        m, count = frame.s.size, frame.rates.size
        shared = slice(0, m + (count > 2 * m))
        self.base = Constants(frame)
        self.echelon = frame.off_pivots(frame.echelon)
        self.coefficients = frame.coefficients
        self.inverse = frame.inverse
        self.place = frame.place.astype(frame.lower.dtype)
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
        """Memory in units of K: a gradient takes twice as much as a value."""
        return 2

    @property
    def lower(self) -> Float[Array, "rows columns ..."]:
        """Rows of Q0."""
        return self.base.lower

    @property
    def rest_grows(self) -> Bool[Array, "..."]:
        """Whether left-over directions grow."""
        return self.base.rate > 0

    @property
    def is_wide(self) -> bool:
        """Whether there are more inputs than outputs: left-over rows are inputs."""
        return self.base.right.shape[0] > self.base.left.shape[0]


def _square_sums(
    inverse: Float[Array, "columns modes"], echelon: Float[Array, "rows modes"]
) -> Float[Array, "4 modes"]:
    """Sums of squares of `inverse` and of the fall, rest and grow rows of `echelon`."""
    m = inverse.shape[1]
    kinds = np.repeat([0, 3, 2, 1], [len(inverse), m, len(echelon) - 2 * m, m])
    both = jnp.concatenate([inverse, echelon])
    mine = jnp.asarray(kinds == np.arange(4)[:, None], both.dtype)
    return short_dot(mine, both * both)


def _any(weights: Float[Array, "modes modes"]) -> Bool[Array, " modes"]:
    """Whether a column has an entry beyond rounding.

    Rounding enters the distance from the limit squared.
    """
    noise = 16 * weights.shape[0] * jnp.finfo(weights.dtype).eps
    return jnp.any(jnp.abs(weights) > noise, axis=0)
