"""Learning in stages: the arguments that the applications share, and what they measure.

Both stages of every application learn at as many balances and times, so that what is
slow to compile is compiled once.
"""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks
from .._dynamics import AbstractDynamics, Exact, failure
from .._exactness import check_two_layers, refined
from .._learn import learn
from .._network import LinearNetwork, check_feasible
from .._task import Task
from .._trajectory import RESULTS, Trajectory, raise_if_failed
from .table import table


class Protocol(eqx.Module):
    """A task learned for some time at every balance, before something else is.

    Holds the arguments of an application, checked before anything is computed. All but
    the tasks are in one dtype; those are judged by their own.
    """

    network: LinearNetwork
    task: Task
    second: Task
    lmda: Float[Array, " lmdas"]
    duration: Float[Array, ""]
    ts: Float[Array, " times"]
    dynamics: AbstractDynamics

    def __init__(
        self,
        network: LinearNetwork,
        task: Task,
        lmda: Real[ArrayLike, " lmdas"] | Sequence[float],
        duration: Real[ArrayLike, ""],
        ts: Real[ArrayLike, " times"] | Sequence[float],
        dynamics: AbstractDynamics,
        second: Task | None = None,
    ):
        check_kinds(network, dynamics)
        _checks.instance("task", task, Task, "build one with `Task(x, y)`")
        if second is None:
            second = task
        check_same_sizes("second", second, "task", task)
        dtype = _checks.common_dtype(network=network, task=task, second=second)
        ts = _checks.as_real("ts", ts).astype(dtype)
        _checks.require(
            ts.ndim == 1 and ts.size > 0,
            "`ts` must be a vector of at least one time, but its shape was "
            f"{ts.shape}.",
        )
        dynamics.check(network, task, ts)
        dynamics.check(network, second, ts)
        self.network = refined(network, dtype)
        self.task, self.second, self.dynamics, self.ts = task, second, dynamics, ts
        self.lmda = _as_balances(lmda, network).astype(dtype)
        duration = _checks.as_scalar("duration", duration).astype(dtype)
        infinite = isinstance(dynamics, Exact)
        self.duration = as_duration("duration", duration, infinite=infinite)

    @property
    def first_ts(self) -> Float[Array, " times"]:
        """The times of the first stage: `ts` as far as it goes, and its end."""
        return jnp.minimum(self.ts, self.duration).at[-1].set(self.duration)

    def first(self) -> Trajectory:
        """The first stage, from the network's function, at every balance."""
        networks = rebalanced(self.network, self.lmda)
        return _learned(networks, self.task, self.first_ts, self.dynamics)

    def then(self, networks: LinearNetwork, task: Task) -> Trajectory:
        """The second stage, at `ts`, of every network."""
        return _learned(networks, task, self.ts, self.dynamics)


@eqx.filter_jit
def rebalanced(network: LinearNetwork, lmda: Float[Array, " lmdas"]) -> LinearNetwork:
    """One network at every balance."""
    return jax.vmap(network.rebalanced)(lmda)


@eqx.filter_jit
def _learned(
    networks: LinearNetwork,
    task: Task,
    ts: Float[Array, " times"],
    dynamics: AbstractDynamics,
) -> Trajectory:
    def one(network):
        return learn(network, task, ts, dynamics=dynamics, throw=False)

    return jax.vmap(one)(networks)


def check_kinds(network: Any, dynamics: Any) -> None:
    """Refuse what isn't a network of two layers, or not a law of learning."""
    hint = "draw one with `LambdaBalanced`"
    _checks.instance("network", network, LinearNetwork, hint)
    hint = "such as `Exact()` or `GradientFlow()`"
    _checks.instance("dynamics", dynamics, AbstractDynamics, hint)
    check_two_layers(network)


def check_same_sizes(name: str, other: Any, first: str, task: Task) -> None:
    """Refuse a task of other sizes than the first one."""
    _checks.instance(name, other, Task, "build one with `Task(x, y)`")
    _checks.require(
        (other.in_size, other.out_size) == (task.in_size, task.out_size),
        f"`{name}` must have the {task.in_size} inputs and {task.out_size} outputs of "
        f"`{first}`, but it had {other.in_size} inputs and {other.out_size} outputs.",
    )


def as_duration(name: str, duration: Array, *, infinite: bool) -> Array:
    """A duration, refused if it isn't positive or mustn't be infinite (traced: NaN)."""
    allowed = "be positive" if infinite else "be positive and finite"

    def is_good(x: Any) -> Any:
        return (x > 0) & (infinite | (x < math.inf))

    return _checks.checked(name, duration, allowed, is_good)


def as_tolerance(value: Real[ArrayLike, ""], dtype: jnp.dtype) -> Float[Array, ""]:
    """`value` as a fraction between 0 and 1, neither included."""
    tolerance = _checks.as_scalar("tolerance", value)
    allowed = "be more than 0 and less than 1"

    def is_good(x: Any) -> Any:
        return (x > 0) & (x < 1)

    return _checks.checked("tolerance", tolerance, allowed, is_good).astype(dtype)


def _as_balances(
    lmda: Real[ArrayLike, " lmdas"] | Sequence[float], network: LinearNetwork
) -> Float[Array, " lmdas"]:
    """`lmda` as a vector of balances that the network's sizes allow."""
    lmda = _checks.as_real("lmda", lmda)
    _checks.require(
        lmda.ndim == 1 and lmda.size > 0,
        "`lmda` must be a vector of at least one balance, but its shape was "
        f"{lmda.shape}.",
    )
    lmda = _checks.finite("lmda", lmda)
    values = _checks.known(lmda)
    if values is not None:
        for i in (int(values.argmax()), int(values.argmin())):
            try:
                check_feasible(jnp.asarray(values[i]), network.sizes)
            except ValueError as error:
                text = str(error).replace("`lmda`", f"`lmda[{i}]`")
                raise ValueError(text) from None
    return lmda


def end(trajectory: Trajectory) -> LinearNetwork:
    """The network at the last time."""
    return jax.tree.map(lambda w: w[..., -1, :, :], trajectory.network)


def first_failure_of(first: RESULTS, then: RESULTS) -> RESULTS:
    """The result of two stages: that of the first unless it succeeded."""
    return RESULTS.where(first == RESULTS.successful, then, first)


def nan_unless_successful(result: RESULTS) -> Float[Array, ""]:
    """What to multiply a number with that a failure makes meaningless."""
    return jnp.where(result == RESULTS.successful, 1.0, jnp.nan)


def stage_failure(
    result: RESULTS,
    network: LinearNetwork,
    task: Task,
    name: str,
    dynamics: AbstractDynamics,
) -> Exception:
    """The error for a stage that failed, whose task was the argument `name`."""
    error = failure(result, network, task, dynamics.setting())
    return type(error)(str(error).replace("`task", f"`{name}"))


def checked_outcome(outcome: Any, protocol: Protocol, *, throw: bool) -> Any:
    """`outcome`, of all balances, unless one failed and `throw`."""
    result = outcome.result
    if not throw:
        return outcome
    if not _checks.is_concrete(result):
        return raise_if_failed(outcome, result)
    failed = np.asarray(result != RESULTS.successful)
    if failed.any():
        i = int(np.argmax(failed))
        first = np.broadcast_to(
            outcome.before.result != RESULTS.successful, len(failed)
        )
        name = "task" if first[i] else "second"
        task = protocol.task if first[i] else protocol.second
        one = jax.tree.map(lambda x: x[i], result)
        error = stage_failure(one, protocol.network, task, name, protocol.dynamics)
        place = f" That was at `lmda[{i}]`, {_checks.number(protocol.lmda[i], 'g')}."
        raise type(error)(str(error) + place)
    return outcome


def balance_table(outcome: Any, columns: dict[str, Any]) -> str:
    """All balances as a table; of a batch, or traced, the head only."""
    sizes = _checks.sizes_text(outcome.before.network.sizes)
    name, shape = type(outcome).__name__, outcome.lmda.shape
    batch = f" x {shape[:-1]}" if len(shape) > 1 else ""
    head = f"{name}{batch} of a {sizes} network at {shape[-1]} balances"
    if not _checks.is_concrete(outcome):
        return f"{head} (traced)"
    return head if batch else table(head, columns, outcome.result)
