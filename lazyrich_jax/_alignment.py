"""How far a network is from alignment with its task.

In: a network and a task, or its correlation. Out: the modes that all matrices would
share, the entries between them, and sentences for refusals. docs/theory.md, section 7.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import _checks, _dtypes
from ._exactness import exactness_tolerance
from ._linalg import dot, norm, safe_hypot, square_norm
from ._network import LinearNetwork
from ._singular import by_library
from ._task import Task
from ._xla import compiled


def shared_basis(
    network: LinearNetwork, sigma: Float[Array, "out in"]
) -> tuple[Float[Array, "out out"], Float[Array, "in in"]]:
    """Singular vectors of the task, the function and both representations.

    A sum with generic coefficients tells apart modes of equal strengths.
    """
    network, sigma = jax.lax.stop_gradient((network, sigma))
    x, y = network.input_representation, network.output_representation
    square, size = jnp.trace(x) + jnp.trace(y), norm(sigma.ravel())
    square, size = (jnp.where(z == 0, 1.0, z) for z in (square, size))
    both = (dot(sigma, x) + dot(y, sigma)) / (size * square)
    mixed = sigma / size + 0.3716 * network.function / square + 0.2249 * both
    left, _, right = by_library(mixed)
    return left, right


def misalignment(
    network: LinearNetwork,
    sigma: Float[Array, "out in"],
    basis: tuple[Float[Array, "out out"], Float[Array, "in in"]],
) -> Float[Array, ""]:
    """The norm of all entries between modes, of the task and of $QQ^T$.

    `basis` has the modes, from `shared_basis`.
    """
    left, right = basis
    n_out, n_in = sigma.shape
    # Directions beyond the modes are constant: they may have any entries among them.
    number = jnp.minimum(jnp.arange(max(n_in, n_out)), min(n_in, n_out))
    rows = jnp.concatenate([number[:n_in], number[:n_out]])
    w1, w2 = network.weights
    q = jnp.concatenate([dot(right.mT, w1.mT), dot(left.mT, w2)])
    between = jnp.where(rows[:, None] == rows[None], 0.0, dot(q, q.mT))
    core = dot(left.mT, sigma, right)
    core = jnp.where(jnp.eye(n_out, n_in, dtype=bool), 0.0, core)
    return safe_hypot(norm(between.ravel()), norm(core.ravel()))


def alignment_text(network: LinearNetwork, task: Task) -> str:
    """A sentence on the distance of a network from alignment with its task."""
    return (
        "The entries between modes, of the task, the function and both "
        f"representations, were {_checks.number(_share_off(network, task), '.3g')} of "
        "all."
    )


def aligned_hint(network: LinearNetwork, task: Task) -> str:
    """A sentence for aligned networks; empty for others."""
    if _share_off(network, task) > exactness_tolerance(network.weights[0].dtype):
        return ""
    return " It is aligned with the task, though: `start='aligned'` is exact for it."


@compiled
def _share_off(network: LinearNetwork, task: Task) -> Float[Array, ""]:
    """The entries between modes, over all entries."""
    network, task = _dtypes.promoted(network=network, task=task)
    sigma = task.input_output_correlation / task.input_variance
    square = sum(square_norm(w) for w in network.weights)
    size = jnp.maximum(square, norm(sigma.ravel()))
    off = misalignment(network, sigma, shared_basis(network, sigma))
    return off / jnp.where(size == 0, 1.0, size)
