"""Arithmetic with removable singularities, and small exact linear algebra."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def dot(*matrices: Float[Array, "..."]) -> Float[Array, "..."]:
    """The product of matrices at full precision (never tf32 on an accelerator)."""
    matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    return functools.reduce(matmul, matrices)


def square_norm(x: Float[Array, "..."]) -> Float[Array, ""]:
    """The squared Frobenius norm."""
    return jnp.sum(x * x)


def mean_decay(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$(1 - e^{-x}) / x$ for $x \ge 0$, with value 1 and slope -1/2 at zero.

    A series below 0.1 keeps its derivatives as accurate as its value.
    """
    small = x < 0.1
    near = jnp.where(small, x, 0.0)
    series = jnp.zeros_like(near)
    for k in range(10, -1, -1):
        series = series * near + (-1) ** k / math.factorial(k + 1)
    far = jnp.where(small, 1.0, x)
    return jnp.where(small, series, -jnp.expm1(-far) / far)


def split_singular_values(
    s: Float[Array, "*modes"], lmda: Float[Array, ""]
) -> tuple[Float[Array, "*modes"], Float[Array, "*modes"]]:
    """The `s1`, `s2` >= 0 with `s1 * s2 == s` and `s2**2 - s1**2 == lmda`.

    The smaller of the pair is found by division: subtraction loses every digit of it
    once `abs(lmda)` is large against `s`.
    """
    larger = jnp.sqrt((jnp.abs(lmda) + safe_hypot(lmda, 2 * s)) / 2)
    zero = larger == 0
    smaller = jnp.where(zero, 0.0, s / jnp.where(zero, 1.0, larger))
    return (
        jnp.where(lmda >= 0, smaller, larger),
        jnp.where(lmda >= 0, larger, smaller),
    )


def safe_hypot(x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """`sqrt(x**2 + y**2)` without overflow, with zero gradient at the origin."""
    x, y = jnp.broadcast_arrays(x, y)
    big = jnp.maximum(jnp.abs(x), jnp.abs(y))
    zero = big == 0
    # The scale is a constant for differentiation: the value does not depend on it.
    scale = jax.lax.stop_gradient(jnp.where(zero, 1.0, big))
    radicand = jnp.where(zero, 1.0, (x / scale) ** 2 + (y / scale) ** 2)
    return jnp.where(zero, 0.0, scale * jnp.sqrt(radicand))


def merge_repeated(s: Float[Array, " modes"], size: int) -> Float[Array, " modes"]:
    """Singular values with those equal, or zero, up to rounding made exactly so.

    A gap that is only rounding would otherwise decide which of two equal modes wins
    at infinite time. `s` is in decreasing order; `size` is the matrix's larger side.
    """
    if s.size == 0:
        return s
    tolerance = 4 * size * jnp.finfo(s.dtype).eps * s[0]
    starts = jnp.concatenate([jnp.array([True]), s[:-1] - s[1:] > tolerance])
    label = jnp.cumsum(starts) - 1
    same = (label[:, None] == label[None, :]).astype(s.dtype)
    merged = dot(same, s) / jnp.sum(same, axis=1)
    merged = jnp.where(merged > tolerance, merged, 0.0)
    # Rounding only, so the derivative is that of `s` itself.
    return jax.lax.stop_gradient(merged) + (s - jax.lax.stop_gradient(s))


def nearest_isometry(x: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    """The matrix with orthonormal columns (rows, where it is wide) nearest to `x`."""
    u, _, vt = jnp.linalg.svd(x, full_matrices=False)
    return dot(u, vt)


def complete_basis(
    columns: Float[Array, "n k"],
) -> Float[Array, "n rest"]:
    """An orthonormal basis of what `k` orthonormal columns leave over in R^n."""
    q, _ = jnp.linalg.qr(columns, mode="complete")
    return q[:, columns.shape[1] :]


@jax.custom_jvp
def singular_basis(
    sigma: Float[Array, "out in"],
) -> tuple[Float[Array, "out out"], Float[Array, " modes"], Float[Array, "in in"]]:
    """The full `u`, `s`, `v` with `sigma = u[:, :k] @ diag(s) @ v[:, :k].T`.

    Singular vectors of repeated values have no derivative; those of values equal up to
    rounding would get a large and wrong one. Their tangents are NaN or infinite.
    """
    u, s, vt = jnp.linalg.svd(sigma)
    return u, s, vt.mT


@singular_basis.defjvp
def _singular_basis_jvp(primals, tangents):
    (sigma,), (tangent,) = primals, tangents
    u, s, v = singular_basis(sigma)
    change = dot(u.mT, tangent, v)
    k = s.size
    core = change[:k, :k]
    merged = merge_repeated(s, max(sigma.shape))
    diagonal = jnp.eye(k, dtype=bool)
    gap = jnp.where(diagonal, 1.0, merged[None] ** 2 - merged[:, None] ** 2)
    turn_u = jnp.where(diagonal, 0.0, (core * s[None] + s[:, None] * core.mT) / gap)
    turn_v = jnp.where(diagonal, 0.0, (s[:, None] * core + core.mT * s[None]) / gap)
    primal_out = u, s, v
    tangent_out = (
        dot(u, _turn(turn_u, change[k:, :k] / merged[None])),
        jnp.diagonal(core),
        dot(v, _turn(turn_v, change[:k, k:].mT / merged[None])),
    )
    return primal_out, tangent_out


def _turn(
    core: Float[Array, "k k"], rest: Float[Array, "rest k"]
) -> Float[Array, "n n"]:
    """The generator of a rotation, from its parts within and out of `k` modes."""
    zero = jnp.zeros((rest.shape[0], rest.shape[0]), core.dtype)
    return jnp.block([[core, -rest.mT], [rest, zero]])
