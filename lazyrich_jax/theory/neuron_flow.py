"""The flow of one hidden neuron, and where it ends (Kunin et al. 2024)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._linalg import (
    dot,
    finite_time,
    mean_decay,
    norm,
    safe_hypot,
    split_singular_values,
    square_norm,
)
from .neuron import (
    SingleNeuron,
    as_vector,
    direction,
    growing_mode,
    growing_part,
    neuron_from_function,
)

SECOND = (
    "Second derivatives of `single_neuron` with respect to `target` must be taken at "
    "another target than zero, but it was zero."
)


def single_neuron(
    ts: Real[ArrayLike, "*times"],
    w: Real[ArrayLike, " in"],
    a: Real[ArrayLike, ""],
    target: Real[ArrayLike, " in"],
) -> SingleNeuron:
    r"""The exact solution of a single neuron's flow.

    The flow is $\dot w = a (\beta_* - a w)$, $\dot a = w \cdot (\beta_* - a w)$. With
    $\kappa = \sqrt{s^2 + \delta^2/4}$, $s = |\beta_*|$,
    $2\theta = \operatorname{atan2}(s, \delta/2)$, $p = \sin\theta\,\hat\beta_*\cdot w_0
    + \cos\theta\,a_0$, $m = \cos\theta\,\hat\beta_*\cdot w_0 - \sin\theta\,a_0$ and
    $w_\perp$ the part of $w_0$ orthogonal to $\beta_*$,

    $$w(t) = \frac{\hat\beta_* (p \sin\theta\,e^{\kappa t} +
    m \cos\theta\,e^{-\kappa t}) + w_\perp e^{-\delta t/2}}{\sqrt{D}}, \quad
    a(t) = \frac{p \cos\theta\,e^{\kappa t} - m \sin\theta\,e^{-\kappa t}}{\sqrt D},$$

    $D = 1 + p^2 g(\kappa) + m^2 g(-\kappa) + |w_\perp|^2 g(-\delta/2)$,
    $g(x) = (e^{2xt} - 1)/2x$. This form holds for $\delta$ of either sign and zero.
    Kunin et al. (2024) have three forms, with excluded starts. Their alignment
    ($\nu = \beta_*\cdot w/a$, $\dot\nu = s^2 - \delta\nu - \nu^2$) and magnitude follow
    from this form.

    **Arguments:**

    - `ts`: times, any shape, in units of learning rate x step; infinity is allowed.
    - `w`, `a`: the weights at time zero, (in,) and a scalar.
    - `target`: $\beta_*$, (in,), the best linear map.

    **Returns:** a `SingleNeuron` with the axes of `ts` first. First derivatives are
    right also at a zero target; second derivatives with respect to the target are
    refused there.

    **Raises:** `ValueError` for negative times (traced: NaN) and vectors of different
    lengths.

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    target = jnp.array([0.0, 1.0])
    start = lr.theory.neuron_from_function(jnp.array([-1.0, 0.0]), delta=2.0)
    neuron = lr.theory.single_neuron(jnp.linspace(0, 5, 50), start.w, start.a, target)
    print(neuron.magnitude.shape, neuron.alignment(target)[-1])
    ```
    """
    ts = _checks.as_times("ts", ts)
    target = as_vector("target", target)
    w = as_vector("w", w, target.size)
    a = _checks.finite("a", _checks.as_scalar("a", a))
    ts, w, a, target = _dtypes.promoted(ts=ts, w=w, a=a, target=target)
    result = _neuron(ts.ravel(), w, a, target)
    return jax.tree.map(lambda x: x.reshape(*ts.shape, *x.shape[1:]), result)


@jax.jit
def _neuron(
    ts: Float[Array, " times"],
    w: Float[Array, " in"],
    a: Float[Array, ""],
    target: Float[Array, " in"],
) -> SingleNeuron:
    dtype = w.dtype
    delta = a * a - square_norm(w)
    sine, cosine, kappa = growing_mode(norm(target), delta)
    unit = direction(target)
    along = dot(w, unit)
    across = w - along * unit
    p = growing_part(sine * along, cosine * a)
    m = cosine * along - sine * a
    # All exponentials are over the fastest growth: kappa, or the next on the boundary.
    # `where` replaces `maximum`, whose derivative at zero is a half.
    side = jnp.where(delta < 0, -delta, 0.0) / 2
    fall = jnp.where(delta < 0, 0.0, delta) / 2
    left_over = square_norm(across)
    fastest = jnp.where(p != 0, kappa, jnp.where(left_over > 0, side, 0.0))
    # Its lead over the growth of w_perp, by division instead of subtraction.
    lead = square_norm(target) / jnp.where(kappa > 0, kappa + side, 1.0)
    lead = jnp.where(p != 0, jnp.where(delta < 0, lead, kappa), 0.0)
    limit = 0.45 * jnp.log(jnp.finfo(dtype).max)
    # A zero target has no direction, but the solution has a derivative there.
    no_target = norm(target) == 0
    first = jnp.where(no_target, target, 0.0)
    first = _checks.refuse_second_derivative(first, no_target, message=SECOND)
    overlap = dot(w, first)

    def at(t):
        t = finite_time(t)
        growing = p * jnp.exp(jnp.minimum((kappa - fastest) * t, limit))
        shrinking = m * jnp.exp(-(kappa + fastest) * t)
        beside = across * jnp.exp(-(lead + fall) * t)
        rise = t * mean_decay(2 * kappa * t)
        scale = jnp.exp(-2 * fastest * t)
        aside = jnp.exp(-2 * lead * t) * t * mean_decay(jnp.abs(delta) * t)
        aside = jnp.where(delta > 0, scale * t * mean_decay(jnp.abs(delta) * t), aside)
        total = scale + rise * (growing**2 + m * m * scale) + left_over * aside
        total = jnp.sqrt(jnp.where(total > 0, total, 1.0))
        along = (sine * growing + cosine * shrinking) / total
        w_then = along * unit + beside / total
        a_then = (cosine * growing - sine * shrinking) / total
        gain = rise / total
        less = a * overlap * gain**2
        return SingleNeuron(
            w_then + a * gain * first - less * w_then,
            a_then + gain * overlap - less * a_then,
        )

    return jax.vmap(at)(ts)


def neuron_boundary(
    a: Real[ArrayLike, ""],
    delta: Real[ArrayLike, ""],
    target: Real[ArrayLike, " in"],
) -> Float[Array, ""]:
    r"""The boundary of the basins, as a value of $\beta_* \cdot w$.

    It is $-\frac a2 (\delta + \sqrt{\delta^2 + 4|\beta_*|^2})$ (Kunin et al. 2024). A
    neuron with $a > 0$ below it ends with $a < 0$; a neuron with $a < 0$ above it ends
    with $a > 0$. On the boundary a neuron ends at a saddle. For $\delta > 0$ no neuron
    lies beyond it, since $|w| < |a|$.

    **Raises:** `ValueError` for a `delta` above $a^2$, which is impossible (traced:
    NaN).
    """
    target = as_vector("target", target)
    a = _checks.finite("a", _checks.as_scalar("a", a))
    delta = _checks.finite("delta", _checks.as_scalar("delta", delta))
    a, delta, target = _dtypes.promoted(a=a, delta=delta, target=target)
    balanced = delta <= a * a
    if _checks.is_concrete(balanced):
        _checks.require(
            bool(balanced),
            f"`delta` must be at most a^2 = {_checks.number(a * a)} (it is a^2 - "
            f"|w|^2), but it was {_checks.number(delta)}.",
        )
    return jnp.where(balanced, -a * _squared_readout(norm(target), delta), jnp.nan)


def neuron_one_datum(
    function: Real[ArrayLike, " in"],
    delta: Real[ArrayLike, ""],
    target: Real[ArrayLike, " in"],
) -> Float[Array, " in"]:
    r"""The function that a neuron converges to if it learns a single input.

    The input lies along `target`, the smallest map that fits it. The part $w_\perp$ of
    w orthogonal to the target is conserved. The other part and a form an aligned mode
    with the balance $\delta + |w_\perp|^2$ (Kunin et al. 2024): $\beta_\infty =
    \beta_* + a_\infty w_\perp$ with $a_\infty^2 = k + \sqrt{k^2 + s^2}$,
    $k = (\delta + |w_\perp|^2)/2$. The limit for $\delta \to \infty$ is
    $\beta_0 + (1 - \beta_0\cdot\beta_*/s^2)\beta_*$, and for $\delta \to -\infty$ it is
    $\beta_0\,s^2/(\beta_0\cdot\beta_*)$.

    **Arguments:**

    - `function`: $\beta_0$, (in,). `neuron_from_function` gives the start.
    - `delta`: the balance, infinity of either sign included.
    - `target`: $\beta_*$, (in,), not zero.

    **Raises:** `ValueError` for vectors of different lengths, for a zero `target`, and
    for a zero `function` with $\delta < 0$. On the boundary between two ends (where
    $a_\infty$ changes sign) the result is NaN.
    """
    target = as_vector("target", target)
    function = as_vector("function", function, target.size)
    delta = _checks.as_scalar("delta", delta)
    function, delta, target = _dtypes.promoted(
        function=function, delta=delta, target=target
    )
    s = norm(target)
    if _checks.is_concrete(s > 0):
        _checks.require(
            bool(s > 0),
            f"`target` must not be zero, but it was {_checks.known(target)}.",
        )
    s = jnp.where(s > 0, s, jnp.nan)
    infinite = jnp.isinf(delta)
    # The limits at infinity depend only on the sign of delta.
    start = neuron_from_function(function, jnp.where(infinite, jnp.sign(delta), delta))
    unit = direction(target)
    along = dot(function, unit)
    across = function - along * unit
    side = across / jnp.where(start.a > 0, start.a, 1.0)
    balance = start.a**2 - dot(start.w, unit) ** 2
    sine, cosine, _ = growing_mode(s, balance)
    sign = jnp.sign(growing_part(sine * dot(start.w, unit), cosine * start.a))
    _, end = split_singular_values(s, balance)
    finite = target + jnp.where(sign == 0, jnp.nan, sign) * end * side
    upper = target + across
    lower = s / jnp.where(along == 0, jnp.nan, along) * function
    return jnp.where(infinite, jnp.where(delta > 0, upper, lower), finite)


def _squared_readout(s: Float[Array, ""], delta: Float[Array, ""]) -> Float[Array, ""]:
    r"""The squared strength of a mode's readout, $(\sqrt{\delta^2 + 4s^2} + \delta)/2$.

    Division gives it where it is the smaller one of both layers'. At `s = delta = 0`
    the derivative by `delta` is one-sided, from above.
    """
    rate = safe_hypot(delta, 2 * s)
    size = jnp.abs(delta)
    larger = jnp.where(rate == 0, size, (size + rate) / 2)
    smaller = s * (s / jnp.where(rate == 0, 1.0, larger))
    return jnp.where(delta >= 0, larger, smaller)
