r"""Wide two-layer networks of a function, with derivatives wherever these exist.

The class is $PJP = -\lambda P + \mu^2 J$ for $P = QQ^\top$, $Q = [W_1^\top; W_2]$ and
$J = \mathrm{diag}(I, -I)$. With an input scale $l_1 \ge 0$ and an output scale
$l_2 \ge 0$, $\lambda = l_2 - l_1$ and $\mu^2 = l_1 l_2$. The function $A = W_2 W_1$
determines P: a mode of strength a has the block $[r - \lambda/2, a; a, r + \lambda/2]$,
$r^2 = a^2 + (l_1 + l_2)^2/4$, left-over inputs have $l_1$ and left-over outputs $l_2$.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from . import _checks
from ._linalg import dot, safe_hypot, sylvester
from ._singular import by_library

Scale = Float[Array, ""]
Blocks = tuple[Float[Array, "in in"], Float[Array, "out out"]]


def checked_scales(
    input_scale: Real[ArrayLike, ""], output_scale: Real[ArrayLike, ""]
) -> tuple[Scale, Scale]:
    """Both scales, not negative and not both zero (traced bad ones: NaN)."""
    first = _checks.as_scalar("input_scale", input_scale)
    first = _checks.positive("input_scale", first, zero=True)
    second = _checks.as_scalar("output_scale", output_scale)
    second = _checks.positive("output_scale", second, zero=True)
    vanish = (first == 0) & (second == 0)
    if _checks.is_concrete(vanish):
        _checks.require(
            not bool(vanish),
            "`output_scale` must be positive where `input_scale` is zero, but it was "
            "zero. Both are zero for zero-balanced networks, which `LambdaBalanced(0)` "
            "draws.",
        )
    return jnp.where(vanish, jnp.nan, first), jnp.where(vanish, jnp.nan, second)


def no_derivative_at_zero(name: str, scale: Scale) -> Scale:
    """`scale`; its derivative at zero is a runtime error."""
    message = (
        f"Derivatives of wide networks with respect to `{name}` must be taken where it "
        "is positive, but it was zero. The weights have no derivative there: they grow "
        f"as sqrt({name})."
    )
    return _checks.refuse_derivative(scale, scale == 0, message=message)


class _Modes(NamedTuple):
    """Singular vectors of a function, all of them, and strengths of every direction.

    Left-over directions have strength zero.
    """

    u: Float[Array, "out out"]
    v: Float[Array, "in in"]
    of_input: Float[Array, " in"]
    of_output: Float[Array, " out"]


def _modes(function: Float[Array, "out in"]) -> _Modes:
    u, s, v = by_library(jax.lax.stop_gradient(function))
    pad = [jnp.pad(s, (0, n - s.size)) for n in (len(v), len(u))]
    return _Modes(u, v, pad[0], pad[1])


def _middle(a: Float[Array, "*n"], first: Scale, second: Scale) -> Float[Array, "*n"]:
    """The r of every mode, half of its block's trace."""
    return safe_hypot(a, (first + second) / 2)


def _own(a: Float[Array, "*n"], own: Scale, other: Scale) -> Float[Array, "*n"]:
    """The squared strengths in the layer of scale `own`.

    Division gives the smaller of the two layers'.
    """
    larger = _middle(a, own, other) + jnp.abs(own - other) / 2
    smaller = a * (a / larger) + own * (other / larger)
    return jnp.where(own < other, smaller, larger)


@jax.custom_jvp
def representations(
    function: Float[Array, "out in"], first: Scale, second: Scale
) -> Blocks:
    """W1^T W1 and W2 W2^T of the network of this function and these scales."""
    u, v, of_input, of_output = _modes(function)
    x = dot(v * _own(of_input, first, second)[None], v.mT)
    return x, dot(u * _own(of_output, second, first)[None], u.mT)


@representations.defjvp
def _representations_jvp(primals, tangents):
    # X = W1^T W1 solves X^2 + lmda X = A^T A + mu^2. Nothing is divided by a gap.
    (function, first, second), (change, dfirst, dsecond) = primals, tangents
    found = representations(*primals)
    modes = _modes(function)
    lmda, dlmda = second - first, dsecond - dfirst
    dsquare = first * dsecond + second * dfirst

    def slope(x, a, da, basis, strengths, sign):
        eye = jnp.eye(len(x), dtype=x.dtype)
        rates = jax.lax.stop_gradient(_middle(strengths, first, second))
        half = dot(a.mT, da)
        by = half + half.mT + dsquare * eye - sign * dlmda * x
        middle = x + sign * lmda / 2 * eye
        return sylvester(middle, middle, by, (basis, rates, basis, rates))

    of_input = slope(found[0], function, change, modes.v, modes.of_input, 1)
    of_output = slope(found[1], function.mT, change.mT, modes.u, modes.of_output, -1)
    return found, (of_input, of_output)


@jax.custom_jvp
def root(
    function: Float[Array, "out in"], first: Scale, second: Scale
) -> Float[Array, "both both"]:
    r"""The symmetric root of P: weights with as many hidden units as in and out.

    A block with trace 2r and determinant $\mu^2$ has the root (block + mu) /
    sqrt(2 r + 2 mu).
    """
    u, v, of_input, of_output = _modes(function)
    mu = jnp.sqrt(first) * jnp.sqrt(second)

    def size(a):
        return jnp.sqrt(2 * (_middle(a, first, second) + mu))

    k = min(function.shape)
    of_modes = of_input[:k] / size(of_input[:k])
    cross = dot(u[:, :k] * of_modes[None], v[:, :k].mT)
    x = (_own(of_input, first, second) + mu) / size(of_input)
    y = (_own(of_output, second, first) + mu) / size(of_output)
    return jnp.block(
        [[dot(v * x[None], v.mT), cross.mT], [cross, dot(u * y[None], u.mT)]]
    )


@root.defjvp
def _root_jvp(primals, tangents):
    (_, (dx, dy)) = jax.jvp(representations, primals, tangents)
    q, change = root(*primals), tangents[0]
    dp = jnp.block([[dx, change.mT], [change, dy]])
    basis, values = _spectrum(*jax.lax.stop_gradient(primals))
    return q, sylvester(q, q, dp, (basis, values, basis, values))


def _spectrum(
    function: Float[Array, "out in"], first: Scale, second: Scale
) -> tuple[Float[Array, "both both"], Float[Array, " both"]]:
    """Eigenvectors and eigenvalues of `root`, a mode's smaller one by division."""
    u, v, strengths, _ = _modes(function)
    k, (n_out, n_in) = min(function.shape), function.shape
    s, half = strengths[:k], (second - first) / 2
    angle = jnp.arctan2(s, half) / 2
    sin, cos = jnp.sin(angle)[None], jnp.cos(angle)[None]
    larger = jnp.sqrt(_middle(s, first, second) + safe_hypot(half, s))
    smaller = jnp.sqrt(first) * jnp.sqrt(second) / larger
    a, b = v[:, :k], u[:, :k]
    columns = jnp.block([[a * sin, a * cos], [b * cos, -b * sin]])
    inputs = jnp.pad(v[:, k:], ((0, n_out), (0, 0)))
    outputs = jnp.pad(u[:, k:], ((n_in, 0), (0, 0)))
    rest = [
        jnp.full(n - k, jnp.sqrt(scale), s.dtype)
        for n, scale in ((n_in, first), (n_out, second))
    ]
    basis = jnp.concatenate([columns, inputs, outputs], axis=1)
    return basis, jnp.concatenate([larger, smaller, *rest])
