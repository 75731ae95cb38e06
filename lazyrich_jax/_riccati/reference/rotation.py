r"""The rotation of the hidden units that makes Q(t) the flow's own.

$QQ^\top$ fixes the weights up to a rotation of the hidden units. The flow
$\dot Q = (F - QQ^\top / 2) Q$ fixes that rotation. With the factor
$q = e^{Ft} Q_0 R^{-1}$ of solution.py, $R^\top R = I + Q_0^\top G Q_0$ and R lower
triangular, $Q = q\Theta$ obeys the flow if

$$\dot\Theta = \Omega\Theta, \quad
\Omega_{ij} = \tfrac12 \operatorname{sign}(i - j) (q^\top q)_{ij}, \quad
\Theta(0) = I.$$

This is the parallel transport of a basis along the curve $R^\top R$ of positive
matrices. $\Omega$ vanishes for one hidden unit and for weights aligned with the task.
docs/theory.md derives it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._linalg import dot, nearest_isometry
from ..frame import Frame, Problem
from .second import tracked
from .solution import function_error, solve


def transported(
    problem: Problem,
    frame: Frame,
    ts: Float[Array, " times"],
    rtol: Float[Array, ""],
    atol: Float[Array, ""],
) -> Float[Array, "times n hidden"]:
    """Q at the times `ts`, in any order."""
    frame = tracked(problem, frame)
    q = jax.vmap(lambda t: solve(frame, t).q)(ts)
    q = dot(q, _rotations(frame, ts, q, rtol, atol))
    return dot(jax.vmap(frame.factor_from_rows)(q), frame.basis)


def transition(
    problem: Problem,
    frame: Frame,
    ts: Float[Array, " times"],
    rtol: Float[Array, ""],
    atol: Float[Array, ""],
) -> Float[Array, "times n n"]:
    r"""The matrices T of the flow $Q(t) = T(t) Q(0)$, at times in any order.

    $\dot T = -[0, E^\top; E, 0] T$ for the function's error E, whatever the weights.
    """
    import diffrax  # takes half a second: imported on first use

    frame = tracked(problem, frame)
    n_in, n = frame.right.shape[0], frame.rates.size
    last = last_transported(frame, rtol)
    order = jnp.argsort(ts)
    times = inner_time(frame, jnp.minimum(ts, last))[order]

    def velocity(s, t, args):
        rate = _rate(frame)
        time = jnp.expm1(jnp.asarray(s)) / rate + 1e8 * jnp.finfo(ts.dtype).tiny
        error = frame.from_singular_basis(function_error(frame, solve(frame, time)))
        moved = jnp.concatenate([dot(error.mT, t[n_in:]), dot(error, t[:n_in])])
        return -moved * jnp.exp(s) / rate

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Dopri8(),
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=jnp.eye(n, dtype=ts.dtype),
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=2**14,
    )
    (found,) = jax.tree.leaves(solution.ys)
    return found[jnp.argsort(order)]


def inner_time(frame: Frame, t: Float[Array, "*ts"]) -> Float[Array, "*ts"]:
    """log(1 + rate t): early and late changes take about equally long in it."""
    return jnp.log1p(_rate(frame) * t)


def last_transported(frame: Frame, rtol: float | Array) -> Float[Array, ""]:
    """The time after which the rounding of `turning` exceeds the tolerance."""
    return rtol / (jnp.finfo(frame.rates.dtype).eps * _rate(frame))


def turning(
    frame: Frame, s: Float[Array, ""], turn: Float[Array, "columns columns"]
) -> tuple[Array, Array, Float[Array, ""]]:
    """q at the inner time s, the derivative of `turn` by s, and dt/ds."""
    rate = _rate(frame)
    # At time zero itself a square root would have no derivative.
    q = solve(frame, jnp.expm1(s) / rate + 1e8 * jnp.finfo(s.dtype).tiny).q
    sign = jnp.tril(jnp.ones_like(turn), -1) - jnp.triu(jnp.ones_like(turn), 1)
    pace = jnp.exp(s) / rate
    return q, dot(sign * dot(q.mT, q) / 2, turn) * pace, pace


def _rate(frame: Frame) -> Float[Array, ""]:
    return jnp.where(frame.rates[0] > 0, frame.rates[0], 1.0)


def _rotations(
    frame: Frame,
    ts: Float[Array, " times"],
    q: Float[Array, "times rows columns"],
    rtol: Float[Array, ""],
    atol: Float[Array, ""],
) -> Float[Array, "times columns columns"]:
    columns = frame.pivots.size
    eye = jnp.eye(columns, dtype=ts.dtype)
    if columns == 1:
        return jnp.broadcast_to(eye, (ts.size, 1, 1))
    import diffrax  # takes half a second: imported on first use

    last = last_transported(frame, rtol)
    order = jnp.argsort(ts)
    times = inner_time(frame, jnp.minimum(ts, last))[order]
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda s, turn, args: turning(frame, jnp.asarray(s), turn)[1]),
        diffrax.Dopri8(),
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=eye,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=2**14,
    )
    (turn,) = jax.tree.leaves(solution.ys)
    # Newton's iteration for the polar factor makes it a rotation: QQ^T is exact.
    for _ in range(2):
        turn = 1.5 * turn - dot(turn, turn.mT, turn) / 2
    # After `last` Q stands still, unless some modes are slower by that factor: the
    # nearest rotation turns later q back to the one at `last`.
    stopped = solve(frame, last).q
    late = (ts > last)[:, None, None]
    # Unused entries are a matrix of distinct singular values: its polar factor has a
    # derivative.
    distinct = jnp.diag(jnp.arange(1, columns + 1, dtype=ts.dtype))
    overlap = jnp.where(late, dot(q.mT, stopped), distinct[None])
    back = jax.vmap(nearest_isometry)(overlap)
    return dot(jnp.where(late, back, eye[None]), turn[jnp.argsort(order)])
