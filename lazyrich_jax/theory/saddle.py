"""The distance of a start from the saddles of learning."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _dtypes
from .._balanced import leading_pair, modes_of_matrix
from .._linalg import dot, symmetric_root
from .._network import LinearNetwork
from .._task import Task
from .._xla import compiled
from .assumptions import balance_of, isotropic_variance


def saddle_distance(network: LinearNetwork, task: Task) -> Float[Array, ""]:
    r"""The distance of a start from a saddle: zero if some mode is never learned.

    It is the smallest singular value of the weights along the growing modes, the rows
    $\sin\theta_i\,v_i^\top W_1^\top + \cos\theta_i\,u_i^\top W_2$ for the leading
    `min(hidden, in, out)` modes of the task. Up to a factor $\sqrt2$ this is the matrix
    B of Domine et al. (2025), which is singular at a saddle. After a task is learned
    and its sign reversed, the distance is $|\lambda| / (\lambda^2 + 4s^2)^{1/4}$ for
    the mode s (with white inputs): the network never learns the reversal at
    $\lambda = 0$, and learns it at any other balance.

    **Arguments:** `network`, balanced, of two layers; `task`, with isotropic inputs.

    **Returns:** a scalar in units of a weight (times the inputs' standard deviation).

    **Raises:** `ValueError` for another depth, a network that isn't balanced or doesn't
    fit the task, and anisotropic inputs (traced: NaN).
    """
    lmda = balance_of("network", network, task)
    variance = isotropic_variance(task, lmda.dtype)
    network, task = _dtypes.promoted(network=network, task=task)
    return _distance(network, task, lmda, variance)


@compiled
def _distance(
    network: LinearNetwork,
    task: Task,
    lmda: Float[Array, ""],
    variance: Float[Array, ""],
) -> Float[Array, ""]:
    w1, w2 = network.weights
    sigma, k = task.input_output_correlation, min(network.sizes)
    modes = modes_of_matrix(sigma)
    v1, v2 = leading_pair(sigma, variance * lmda, modes, k)
    square = dot(v1, v1.mT) + dot(v2.mT, v2)
    # Modes of rate zero up to rounding are never learned: their row is zero.
    sizes = jax.lax.stop_gradient(jnp.diagonal(square))
    largest = jnp.where(sizes[0] > 0, sizes[0], 1.0)
    still = sizes <= 4 * max(sigma.shape) * jnp.finfo(sizes.dtype).eps * largest
    size = symmetric_root(square + jnp.diag(jnp.where(still, largest, 0.0)))
    rows = jnp.linalg.solve(size, dot(v1, w1.mT) + dot(v2.mT, w2))
    rows = jnp.where(still[:, None], 0.0, rows)
    return jnp.sqrt(variance) * jnp.linalg.svd(rows, compute_uv=False)[-1]
