r"""The exponents of a mode's solutions to leading order in the weight decay.

In: strength s, half the balance $\ell$ at the start and at t, the decay and t. Out:
integrals over time of $h = \sqrt{s^2 + \ell^2}$ and the like, without cancellation.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._linalg import mean_decay, safe_hypot


def phase(
    s: Float[Array, " modes"],
    half: Float[Array, ""],
    later: Float[Array, ""],
    decay: Float[Array, ""],
    t: Float[Array, ""],
) -> Float[Array, " modes"]:
    r"""The change of $(h - s \log(s + h)) / 2\gamma$, $h^2 = s^2 + \ell^2$."""
    lost, h = fall_of_h(s, half, later, decay, t)
    size = jnp.where(s + h == 0, 1.0, s + h)
    return s * log_quotient(2 * decay, lost / size) - lost


def fall_of_h(
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


def log_quotient(
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
