r"""The matrix Riccati equation behind the exact solution, evaluated stably.

$\dot P = FP + PF - P^2$ for $P = QQ^\top$ has the solution
$P(t) = e^{Ft} Q_0 [I + Q_0^\top G(t) Q_0]^{-1} Q_0^\top e^{Ft}$,
$G(t) = \int_0^t e^{2Fs} ds$. Evaluated as it stands it overflows, and loses its digits
long before. Here the rows of $Q_0$ in the eigenbasis of $F$ are eliminated from the
fastest growing on, so that every exponential that is left is at most one.
docs/theory.md derives it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._linalg import dot, mean_decay
from .._triangular import over, triangle
from .frame import Frame


class State(eqx.Module):
    r"""The solution at one time, in the eigenbasis of F.

    With S = e^{-max(w, 0) t} on the chosen rows, K = [g^(1/2) lower S; S] and
    K = (orthonormal) R, the solution is `q @ q.T`, q = e^{Wt} lower S inv(R).
    """

    q: Float[Array, "rows columns"]
    r: Float[Array, "columns columns"]
    shrink: Float[Array, " columns"]  # S
    upper: Float[Array, "rows columns"]  # g^(1/2) lower S
    deviation: Float[Array, "rows rows"]  # q @ q.T - 2 W, W on chosen growing rows only


@jax.jit
def solve(frame: Frame, t: Float[Array, ""]) -> State:
    """The solution at `t`, and its distance from its limit without cancellation.

    The columns of K are scaled by their largest entry, so that its QR decomposition
    keeps every row's digits.
    """
    growing = growth(frame.rates)
    ratio = decay(frame, growing, t)
    upper = frame.lower * ratio * jnp.sqrt(gain(frame.rates, t))[:, None]
    shrink = jnp.exp(-growth(frame.chosen_rates) * t)
    start = jnp.diag(shrink)
    r = triangle(jnp.concatenate([upper, start]))
    rows = frame.lower * decay(frame, frame.rates, t)
    rows = jnp.concatenate([rows, frame.drop(upper), start])
    solved = over(rows, r)
    q, others = solved[: frame.rates.size], solved[frame.rates.size :]
    return State(q, r, shrink, upper, _deviation(frame, t, q, others))


def _deviation(
    frame: Frame,
    t: Float[Array, ""],
    q: Float[Array, "rows columns"],
    others: Float[Array, "more columns"],
) -> Float[Array, "rows rows"]:
    """`q @ q.T - 2 W`, from the part of K that was not chosen, times inv(R)."""
    p = dot(q, q.mT)
    # On the chosen rows P tends to 2 max(rate, 0). With h = g e^{-2wt} and Y, N the
    # chosen and the other rows of K, P^-1 = h + (N Y^-1)' (N Y^-1) there, so that
    # P - 2w = P e^{-2wt} - q (N R^-1)' (N Y^-1) 2w: all that is left is small.
    w = growth(frame.chosen_rates)
    above = frame.echelon * decay(frame, growth(frame.rates), t)
    above = frame.drop(above * jnp.sqrt(gain(frame.rates, t))[:, None])
    above = jnp.concatenate([above, frame.inverse * jnp.exp(-w * t)[None]])
    q_chosen = frame.pick(q)
    p_chosen = dot(q_chosen, q_chosen.mT)
    lack = p_chosen * jnp.exp(-2 * w * t)[None]
    lack -= dot(q_chosen, others.mT, above) * 2 * w[None]
    # Early on, and where `above` is huge (near a saddle), subtracting 2w loses less.
    late = 2 * w * jnp.sum(above * above, axis=0) < 1
    lack = jnp.where(late[None], lack, p_chosen - 2 * jnp.diag(w))
    return p.at[frame.chosen[:, None], frame.chosen[None]].set(
        lack, mode="drop", unique_indices=True
    )


def function_error(frame: Frame, state: State) -> Float[Array, "out in"]:
    r"""$W_2 W_1 - \Sigma$ in the singular basis; nothing cancels as it vanishes."""
    error = frame.function_block(state.deviation)
    # Growing modes that were not chosen never reach theirs.
    modes = jnp.arange(frame.s.size)
    return error.at[modes, modes].add(-frame.drop(frame.strengths)[: frame.s.size])


def gaps(frame: Frame) -> Float[Array, "rows rows"]:
    """w_i - w_j.

    Of two large rates of one sign the difference is (s_i^2 - s_j^2) / (w_i + w_j):
    subtracting them leaves nothing of it when |lambda| is large.
    """
    s, w = frame.strengths, frame.rates
    alike = w[:, None] * w[None] > 0
    total = jnp.where(alike, w[:, None] + w[None], 1.0)
    apart = (s[:, None] - s[None]) * ((s[:, None] + s[None]) / total)
    return jnp.where(alike, apart, w[:, None] - w[None])


def decay(
    frame: Frame, rates: Float[Array, " rows"], t: Float[Array, ""]
) -> Float[Array, "rows columns"]:
    """e^{(w_i - v_k) t}, w the `rates` or their growth, v the chosen rows' growth.

    At most one: larger exponents belong to rows that don't depend on chosen row k.
    """
    return jnp.exp(jnp.minimum(exponents(frame, rates), 0.0) * t)


def exponents(
    frame: Frame, rates: Float[Array, " rows"]
) -> Float[Array, "rows columns"]:
    """w_i - v_k, w the `rates` or their growth and v the chosen rows' growth."""
    gap = jnp.swapaxes(frame.pick(-gaps(frame)), 0, 1)
    v = growth(frame.chosen_rates)[None]
    both = (rates[:, None] > 0) & (v > 0)
    return jnp.where(both, gap, rates[:, None] - v)


def last_time(dtype: jnp.dtype) -> float:
    """What stands for infinity."""
    return float(jnp.finfo(dtype).max) ** (1 / 3)


def settled(frame: Frame, t: Float[Array, "*ts"]) -> Float[Array, "*ts"]:
    """Times, a late one for infinity."""
    return jnp.where(t >= last_time(t.dtype), settled_time(frame), t)


def settled_time(frame: Frame) -> Float[Array, ""]:
    """A time after which nothing changes, for derivatives at infinity.

    Time multiplies their rounding, so no later than needed: 40 times the slowest time
    scale, and longer by the logarithm by which a start that is tiny, or near a saddle,
    lies behind. Modes of rate zero change as 1/t for ever: half of the digits there.
    """
    rates = jnp.append(jnp.abs(gaps(frame)), jnp.abs(frame.rates))
    slowest = jnp.min(jnp.where(rates > 0, rates, jnp.inf))
    fastest = jnp.where(frame.rates[0] > 0, frame.rates[0], 1.0)
    time = 40 + 2 * jnp.log1p(jnp.max(jnp.abs(frame.echelon)))
    time = time / jnp.minimum(slowest, fastest)
    v = growth(frame.chosen_rates)
    tiny = jnp.log1p(jnp.abs(jnp.diagonal(frame.inverse)) * jnp.sqrt(v))
    time += jnp.max(jnp.where(v > 0, 2 * tiny / jnp.where(v > 0, v, 1.0), 0.0))
    algebraic = 1 / (jnp.finfo(rates.dtype).eps ** 0.5 * fastest)
    time = jnp.where(jnp.any(frame.rates == 0), jnp.maximum(time, algebraic), time)
    return jax.lax.stop_gradient(jnp.minimum(time, last_time(rates.dtype)))


def gain(rates: Float[Array, " k"], t: Float[Array, ""]) -> Float[Array, " k"]:
    """(e^{2wt} - 1) / 2w, over e^{2wt} where w > 0: at most t, or 1 / 2|w|."""
    return t * mean_decay(2 * jnp.where(rates > 0, rates, -rates) * t)


def growth(rates: Float[Array, " k"]) -> Float[Array, " k"]:
    """The rates that are positive; zero for the others."""
    return jnp.where(rates > 0, rates, 0.0)
