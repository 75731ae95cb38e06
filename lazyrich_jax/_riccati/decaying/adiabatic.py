r"""The solutions of a mode that depend on the present balance alone, at a slow decay.

In: strength s, half the balance $\ell$ and the decay. Out: the ratios of p and m of the
growing one, $p / (-m) = K_{\sigma + 1/2}(z) / K_{\sigma - 1/2}(z)$, and of the falling
one, $z = |\ell| / 2\gamma$. Both are integrals around the eigenvector of F at the
present balance, $\sinh u = s / \ell$, and one function of the decay: the falling one
has it negative. A network that starts infinitely large in the growing direction
learns $a = (1/r - \ell^2 r) / 2$, $r = -m / \ell p$, in place of s. docs/beyond.md,
section 1.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..._linalg import safe_hypot
from . import even

POINTS = 20  # of the means
WIDEST = 1 / 100  # 2 decay / h: the decay is slow where it is less


class Adiabatic(NamedTuple):
    """The adiabatic solution of every mode at the present balance."""

    rise: Float[Array, " modes"]  # -l p / m
    lack: Float[Array, " modes"]  # s - a
    size: Float[Array, " modes"]  # the logarithm of m, less the exponent of `phases`


def is_slow(
    s: Float[Array, " modes"], half: Float[Array, ""], decay: Float[Array, ""]
) -> Bool[Array, " modes"]:
    r"""Whether the decay is slow: $2\gamma \ll h$."""
    return 2 * decay < WIDEST * safe_hypot(s, half)


def adiabatic(
    s: Float[Array, " modes"], half: Float[Array, ""], decay: Float[Array, ""]
) -> Adiabatic:
    """The growing solution at a slow decay, the falling one at a negative decay.

    The ratio of the falling one is p / m = l / rise.
    """
    h = safe_hypot(s, half)
    slow = is_slow(s, half, jnp.abs(decay))
    size = jnp.where(h > 0, h, 1.0)
    width = jnp.where(slow, 2 * decay / size, WIDEST)
    # Gauss's rule: the weights are close to Gaussian. Its nodes are pairs.
    x, rule = np.polynomial.hermite_e.hermegauss(POINTS)
    x, rule = (jnp.asarray(y[POINTS // 2 :], s.dtype)[None] for y in (x, rule))
    y = x * x * width[:, None]  # v^2
    skew = x * x * (s / size)[:, None] * even.series(y, 3)  # the odd exponent over v
    both = rule * jnp.exp(-x * x * y * even.series(y, 4))
    cosh, sinh = (even.series(y / 4, first) for first in (0, 1))  # of v / 2
    weight = both * even.cosh(y * skew**2)
    odd = -both * y * skew * even.sinh_quotient(y * skew**2)  # v times the odd weight
    up, down = (both * even.cosh(y * (skew - z / 2) ** 2) for z in (1, -1))
    square, skewed = weight * y / 4 * sinh**2 / cosh, odd * sinh / (2 * cosh**2)
    total, *means = (jnp.sum(z, axis=1) for z in (weight, up, down, square, skewed))
    a, b, square, skewed = (mean / total for mean in means)
    # Minus twice the mean of sinh(v / 2), by parts.
    lean = 2 * s / size * square + width / 2 * skewed
    lack = lean / 2 * ((h + s) / b + half**2 / (size + s) / a)
    log_size = jnp.log(total * a) + jnp.log1p(s / size) / 2
    return Adiabatic(jnp.where(slow, (h + s) * a / b, 1.0), lack, log_size)


def lack(
    start: Adiabatic,
    end: Adiabatic,
    falling: Float[Array, " modes"],
    share: Float[Array, " modes"],
    later: Float[Array, ""],
) -> Float[Array, " modes"]:
    r"""s - a of the adiabatic solution plus `falling` times the falling one.

    `falling` is relative to the adiabatic m. `share` is $\ell^2\varrho$.
    """
    more = falling * (1 + share / end.rise)
    return end.lack - more / 2 * (end.rise + later**2 / (end.rise * (1 + more)))
