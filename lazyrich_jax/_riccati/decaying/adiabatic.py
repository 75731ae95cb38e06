r"""The error of a mode's function under weight decay, without cancellation.

A network that starts infinitely large in the growing direction of a mode learns
$a = (1/r - \ell^2 r) / 2$, $r = -m / \ell p$ of the growing solution. It approaches the
adiabatic solution, which depends on the present balance alone:
$p / (-m) = K_{\sigma + 1/2}(z) / K_{\sigma - 1/2}(z)$, $z = |\ell| / 2\gamma$. They are
integrals of $e^{-z \cosh u + (\sigma \pm 1/2) u}$. The maximum of the common exponent,
$\sinh u = s / \ell$, is the eigenvector of F at the present balance. It learns a = s.
The rest of the integrals is s - a, of order $\gamma$. docs/beyond.md, section 1.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..._linalg import safe_hypot

POINTS = 20  # of the means
TERMS = 6  # of power series
WIDEST = 1 / 100  # 2 decay / h: the decay is slow where it is less


class Adiabatic(NamedTuple):
    """The adiabatic solution of every mode at the present balance."""

    rise: Float[Array, " modes"]  # -l p / m
    lack: Float[Array, " modes"]  # s - a
    is_slow: Bool[Array, " modes"]


def adiabatic(
    s: Float[Array, " modes"], half: Float[Array, ""], decay: Float[Array, ""]
) -> Adiabatic:
    r"""The adiabatic solution where the decay is slow: $2\gamma \ll h$."""
    h = safe_hypot(s, half)
    size = jnp.where(h > 0, h, 1.0)
    width = 2 * decay / size
    is_slow = (h > 0) & (width < WIDEST)
    width = jnp.where(is_slow, width, WIDEST)
    along = (s / size)[:, None]
    # Gauss's rule: the weights are close to Gaussian.
    x, rule = np.polynomial.hermite_e.hermegauss(POINTS)
    x, rule = (jnp.asarray(y, s.dtype)[None] for y in (x, rule))
    v = x * jnp.sqrt(width + jnp.finfo(s.dtype).eps ** 2)[:, None]
    skew = v * (v * _series(v * v, 4) + along * _series(v * v, 3))
    weight = rule * jnp.exp(-x * x * skew)
    up = jnp.exp(v / 2)
    down = 1 / up
    sinh, cosh = v / 2 * _series(v * v / 4, 1), (up + down) / 2
    terms = jnp.ones_like(v), up, down, sinh * sinh / cosh, sinh / (cosh * cosh)
    total, *means = (jnp.sum(weight * y, axis=1) for y in terms)
    a, b, square, skewed = (mean / total for mean in means)
    # Minus twice the mean of sinh(v / 2), by parts.
    lean = 2 * s / size * square + width / 2 * skewed
    lack = lean / 2 * ((h + s) / b + half**2 / (size + s) / a)
    return Adiabatic((h + s) * a / b, lack, is_slow)


def _series(y: Float[Array, "..."], first: int) -> Float[Array, "..."]:
    """The sum of y^k / (2k + first)!."""
    found = jnp.zeros_like(y)
    for k in range(TERMS - 1, -1, -1):
        found = found * y + 1 / math.factorial(2 * k + first)
    return found


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
    rise = jnp.where(end.is_slow, end.rise, 1.0)
    more = falling * (1 + share / rise)
    return end.lack - more / 2 * (rise + later**2 / (rise * (1 + more)))
