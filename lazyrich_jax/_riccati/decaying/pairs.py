r"""The two rows of a mode under weight decay, in closed form.

In: strength s, balance $\lambda$, weight decay $\gamma$ and a time t. Out: two
solutions of

$$\dot p = (s - \gamma) p - \ell m, \quad \dot m = -(s + \gamma) m - \ell p, \quad
\ell(t) = \frac\lambda2 e^{-2\gamma t},$$

and the integrals of their products. The falling solution starts at
$(\ell_0 \varrho_0, 1)$ and falls for ever. The growing one starts at (1, 0). With
$z = |\ell| / 2\gamma$ and $\sigma = s / 2\gamma$ the solutions are modified Bessel
functions of order $\sigma \pm 1/2$ and argument z. Integrals of positive functions
replace them: no parameter is a singular one, no term cancels, and all derivatives
exist. docs/beyond.md, section 1.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .adiabatic import adiabatic, is_slow, lack
from .falling import falling
from .phases import phase
from .rising import log_rise

CUT = 50.0  # larger exponents don't matter
ORDER = 8  # of the powers of time, up to which a mode is
EARLY = 0.01  # early, in units of its rates


class Exponential(NamedTuple):
    """e^{rate t + rest}, by its two parts: their sum would lose digits late."""

    rate: Float[Array, " modes"]
    rest: Float[Array, " modes"]


class Pairs(NamedTuple):
    """The two solutions of every mode at one time, `p` before `m`.

    The upper triangular root of the integral of their products, from zero to the time,
    is [[root, mixed], [0, last]].
    """

    grow: Exponential  # the growing solution is grow, -across turn
    turn: Exponential
    across: Float[Array, " modes"]
    fall: Exponential  # the falling one is tilt fall, fall
    tilt: Float[Array, " modes"]
    root: Exponential
    mixed: Float[Array, " modes"]
    last: Float[Array, " modes"]
    # What a start in the growing direction lacks of the strength, if it is infinite.
    lack: Float[Array, " modes"]


def pairs(
    s: Float[Array, " modes"],
    lmda: Float[Array, ""],
    decay: Float[Array, ""],
    t: Float[Array, ""],
) -> Pairs:
    """The two solutions of every mode at `t`."""
    sign, half = jnp.where(lmda >= 0, 1.0, -1.0), jnp.where(lmda >= 0, lmda, -lmda) / 2
    later = half * jnp.exp(-2 * decay * t)
    start, end = (falling(s, x, decay, later) for x in (half, later))
    # The falling solution is e^{-(s + decay) t + shrink}.
    shrink = phase(s + end.shift, half, later, decay, t) + end.size - start.size
    rho0, rho = start.ratio, end.ratio
    over, under = parts(s - decay)
    gap = over + under
    reach = log_rise(gap, half, later, decay, t)
    # The part of the growing solution's p that is due to its m.
    share = half**2 * rho * jnp.exp((2 * under - 4 * decay) * t + shrink + reach)
    kept = jnp.log1p(-share)
    mixed = (2 * under - over - 4 * decay) * t + (3 * shrink + reach - kept) / 2
    # The square of `last` is rho0 (1 - e^{-x}), x = 2 (s + decay) t + `more`.
    more = jnp.log(rho0 / rho) - 2 * shrink + kept
    square = -rho0 * jnp.expm1(-jnp.maximum(2 * (s + decay) * t + more, 0.0))
    early = (s + half + decay) * t < EARLY
    square = jnp.where(early, _early_square(s, half, decay, t, early), square)
    # p and m of the growing solution have the ratio r = -m / l p.
    r = jnp.exp(jnp.clip(2 * under * t + reach + shrink - kept, -CUT, CUT))
    lost = s - (1 / r - later**2 * r) / 2
    first, present = adiabatic(s, half, decay), adiabatic(s, later, decay)
    part = jnp.exp(jnp.minimum((decay - s - gap) * t + shrink - reach, CUT))
    part /= first.rise + half**2 * rho0
    slow = lack(first, present, part, later**2 * rho, later)
    return Pairs(
        grow=Exponential(s - decay, kept - shrink),
        turn=Exponential(gap - 2 * decay, reach),
        across=jnp.broadcast_to(lmda / 2, s.shape),
        fall=Exponential(-s - decay, shrink),
        tilt=sign * later * rho,
        root=Exponential(over, (reach + kept - shrink) / 2),
        mixed=sign * half * rho * jnp.exp(mixed),
        last=jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0),
        lack=jnp.where(is_slow(s, later, decay), slow, lost),
    )


def parts(
    x: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """The positive and the negative part.

    What depends on x smoothly has its derivatives at zero too, of one side.
    """
    positive = x >= 0
    return jnp.where(positive, x, 0.0), jnp.where(positive, 0.0, -x)


def _early_square(
    s: Float[Array, " modes"],
    half: Float[Array, ""],
    decay: Float[Array, ""],
    t: Float[Array, ""],
    early: Bool[Array, " modes"],
) -> Float[Array, " modes"]:
    r"""$\int_0^t e^{-2\gamma t'} / p^2 dt'$ of the growing solution, by powers of t.

    Its p, without the factor $e^{-\gamma t}$, obeys
    $\ddot p = -2\gamma\dot p + (s^2 + 2\gamma s + \ell^2) p$.
    """
    # All rates in units of 1 / t.
    s, half, decay = (jnp.where(early, x * t, 0.0) for x in (s, half, decay))
    p = [jnp.ones_like(s), s]
    for n in range(ORDER - 2):
        balance = half**2 * sum(
            (-4 * decay) ** k / math.factorial(k) * p[n - k] for k in range(n + 1)
        )
        rise = (s**2 + 2 * decay * s) * p[n] + balance
        p.append((rise - 2 * decay * (n + 1) * p[n + 1]) / ((n + 1) * (n + 2)))
    square = [sum(p[k] * p[n - k] for k in range(n + 1)) for n in range(ORDER)]
    total, inverse = jnp.zeros_like(s), []
    for n in range(ORDER):  # the integrand times p^2 is the exponential
        term = (-2 * decay) ** n / math.factorial(n)
        term -= sum(square[k] * inverse[n - k] for k in range(1, n + 1))
        inverse.append(term)
        total += term / (n + 1)
    return t * total
