r"""The falling solution's ratio of p and m, from the present balance alone.

In: strength s, half the balance $\ell$ and the decay. Out: $\varrho = p / \ell m$, by
a continued fraction of modified Bessel functions and an integral in place of its tail.
docs/beyond.md, section 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._linalg import safe_hypot

STEPS = 12  # of the continued fraction, before its tail
POINTS = 40  # of the tail's integral
DROP = 38.0  # the integrand is left out below e^-38 of its maximum


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
