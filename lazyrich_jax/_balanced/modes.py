"""The modes of a function, and the parts of it with the strongest ones."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import refuse_derivative
from .._linalg import dot, nearest_isometry

OF_RANK = (
    "Derivatives of an approximation of lower rank must be taken where it doesn't cut "
    "through equal singular values, but it did. The approximation has no derivative "
    "there."
)


class Modes(NamedTuple):
    """A function's singular value decomposition, constant for differentiation."""

    u: Float[Array, "out modes"]
    s: Float[Array, " modes"]
    v: Float[Array, "in modes"]


def modes_of_matrix(matrix: Float[Array, "out in"], *, full: bool = False) -> Modes:
    """All modes of a matrix.

    They are `min(in, out)`, in falling order, or with `full` `max(in, out)`. Those
    beyond the smaller side have strength zero, and no direction on that side.
    """
    matrix = jax.lax.stop_gradient(matrix)
    u, s, vt = jnp.linalg.svd(matrix, full_matrices=full)
    v, count = vt.mT, max(u.shape[1], vt.shape[0])
    u, v = (jnp.pad(x, ((0, 0), (0, count - x.shape[1]))) for x in (u, v))
    return Modes(u, jnp.pad(s, (0, count - s.size)), v)


def modes_of(w1: Float[Array, "hidden in"], w2: Float[Array, "out hidden"]) -> Modes:
    """The modes of the function `w2 @ w1`, as many as there may be hidden units."""
    w1, w2 = jax.lax.stop_gradient((w1, w2))
    if w1.shape[0] > min(w1.shape[1], w2.shape[0]):
        full = w1.shape[0] >= max(w1.shape[1], w2.shape[0])
        return modes_of_matrix(dot(w2, w1), full=full)
    # From the factors: the product has further singular values, all zero.
    q2, r2 = jnp.linalg.qr(w2)
    q1, r1 = jnp.linalg.qr(w1.mT)
    u, s, vt = jnp.linalg.svd(dot(r2, r1.mT))
    return Modes(dot(q2, u), s, dot(q1, vt.mT))


def leading_part(
    matrix: Float[Array, "out in"], modes: Modes, k: int, throw: bool = True
) -> Float[Array, "out in"]:
    """The best approximation of rank `k`, given all modes of the matrix.

    Its derivatives divide only by the gap between modes that are kept and others.

    **Raises:** a runtime error for a derivative where that gap is zero (without
    `throw`: NaN).
    """
    if k >= min(matrix.shape):
        return matrix
    kept, dropped = modes.s[k - 1], modes.s[k]
    noise = 4 * max(matrix.shape) * jnp.finfo(matrix.dtype).eps * modes.s[0]
    tie = kept - dropped <= noise
    matrix = refuse_derivative(matrix, tie, message=OF_RANK, throw=throw)
    return dot(_leading_projector(matrix, modes, k), matrix)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _leading_projector(
    matrix: Float[Array, "out in"], modes: Modes, k: int
) -> Float[Array, "out out"]:
    return dot(modes.u[:, :k], modes.u[:, :k].mT)


@_leading_projector.defjvp
def _leading_projector_jvp(k, primals, tangents):
    # The singular values are eigenvalues of `both` = [[0, m], [m', 0]]. Those above
    # `between` are positive eigenvalues of `both - between * eye`; the polar factor of
    # this matrix is its sign.
    (matrix, modes), (dmatrix, _) = primals, tangents
    between = (modes.s[k - 1] + modes.s[k]) / 2

    def projector(matrix):
        n_out, n_in = matrix.shape
        zeros = (jnp.zeros((n, n), matrix.dtype) for n in (n_out, n_in))
        both = jnp.block([[next(zeros), matrix], [matrix.mT, next(zeros)]])
        eye = jnp.eye(n_out + n_in, dtype=matrix.dtype)
        sign = nearest_isometry(both - between * eye)
        return (eye + sign)[:n_out, :n_out]

    return (
        _leading_projector(matrix, modes, k),
        jax.jvp(projector, (matrix,), (dmatrix,))[1],
    )
