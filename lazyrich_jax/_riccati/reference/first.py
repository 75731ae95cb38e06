r"""First derivatives of the solution, in closed form.

In: a `Frame`, a time, the `State` there and a `Change` of start, generator and time.
Out: a `Variation`, the change of the state. With $E = e^{Ft}$,
$K = (I + P_0 G)^{-1} P_0$ and $\Psi = E (I + P_0 G)^{-1}$,

$$dP = \Psi\, dP_0\, \Psi^\top + dE\, K E + (dE\, K E)^\top - E K\, dG\, K E.$$

In the eigenbasis of F the changes of E and G are divided differences of $e^{wt}$ and
$g(w)$. Nothing is divided by a gap of eigenvalues. The formula overflows as it stands.
$\Psi$ does not overflow and expresses the growing rows. docs/theory.md, section 3.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._decays import decay_difference, mixed_difference
from ..._linalg import dot, mean_decay
from ..._triangular import over
from ..echelon import Echelon
from ..rates import decay, exponents, gain, gaps, growth
from .solution import State


class Change(eqx.Module):
    """A change of Q0 (rows, in the frame's columns), of the generator F and of time."""

    lower: Float[Array, "rows columns"]
    generator: Float[Array, "rows rows"]
    t: Float[Array, ""]


class Variation(eqx.Module):
    """The change of a `State`, in the eigenbasis of F.

    `q` is the change of q up to a rotation of its columns, and `p` the change of
    P = q @ q.T. `error` is the change of P minus 2 F on the growing modes of F; the
    function of the latter is Sigma.
    """

    q: Float[Array, "rows columns"]
    p: Float[Array, "rows rows"]
    error: Float[Array, "rows rows"]


@jax.jit
def vary(
    frame: Echelon, t: Float[Array, ""], state: State, change: Change
) -> Variation:
    """The change of the solution at `t`; linear in `change`."""
    w, q, d = frame.rates, state.q, change.generator
    grows = w > 0
    both, lag = grows[:, None] & grows[None], ~grows[:, None] & grows[None]
    gap = gaps(frame)
    # In time t dF_ij carries (1 - e^{-|gap| t}) / |gap| of mode j into mode i.
    carry = d * t * mean_decay(jnp.abs(gap) * t)
    rising, falling = jnp.where(gap >= 0, carry, 0.0), jnp.where(gap < 0, carry, 0.0)
    still = over(frame.lower * state.shrink[None], state.r)  # e^{-Wt} q
    root = jnp.sqrt(gain(w, t))
    change_q = as_start(frame, t, state, root, change.lower, rising, falling)
    quiet = jnp.exp((w - growth(w)) * t)[:, None] * dot(rising, still)
    quiet += dot(jnp.where(lag, 0.0, falling), q)
    change_q += jnp.where(grows[:, None], 0.0, quiet)
    rows = jnp.where(grows[:, None], q, still)
    core = dot(rows.mT, jnp.where(both, 0.0, d * _coupling(w, gap, t)), rows)
    change_q += dot(q, core) / 2
    # The terms below have nonzero limits. `deviation` is without these limits.
    lean = jnp.where(lag, falling, 0.0)
    bend = jnp.where(both, d * decay_difference(growth(w), jnp.abs(gap), t), 0.0)
    learned = frame.is_pivot & grows
    deviation = dot(change_q, q.mT) + _flow(frame, state, learned) * change.t
    deviation += _near_limit(frame, t, state, d, lean, bend)
    p = dot(q, q.mT)
    change_q += dot(lean, q) + dot(p, bend, q) / 2
    change_q += (w[:, None] * q - dot(p, q) / 2) * change.t
    # Rows near their limit use the deviation, others do not: nothing cancels.
    near = ~grows | (learned & (jnp.diagonal(p) > w) & (2 * w * t > 1))
    near = near[:, None] & near[None]
    slow = (w == 0)[:, None] & (w == 0)[None]
    limit = d * _of_positive_part(w, gap, learned)
    # Sigma is the function of F + |F|. |F| has no derivative at rate zero and counts as
    # constant there.
    target = d * jnp.where(slow, 1.0, _of_positive_part(w, gap, grows))
    half = jnp.where(near, deviation, dot(change_q, q.mT))
    change_p = half + half.mT
    return Variation(
        q=change_q,
        p=change_p + jnp.where(near, limit, 0.0),
        error=change_p + jnp.where(near, limit - target, -target),
    )


def as_start(
    frame: Echelon,
    t: Float[Array, ""],
    state: State,
    root: Float[Array, " rows"],
    lower: Float[Array, "rows columns"],
    rising: Float[Array, "rows rows"],
    falling: Float[Array, "rows rows"],
) -> Float[Array, "rows columns"]:
    r"""$\Psi X R^{-1}$ for the change X of Q0, and of growing rows by dF.

    X is split into a part within the range of Q0, C X_c with C the echelon form, and a
    part beyond it, on the other rows. $\Psi$ maps the first to
    `q inv(R).T S inv(lower_c) X_c`. The second grows freely except for its overlap with
    q. At early times near a saddle or a lower rank all of X is treated as the second.
    `root` is the factor of the rows in `state.k`, $g^{1/2}$.
    """
    w, shrink = frame.rates, state.shrink
    up = growth(w)
    echelon = frame.off_pivots(frame.echelon)
    # The split cancels digits by the largest coefficient, large near a saddle or a
    # lower rank. It is used once exponentials have outgrown that coefficient.
    spread = exponents(frame, up) * t
    grown = jnp.log(jnp.max(frame.coefficients * decay(frame, up, t)) + 1e-30)
    split = jnp.max(spread) > grown
    echelon = jnp.where(split, echelon, 0.0)
    inside = split & frame.is_pivot[:, None]
    rising = jnp.where((w > 0)[:, None], rising, 0.0)
    # Equal changes of rates cancel exactly: time must not multiply their rounding.
    alone = jnp.diagonal(rising)
    rising = rising - jnp.diag(alone)
    strained = echelon * (alone[:, None] - frame.at_pivots(alone)[None])
    strained = dot(strained, frame.at_pivots(frame.lower))
    own = alone[:, None] * frame.lower
    from_below = lower + dot(rising, frame.lower)
    from_above = dot(falling, frame.lower * decay(frame, w, t))
    from_above = jnp.where((w > 0)[:, None], from_above, 0.0)
    within = (from_below + own) * shrink[None]
    within += jnp.exp(-up * t)[:, None] * from_above
    within = shrink[:, None] * dot(frame.inverse, frame.at_pivots(within))
    within = jnp.where(split, within, 0.0)
    # Only at a saddle is an exponent of these rows positive; at infinity it would
    # overflow.
    largest = jnp.log(jnp.finfo(w.dtype).max) / 4
    beyond = from_below - dot(echelon, frame.at_pivots(from_below))
    beyond += jnp.where(split, strained, own)
    beyond = beyond * jnp.exp(jnp.minimum(spread, largest)) + from_above
    beyond -= dot(echelon * decay(frame, up, t), frame.at_pivots(from_above))
    beyond = jnp.where(inside, 0.0, beyond)
    overlap = root[:, None] * beyond
    within -= dot(jnp.where(inside, 0.0, state.k).mT, overlap)
    moved = dot(state.q, over(within.mT, state.r).mT)
    return over(moved + jnp.exp((w - up) * t)[:, None] * beyond, state.r)


def _coupling(
    w: Float[Array, " rows"], gap: Float[Array, "rows rows"], t: Float[Array, ""]
) -> Float[Array, "rows rows"]:
    """The factor of dF between two rows of q; rows that don't grow are over e^{wt}."""
    rise, fall = growth(w), growth(w) - w
    mixed = mixed_difference(rise[:, None] + rise[None], fall[:, None] + fall[None], t)
    quiet = (w <= 0)[:, None] & (w <= 0)[None]
    return jnp.where(quiet, -decay_difference(fall, jnp.abs(gap), t), mixed)


def _of_positive_part(
    w: Float[Array, " rows"], gap: Float[Array, "rows rows"], kept: Bool[Array, " rows"]
) -> Float[Array, "rows rows"]:
    """The derivative of 2 F on the growing modes in `kept`, by each entry of F."""
    lag = (w <= 0)[:, None] & kept[None]
    pull = jnp.where(lag, 2 * w[None] / jnp.where(lag, -gap, 1.0), 0.0)
    return jnp.where(kept[:, None] & kept[None], 2.0, pull + pull.mT)


def _flow(
    frame: Echelon, state: State, learned: Bool[Array, " rows"]
) -> Float[Array, "rows rows"]:
    """Half of dP/dt = F P + P F - P^2, without its terms that cancel at the limit."""
    w = jnp.where(learned, -frame.rates, frame.rates)
    half = w[:, None] * state.deviation
    return half - dot(state.deviation, state.deviation) / 2


def _near_limit(
    frame: Echelon,
    t: Float[Array, ""],
    state: State,
    d: Float[Array, "rows rows"],
    lean: Float[Array, "rows rows"],
    bend: Float[Array, "rows rows"],
) -> Float[Array, "rows rows"]:
    """Half of P bend P + lean P + (lean P)', minus its limit."""
    w = frame.rates
    learned = frame.is_pivot & (w > 0)
    up, gap = growth(w), gaps(frame)
    limit = jnp.where(learned, 2 * up, 0.0)
    deviation = state.deviation
    half = dot(limit[:, None] * bend + dot(deviation, bend) / 2, deviation)
    half += dot(lean, deviation)
    # 4 w_i w_j bend = 2 d - 2 d lack.
    both = learned[:, None] & learned[None]
    smaller = jnp.minimum(up[:, None], up[None])
    lack = 1 + 2 * smaller * t * mean_decay(2 * jnp.abs(gap) * t)
    lack *= jnp.exp(-2 * smaller * t)
    half -= jnp.where(both, d * lack, 0.0)
    lag = (w <= 0)[:, None] & learned[None]
    rest = limit[None] * jnp.exp(jnp.where(lag, gap, 0.0) * t)
    return half - jnp.where(lag, d * rest / jnp.where(lag, -gap, 1.0), 0.0)
