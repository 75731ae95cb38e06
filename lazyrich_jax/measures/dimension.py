"""The effective dimension of a matrix, and its strengths along a task's modes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._linalg import dot
from .._xla import compiled
from .alignment import over_largest
from .operators import Kernel, is_operator, norm_and_trace


def effective_rank(matrix: Real[ArrayLike, "rows columns"]) -> Float[Array, ""]:
    r"""The exponential of the entropy of the normalised singular values.

    The rank (Roy and Vetterli 2007) is 1 for rank one, the smaller side for equal
    singular values, and zero for a zero matrix. It is invariant under scaling and
    rotations. Singular values that are zero up to rounding count as zero, and have no
    derivative.
    """
    return _rank(_checks.as_matrix("matrix", matrix))


@compiled
def _rank(matrix: Float[Array, "rows columns"]) -> Float[Array, ""]:
    s = jnp.linalg.svd(matrix, compute_uv=False)
    return _spread(s, max(matrix.shape) * jnp.finfo(s.dtype).eps * s[0])


def _spread(s: Float[Array, " k"], noise: Float[Array, ""]) -> Float[Array, ""]:
    """The exponential of the entropy of the singular values above `noise`."""
    s = jnp.where(s > noise, s, 0.0)
    total = jnp.sum(s)
    p = s / jnp.where(total > 0, total, 1.0)
    positive = p > 0
    entropy = -jnp.sum(jnp.where(positive, p * jnp.log(jnp.where(positive, p, 1.0)), 0))
    return jnp.where(total > 0, jnp.exp(entropy), 0.0)


def update_rank(
    start: Real[ArrayLike, "out in"], end: Real[ArrayLike, "out in"]
) -> Float[Array, ""]:
    r"""The `effective_rank` of the change of a weight, $W_1 - W_0$.

    Rich learning from small weights moves along few directions, about as many as the
    task has. The update of a lazy layer has at most the rank of its gradient. A small
    balanced linear network that learned a map of equal singular values has the map's
    rank. Reshape the weight of a convolution to (out, the rest).

    **Returns:** a scalar, zero if nothing moved. Singular values at the rounding level
    of the weights themselves count as zero.

    **Raises:** `ValueError` for weights of different shapes.
    """
    start, end = _checks.as_matrix("start", start), _checks.as_matrix("end", end)
    _checks.same_shape(start=start, end=end)
    return _update(*_dtypes.promoted(start=start, end=end))


@compiled
def _update(
    start: Float[Array, "out in"], end: Float[Array, "out in"]
) -> Float[Array, ""]:
    s = jnp.linalg.svd(end - start, compute_uv=False)
    largest = jnp.maximum(jnp.max(jnp.abs(start)), jnp.max(jnp.abs(end)))
    # The largest singular value of independent errors of the entries.
    spread = sum(size**0.5 for size in start.shape) * largest
    return _spread(s, jnp.finfo(s.dtype).eps * spread)


def participation_ratio(kernel: Kernel) -> Float[Array, ""]:
    r"""$(\operatorname{tr}K)^2 / \operatorname{tr}K^2$, the dimension of a kernel.

    For positive semidefinite kernels it is from 1 (rank one) to n (equal eigenvalues).
    It and its derivative are zero for a zero kernel. It is invariant under scaling and
    rotations. An operator of lineax is allowed, if it is symmetric; its columns are not
    stored.

    **Raises:** `ValueError` for a matrix that isn't square.
    """
    if is_operator(kernel):
        total, trace = norm_and_trace(kernel)
        zero = total == 0
        return jnp.where(zero, 0.0, (trace / jnp.where(zero, 1.0, total)) ** 2)
    return _participation(_checks.square("kernel", kernel))


@compiled
def _participation(kernel: Float[Array, "n n"]) -> Float[Array, ""]:
    something = jnp.any(kernel != 0)
    kernel = jnp.where(something, over_largest(jnp.where(something, kernel, 1.0)), 0.0)
    square = jnp.sum(kernel * kernel.T)
    zero = square == 0
    return jnp.where(zero, 0.0, jnp.trace(kernel) ** 2 / jnp.where(zero, 1.0, square))


def mode_strengths(
    function: Real[ArrayLike, "out in"], sigma: Real[ArrayLike, "out in"]
) -> Float[Array, " modes"]:
    r"""The signed strengths $u_i^\top W v_i$ of a function along a task's modes.

    They are in the order of the singular values of `sigma` $= USV^\top$;
    `lazyrich_jax.theory.aligned_modes` describes their learning. If `sigma` repeats a
    singular value (or, unless it is square, has a zero one), single strengths depend on
    the choice of its singular vectors. Their derivative with respect to `sigma` is then
    NaN.

    **Raises:** `ValueError` for matrices of different shapes.
    """
    function = _checks.as_matrix("function", function)
    sigma = _checks.as_matrix("sigma", sigma)
    _checks.same_shape(function=function, sigma=sigma)
    return _strengths(*_dtypes.promoted(function=function, sigma=sigma))


@compiled
def _strengths(
    function: Float[Array, "out in"], sigma: Float[Array, "out in"]
) -> Float[Array, " modes"]:
    s = jnp.linalg.svd(jax.lax.stop_gradient(sigma), compute_uv=False)
    noise = 4 * max(sigma.shape) * jnp.finfo(s.dtype).eps * s[0]
    vague = jnp.any(s[:-1] - s[1:] <= noise)
    if sigma.shape[0] != sigma.shape[1]:
        vague |= s[-1] <= noise
    sigma = _checks.refuse_derivative(sigma, vague, message="", throw=False)
    u, _, vt = jnp.linalg.svd(sigma, full_matrices=False)
    return jnp.sum(dot(u.T, function) * vt, axis=1)
