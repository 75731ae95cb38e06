r"""The falling solution of a mode: its ratio of p and m, and its size.

In: strength s, half the balance $\ell$ and the decay. Out: $\varrho = p / \ell m$, of
the adiabatic solution where the decay is slow. Elsewhere it is a continued fraction of
modified Bessel functions, with an integral in place of its tail. docs/beyond.md,
section 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._linalg import safe_hypot
from .adiabatic import adiabatic, is_slow

STEPS = 12  # of the continued fraction, before its tail
POINTS = 40  # of the tail's integral
DROP = 38.0  # the integrand is left out below e^-38 of its maximum


class Falling(NamedTuple):
    r"""The ratio $p / \ell m$ of falling solutions, and their size."""

    ratio: Float[Array, " modes"]
    size: Float[Array, " modes"]  # log m less the `phase` of the strength s + shift
    shift: Float[Array, " modes"]


def falling(
    s: Float[Array, " modes"],
    half: Float[Array, ""],
    decay: Float[Array, ""],
    last: Float[Array, ""] | None = None,
) -> Falling:
    """The falling solution at the present balance.

    Sizes of one decision, by the smaller balance `last`, have a difference.
    """
    slow = is_slow(s, half if last is None else last, decay)
    near, far = adiabatic(s, half, -decay), _fraction(s, half, decay, slow)
    pairs = zip((1 / near.rise, near.size, 0.0), far, strict=True)
    return Falling(*(jnp.where(slow, x, y) for x, y in pairs))


def _fraction(
    s: Float[Array, " modes"],
    half: Float[Array, ""],
    decay: Float[Array, ""],
    slow: Bool[Array, " modes"],
) -> Falling:
    r"""`falling` where the decay is not slow.

    It is the continued fraction $\varrho_k = 1 / (2s + (4k + 2)\gamma + \ell^2
    \varrho_{k+1})$ of $I_{\sigma + 1/2} / I_{\sigma - 1/2}$ (DLMF 10.33.1). Poisson's
    integral (DLMF 10.32.2) around its maximum is the tail.
    """
    tiny = jnp.finfo(half.dtype).tiny ** 0.5  # everything may be zero
    shift = jnp.broadcast_to(2 * STEPS * decay, s.shape)
    size = s + shift + safe_hypot(s + shift, half) + tiny
    some = ~slow & (decay > 0)
    width = jnp.where(some, decay / jnp.where(some, s + shift, 1.0), 1 / (2 * STEPS))
    mean, tail = _tail(width, half / size)
    ratio, log_size = mean / size, jnp.log(tail)
    for k in reversed(range(STEPS)):
        ratio = 1 / (2 * s + (4 * k + 2) * decay + half**2 * ratio + tiny)
        log_size -= jnp.log(ratio)
    return Falling(ratio, log_size, shift)


def _tail(
    width: Float[Array, " modes"], tau: Float[Array, " modes"]
) -> tuple[Float[Array, " modes"], Float[Array, " modes"]]:
    r"""The mean of $D^{-2}$ and the integral of $e^{\psi / w}$, w the width.

    $\psi = \tau \sinh v / D - \log D$, $D = \cosh v + \tau \sinh v$.
    """
    # -psi >= v^2 / (2 - tau + v), and v^2 / (2 - tau - (1 - tau) v) below zero. The
    # trapezoidal rule has all digits: the integrand is analytic.
    most = DROP * width
    sides = (most * x for x in (1, 1 - tau))
    sides = ((x + jnp.sqrt(x**2 + 4 * most * (2 - tau))) / 2 for x in sides)
    high, low = map(jax.lax.stop_gradient, sides)
    step = (high + low) / (POINTS - 1)
    v = step[:, None] * jnp.arange(POINTS, dtype=width.dtype)[None] - low[:, None]
    width, tau = width[:, None], tau[:, None]
    lean = tau * jnp.sinh(v)
    more = 2 * jnp.sinh(v / 2) ** 2 + lean  # D - 1
    weight = jnp.exp((lean / (1 + more) - jnp.log1p(more)) / width)
    total = jnp.sum(weight, axis=1)
    return jnp.sum(weight / (1 + more) ** 2, axis=1) / total, total * step
