"""Arithmetic with removable singularities, and small exact linear algebra."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._xla import once, sizes

# Eigenvectors and eigenvalues of the coefficients of `sylvester`.
Spectra = tuple[
    Float[Array, "n n"], Float[Array, " n"], Float[Array, "m m"], Float[Array, " m"]
]


def dot(*matrices: Float[Array, "..."]) -> Float[Array, "..."]:
    """The product of matrices at full precision (never tf32 on an accelerator)."""
    matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    return functools.reduce(matmul, matrices)


def short_dot(*matrices: Float[Array, "..."]) -> Float[Array, "..."]:
    """`dot` with short sums written out: faster, but slower to compile.

    XLA calls a library for each product of a batch. The call costs more than a small
    product.
    """

    def product(a: Array, b: Array) -> Array:
        inner = range(a.shape[-1])
        if not 0 < len(inner) <= sizes.SUM_TERMS:
            return dot(a, b)
        terms = [a[..., :, k, None] * b[..., None, k, :] for k in inner]
        return sum(terms[1:], terms[0])

    return functools.reduce(product, matrices)


def square_norm(x: Float[Array, "..."]) -> Float[Array, ""]:
    """The squared Frobenius norm."""
    return jnp.sum(x * x)


def mean_decay(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""$(1 - e^{-x}) / x$ for $x \ge 0$, with value 1 and slope -1/2 at zero.

    A series below 0.1 keeps the derivatives as accurate as the value.
    """
    small = x < 0.1
    near = jnp.where(small, x, 0.0)
    series = jnp.zeros_like(near)
    for k in range(10, -1, -1):
        series = series * near + (-1) ** k / math.factorial(k + 1)
    far = jnp.where(small, 1.0, x)
    return jnp.where(small, series, -jnp.expm1(-far) / far)


def gain_of_decay(
    rate: Float[Array, "..."], decay: Float[Array, "..."], t: Float[Array, "..."]
) -> Float[Array, "..."]:
    """(1 - e^{-2 rate t}) / (2 rate) for `rate` >= 0, given `decay` = e^{-rate t}.

    A series replaces small differences: `expm1` takes as long as four exponentials.
    """
    x = 2 * rate * t
    near = x < 0.5
    small = jnp.where(near, x, 0.0)
    series = jnp.full_like(x, 1 / math.factorial(13))
    for k in range(12, 0, -1):
        series = 1 / math.factorial(k) - small * series
    far = once((1 - decay * decay) / jnp.where(near, 1.0, 2 * rate))
    return jnp.where(near, t * series, far)


def split_singular_values(
    s: Float[Array, "*modes"], lmda: Float[Array, "*#modes"]
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
    # The value does not depend on the scale: it is a constant for differentiation.
    scale = jax.lax.stop_gradient(jnp.where(zero, 1.0, big))
    radicand = jnp.where(zero, 1.0, (x / scale) ** 2 + (y / scale) ** 2)
    return jnp.where(zero, 0.0, scale * jnp.sqrt(radicand))


def norm(x: Float[Array, "..."], axis: int | None = None) -> Float[Array, "..."]:
    """The norm of all entries, or along an axis, with zero gradient at zero.

    The squares neither underflow nor overflow.
    """
    largest = jnp.max(jnp.abs(x), axis=axis, keepdims=True)
    largest = jax.lax.stop_gradient(jnp.where(largest == 0, 1.0, largest))
    square = jnp.sum((x / largest) ** 2, axis=axis)
    zero = square == 0
    root = jnp.sqrt(jnp.where(zero, 1.0, square))
    return jnp.where(zero, 0.0, jnp.squeeze(largest, axis) * root)


def finite_time(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """`t`, with a huge finite time in place of infinity.

    Its products with rates are finite; inf * 0 would be NaN in a derivative.
    """
    return jnp.minimum(t, float(jnp.finfo(t.dtype).max) ** 0.4)


def running_count(mask: Bool[Array, " k"]) -> Int[Array, " k"]:
    """How many entries are true up to each one."""
    return jnp.sum(jnp.tri(mask.size, dtype=bool) & mask[None], axis=1)


def merge_repeated(s: Float[Array, " modes"], size: int) -> Float[Array, " modes"]:
    """Singular values; those equal up to rounding are made equal, tiny ones zero.

    Otherwise a gap due to rounding would decide which of two equal modes wins at
    infinite time. `s` is in decreasing order; `size` is the matrix's larger side.
    Eigenvalues of a symmetric matrix, of any sign, are treated alike.
    """
    if s.size == 0:
        return s
    tolerance = 4 * size * jnp.finfo(s.dtype).eps * jnp.maximum(s[0], -s[-1])
    starts = jnp.concatenate([jnp.array([True]), s[:-1] - s[1:] > tolerance])
    label = running_count(starts)
    same = (label[:, None] == label[None, :]).astype(s.dtype)
    merged = dot(same, s) / jnp.sum(same, axis=1)
    return jnp.where(jnp.abs(merged) > tolerance, merged, 0.0)


def sylvester(
    b: Float[Array, "n n"],
    c: Float[Array, "m m"],
    x: Float[Array, "n m"],
    spectra: Spectra,
) -> Float[Array, "n m"]:
    r"""The solution Y of `b @ Y + Y @ c == x` for positive semidefinite `b` and `c`.

    `spectra` holds their eigenvectors and eigenvalues, `(left, of_b, right, of_c)`,
    constants for differentiation. Y is zero along pairs of zero eigenvalues.
    Derivatives of any order divide by sums of eigenvalues only: repeated eigenvalues
    do no harm.
    """
    left, of_b, right, of_c = spectra
    total = of_b[:, None] + of_c[None]

    def product(y: Array) -> Array:
        return dot(b, y) + dot(y, c)

    def solve(_: Any, x: Array) -> Array:
        core = dot(left.mT, x, right)
        core = jnp.where(total > 0, core / jnp.where(total > 0, total, 1.0), 0.0)
        return dot(left, core, right.mT)

    # Not a custom JVP: reverse mode would drop the rule where x is a tangent, and with
    # it the derivatives by b and c.
    return jax.lax.custom_linear_solve(product, x, solve, symmetric=True)


@jax.custom_jvp
def nearest_isometry(x: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    """The polar factor: the nearest matrix with orthonormal columns (rows if wide).

    Its derivative exists where `x` has full rank. At a lower rank the nearest matrix
    is not unique; the derivative belongs to the one returned.
    """
    u, _, vt = jnp.linalg.svd(x, full_matrices=False)
    return dot(u, vt)


@nearest_isometry.defjvp
def _nearest_isometry_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    if x.shape[0] < x.shape[1]:
        q, dq = jax.jvp(nearest_isometry, (x.mT,), (dx.mT,))
        return q.mT, dq.mT
    q = nearest_isometry(x)
    # With x = q h: (q h q') dq + dq h = dx - q dx' q.
    u, s, vt = jax.lax.stop_gradient(jnp.linalg.svd(jax.lax.stop_gradient(x)))
    of_b = jnp.pad(s, (0, x.shape[0] - s.size))
    rhs = dx - dot(q, dx.mT, q)
    return q, sylvester(dot(x, q.mT), dot(q.mT, x), rhs, (u, of_b, vt.mT, s))


def complete_basis(
    columns: Float[Array, "n k"],
) -> Float[Array, "n rest"]:
    """An orthonormal basis of the complement of `k` orthonormal columns in R^n."""
    q, _ = jnp.linalg.qr(columns, mode="complete")
    return q[:, columns.shape[1] :]


@jax.custom_jvp
def symmetric_root(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The root of a positive semidefinite matrix.

    It has derivatives at repeated eigenvalues too. Eigenvalues that are negative or
    zero up to rounding count as zero; derivatives along pairs of them are zero.
    """
    roots, basis = _roots(matrix)
    return dot(basis * roots[None], basis.T)


@symmetric_root.defjvp
def _symmetric_root_jvp(primals, tangents):
    (matrix,), (dmatrix,) = primals, tangents
    roots, basis = jax.lax.stop_gradient(_roots(jax.lax.stop_gradient(matrix)))
    root = symmetric_root(matrix)
    dmatrix = (dmatrix + dmatrix.T) / 2
    return root, sylvester(root, root, dmatrix, (basis, roots, basis, roots))


def _roots(
    matrix: Float[Array, "n n"],
) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    values, basis = jnp.linalg.eigh((matrix + matrix.T) / 2)
    noise = values.size * jnp.finfo(values.dtype).eps * values[-1]
    return jnp.sqrt(jnp.where(values > noise, values, 0.0)), basis
