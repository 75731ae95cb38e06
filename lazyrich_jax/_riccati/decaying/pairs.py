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

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import i0e, i1e
from jaxtyping import Array, Bool, Float

from ..._linalg import mean_decay, safe_hypot

STEPS = 12  # of the continued fraction, before its tail
POINTS = 40  # of the tail's integral
NODES = 36, 36, 32  # of the pieces of the growing solution's integral
DROP = 38.0  # the integrands are left out below e^-38 of their maxima
ORDER = 8  # of the powers of time, up to which a mode is
EARLY = 0.01  # early, in units of its rates
HALVINGS = 10


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


def pairs(
    s: Float[Array, " modes"],
    lmda: Float[Array, ""],
    decay: Float[Array, ""],
    t: Float[Array, ""],
) -> Pairs:
    """The two solutions of every mode at `t`."""
    sign, half = jnp.where(lmda >= 0, 1.0, -1.0), jnp.where(lmda >= 0, lmda, -lmda) / 2
    later = half * jnp.exp(-2 * decay * t)
    start, end = falling(s, half, decay), falling(s, later, decay)
    # The falling solution is e^{-(s + decay) t + shrink}.
    shrink = (
        _phase(s + 2 * STEPS * decay, half, later, decay, t)
        + jnp.sum(jnp.log(start.ratios / end.ratios), axis=0)
        + jnp.log(end.tail / start.tail)
    )
    rho0, rho = start.ratios[0], end.ratios[0]
    over, under = jnp.maximum(s - decay, 0.0), jnp.maximum(decay - s, 0.0)
    gap = jnp.abs(s - decay)
    reach = _reach(gap, half, later, decay, t)
    # The part of the growing solution's p that is due to its m.
    share = half**2 * rho * jnp.exp((2 * under - 4 * decay) * t + shrink + reach)
    kept = jnp.log1p(-share)
    mixed = (2 * under - over - 4 * decay) * t + (3 * shrink + reach - kept) / 2
    # The square of `last` is rho0 (1 - e^{-x}), x = 2 (s + decay) t + `more`.
    more = jnp.log(rho0 / rho) - 2 * shrink + kept
    still = 1 - half**2 * start.ratios[1] * rho0  # 2 (s + decay) rho0
    square = mean_decay(jnp.maximum(2 * (s + decay) * t + more, 0.0))
    square = jnp.maximum(square * (still * t + more * rho0), 0.0)
    early = (s + half + decay) * t < EARLY
    square = jnp.where(early, _early_square(s, half, decay, t, early), square)
    return Pairs(
        grow=Exponential(s - decay, kept - shrink),
        turn=Exponential(gap - 2 * decay, reach),
        across=jnp.broadcast_to(lmda / 2, s.shape),
        fall=Exponential(-s - decay, shrink),
        tilt=sign * later * rho,
        root=Exponential(over, (reach + kept - shrink) / 2),
        mixed=sign * half * rho * jnp.exp(mixed),
        last=jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0),
    )


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


class Falling(NamedTuple):
    r"""Ratios $p / \ell m$ of falling solutions with the strengths s + 2k decay."""

    ratios: Float[Array, "steps modes"]
    tail: Float[Array, " modes"]  # integral of the last, times a constant of time


def falling(
    s: Float[Array, " modes"], half: Float[Array, ""], decay: Float[Array, ""]
) -> Falling:
    r"""The falling solution's ratio $\varrho = p / \ell m$ at the present $\ell$.

    It is the continued fraction $\varrho_k = 1 / (2s + (4k + 2)\gamma + \ell^2
    \varrho_{k+1})$ of $I_{\sigma + 1/2} / I_{\sigma - 1/2}$ (DLMF 10.33.1). Poisson's
    integral (DLMF 10.32.2) around its maximum is the tail.
    """
    tiny = jnp.finfo(half.dtype).tiny ** 0.5
    strength = s + 2 * STEPS * decay
    size = strength + safe_hypot(strength, half) + tiny
    mean, tail = _mean(decay / (strength + tiny), half / size)
    ratio, ratios = mean / size, []
    for k in reversed(range(STEPS)):
        ratio = 1 / (2 * s + (4 * k + 2) * decay + half**2 * ratio + tiny)
        ratios.append(ratio)
    return Falling(jnp.stack(ratios[::-1]), tail)


def _mean(
    width: Float[Array, " modes"], tau: Float[Array, " modes"]
) -> tuple[Float[Array, " modes"], Float[Array, " modes"]]:
    r"""The mean of $D^{-2}$ and the integral of $e^{\psi / w}$, w the width.

    $\psi = \tau \sinh v / D - \log D$, $D = \cosh v + \tau \sinh v$.
    """
    root = jnp.sqrt(width + jnp.finfo(width.dtype).eps)
    # -psi >= v^2 / (2 - tau + v), and v^2 / (2 - tau - (1 - tau) v) below zero. The
    # trapezoidal rule has all digits: the integrand is analytic.
    low, high = (
        (lin + jnp.sqrt(lin**2 + 4 * DROP * (2 - tau))) / 2
        for lin in (DROP * root * (1 - tau), DROP * root)
    )
    low, high = jax.lax.stop_gradient((-low, high))
    step = (high - low) / (POINTS - 1)
    x = low[:, None] + step[:, None] * jnp.arange(POINTS, dtype=width.dtype)[None]
    v, tau = x * root[:, None], tau[:, None]
    half_sinh, sinh = _sinh_quotient(v / 2), _sinh_quotient(v)
    slope = v * half_sinh**2 / 2 + tau * sinh  # (D - 1) / v
    d = 1 + v * slope
    psi = slope**2 * _log_lack(v * slope) - half_sinh**2 / 2 / d  # over v^2
    weight = jnp.exp(x * x * psi)
    total = jnp.sum(weight, axis=1)
    return jnp.sum(weight / (d * d), axis=1) / total, total * step


def _phase(
    s: Float[Array, " modes"],
    half: Float[Array, ""],
    later: Float[Array, ""],
    decay: Float[Array, ""],
    t: Float[Array, ""],
) -> Float[Array, " modes"]:
    r"""The change of $(h - s \log(s + h)) / 2\gamma$, $h^2 = s^2 + \ell^2$."""
    lost, h = _lost(s, half, later, decay, t)
    size = jnp.where(s + h == 0, 1.0, s + h)
    return s * _log_quotient(2 * decay, lost / size) - lost


def _lost(
    s: Float[Array, " modes"],
    half: Float[Array, ""],
    later: Float[Array, ""],
    decay: Float[Array, ""],
    t: Float[Array, ""],
) -> tuple[Float[Array, " modes"], Float[Array, " modes"]]:
    r"""The fall of h, $h^2 = s^2 + \ell^2$, over $2\gamma$, and its value at t."""
    h0, h = safe_hypot(s, half), safe_hypot(s, later)
    size = jnp.where(h0 + h == 0, 1.0, h0 + h)
    return half**2 * 2 * t * mean_decay(4 * decay * t) / size, h


def _reach(
    gap: Float[Array, " modes"],
    half: Float[Array, ""],
    later: Float[Array, ""],
    decay: Float[Array, ""],
    t: Float[Array, ""],
) -> Float[Array, " modes"]:
    r"""The logarithm of $\frac12 \int_0^{2t} e^{-gx} I_0(\omega(x)) dx$.

    $\omega^2 = \ell_0^2 \varphi(x) \varphi(2t - x)$, $\varphi(x) = (1 - e^{-2\gamma x})
    / 2\gamma$: the growing solution's m by Riemann's function of the two equations. The
    logarithm of the integrand is concave. $\omega$ is symmetric about t: the integral
    goes to t, of both exponentials.
    """
    held = jax.lax.stop_gradient((gap, half, later, decay, t))
    top, highest, before, plateau, beyond = _window(*held)
    starts, lengths = (top, top, top + plateau), (-before, plateau, beyond - plateau)
    pieces = zip(starts, lengths, NODES, strict=True)
    x, weights = (jnp.concatenate(y, 1) for y in zip(*map(_nodes, pieces), strict=True))
    gap = gap[:, None]
    exponent = -gap * 2 * t * x - highest[:, None]
    values = _bessel(exponent, _square(x, half, decay, t))
    values *= 1 + jnp.exp(-gap * 2 * t * (1 - 2 * x))
    total = jnp.sum(values * weights, axis=1)
    return highest + jnp.log(total) + jnp.log(t)


def _square(
    x: Float[Array, "..."],
    half: Float[Array, ""],
    decay: Float[Array, ""],
    t: Float[Array, ""],
) -> Float[Array, "..."]:
    r"""$\omega^2$ at the time 2tx."""
    x, rest = x * 2 * t, (1 - x) * 2 * t
    near = mean_decay(2 * decay * x) * mean_decay(2 * decay * rest)
    return half**2 * x * rest * near


def _window(
    gap: Float[Array, " modes"],
    half: Float[Array, ""],
    later: Float[Array, ""],
    decay: Float[Array, ""],
    t: Float[Array, ""],
) -> tuple[Float[Array, " modes"], ...]:
    """The maximum of the integrand of `_reach`, in units of 2t, and its logarithm.

    The further results are lengths: before the maximum, from there to the plateau, and
    to the end. The integrand is negligible elsewhere.
    """

    def height(x):
        return -gap * 2 * t * x + jnp.sqrt(_square(x, half, decay, t))

    lost, h = _lost(gap, half, later, decay, t)
    size = gap + h
    top = _log_quotient(2 * decay, lost / jnp.where(size == 0, 1.0, size))
    top = jnp.minimum(jnp.where(size == 0, 0.0, top), t) / (2 * t)
    # Omega rises to a plateau, on which g alone is left.
    plateau = (5 + jnp.log1p(half / (decay + 1 / t))) / (4 * decay * t)
    top = jnp.minimum(top, plateau)
    highest = height(top)
    side = jnp.array([-1.0, 1.0], t.dtype)[:, None]
    most = jnp.stack([top, 0.5 - top])
    least = 1 / (100 * t * (gap + half + decay + 1 / t))
    least = jnp.minimum(most, least[None])

    def halve(_, ends):
        least, longest = ends
        middle = jnp.sqrt(least) * jnp.sqrt(longest)
        out = jax.vmap(height)(top[None] + side * middle) < highest[None] - DROP
        return jnp.where(out, least, middle), jnp.where(out, middle, longest)

    _, (before, beyond) = jax.lax.fori_loop(0, HALVINGS, halve, (least, most))
    return top, highest, before, jnp.minimum(plateau, beyond), beyond


def _nodes(
    piece: tuple[Float[Array, " modes"], Float[Array, " modes"], int],
) -> tuple[Float[Array, "modes nodes"], Float[Array, "modes nodes"]]:
    """Nodes and weights of Gauss's rule, with most nodes near the piece's start."""
    start, length, count = piece
    nodes, weights = np.polynomial.legendre.leggauss(count)
    nodes = (nodes + 1) / 2
    nodes, weights = (
        jnp.asarray(x, start.dtype)[None] for x in (nodes**2, nodes * weights)
    )
    return start[:, None] + length[:, None] * nodes, jnp.abs(length)[:, None] * weights


@jax.custom_jvp
def _bessel(
    exponent: Float[Array, "..."], square: Float[Array, "..."]
) -> Float[Array, "..."]:
    r"""$e^x I_0(\sqrt y)$, an analytic function of x and y."""
    root = jnp.sqrt(square)
    return jnp.exp(exponent + root) * i0e(root)


@_bessel.defjvp
def _bessel_jvp(primals, tangents):
    value, square = _bessel(*primals), primals[1]
    small = square < 1e-2
    root = jnp.sqrt(jnp.where(small, 1.0, square))
    far = i1e(root) / i0e(root) / (2 * root)
    near = jnp.where(small, square, 0.0)
    near = 1 / 4 - near / 32 + near**2 / 192 - near**3 * (11 / 12288)
    slope = jnp.where(small, near, far)
    return value, value * (tangents[0] + slope * tangents[1])


def _log_quotient(
    c: Float[Array, ""], x: Float[Array, " modes"]
) -> Float[Array, " modes"]:
    """log(1 + c x) / c for c, x >= 0; x at c = 0."""
    y = c * x
    small = y < 0.05
    near = jnp.where(small, y, 0.0)
    series = jnp.zeros_like(y)
    for k in range(14, -1, -1):
        series = series * near + (-1) ** k / (k + 1)
    far = jnp.where(small, 1.0, y)
    return x * jnp.where(small, series, jnp.log1p(far) / far)


def _log_lack(a: Float[Array, "..."]) -> Float[Array, "..."]:
    """(a / (1 + a) - log(1 + a)) / a^2 for a > -1."""
    small = jnp.abs(a) < 0.1
    near = jnp.where(small, a, 0.0)
    series = jnp.zeros_like(a)
    for k in range(16, 1, -1):
        series = series * near + (-1) ** (k - 1) * (1 - 1 / k)
    far = jnp.where(small, 1.0, a)
    return jnp.where(small, series, (far / (1 + far) - jnp.log1p(far)) / far**2)


def _sinh_quotient(v: Float[Array, "..."]) -> Float[Array, "..."]:
    """sinh(v) / v."""
    small = jnp.abs(v) < 0.1
    square = jnp.where(small, v, 0.0) ** 2
    series = 1 + square / 6 * (1 + square / 20 * (1 + square / 42 * (1 + square / 72)))
    far = jnp.where(small, 1.0, v)
    return jnp.where(small, series, jnp.sinh(far) / far)
