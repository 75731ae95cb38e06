r"""Generalisation of aligned students of a noisy teacher, and when to stop."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._linalg import safe_hypot
from .._xla import compiled
from .modes import aligned_modes
from .roots import rising_root
from .spiked import NoisyModes

STEPS = 1000  # times at which the test error is searched for its lowest value


def test_error(
    ts: Real[ArrayLike, "*times"],
    modes: NoisyModes,
    a0: Real[ArrayLike, "*modes"],
    lmda: Real[ArrayLike, "*modes"],
) -> Float[Array, "*times"]:
    r"""The test error of an aligned two-layer student trained on noisy targets.

    The student starts with the singular vectors of the noisy correlation. Its modes
    then follow `aligned_modes` towards the noisy singular values, and the error is

    $$\tfrac12\|W(t) - \bar W\|^2 = \tfrac12\Big[r +
    \sum_k \big(a_k(t) - p_k\big)^2\Big]$$

    in the notation of `NoisyModes`: the mean loss over new white inputs with targets
    of the teacher $\bar W$ without noise. For test targets with noise of standard
    deviation $\sigma$ add $\sigma^2N_o/2$. (Lampinen and Ganguli 2019, for
    $\lambda = 0$; Advani and Saxe 2017 for one layer.)

    **Arguments:**

    - `ts`: times, any shape, in units of learning rate x step; infinity is allowed.
      For inputs of variance c pass `c * ts`; the error is for test inputs of variance
      one.
    - `modes`: `noisy_modes` of one correlation (the error is exact), or `spiked_modes`
      of large sizes.
    - `a0`, `lmda`: the initial values of the modes and their balance, scalars or one
      for each of `modes`, as for `aligned_modes`.

    **Returns:** the errors, of the shape of `ts`.

    **Raises:** `ValueError` for negative times (traced: NaN), and numbers of values
    other than that of the modes.

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    s = jnp.array([3.0])
    modes = lr.theory.spiked_modes(s, (40, 20, 20), samples=40, noise=1.0)
    error = lr.theory.test_error(jnp.array([0.0, 1.0, jnp.inf]), modes, 0.01, lmda=0.0)
    ```
    """
    _check_modes(modes)
    return _error(aligned_modes(ts, modes.s, a0, lmda), modes)


@compiled
def _error(a: Float[Array, "*times modes"], modes: NoisyModes) -> Float[Array, "..."]:
    signal, residual = (x.astype(a.dtype) for x in (modes.signal, modes.residual))
    signal = jnp.broadcast_to(signal, a.shape)
    return (residual + jnp.sum((a - signal) ** 2, axis=-1)) / 2


def best_stopping_time(
    modes: NoisyModes,
    a0: Real[ArrayLike, "*modes"],
    lmda: Real[ArrayLike, "*modes"],
) -> Float[Array, ""]:
    r"""The time at which `test_error` is lowest: the best time to stop learning.

    All modes learn at about the rate $|\lambda|$ in the lazy limit. From a start at
    zero the best time is then $\ln(1 + \|\bar W\|^2P/(\sigma^2N_iN_o))/|\lambda|$, the
    logarithm of one plus the signal-to-noise ratio, as for one layer (Advani and Saxe
    2017). At small balances strong modes are learned before noise (Lampinen and
    Ganguli 2019).

    **Arguments:** as for `test_error`.

    **Returns:** the time of the lowest test error at all times, in units of learning
    rate x step. It is infinite if the end is the best, as without noise, and zero if
    the start is. For inputs of variance c divide it by c. Its first derivative is
    right; it jumps where two times are equally good.

    **Raises:** `ValueError` as `test_error` does.

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    s = jnp.array([3.0])
    modes = lr.theory.spiked_modes(s, (40, 20, 20), samples=40, noise=1.0)
    best = lr.theory.best_stopping_time(modes, 0.01, lmda=0.0)
    lowest = lr.theory.test_error(best, modes, 0.01, lmda=0.0)
    ```
    """
    _check_modes(modes)
    aligned_modes(0.0, modes.s, a0, lmda)  # refuses what it must
    a0, lmda = _dtypes.as_real("a0", a0), _dtypes.as_real("lmda", lmda)
    return _best(*_dtypes.promoted(modes=modes, a0=a0, lmda=lmda))


@compiled
def _best(
    modes: NoisyModes, a0: Float[Array, "*modes"], lmda: Float[Array, "*modes"]
) -> Float[Array, ""]:
    s, signal = modes.s, modes.signal
    lmda = jnp.broadcast_to(lmda, s.shape)

    def excess(t):
        distance = aligned_modes(t, s, a0, lmda) - jnp.broadcast_to(
            signal, (*t.shape, s.size)
        )
        return jnp.sum(distance**2, axis=-1)

    def slope(t):
        a = aligned_modes(t, s, a0, lmda)
        return jnp.sum((a - signal) * safe_hypot(lmda, 2 * a) * (s - a))

    # From well before the fastest mode moves until the slowest one has come to its end.
    eps = jnp.finfo(s.dtype).eps
    rates = safe_hypot(lmda, 2 * s)
    fastest = jnp.maximum(rates, safe_hypot(lmda, 2 * jnp.broadcast_to(a0, s.shape)))
    slowest = jnp.min(jnp.where(rates > eps * jnp.max(rates), rates, jnp.inf))
    first, last = 1e-2 / jnp.max(fastest), -4 * jnp.log(eps) / slowest
    ts = first * (last / first) ** jnp.linspace(0, 1, STEPS, dtype=s.dtype)
    ts = jnp.concatenate([jnp.zeros(1, s.dtype), ts])
    errors, end = excess(ts), excess(jnp.array(jnp.inf, s.dtype))
    place = jnp.argmin(errors)
    low, high = ts[jnp.maximum(place - 1, 0)], ts[jnp.minimum(place + 1, STEPS)]
    best = rising_root(slope, low, high)
    rounding = 16 * eps * (errors[place] + 16 * eps * jnp.sum(s**2))
    best = jnp.where(end <= errors[place] + rounding, jnp.inf, best)
    return jnp.where((place == 0) & (slope(ts[0]) >= 0), 0.0, best)


def _check_modes(modes: NoisyModes) -> None:
    hint = "make it by `noisy_modes` or `spiked_modes`"
    _checks.instance("modes", modes, NoisyModes, hint)
    _checks.require(
        modes.s.ndim == 1 and modes.s.shape == modes.signal.shape,
        "`modes` must be those of one correlation, but the shape of `modes.s` was "
        f"{modes.s.shape}; for leading axes use `jax.vmap`.",
    )
