"""Learning in stages: the shared arguments and measures of the applications.

Both stages of every application have the same numbers of balances and times, so that
`learn` is compiled once.
"""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._dynamics import AbstractDynamics, Exact, failure
from .._exactness import (
    are_network_and_task,
    check_two_layers,
    is_network,
    is_task,
    refined,
)
from .._feasible import feasible_lmda
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import RESULTS, Trajectory, raise_if_failed
from .table import table


class TwoStages(eqx.Module):
    """The shared results of applications with two stages, at every balance."""

    lmda: Float[Array, "*batch lmdas"]
    before: Trajectory
    after: Trajectory
    result: RESULTS

    @abc.abstractmethod
    def _columns(self) -> dict[str, Array]:
        """The columns of the table, an entry for every balance, by heading."""

    def __str__(self) -> str:
        """All balances as a table."""
        sizes = _checks.sizes_text(self.before.network.sizes)
        what = f"of a {sizes} network at {self.lmda.shape[-1]} balances"
        batch = self.lmda.shape[:-1]
        return table(self, batch, what, lambda: {"lmda": self.lmda, **self._columns()})


class Protocol(eqx.Module):
    """The arguments of an application, checked before any computation.

    In the first stage every balance learns `task` for `duration`. All arguments except
    the tasks are in one dtype; each task keeps its dtype, which sets its tolerance.
    """

    network: LinearNetwork
    task: Task
    second: Task
    lmda: Float[Array, " lmdas"]
    duration: Float[Array, ""]
    ts: Float[Array, " times"]
    dynamics: AbstractDynamics
    tolerance: Float[Array, ""]

    def __init__(
        self,
        network: LinearNetwork,
        task: Task,
        lmda: Real[ArrayLike, " lmdas"] | Sequence[float],
        duration: Real[ArrayLike, ""],
        ts: Real[ArrayLike, " times"] | Sequence[float],
        dynamics: AbstractDynamics,
        second: Task | None = None,
        tolerance: Real[ArrayLike, ""] = 1e-2,
    ):
        are_network_and_task(network, task)
        check_kinds(network, dynamics)
        if second is None:
            second = task
        check_same_sizes("second", second, "task", task)
        dtype = _dtypes.common_dtype(network=network, task=task, second=second)
        ts = _as_vector("ts", ts, "time").astype(dtype)
        dynamics.check(network, task, ts)
        dynamics.check(network, second, ts)
        self.network = refined(network, dtype)
        self.task, self.second, self.dynamics, self.ts = task, second, dynamics, ts
        self.lmda = _as_balances(lmda, network).astype(dtype)
        duration = _checks.as_scalar("duration", duration).astype(dtype)
        infinite = isinstance(dynamics, Exact)
        self.duration = as_duration("duration", duration, infinite=infinite)
        tolerance = _checks.as_scalar("tolerance", tolerance)
        allowed = "be more than 0 and less than 1"
        self.tolerance = _checks.checked(
            "tolerance", tolerance, allowed, lambda x: (x > 0) & (x < 1)
        ).astype(dtype)

    @property
    def first_ts(self) -> Float[Array, " times"]:
        """The times of the first stage: `ts` up to `duration`, and last `duration`."""
        return jnp.minimum(self.ts, self.duration).at[-1].set(self.duration)

    def first(self) -> Trajectory:
        """The first stage, from the network's function, at every balance."""
        networks = rebalanced(self.network, self.lmda)
        return _learned(networks, self.task, self.first_ts, self.dynamics)

    def then(self, networks: LinearNetwork, task: Task) -> Trajectory:
        """The second stage, at `ts`, of every network."""
        return _learned(networks, task, self.ts, self.dynamics)

    def outcome(
        self,
        kind: type[TwoStages],
        measure: Callable[..., dict[str, Array]],
        before: Trajectory,
        start: LinearNetwork,
        after: Trajectory,
        *given: Any,
        throw: bool,
        **more: Array,
    ) -> Any:
        """A result of the class `kind`; with `throw` a failed balance is an error.

        Its further fields are `more`, and `measure(protocol, start, after, *given)` at
        every balance, NaN or false where a stage failed. The second stage starts at
        `start` and has the trajectory `after`.
        """
        found, result = _measured(measure, self, before, start, after, *given)
        fields = {"lmda": self.lmda, "before": before, "after": after, **found, **more}
        outcome = kind(**fields, result=result)
        if not throw:
            return outcome
        if not _checks.is_concrete(result):
            return raise_if_failed(outcome, result)
        failed = np.asarray(result != RESULTS.successful)
        if failed.any():
            i = int(np.argmax(failed))
            first = np.asarray(before.result != RESULTS.successful)
            in_first = np.broadcast_to(first, failed.shape)[i]
            stage = (self.task, "task") if in_first else (self.second, "second")
            one = jax.tree.map(lambda x: x[i], result)
            error = stage_failure(one, self.network, *stage, self.dynamics)
            place = f" That was at `lmda[{i}]`, {_checks.number(self.lmda[i], 'g')}."
            raise type(error)(str(error) + place)
        return outcome


@eqx.filter_jit
def rebalanced(network: LinearNetwork, lmda: Float[Array, " lmdas"]) -> LinearNetwork:
    """The network rebalanced to every balance."""
    return jax.vmap(network.rebalanced)(lmda)


@eqx.filter_jit
def _measured(
    measure: Callable[..., dict[str, Array]],
    protocol: Protocol,
    before: Trajectory,
    start: LinearNetwork,
    after: Trajectory,
    *given: Any,
) -> tuple[dict[str, Array], RESULTS]:
    def member(first, start, after):
        result = first_failure_of(first, after.result)
        success = result == RESULTS.successful
        mark = jnp.where(success, 1.0, jnp.nan)
        found = {
            name: value & success if value.dtype == bool else value * mark
            for name, value in measure(protocol, start, after, *given).items()
        }
        return found, result

    shape = protocol.lmda.shape  # a single pretraining has one result for all balances
    first = jax.tree.map(lambda r: jnp.broadcast_to(r, shape), before.result)
    return jax.vmap(member)(first, start, after)


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
    """Refuse a `network` without two layers and a `dynamics` that isn't a law."""
    is_network("network", network)
    hint = "such as `Exact()` or `GradientFlow()`"
    _checks.instance("dynamics", dynamics, AbstractDynamics, hint)
    check_two_layers(network)


def check_same_sizes(name: str, other: Any, first: str, task: Task) -> None:
    """Refuse a task whose sizes differ from those of the first task."""
    is_task(name, other)
    _checks.require(
        (other.in_size, other.out_size) == (task.in_size, task.out_size),
        f"`{name}` must have the {task.in_size} inputs and {task.out_size} outputs of "
        f"`{first}`, but it had {other.in_size} inputs and {other.out_size} outputs.",
    )


def as_duration(name: str, duration: Array, *, infinite: bool) -> Array:
    """A duration; refused unless positive and, without `infinite`, finite.

    A traced bad duration becomes NaN.
    """
    allowed = "be positive" if infinite else "be positive and finite"
    return _checks.checked(
        name, duration, allowed, lambda x: (x > 0) & (infinite | (x < math.inf))
    )


def _as_vector(name: str, value: Any, entry: str) -> Array:
    """`value` as a non-empty vector."""
    vector = _dtypes.as_real(name, value)
    _checks.require(
        vector.ndim == 1 and vector.size > 0,
        f"`{name}` must be a vector of at least one {entry}, but its shape was "
        f"{vector.shape}.",
    )
    return vector


def _as_balances(
    lmda: Real[ArrayLike, " lmdas"] | Sequence[float], network: LinearNetwork
) -> Float[Array, " lmdas"]:
    """`lmda` as a vector of balances; refused unless the network's sizes allow them."""
    lmda = _checks.finite("lmda", _as_vector("lmda", lmda, "balance"))
    values = _checks.known(lmda)
    if values is not None:
        for i in (int(values.argmax()), int(values.argmin())):
            try:
                feasible_lmda(jnp.asarray(values[i]), network.sizes)
            except ValueError as error:
                text = str(error).replace("`lmda`", f"`lmda[{i}]`")
                raise ValueError(text) from None
    return lmda


def end(trajectory: Trajectory) -> LinearNetwork:
    """The network at the last time."""
    return jax.tree.map(lambda w: w[..., -1, :, :], trajectory.network)


def first_failure_of(first: RESULTS, then: RESULTS) -> RESULTS:
    """The second stage's result if the first succeeded, else the first's."""
    return RESULTS.where(first == RESULTS.successful, then, first)


def stage_failure(
    result: RESULTS,
    network: LinearNetwork,
    task: Task,
    name: str,
    dynamics: AbstractDynamics,
) -> Exception:
    """The error for a failed stage; its task was the argument `name`."""
    error = failure(result, network, task, dynamics.setting())
    return type(error)(str(error).replace("`task", f"`{name}"))
