"""The second of two stages: when it is learned, and what it changes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _checks, kernels, measures, theory
from .._balanced import leading_part, modes_of_matrix
from .._linalg import dot, symmetric_root
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import RESULTS, Trajectory
from .stages import (
    Protocol,
    balance_table,
    end,
    first_failure_of,
    nan_unless_successful,
)


class SecondStage(eqx.Module):
    """A second task learned after a first one, at every balance."""

    lmda: Float[Array, "*batch lmdas"]
    before: Trajectory
    after: Trajectory
    time: Float[Array, "*batch lmdas"]
    kernel_distance: Float[Array, "*batch lmdas"]
    forgetting: Float[Array, "*batch lmdas"]
    result: RESULTS

    def __str__(self) -> str:
        """The measures of every balance."""
        columns = {
            "lmda": self.lmda,
            "time to learn": self.time,
            "kernel distance": self.kernel_distance,
            "forgetting": self.forgetting,
        }
        return balance_table(self, columns)


def second_stage(
    protocol: Protocol,
    before: Trajectory,
    start: LinearNetwork,
    tolerance: Float[Array, ""],
) -> dict[str, Any]:
    """Learn the second task at every balance; what a `SecondStage` says of it."""
    after = protocol.then(start, protocol.second)
    shape = protocol.lmda.shape  # one pretraining has one result for all
    first = jax.tree.map(lambda r: jnp.broadcast_to(r, shape), before.result)
    measured = _measured(protocol, start, after, first, tolerance)
    return {"lmda": protocol.lmda, "before": before, "after": after, **measured}


@eqx.filter_jit
def _measured(
    protocol: Protocol,
    start: LinearNetwork,
    after: Trajectory,
    first: RESULTS,
    tolerance: Float[Array, ""],
) -> dict[str, Any]:
    second = protocol.second

    def member(start, after, first):
        last = end(after)
        time, _ = time_to_learn(after, start, second, tolerance)
        k0, k1 = kernels.ntk(start, second.x), kernels.ntk(last, second.x)
        forgotten = theory.forgetting(start.function, last.function, protocol.task)
        result = first_failure_of(first, after.result)
        mark = nan_unless_successful(result)
        return {
            "time": time * mark,
            "kernel_distance": measures.kernel_distance(k0, k1) * mark,
            "forgetting": forgotten * mark,
            "result": result,
        }

    return jax.vmap(member)(start, after, first)


def excess_loss(
    function: Float[Array, "out in"], task: Task, hidden_size: int
) -> Float[Array, ""]:
    """The loss above the least that a network of `hidden_size` can have.

    Without subtracting losses, so that it keeps its digits as it vanishes.
    """
    function, task = _checks.promoted(function=function, task=task)
    sigma, sxx = task.input_output_correlation, task.input_correlation
    if hidden_size < min(sigma.shape):  # reduced-rank regression
        inverse = jnp.linalg.pinv(symmetric_root(sxx))
        whitened = dot(sigma, inverse)
        leading = leading_part(whitened, modes_of_matrix(whitened), hidden_size)
        best = dot(leading, inverse)
    else:
        best = dot(sigma, jnp.linalg.pinv(sxx))
    return theory.forgetting(best, function, task)


def time_to_learn(
    after: Trajectory,
    start: LinearNetwork,
    task: Task,
    tolerance: Float[Array, ""],
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """When the excess loss is `tolerance` of that at `start`, and if it ever is."""
    hidden_size = start.sizes[1]
    limit = tolerance * excess_loss(start.function, task, hidden_size)
    excess = jax.vmap(lambda w: excess_loss(w, task, hidden_size))(after.function)
    time = measures.convergence_time(after.ts, excess, limit)
    return time, jnp.any(excess <= limit)
