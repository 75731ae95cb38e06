"""How many dimensions a matrix has, and its strengths along the modes of a task."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks
from .._compiled import compiled
from .._linalg import dot
from .alignment import over_largest


def effective_rank(matrix: Real[ArrayLike, "rows columns"]) -> Float[Array, ""]:
    r"""The exponential of the entropy of the normalised singular values.

    (Roy and Vetterli 2007.) From 1 for rank one to the smaller side for equal singular
    values; zero for a matrix of zero. Blind to scale and rotations.
    """
    return _rank(_checks.as_matrix("matrix", matrix))


@compiled
def _rank(matrix: Float[Array, "rows columns"]) -> Float[Array, ""]:
    s = jnp.linalg.svd(matrix, compute_uv=False)
    total = jnp.sum(s)
    p = s / jnp.where(total > 0, total, 1.0)
    positive = p > 0
    entropy = -jnp.sum(jnp.where(positive, p * jnp.log(jnp.where(positive, p, 1.0)), 0))
    return jnp.where(total > 0, jnp.exp(entropy), 0.0)


def participation_ratio(kernel: Real[ArrayLike, "n n"]) -> Float[Array, ""]:
    r"""$(\operatorname{tr}K)^2 / \operatorname{tr}K^2$, the dimension of a kernel.

    From 1 for rank one to n for equal eigenvalues, for positive semidefinite kernels;
    zero for a kernel of zero. Blind to scale and rotations.

    **Raises:** `ValueError` for a matrix that isn't square.
    """
    return _participation(_checks.square("kernel", kernel))


@compiled
def _participation(kernel: Float[Array, "n n"]) -> Float[Array, ""]:
    kernel = jnp.where(jnp.any(kernel != 0), over_largest(kernel), kernel)
    square = jnp.sum(kernel * kernel.T)
    zero = square == 0
    return jnp.where(zero, 0.0, jnp.trace(kernel) ** 2 / jnp.where(zero, 1.0, square))


def mode_strengths(
    function: Real[ArrayLike, "out in"], sigma: Real[ArrayLike, "out in"]
) -> Float[Array, " modes"]:
    r"""The strengths $u_i^\top W v_i$ of a function along the modes of a task, signed.

    With `sigma` $= USV^\top$, in the order of its singular values: what `aligned_modes`
    of the theory describe. Where `sigma` repeats a singular value, single strengths
    depend on the choice of its vectors; so do derivatives with respect to `sigma`.

    **Raises:** `ValueError` for matrices of different shapes.
    """
    function = _checks.as_matrix("function", function)
    sigma = _checks.as_matrix("sigma", sigma)
    _checks.same_shape(function=function, sigma=sigma)
    return _strengths(function, sigma)


@compiled
def _strengths(
    function: Float[Array, "out in"], sigma: Float[Array, "out in"]
) -> Float[Array, " modes"]:
    u, _, vt = jnp.linalg.svd(sigma, full_matrices=False)
    return jnp.sum(dot(u.T, function) * vt, axis=1)
