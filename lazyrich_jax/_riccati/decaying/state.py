r"""The solution at one time under weight decay, and the function's error.

In: a `Frame` whose rows are by the two solutions of `pairs`, these solutions, and those
of left-over directions. Out: a `State`. With $N = B^\top B$, B lower triangular in the
two rows of a mode, and K = [B Q0; 1] = U R, U with orthonormal columns, $P = (\Psi
B^{-1} U)(\Psi B^{-1} U)^\top$. docs/beyond.md, section 1.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._linalg import dot
from ..._triangular import over, triangle
from ..frame import Frame
from .pairs import Exponential, Pairs

CUT = 30.0  # larger exponents belong to rows that don't depend on the column
MOST = 80.0  # of exponents whose squares are summed

Pair = tuple[Float[Array, " modes"], Float[Array, " modes"]]  # of p and m


class Rows(NamedTuple):
    """The columns of Psi B^-1 of every mode: Q's rows are their sums with U's rows."""

    grow: Pair
    fall: Pair


class State(eqx.Module):
    """The solution at a time, P = `q @ q.T`, and U by kinds of rows."""

    q: Float[Array, "rows columns"]
    grow: Float[Array, "modes columns"]
    fall: Float[Array, "modes columns"]
    rows: Rows
    # The rows of K that are no pivots: times inv(R), and by the growing pivot rows.
    others: Float[Array, "more columns"]
    above: Float[Array, "more modes"]
    lack: Float[Array, " modes"]  # what the limit of a growing pivot row lacks


def solve(
    frame: Frame,
    x: Pairs,
    rest: tuple[Exponential, Exponential],
    t: Float[Array, ""],
) -> State:
    """The solution at `t`."""
    m, count = frame.s.size, frame.rates.size
    rest_grow, rest_root = rest
    # The lower triangular root is [[root over / side, 0], [root across / side, side]].
    side = jnp.sqrt(x.mixed**2 + x.last**2)
    direct, across = x.last / side, x.mixed / side
    # Every column is divided by the growth of its pivot row.
    none = jnp.zeros_like(frame.s)
    rate = jnp.concatenate([x.root.rate, rest_root.rate, none])
    more = jnp.concatenate([x.root.rest, rest_root.rest, none])
    grows = rate * t + more > 0
    by = [frame.at_pivots(jnp.where(grows, y, 0.0)) for y in (rate, more)]
    by = Exponential(*jax.lax.stop_gradient(by))
    shrink = jnp.exp(-by.rate * t - by.rest)
    grow, left, fall = jnp.split(frame.lower, (m, count - m))

    def scaled(rows, x):
        return rows * _ratio(x, by, t)

    rising, falls = scaled(grow, x.root), scaled(fall, x.fall)
    k = jnp.concatenate(
        [
            direct[:, None] * rising,
            scaled(left, rest_root),
            across[:, None] * rising + side[:, None] * fall * shrink[None],
            jnp.diag(shrink),
        ]
    )
    y = [
        scaled(grow, x.grow) + x.tilt[:, None] * falls,
        scaled(left, rest_grow),
        falls - x.across[:, None] * scaled(grow, x.turn),
    ]
    solved = over(jnp.concatenate([*y, k]), triangle(k))
    q, units = solved[:count], solved[count:]
    u_grow, u_fall = units[:m], units[count - m : count]
    others = jnp.where(frame.is_pivot[:m, None], 0.0, u_grow)
    others = jnp.concatenate([others, units[m:]])
    # What follows matters late alone: divisors are kept from zero.
    least = jnp.finfo(t.dtype).tiny ** 0.25
    side, direct = jnp.maximum(side, least), jnp.maximum(direct, least)
    rows, gap = _rows(x, direct, across, side, t)
    above = _above(frame, x, rest_root, direct, across, side, t)
    return State(q, u_grow, u_fall, rows, others, above, x.lack + gap)


def _ratio(
    x: Exponential, by: Exponential, t: Float[Array, ""]
) -> Float[Array, "rows columns"]:
    """The quotient of every x and every y, cut."""
    exponent = (x.rate[:, None] - by.rate[None]) * t
    return jnp.exp(jnp.minimum(exponent + (x.rest[:, None] - by.rest[None]), CUT))


def _quotient(
    x: Exponential, y: Exponential, t: Float[Array, ""]
) -> Float[Array, " modes"]:
    """The exponent of a quotient, cut."""
    return jnp.minimum((x.rate - y.rate) * t + (x.rest - y.rest), CUT)


def _rows(
    x: Pairs,
    direct: Float[Array, " modes"],
    across: Float[Array, " modes"],
    side: Float[Array, " modes"],
    t: Float[Array, ""],
) -> tuple[Rows, Float[Array, " modes"]]:
    """Psi B^-1 of every mode, and how far its growing column changes `lack`."""
    fall = jnp.exp(x.fall.rate * t + x.fall.rest)
    falling = x.tilt * fall, fall
    growing = (
        jnp.exp(_quotient(x.grow, x.root, t)),
        -x.across * jnp.exp(_quotient(x.turn, x.root, t)),
    )
    # An infinite start's column, less a part of the falling column.
    part = across / (direct * side)
    lean = growing[0] * falling[0] - growing[1] * falling[1]
    square = falling[0] ** 2 - falling[1] ** 2
    learned = (growing[0] ** 2 - growing[1] ** 2) / 2
    gap = part * (lean / direct - part * square / 2)
    gap -= learned * (across / direct) ** 2
    grow = (
        growing[0] / direct - part * falling[0],
        growing[1] / direct - part * falling[1],
    )
    return Rows(grow, (falling[0] / side, falling[1] / side)), gap


def _above(
    frame: Frame,
    x: Pairs,
    rest_root: Exponential,
    direct: Float[Array, " modes"],
    across: Float[Array, " modes"],
    side: Float[Array, " modes"],
    t: Float[Array, ""],
) -> Float[Array, "more modes"]:
    """K's rows that are no pivots, by the growing pivot rows of the modes."""
    m, count = frame.s.size, frame.rates.size
    to_modes = frame.place[:, :m].astype(frame.s.dtype)
    echelon = dot(frame.off_pivots(frame.echelon), to_modes)
    grow, left, fall = jnp.split(echelon, (m, count - m))
    own = jnp.diag(jnp.where(frame.is_pivot[:m], across / direct, 0.0))
    start = jnp.exp(jnp.minimum(-x.root.rate * t - x.root.rest, MOST)) / direct
    rising = grow * _ratio(x.root, x.root, t)
    return jnp.concatenate(
        [
            rising * direct[:, None] / direct[None],
            left * _ratio(rest_root, x.root, t) / direct[None],
            own
            + across[:, None] * rising / direct[None]
            + side[:, None] * fall * start[None],
            dot(frame.inverse, to_modes) * start[None],
        ]
    )


def function_error(frame: Frame, state: State) -> Float[Array, "out in"]:
    r"""$W_2 W_1 - \Sigma$ in the singular basis, without cancellation near zero."""
    direct, late, is_late = _both_functions(frame, state)
    m = frame.s.size
    modes = jnp.arange(m)
    direct = direct.at[modes, modes].add(-frame.s)
    return direct.at[:m, :m].set(jnp.where(is_late, late, direct[:m, :m]))


def function(frame: Frame, state: State) -> Float[Array, "out in"]:
    r"""$W_2 W_1$ in the singular basis, without cancellation where modes die."""
    direct, late, is_late = _both_functions(frame, state)
    m = frame.s.size
    # The strength cancels in one form, p and m in the other.
    p, q = state.q[:m], state.q[state.q.shape[0] - m :]
    is_small = frame.s < jnp.sum(p * p + q * q, axis=1)
    late += jnp.diag(frame.s)
    late = jnp.where(is_late & is_small[None], late, direct[:m, :m])
    return direct.at[:m, :m].set(late)


def _both_functions(
    frame: Frame, state: State
) -> tuple[
    Float[Array, "out in"], Float[Array, "modes modes"], Bool[Array, "modes modes"]
]:
    """The function, the modes' error by small terms, and where the latter holds."""
    m = frame.s.size
    inputs, outputs = frame.from_rows(state.q)

    def side(sign, growing):
        by_rows = state.rows.grow, state.rows.fall
        up, down = ((p + sign * m)[:, None] / 2**0.5 for p, m in by_rows)
        return up * growing, down * state.fall

    # On growing pivot rows U U' is the unit matrix less small terms, late.
    is_pivot = frame.is_pivot[:m]
    is_late = is_pivot & (jnp.sum(state.above**2, axis=0) < 1)
    near, falls = side(1, -dot(state.above.mT, state.others))
    grows, out_falls = side(-1, state.grow)
    late = dot(grows, (near + falls).mT) + dot(out_falls, inputs[:m].mT)
    late -= jnp.diag(state.lack)
    return dot(outputs, inputs.mT), late, is_pivot[:, None] & is_late[None]
