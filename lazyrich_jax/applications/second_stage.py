"""The time to learn the task of a second stage."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _dtypes, measures, theory
from .._balanced import leading_part, modes_of_matrix
from .._linalg import dot, symmetric_root
from .._task import Task
from .stages import Protocol


def excess_loss(
    function: Float[Array, "out in"], task: Task, hidden_size: int
) -> Float[Array, ""]:
    """The loss above the optimum of a network with `hidden_size` hidden units.

    It is not a difference of losses, and keeps its digits near zero.
    """
    best, function = _dtypes.promoted(
        best=best_function(task, hidden_size), function=function
    )
    return theory.forgetting(best, function, task)


def best_function(task: Task, hidden_size: int) -> Float[Array, "out in"]:
    """The linear map of rank at most `hidden_size` with the smallest loss."""
    sigma, sxx = task.input_output_correlation, task.input_correlation
    if hidden_size < min(sigma.shape):  # reduced-rank regression
        inverse = jnp.linalg.pinv(symmetric_root(sxx))
        whitened = dot(sigma, inverse)
        leading = leading_part(whitened, modes_of_matrix(whitened), hidden_size)
        return dot(leading, inverse)
    return dot(sigma, jnp.linalg.pinv(sxx))


def time_to_learn(
    protocol: Protocol,
    task: Task,
    start: Float[Array, "out in"],
    path: Float[Array, "times out in"],
    hidden_size: int,
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """The time at which the excess loss is small against its value at `start`.

    The second result is whether it is ever small. `path` has the functions at
    `protocol.ts`.
    """
    limit = protocol.tolerance * excess_loss(start, task, hidden_size)
    excess = jax.vmap(lambda w: excess_loss(w, task, hidden_size))(path)
    time = measures.convergence_time(protocol.ts, excess, limit)
    return time, jnp.any(excess <= limit)
