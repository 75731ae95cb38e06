r"""The solution at one time, evaluated stably.

In: a `Frame` and a time. Out: a `State` with rows by eigenvectors of F. The closed form
$P(t) = e^{Ft} Q_0 [I + Q_0^\top G(t) Q_0]^{-1} Q_0^\top e^{Ft}$,
$G(t) = \int_0^t e^{2Fs} ds$, overflows as it stands. With Q0 in echelon form all
remaining exponentials are at most one. docs/theory.md, sections 1 and 2.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._linalg import dot
from ..._triangular import over, triangle
from ..echelon import Echelon
from ..frame import Frame
from ..rates import decay, gain, growth


class State(eqx.Module):
    r"""The solution at one time, in the eigenbasis of F.

    With S = e^{-max(w, 0) t} on the pivot rows, K = [g^(1/2) lower S; S] and
    K = (orthonormal) R, the solution is `q @ q.T`, q = e^{Wt} lower S inv(R).
    """

    q: Float[Array, "rows columns"]
    r: Float[Array, "columns columns"]
    shrink: Float[Array, " columns"]  # S
    k: Float[Array, "rows columns"]  # g^(1/2) lower S
    deviation: Float[Array, "rows rows"]  # q @ q.T - 2 W, W on growing pivot rows only


@jax.jit
def solve(frame: Echelon, t: Float[Array, ""]) -> State:
    """The solution at `t`, and its distance from its limit without cancellation.

    The columns of K are scaled by their largest entry, so that its QR decomposition
    keeps every row's digits.
    """
    growing = growth(frame.rates)
    ratio = decay(frame, growing, t)
    k = frame.lower * ratio * jnp.sqrt(gain(frame.rates, t))[:, None]
    shrink = jnp.exp(-growth(frame.pivot_rates) * t)
    start = jnp.diag(shrink)
    r = triangle(jnp.concatenate([k, start]))
    rows = frame.lower * decay(frame, frame.rates, t)
    rows = jnp.concatenate([rows, frame.off_pivots(k), start])
    solved = over(rows, r)
    q, others = solved[: frame.rates.size], solved[frame.rates.size :]
    return State(q, r, shrink, k, _deviation(frame, t, q, others))


def _deviation(
    frame: Echelon,
    t: Float[Array, ""],
    q: Float[Array, "rows columns"],
    others: Float[Array, "more columns"],
) -> Float[Array, "rows rows"]:
    """`q @ q.T - 2 W`, from the non-pivot rows of K, times inv(R)."""
    p = dot(q, q.mT)
    # On the pivot rows P tends to 2 max(rate, 0). With h = g e^{-2wt} and Y, N the
    # pivot and the other rows of K, P^-1 = h + (N Y^-1)' (N Y^-1) there, so that
    # P - 2w = P e^{-2wt} - q (N R^-1)' (N Y^-1) 2w: all terms are small.
    w = growth(frame.pivot_rates)
    above = frame.echelon * decay(frame, growth(frame.rates), t)
    above = frame.off_pivots(above * jnp.sqrt(gain(frame.rates, t))[:, None])
    above = jnp.concatenate([above, frame.inverse * jnp.exp(-w * t)[None]])
    q_pivot = frame.at_pivots(q)
    p_pivot = dot(q_pivot, q_pivot.mT)
    lack = p_pivot * jnp.exp(-2 * w * t)[None]
    lack -= dot(q_pivot, others.mT, above) * 2 * w[None]
    # Early on, and where `above` is huge (near a saddle), subtracting 2w loses less.
    late = 2 * w * jnp.sum(above * above, axis=0) < 1
    lack = jnp.where(late[None], lack, p_pivot - 2 * jnp.diag(w))
    return p.at[frame.pivots[:, None], frame.pivots[None]].set(
        lack, mode="drop", unique_indices=True
    )


def function_error(frame: Frame, state: State) -> Float[Array, "out in"]:
    r"""$W_2 W_1 - \Sigma$ in the singular basis, without cancellation near zero."""
    error = frame.function_block(state.deviation)
    # Modes whose growing row is no pivot never reach their singular value.
    modes = jnp.arange(frame.s.size)
    return error.at[modes, modes].add(
        -frame.off_pivots(frame.strengths)[: frame.s.size]
    )
