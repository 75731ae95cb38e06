"""The sharpness of the loss at the weights of any network."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .. import _checks, _dtypes
from .._exactness import check_fit
from .._network import LinearNetwork
from .._task import Task

# Vectors that ARPACK keeps. Fewer take more products where eigenvalues are close.
MOST_VECTORS, LEAST_VECTORS = 20, 8


def sharpness(
    network: LinearNetwork, task: Task, *, rtol: float = 1e-6
) -> Float[Array, ""]:
    r"""The largest eigenvalue of the loss's Hessian by all weights.

    Any depth, weights and inputs are allowed. ARPACK's Lanczos iteration asks for
    products with the Hessian alone. Gradient descent at a minimum is stable for
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
    memory: float = math.inf,
) -> Float[Array, ""]:
    """The largest eigenvalue of a symmetric matrix, from products with vectors.

    ARPACK keeps vectors of double precision: as many of `MOST_VECTORS` as fit into
    `memory` (bytes), but not fewer than `LEAST_VECTORS`.

    **Raises:** `ValueError` for a product that isn't finite.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh  # takes long: on first use

    def on_host(vector: np.ndarray) -> np.ndarray:
        found = np.asarray(product(jnp.asarray(vector.ravel(), dtype)), float)
        _checks.require(
            bool(np.all(np.isfinite(found))),
            "The loss must have finite second derivatives, but they were not finite.",
        )
        return found

    if size <= 2:  # too small for the iteration
        matrix = np.stack([on_host(row) for row in np.eye(size)])
        return jnp.asarray(np.linalg.eigvalsh(matrix)[-1], dtype)
    operator: Any = LinearOperator
    operator = operator((size, size), matvec=on_host, dtype=float)
    start = np.random.default_rng(0).normal(size=size)
    if not np.any(on_host(start)):  # a matrix of zeros, which ARPACK refuses
        return jnp.zeros((), dtype)
    fit = max(min(memory / (8 * size), MOST_VECTORS), LEAST_VECTORS)
    options: dict[str, Any] = {"tol": rtol, "return_eigenvectors": False}
    options["ncv"] = min(int(fit), size)
    values = eigsh(operator, k=1, which="LA", v0=start, **options)
    return jnp.asarray(values[0], dtype)
