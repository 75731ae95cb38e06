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
from .along import along, last_along
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
    frame = tracked(problem, frame)
    n_in, n = frame.right.shape[0], frame.rates.size

    def velocity(t, turn):
        error = frame.from_singular_basis(function_error(frame, solve(frame, t)))
        return -jnp.concatenate([dot(error.mT, turn[n_in:]), dot(error, turn[:n_in])])

    eye = jnp.eye(n, dtype=ts.dtype)
    return along(
        frame, ts, velocity, eye, rtol=rtol, atol=atol, max_steps=2**14, throw=True
    )


def turning(
    frame: Frame, t: Float[Array, ""], turn: Float[Array, "columns columns"]
) -> tuple[Array, Array]:
    """q at a time, and the derivative of `turn` by it."""
    q = solve(frame, t).q
    sign = jnp.tril(jnp.ones_like(turn), -1) - jnp.triu(jnp.ones_like(turn), 1)
    return q, dot(sign * dot(q.mT, q) / 2, turn)


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

    def velocity(t, turn):
        return turning(frame, t, turn)[1]

    turn = along(
        frame, ts, velocity, eye, rtol=rtol, atol=atol, max_steps=2**14, throw=True
    )
    # Newton's iteration for the polar factor makes it a rotation: QQ^T is exact.
    for _ in range(2):
        turn = 1.5 * turn - dot(turn, turn.mT, turn) / 2
    last = last_along(frame, rtol)
    # After `last` Q stands still, unless some modes are slower by that factor: the
    # nearest rotation turns later q back to the one at `last`.
    stopped = solve(frame, last).q
    late = (ts > last)[:, None, None]
    # Unused entries are a matrix of distinct singular values: its polar factor has a
    # derivative.
    distinct = jnp.diag(jnp.arange(1, columns + 1, dtype=ts.dtype))
    overlap = jnp.where(late, dot(q.mT, stopped), distinct[None])
    back = jax.vmap(nearest_isometry)(overlap)
    return dot(jnp.where(late, back, eye[None]), turn)
