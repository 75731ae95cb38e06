r"""Modes that learn independently: aligned and shallow networks.

An aligned network shares the singular vectors of its task. Every singular value of its
function is a mode, and each mode obeys its own equation. `s` is the limit of the mode:
the singular value of the task's correlation for white inputs. For inputs of variance c,
replace `ts` by `c ts` and `s` by `s / c`.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._linalg import finite_time, mean_decay, safe_hypot
from .._xla import compiled


def aligned_modes(
    ts: Real[ArrayLike, "..."],
    s: Real[ArrayLike, "..."],
    a0: Real[ArrayLike, "..."],
    lmda: Real[ArrayLike, "..."],
) -> Float[Array, "..."]:
    r"""The modes of an aligned two-layer network with balances `lmda`.

    $\dot a = \sqrt{\lambda^2 + 4a^2}\,(s - a)$ has the solution

    $$a(t) = s + \frac{a_0 - s}{D(t)}, \quad
    D(t) = 1 + \frac{p^2 (e^{Kt} - 1) + m^2 (1 - e^{-Kt})}{K},$$

    $K = \sqrt{\lambda^2 + 4s^2}$, $p^2 + m^2 = \sqrt{\lambda^2 + 4a_0^2}$ and
    $p^2 - m^2 = (\lambda^2 + 4a_0s) / K$. This is Theorem 3.2.1 of Domine's thesis in
    one form for every sign of $\lambda$, $s$ and $a_0$ and for zero. The printed form
    divides by $\lambda$ and $s$, overflows, and is wrong for $\lambda < 0$: its
    $\kappa$ must be $\operatorname{sgn}(\lambda) K$ and its $\rho$ must be
    $|\lambda|$ there.

    **Arguments:**

    - `ts`: times, any shape, in units of learning rate x step; infinity is allowed.
    - `s`, `a0`: the limits and the initial values of the modes, scalars or of one
      shape. They are the singular values of the task's correlation and of the function.
      For inputs of variance c (`task.input_variance`; `Task.hierarchy` has
      $2^{-levels}$) pass `c * ts` and `s / c`.
    - `lmda`: the balance of all modes, a scalar, or one balance for each mode, of the
      modes' shape. The modes don't depend on its sign.

    Networks with one balance for each mode (`lazyrich_jax.Aligned` with several) are
    not lambda-balanced: this is their exact solution, and so is `Exact` with
    `start="aligned"`. A mode may also have several hidden units, of any balances. With
    its entries
    $p_{11} = v^\top W_1^\top W_1 v$ and $p_{22} = u^\top W_2 W_2^\top u$ of both
    representations at the start, $\lambda = \sqrt{(p_{11} + p_{22})^2 - 4 a_0^2}$. This
    needs a function and representations that are diagonal in the task's modes $u$, $v$.

    **Returns:** the modes, of shape `ts.shape + s.shape`. With `lmda = 0`, a mode that
    starts with the opposite sign of `s` ends at the saddle 0. At `a0 = lmda = 0` the
    derivative by `a0` is one-sided, from above.

    **Raises:** `ValueError` for negative times, and modes or balances of different
    shapes; traced times that are negative give NaN.

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    ts, s = jnp.linspace(0, 5, 50), jnp.array([2.0, 1.0])
    a = lr.theory.aligned_modes(ts, s, 0.1, lmda=-1.0)
    print(a.shape)  # (50, 2)

    x, y = jnp.array([0.3, -0.1]), jnp.array([0.2, 0.5])  # two units of one mode
    p11, p22, a0 = x @ x, y @ y, x @ y  # w1 = [x v, ...], w2 = [u y, ...]
    lmda = jnp.sqrt((p11 + p22) ** 2 - 4 * a0**2)
    a = lr.theory.aligned_modes(ts, 2.0, a0, lmda)
    ```
    """
    return _aligned(*mode_arguments(ts, s, a0, lmda))


@compiled
def _aligned(
    t: Float[Array, "..."],
    s: Float[Array, "..."],
    a0: Float[Array, "..."],
    lmda: Float[Array, "..."],
) -> Float[Array, "..."]:
    rate = safe_hypot(lmda, 2 * s)
    t = finite_time(t)
    x = rate * t
    near = ~(x >= 1)
    early = _early_gain(jnp.where(near, t, 0.0), s, a0, lmda)
    x = jnp.where(near, 1.0, x)
    rate = jnp.where(rate == 0, 1.0, rate)
    plus, minus, product = overlaps(s, a0, lmda)
    decayed = jnp.exp(-x)
    # Once p^2 e^{Kt} exceeds one, all terms are over e^{Kt}; before, p may be zero.
    late = plus > decayed
    scale = jnp.where(late, decayed, 1.0)
    plus = _grown(plus, product, minus, jnp.where(late, 0.0, x))
    gain = (1 - decayed) / rate * (plus + minus * scale)
    # For opposite signs of a0 and s, `a0 + s gain` would cancel near zero.
    passing = s * (plus - minus * decayed * scale) + lmda * product * scale
    top = jnp.where(s * a0 < 0, passing / rate, a0 * scale + s * gain)
    gain, scale = jnp.where(near, early, gain), jnp.where(near, 1.0, scale)
    top = jnp.where(near, a0 + s * early, top)
    total = scale + gain
    left = (a0 - s) * (scale / total)
    # Near the end the derivatives of this form vanish with the remaining error.
    return jnp.where(2 * jnp.abs(left) < jnp.abs(s), s + left, top / total)


def _early_gain(
    t: Float[Array, "..."],
    s: Float[Array, "..."],
    a0: Float[Array, "..."],
    lmda: Float[Array, "..."],
) -> Float[Array, "..."]:
    r"""$D - 1$ for $Kt < 1$: a series in $K^2 t^2$, analytic also at $K = 0$."""
    z = (lmda * lmda + 4 * s * s) * t * t
    odd = even = jnp.zeros_like(z)
    for k in range(9, -1, -1):
        odd = odd * z + 1 / math.factorial(2 * k + 1)
        even = even * z + 1 / math.factorial(2 * k + 2)
    return _size(a0, lmda) * t * odd + (lmda * lmda + 4 * a0 * s) * t * t * even


def _size(a0: Float[Array, "..."], lmda: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$\sqrt{\lambda^2 + 4a_0^2}$: the squared size of the mode's weights."""
    size = safe_hypot(lmda, 2 * a0)
    return jnp.where(size == 0, 2 * a0, size)  # derivative from above


def overlaps(
    s: Float[Array, "..."], a0: Float[Array, "..."], lmda: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    r"""$p^2$, $m^2$ and $pm$ of the weights along the growing and shrinking direction.

    Division of $pm = \lambda (a_0 - s) / K$ gives the smaller square.
    """
    rate = safe_hypot(lmda, 2 * s)
    rate = jnp.where(rate == 0, 1.0, rate)
    tilt = lmda * lmda + 4 * a0 * s
    rising = tilt >= 0
    larger = (_size(a0, lmda) + jnp.where(rising, tilt, -tilt) / rate) / 2
    product = lmda * ((a0 - s) / rate)
    smaller = product * (product / jnp.where(larger == 0, 1.0, larger))
    return (
        jnp.where(rising, larger, smaller),
        jnp.where(rising, smaller, larger),
        product,
    )


def _grown(
    plus: Float[Array, "..."],
    product: Float[Array, "..."],
    minus: Float[Array, "..."],
    x: Float[Array, "..."],
) -> Float[Array, "..."]:
    r"""$p^2 e^x$ while it is small, with derivatives that don't overflow at $p = 0$."""
    limit = 0.99 * math.log(jnp.finfo(x.dtype).max)
    divided = minus > plus
    root = (
        product
        / jnp.sqrt(jnp.where(divided, minus, 1.0))
        * jnp.exp(jnp.minimum(x / 2, limit / 2))
    )
    return jnp.where(divided, root * root, plus * jnp.exp(jnp.minimum(x, limit)))


def sigmoidal_modes(
    ts: Real[ArrayLike, "..."],
    s: Real[ArrayLike, "..."],
    a0: Real[ArrayLike, "..."],
) -> Float[Array, "..."]:
    r"""The rich limit of `aligned_modes`, $\lambda \to 0$.

    It is $a(t) = s e^{2st} / (e^{2st} - 1 + s / a_0)$ (Saxe et al. 2014; theorems 2.2.2
    and 3.2.2 of Domine's thesis), in a form for every sign and for zero. Arguments,
    result and errors are as for `aligned_modes`.
    """
    return _sigmoidal(*mode_arguments(ts, s, a0, 0.0)[:3])


@compiled
def _sigmoidal(
    t: Float[Array, "..."], s: Float[Array, "..."], a0: Float[Array, "..."]
) -> Float[Array, "..."]:
    sign = jnp.where(a0 < 0, -1.0, 1.0)
    s, a0 = sign * s, sign * a0
    growing = s >= 0
    t = finite_time(t)
    rate = 2 * jnp.where(growing, s, -s)
    decayed = jnp.exp(-rate * t)
    top = sign * a0 * jnp.where(growing, 1.0, decayed)
    total = jnp.where(growing, decayed, 1.0) + 2 * a0 * (t * mean_decay(rate * t))
    return top / jnp.where(total == 0, 1.0, total)


def exponential_modes(
    ts: Real[ArrayLike, "..."],
    s: Real[ArrayLike, "..."],
    a0: Real[ArrayLike, "..."],
    lmda: Real[ArrayLike, "..."],
) -> Float[Array, "..."]:
    r"""The lazy limit of `aligned_modes`, $|\lambda| \to \infty$.

    It is $a(t) = s + (a_0 - s) e^{-|\lambda| t}$ (Theorem 3.2.2 of Domine's thesis): a
    shallow network, faster by $|\lambda|$. Arguments, result and errors are as for
    `aligned_modes`.
    """
    return _relaxed(*mode_arguments(ts, s, a0, lmda))


def shallow_modes(
    ts: Real[ArrayLike, "..."],
    s: Real[ArrayLike, "..."],
    a0: Real[ArrayLike, "..."],
) -> Float[Array, "..."]:
    r"""The modes of a network of one layer, $a(t) = s + (a_0 - s) e^{-t}$.

    These are theorems 2.2.3 and 4.2.2 of Domine's thesis. The network need not be
    aligned: a shallow network's modes are the entries of $U^\top W V$. Arguments,
    result and errors are as for `aligned_modes`.
    """
    return _relaxed(*mode_arguments(ts, s, a0, 1.0))


@compiled
def _relaxed(
    t: Float[Array, "..."],
    s: Float[Array, "..."],
    a0: Float[Array, "..."],
    lmda: Float[Array, "..."],
) -> Float[Array, "..."]:
    x = jnp.abs(lmda) * finite_time(t)
    return s * -jnp.expm1(-x) + a0 * jnp.exp(-x)


def mode_arguments(
    ts: Real[ArrayLike, "..."],
    s: Real[ArrayLike, "..."],
    a0: Real[ArrayLike, "..."],
    lmda: Real[ArrayLike, "..."],
) -> tuple[Float[Array, "..."], ...]:
    """Times, `s`, `a0` and the balances, in one dtype and in the result's shape."""
    ts = _checks.as_times("ts", ts)
    s, a0 = _dtypes.as_real("s", s), _dtypes.as_real("a0", a0)
    lmda = _dtypes.as_real("lmda", lmda)
    s, a0 = _checks.finite("s", s), _checks.finite("a0", a0)
    lmda = _checks.finite("lmda", lmda)
    _checks.require(
        s.shape == a0.shape or () in (s.shape, a0.shape),
        "`s` and `a0` must be scalars or of one shape, but their shapes were "
        f"{s.shape} and {a0.shape}.",
    )
    modes = s.shape or a0.shape
    _checks.require(
        lmda.shape in ((), modes),
        f"`lmda` must be a scalar or have the modes' shape {modes}, but its shape was "
        f"{lmda.shape}.",
    )
    return _alike(*_dtypes.promoted(ts=ts, s=s, a0=a0, lmda=lmda))


@compiled
def _alike(
    ts: Float[Array, "..."],
    s: Float[Array, "..."],
    a0: Float[Array, "..."],
    lmda: Float[Array, "..."],
) -> tuple[Float[Array, "..."], ...]:
    modes = s.shape or a0.shape
    shape = ts.shape + modes
    return (
        jnp.broadcast_to(ts.reshape(ts.shape + (1,) * len(modes)), shape),
        *(jnp.broadcast_to(x, shape) for x in (s, a0, lmda)),
    )
