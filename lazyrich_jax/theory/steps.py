r"""Finite steps: how far gradient descent is behind the flow, for aligned modes."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks
from .._linalg import mean_decay, safe_hypot
from .._xla import compiled
from .modes import aligned_modes, mode_arguments, overlaps

NODES = 96  # of the quadrature over one mode


def descent_lag(
    ts: Real[ArrayLike, "..."],
    s: Real[ArrayLike, "..."],
    a0: Real[ArrayLike, "..."],
    lmda: Real[ArrayLike, "..."],
    learning_rate: Real[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""The time by which gradient descent is behind the flow, in aligned modes.

    A mode of descent with learning rate $\eta$ is $a(t - \ell)$ at the time t (steps
    times $\eta$), with `aligned_modes` as a, up to an error of order $\eta^2$. The lag
    $\ell$ is

    $$\frac\eta2 \ln \frac{(s - a) \sqrt r}{(s - a_0) \sqrt{r_0}}
    + \eta\lambda^2 \int_0^t \frac{I}{r^2} dt, \quad I = \int_0^t (s - a)^2 dt,$$

    $r = \sqrt{\lambda^2 + 4a^2}$. At $\lambda = 0$ it is half a step times the
    logarithm of the growth of the weights' velocity. The second term is due to the
    balance, which descent shrinks by the factor $1 - \eta I$. The lag is positive while
    a mode accelerates. It becomes negative, and falls with time, as the mode ends.
    docs/beyond.md derives it.

    **Arguments:**

    - `ts`, `s`, `a0`, `lmda`: as for `aligned_modes`, but times must be finite.
    - `learning_rate`: the learning rate, positive. For inputs of variance c pass
      `c * ts`, `s / c` and `c * learning_rate`; the lag is c times too long.

    **Returns:** lags, of shape `ts.shape + s.shape`; zero at time zero.

    **Raises:** as `aligned_modes`, and for infinite times and a learning rate that
    isn't positive (traced: NaN).

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    ts, s = jnp.linspace(0, 5, 50), 2.0
    lag = lr.theory.descent_lag(ts, s, 0.1, lmda=1.0, learning_rate=0.01)
    descent = lr.theory.aligned_modes(ts - lag, s, 0.1, lmda=1.0)
    print(descent.shape)  # (50,)
    ```
    """
    ts = _checks.as_times("ts", ts, infinite=False)
    rate = _checks.positive(
        "learning_rate", _checks.as_scalar("learning_rate", learning_rate)
    )
    a = aligned_modes(ts, s, a0, lmda)
    lag = _lag(*mode_arguments(ts, s, a0, lmda), a)
    return lag * rate.astype(lag.dtype)


@compiled
def _lag(
    t: Float[Array, "..."],
    s: Float[Array, "..."],
    a0: Float[Array, "..."],
    lmda: Float[Array, "..."],
    a: Float[Array, "..."],
) -> Float[Array, "..."]:
    """The lag over the learning rate."""
    # A balance of zero is the limit of small ones.
    lmda = jnp.maximum(jnp.abs(lmda), float(jnp.finfo(t.dtype).tiny) ** 0.25)
    growth = -_log_approach(t, s, a0, lmda) / 2
    rate = safe_hypot(lmda, 2 * s)
    first, last = (safe_hypot(lmda, 2 * x) for x in (a0, a))
    growth += jnp.log(last / first) / 4
    # The integral of (s - a)^2 over all times, and of lambda^2 / r^2 until now.
    angle = jnp.arcsinh(2 * s / lmda) - jnp.arcsinh(2 * a0 / lmda)
    drift = s / 2 * angle - (s - a0) * (s + a0) / (rate + first)
    balance, strength = lmda / rate, 4 * s / rate
    slower = balance * (balance * t) + strength * ((a / last - a0 / first) / rate)
    slower -= balance * ((lmda / last - lmda / first) / rate)
    return growth + drift * slower - _undrifted(s, a0, lmda, a)


def _log_approach(
    t: Float[Array, "..."],
    s: Float[Array, "..."],
    a0: Float[Array, "..."],
    lmda: Float[Array, "..."],
) -> Float[Array, "..."]:
    r"""$\ln D$ of `aligned_modes`, for $D = (s - a_0) / (s - a)$."""
    plus, minus, _ = overlaps(s, a0, lmda)
    x = safe_hypot(lmda, 2 * s) * t
    gain = t * mean_decay(x)  # (1 - e^{-x}) / K
    grows = plus * gain > 0
    grown = jnp.log(jnp.where(grows, plus * gain, 1.0)) + x
    return jnp.logaddexp(jnp.log1p(minus * gain), jnp.where(grows, grown, -jnp.inf))


def _undrifted(
    s: Float[Array, "..."],
    a0: Float[Array, "..."],
    lmda: Float[Array, "..."],
    a: Float[Array, "..."],
) -> Float[Array, "..."]:
    r"""$\lambda^2 \int_0^t r^{-2} \int_{t'}^\infty (s - a)^2$, for a positive balance.

    The integrand is smooth in u, $2a = \lambda \sinh u$.
    """
    start, end, limit = (jnp.arcsinh(2 * x / lmda) for x in (a0, a, s))
    shape = (*a.shape, NODES)
    nodes, weights = (
        jnp.broadcast_to(jnp.asarray(x, a.dtype), shape)
        for x in np.polynomial.legendre.leggauss(NODES)
    )
    half = (end - start)[..., None] / 2
    u = start[..., None] + half * (1 + nodes)
    s, lmda, limit = (x[..., None] for x in (s, lmda, limit))
    x, rate = lmda / 2 * jnp.sinh(u), safe_hypot(lmda, 2 * s)
    there = s == x
    slope = (limit - u) / jnp.where(there, 1.0, s - x)
    slope = jnp.where(there, 2 / rate, slope)
    left = s / 2 * slope - (s + x) / (rate + lmda * jnp.cosh(u))
    return jnp.sum(half * weights * left / (2 * jnp.cosh(u) ** 2), axis=-1)
