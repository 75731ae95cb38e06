r"""The error of a mode's function under weight decay, without cancellation.

A network that starts infinitely large in the growing direction of a mode learns
$a = (1/r - \ell^2 r) / 2$, $r = -m / \ell p$ of the growing solution. It approaches the
adiabatic solution, which depends on the present balance alone:
$p / (-m) = K_{\sigma + 1/2}(z) / K_{\sigma - 1/2}(z)$, $z = |\ell| / 2\gamma$. They are
integrals of $e^{-z \cosh u + (\sigma \pm 1/2) u}$. The maximum of the common exponent,
$\sinh u = s / \ell$, is the eigenvector of F at the present balance. It learns a = s.
The rest of the integrals is s - a, of order $\gamma$. docs/beyond.md, section 1.
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
    return Adiabatic((h + s) * a / b, lack, is_slow)


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
