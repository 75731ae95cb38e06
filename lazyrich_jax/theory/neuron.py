r"""One hidden neuron, $y = a\,w \cdot x$: the results of Kunin et al. (2024).

The balance $\delta = a^2 - |w|^2$ is this library's $\lambda$ for sizes d-1-1. Inputs
have identity correlation. For inputs of variance c, time is c times faster and the
target is $\beta_* / c$.
"""

import equinox as eqx
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
from .._network import LinearNetwork
from .representations import squared_strengths

SECOND = (
    "Second derivatives of `single_neuron` with respect to `target` must be taken at "
    "another target than zero, but it was zero."
)


class SingleNeuron(eqx.Module):
    r"""The weights of a linear network with one hidden neuron and one output.

    **Attributes:** (with leading axes for times, if any)

    - `w`: the input weights, (in,).
    - `a`: the output weight, a scalar.
    """

    w: Float[Array, "*batch in"]
    a: Float[Array, "*batch"]

    def __init__(self, w: Real[ArrayLike, "*batch in"], a: Real[ArrayLike, "*batch"]):
        w, a = _dtypes.as_real("w", w), _dtypes.as_real("a", a)
        self.w, self.a = _dtypes.promoted(w=w, a=a)

    @property
    def network(self) -> LinearNetwork:
        """The neuron as a network of sizes in-1-1 (without leading axes)."""
        return LinearNetwork((self.w[None], self.a[None, None]))

    @property
    def function(self) -> Float[Array, "*batch in"]:
        r"""$\beta = a w$."""
        return self.a[..., None] * self.w

    @property
    def delta(self) -> Float[Array, "*batch"]:
        r"""The conserved balance $\delta = a^2 - |w|^2$."""
        return self.a**2 - jnp.sum(self.w**2, axis=-1)

    @property
    def magnitude(self) -> Float[Array, "*batch"]:
        r"""The signed magnitude of the function, $\mu = a |w|$."""
        return self.a * norm(self.w, axis=-1)

    @property
    def kernel(self) -> Float[Array, "*batch in in"]:
        r"""The tangent kernel of the inputs, $a^2 I + w w^\top$.

        (In the norm of this kernel, the public code of Kunin et al. has $a(0)^2$ in
        place of one $a(t)^2$.)
        """
        eye = jnp.eye(self.w.shape[-1], dtype=self.w.dtype)
        eye = jnp.broadcast_to(eye, (*self.a.shape, *eye.shape))
        return (
            self.a[..., None, None] ** 2 * eye
            + self.w[..., None] * self.w[..., None, :]
        )

    def alignment(self, target: Real[ArrayLike, " in"]) -> Float[Array, "*batch"]:
        r"""The cosine $\varphi$ between w and `target`; zero if either vanishes."""
        neuron, target = self._with(target)
        product = norm(neuron.w, axis=-1) * norm(target)
        overlap = dot(neuron.w, target)
        zero = product == 0
        return jnp.where(zero, 0.0, overlap / jnp.where(zero, 1.0, product))

    def growing_component(
        self, target: Real[ArrayLike, " in"]
    ) -> Float[Array, "*batch"]:
        r"""The component of (w, a) along the growing mode.

        It has the sign of $a(\infty)$. It is zero on the boundary between the basins of
        the two ends (`neuron_boundary`), where the neuron ends at a saddle.
        """
        neuron, target = self._with(target)
        delta = neuron.delta
        sine, cosine, _ = _mode(norm(target), delta)
        along = dot(neuron.w, _direction(target))
        # A zero target has no direction. With a positive balance none is needed.
        grows = (norm(target) == 0) & (delta > 0)
        part = jnp.where(grows, dot(neuron.w, target), 0.0)
        part = part / jnp.where(grows, delta, 1.0)
        return _growing(sine * along + part, cosine * neuron.a)

    def _with(
        self, target: Real[ArrayLike, " in"]
    ) -> tuple["SingleNeuron", Float[Array, " in"]]:
        """The neuron and a target in one dtype."""
        target = _vector("target", target, self.w.shape[-1])
        neuron, of_target = _dtypes.promoted(neuron=self, target=target)
        return neuron, of_target


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
    target = _vector("target", target)
    w = _vector("w", w, target.size)
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
    sine, cosine, kappa = _mode(norm(target), delta)
    unit = _direction(target)
    along = dot(w, unit)
    across = w - along * unit
    p = _growing(sine * along, cosine * a)
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


def neuron_from_function(
    function: Real[ArrayLike, " in"], delta: Real[ArrayLike, ""]
) -> SingleNeuron:
    r"""The neuron with this function and balance, and $a > 0$.

    Its weights are $a^2 = (\delta + \sqrt{\delta^2 + 4|\beta|^2})/2$, $w = \beta/a$.

    **Arguments:** `function` $\beta$, (in,); the balance `delta`.

    **Raises:** `ValueError` for a zero function with `delta < 0`: the direction of w is
    then not determined (traced: NaN).
    """
    function = _vector("function", function)
    delta = _checks.finite("delta", _checks.as_scalar("delta", delta))
    function, delta = _dtypes.promoted(function=function, delta=delta)
    size = norm(function)
    vague = (size == 0) & (delta < 0)
    if _checks.is_concrete(vague):
        _checks.require(
            not bool(vague),
            "`function` must not be zero for a negative `delta`, but it was: any "
            "direction of the input weights would do.",
        )
    _, a = split_singular_values(size, delta)
    w = function / jnp.where(a > 0, a, 1.0)
    return SingleNeuron(jnp.where(vague, jnp.nan, w), jnp.where(vague, jnp.nan, a))


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
    target = _vector("target", target)
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
    _, of_a = squared_strengths(norm(target), delta)
    return jnp.where(balanced, -a * of_a, jnp.nan)


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
    target = _vector("target", target)
    function = _vector("function", function, target.size)
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
    unit = _direction(target)
    along = dot(function, unit)
    across = function - along * unit
    side = across / jnp.where(start.a > 0, start.a, 1.0)
    balance = start.a**2 - dot(start.w, unit) ** 2
    sine, cosine, _ = _mode(s, balance)
    sign = jnp.sign(_growing(sine * dot(start.w, unit), cosine * start.a))
    _, end = split_singular_values(s, balance)
    finite = target + jnp.where(sign == 0, jnp.nan, sign) * end * side
    upper = target + across
    lower = s / jnp.where(along == 0, jnp.nan, along) * function
    return jnp.where(infinite, jnp.where(delta > 0, upper, lower), finite)


def _mode(
    s: Float[Array, "..."], delta: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    r"""Sine and cosine of $\theta$, and $\kappa$."""
    kappa = safe_hypot(delta, 2 * s) / 2
    first, second = split_singular_values(s, delta)
    size = jnp.sqrt(jnp.where(kappa > 0, 2 * kappa, 1.0))
    # Without target and balance nothing grows. The direction is the one at small
    # positive balances, whose rate is delta / 2.
    return (
        jnp.where(kappa > 0, first / size, 0.0),
        jnp.where(kappa > 0, second / size, 1.0),
        jnp.where(kappa > 0, kappa, delta / 2),
    )


def _growing(
    of_w: Float[Array, "..."], of_a: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The sum of both parts; zero at rounding level, on the boundary of the basins."""
    total = of_w + of_a
    noise = 4 * jnp.finfo(total.dtype).eps * (jnp.abs(of_w) + jnp.abs(of_a))
    return total - jax.lax.stop_gradient(jnp.where(jnp.abs(total) > noise, 0.0, total))


def _direction(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """The unit vector along `x`; the first axis for zero."""
    size = norm(x)
    first = jnp.zeros_like(x).at[0].set(1.0)
    return jnp.where(size > 0, x / jnp.where(size > 0, size, 1.0), first)


def _vector(
    name: str, value: Real[ArrayLike, " n"], size: int | None = None
) -> Float[Array, " n"]:
    array = _dtypes.as_real(name, value)
    _checks.require(
        array.ndim == 1 and array.size > 0 and size in (None, array.size),
        f"`{name}` must be a vector{f' of length {size}' if size else ''}, but its "
        f"shape was {array.shape}.",
    )
    return _checks.finite(name, array)
