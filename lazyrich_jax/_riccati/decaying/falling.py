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
from . import even

STEPS = 12  # of the continued fraction, before its tail
POINTS = 32  # of the tail's integral, at one side
DROP = 38.0  # the integrand is left out below e^-38 of its maximum


class Falling(NamedTuple):
    r"""Ratios $p / \ell m$ of falling solutions with the strengths s + 2k decay."""

    ratios: Float[Array, "steps modes"]
    tail: Float[Array, " modes"]  # integral of the last, times a constant of time


def falling(
    s: Float[Array, " modes"],
    half: Float[Array, ""],
    decay: Float[Array, ""],
    last: Float[Array, ""] | None = None,
) -> Falling:
    r"""The falling solution's ratio $\varrho = p / \ell m$ at the present $\ell$.

    It is the continued fraction $\varrho_k = 1 / (2s + (4k + 2)\gamma + \ell^2
    \varrho_{k+1})$ of $I_{\sigma + 1/2} / I_{\sigma - 1/2}$ (DLMF 10.33.1). Poisson's
    integral (DLMF 10.32.2) around its maximum is the tail. Tails of one decision, by
    the smaller balance `last`, have a quotient.
    """
    tiny = jnp.finfo(half.dtype).tiny ** 0.5
    strength = s + 2 * STEPS * decay
    size = strength + safe_hypot(strength, half) + tiny
    # The width is zero over zero where s and the decay vanish. No first derivative
    # depends on it there.
    width, least = decay / (strength + tiny), jnp.finfo(half.dtype).eps ** 0.5
    is_flat = strength < least * (half if last is None else last)
    width = jnp.where(is_flat, jax.lax.stop_gradient(width), width)
    mean, tail = _mean(width, half / size)
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
    # -psi >= v^2 / (2 - tau + v), and no less below zero. The trapezoidal rule has all
    # digits: the integrand is analytic. Its nodes are pairs.
    lin = DROP * jnp.sqrt(width)
    high = jax.lax.stop_gradient(lin + jnp.sqrt(lin**2 + 4 * DROP * (2 - tau))) / 2
    step = high / (POINTS - 1)
    x = step[:, None] * jnp.arange(POINTS, dtype=width.dtype)[None]
    y, tau = x * x * width[:, None], tau[:, None]  # y = v^2
    # y is at most 8, and the terms are positive.
    cosh, sinh = (even.series(y, first, 16) for first in (0, 1))
    more = (1 - tau**2) * y * sinh**2  # the product of D at both nodes, less one
    tangent = tau * sinh / cosh
    # The exponent is `both` + v `skew`.
    both = -x * x * sinh**2 * (tau**2 / (1 + more) + (1 - tau**2) * _log(more) / 2)
    skew = x * x * tangent**3 * _lack(y * tangent**2)
    weight = even.cosh(y * skew**2, both)
    odd = y * skew * even.sinh_quotient(y * skew**2, both)  # v times the odd weight
    square = (cosh**2 + tau**2 * y * sinh**2) * weight - 2 * tau * cosh * sinh * odd
    square = square / (1 + more) ** 2
    total, mean = (jnp.sum(z, axis=1) - z[:, 0] / 2 for z in (weight, square))
    return mean / total, total * step


def _log(a: Float[Array, "..."]) -> Float[Array, "..."]:
    """log(1 + a) / a for a >= 0."""
    small = a < 0.1
    near, far = jnp.where(small, a, 0.0), jnp.where(small, 1.0, a)
    terms = [(-1) ** k / (k + 1) for k in range(16)]
    return jnp.where(small, even.polynomial(near, terms), jnp.log1p(far) / far)


def _lack(q: Float[Array, "..."]) -> Float[Array, "..."]:
    """1 / (1 - q) less atanh(u) / u, over q = u^2 < 1."""
    small = q < 0.1
    near, far = jnp.where(small, q, 0.0), jnp.where(small, 0.5, q)
    root = jnp.sqrt(far)
    lack = (1 / (1 - far) - jnp.arctanh(root) / root) / far
    terms = [1 - 1 / (2 * k + 3) for k in range(16)]
    return jnp.where(small, even.polynomial(near, terms), lack)
