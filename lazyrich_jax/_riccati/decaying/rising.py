r"""The growing solution's m, an integral of a positive function over time.

In: a rate g, half the balance at the start and at t, the decay and t. Out: the
logarithm of the integral. docs/beyond.md, section 1.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import i0e, i1e
from jaxtyping import Array, Float

from ..._linalg import mean_decay
from .phases import fall_of_h, log_quotient

NODES = 36, 36, 32  # of the integral's pieces
DROP = 38.0  # the integrand is left out below e^-38 of its maximum
HALVINGS = 10


def log_rise(
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
    """The maximum of the integrand of `log_rise`, in units of 2t, and its logarithm.

    The further results are lengths: before the maximum, from there to the plateau, and
    to the end. The integrand is negligible elsewhere.
    """

    def height(x):
        return -gap * 2 * t * x + jnp.sqrt(_square(x, half, decay, t))

    lost, h = fall_of_h(gap, half, later, decay, t)
    size = gap + h
    top = log_quotient(2 * decay, lost / jnp.where(size == 0, 1.0, size))
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
