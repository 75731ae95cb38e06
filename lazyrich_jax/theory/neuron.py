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
from .._linalg import dot, norm, safe_hypot, split_singular_values
from .._network import LinearNetwork


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
        sine, cosine, _ = growing_mode(norm(target), delta)
        along = dot(neuron.w, direction(target))
        # A zero target has no direction. With a positive balance none is needed.
        grows = (norm(target) == 0) & (delta > 0)
        part = jnp.where(grows, dot(neuron.w, target), 0.0)
        part = part / jnp.where(grows, delta, 1.0)
        return growing_part(sine * along + part, cosine * neuron.a)

    def _with(
        self, target: Real[ArrayLike, " in"]
    ) -> tuple["SingleNeuron", Float[Array, " in"]]:
        """The neuron and a target in one dtype."""
        target = as_vector("target", target, self.w.shape[-1])
        neuron, of_target = _dtypes.promoted(neuron=self, target=target)
        return neuron, of_target


def neuron_from_function(
    function: Real[ArrayLike, " in"], delta: Real[ArrayLike, ""]
) -> SingleNeuron:
    r"""The neuron with this function and balance, and $a > 0$.

    Its weights are $a^2 = (\delta + \sqrt{\delta^2 + 4|\beta|^2})/2$, $w = \beta/a$.

    **Arguments:** `function` $\beta$, (in,); the balance `delta`.

    **Raises:** `ValueError` for a zero function with `delta < 0`: the direction of w is
    then not determined (traced: NaN).
    """
    function = as_vector("function", function)
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


def growing_mode(
    s: Float[Array, "..."], delta: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    r"""Sine and cosine of $\theta$, and $\kappa$, as in `single_neuron`."""
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


def growing_part(
    of_w: Float[Array, "..."], of_a: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The sum of both parts; zero at rounding level, on the boundary of the basins."""
    total = of_w + of_a
    noise = 4 * jnp.finfo(total.dtype).eps * (jnp.abs(of_w) + jnp.abs(of_a))
    return total - jax.lax.stop_gradient(jnp.where(jnp.abs(total) > noise, 0.0, total))


def direction(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """The unit vector along `x`; the first axis for zero."""
    size = norm(x)
    first = jnp.zeros_like(x).at[0].set(1.0)
    return jnp.where(size > 0, x / jnp.where(size > 0, size, 1.0), first)


def as_vector(
    name: str, value: Real[ArrayLike, " n"], size: int | None = None
) -> Float[Array, " n"]:
    """A finite vector, of this length if one is given."""
    array = _dtypes.as_real(name, value)
    _checks.require(
        array.ndim == 1 and array.size > 0 and size in (None, array.size),
        f"`{name}` must be a vector{f' of length {size}' if size else ''}, but its "
        f"shape was {array.shape}.",
    )
    return _checks.finite(name, array)
