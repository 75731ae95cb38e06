"""The sharpness of the loss at the weights of any network."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .. import _checks, _dtypes
from .._exactness import check_fit
from .._network import LinearNetwork
from .._task import Task


def sharpness(
    network: LinearNetwork, task: Task, *, rtol: float = 1e-6
) -> Float[Array, ""]:
    r"""The largest eigenvalue of the loss's Hessian by all weights.

    Any depth, weights and inputs are allowed. Lanczos' iteration asks for products
    with the Hessian alone. Gradient descent at a minimum is stable for
    learning rates below two over the sharpness. `lazyrich_jax.theory.sharpness` is its
    closed form for aligned networks, `lazyrich_jax.theory.final_sharpness` for learned
    ones.

    **Arguments:**

    - `network`, `task`: concrete. It works neither under `jax.jit` nor `jax.vmap`, and
      has no derivative.
    - `rtol`: the relative tolerance of the eigenvalue.

    **Raises:** `ValueError` for sizes that don't fit and a tolerance that isn't
    positive; `TypeError` for traced arguments.
    """
    check_fit(network, task)
    if not _checks.is_concrete((network, task)):
        raise TypeError(
            "`network` must be concrete, outside of `jax.jit`, `jax.vmap` and "
            "`jax.grad`, but it was traced."
        )
    tolerance = float(_checks.positive("rtol", _checks.as_scalar("rtol", rtol)))
    network, task = _dtypes.promoted(network=network, task=task)
    size = sum(w.size for w in network.weights)

    def product(vector: Array) -> Array:
        return _hessian_product(network, task, vector)

    return largest_eigenvalue(product, size, network.weights[0].dtype, tolerance)


@jax.jit
def _hessian_product(
    network: LinearNetwork, task: Task, change: Float[Array, " weights"]
) -> Float[Array, " weights"]:
    flat, restored = ravel_pytree(network)

    def loss(flat):
        return task.loss(restored(flat).function)

    return jax.jvp(jax.grad(loss), (flat,), (change,))[1]


def largest_eigenvalue(
    product: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    size: int,
    dtype: jnp.dtype,
    rtol: float,
) -> Float[Array, ""]:
    """The largest eigenvalue of a symmetric matrix, from products with vectors.

    Lanczos' iteration keeps two vectors, in double precision. It forgets that earlier
    ones are orthogonal: eigenvalues then appear twice, and the largest one stays right
    (Paige 1972). It stops when the residual, which bounds the error, is small enough,
    or rounding beside the matrix.
    """
    from scipy.linalg import eigh_tridiagonal  # takes long: on first use

    vector = np.random.default_rng(0).normal(size=size)
    vector, last = vector / np.linalg.norm(vector), np.zeros(size)
    diagonal, beside = [], [0.0]
    while True:
        image = np.asarray(product(jnp.asarray(vector, dtype)), float)
        diagonal.append(np.vdot(vector, image))
        image = image - diagonal[-1] * vector - beside[-1] * last
        beside.append(np.linalg.norm(image))
        if not np.isfinite(beside[-1]):
            return jnp.asarray(np.nan, dtype)
        top = len(diagonal) - 1
        values, vectors = eigh_tridiagonal(
            diagonal, beside[1:-1], select="i", select_range=(top, top)
        )
        noise = float(jnp.finfo(dtype).eps) * np.max(np.abs([diagonal, beside[1:]]))
        if beside[-1] * abs(vectors[-1, 0]) <= max(rtol * abs(values[0]), noise):
            return jnp.asarray(values[0], dtype)
        vector, last = image / beside[-1], vector
