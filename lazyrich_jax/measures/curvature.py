"""The sharpness of the loss at the weights of any network."""

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
    from scipy.sparse.linalg import LinearOperator, eigsh  # takes long: on first use

    check_fit(network, task)
    if not _checks.is_concrete((network, task)):
        raise TypeError(
            "`network` must be concrete, outside of `jax.jit`, `jax.vmap` and "
            "`jax.grad`, but it was traced."
        )
    tolerance = float(_checks.positive("rtol", _checks.as_scalar("rtol", rtol)))
    network, task = _dtypes.promoted(network=network, task=task)
    size = sum(w.size for w in network.weights)
    dtype = network.weights[0].dtype

    def product(vector: np.ndarray) -> np.ndarray:
        change = jnp.asarray(vector.ravel(), dtype)
        return np.asarray(_hessian_product(network, task, change), float)

    if size <= 2:  # too small for the iteration
        hessian = np.stack([product(row) for row in np.eye(size)])
        return jnp.asarray(np.linalg.eigvalsh(hessian)[-1], dtype)
    operator: Any = LinearOperator
    operator = operator((size, size), matvec=product, dtype=float)
    start = np.random.default_rng(0).normal(size=size)
    options: dict[str, Any] = {"tol": tolerance, "return_eigenvectors": False}
    values = eigsh(operator, k=1, which="LA", v0=start, **options)
    return jnp.asarray(values[0], dtype)


@jax.jit
def _hessian_product(
    network: LinearNetwork, task: Task, change: Float[Array, " weights"]
) -> Float[Array, " weights"]:
    flat, restored = ravel_pytree(network)

    def loss(flat):
        return task.loss(restored(flat).function)

    return jax.jvp(jax.grad(loss), (flat,), (change,))[1]
