"""Goals of a design: callables from a start to a number."""

import abc
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks
from .._dynamics import ExactSolution
from .._exactness import is_task
from .._network import LinearNetwork
from .._task import Task
from ..applications.stages import as_duration
from ..kernels import ntk_of_representations
from ..measures import kernel_distance
from ..theory.assumptions import isotropic_variance


class AbstractGoal(eqx.Module):
    """A number to make small, or large where `maximised`, by the choice of a start."""

    maximised: ClassVar[bool] = False

    def check(self, name: str, value: Array) -> None:
        """Refuse a bad value of a free variable: a low bound, or an option."""
        if name in ("duration", "durations"):
            as_duration(name, value, infinite=False)

    @property
    @abc.abstractmethod
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that are learned."""


class OneTask(AbstractGoal):
    """A goal of one task."""

    task: Task

    def __init__(self, task: Task):
        check_isotropic("task", task)
        self.task = task

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The task."""
        return (self.task,)


class LossAt(OneTask):
    """The loss at a deadline, by the exact solution.

    **Arguments:**

    - `task`: a task with isotropic inputs.
    - `duration`: the time of training, in units of learning rate x step; positive and
      finite. It is a free variable of the name `duration`, too.

    **Raises:** `ValueError` for anisotropic inputs and another duration.
    """

    duration: Float[Array, ""]

    def __init__(self, task: Task, duration: Real[ArrayLike, ""]):
        super().__init__(task)
        self.duration = one_duration(duration, task, infinite=False)

    def __call__(
        self, network: LinearNetwork, *, duration: Real[ArrayLike, ""] | None = None
    ) -> Float[Array, ""]:
        """The loss of a start after `duration`."""
        until = self.duration if duration is None else duration
        return solved(network, self.task).loss(until)


class KernelDistance(OneTask):
    r"""The squared miss of a target distance of the tangent kernel from its start.

    `lazyrich_jax.measures.kernel_distance` is 0 for lazy learning.

    **Arguments:**

    - `task`: a task with isotropic inputs.
    - `target`: the distance to reach, at least 0 and below 1.
    - `duration`: the training time at which it is measured; infinity by default. It is
      a free variable of the name `duration`, too.

    **Raises:** `ValueError` for anisotropic inputs, a target outside of [0, 1) and a
    duration that isn't positive.
    """

    target: Float[Array, ""]
    duration: Float[Array, ""]

    def __init__(
        self,
        task: Task,
        target: Real[ArrayLike, ""],
        duration: Real[ArrayLike, ""] = jnp.inf,
    ):
        super().__init__(task)
        target = _checks.as_scalar("target", target)
        allowed = "be at least 0 and below 1"
        target = _checks.checked(
            "target", target, allowed, lambda x: (x >= 0) & (x < 1)
        )
        self.target = target.astype(task.x.dtype)
        self.duration = one_duration(duration, task, infinite=True)

    def distance(
        self, network: LinearNetwork, *, duration: Real[ArrayLike, ""] | None = None
    ) -> Float[Array, ""]:
        """The distance of a start's kernel from the one after `duration`."""
        until = self.duration if duration is None else duration
        solution, n_in = solved(network, self.task), self.task.in_size
        states = jnp.stack([network.qqt.astype(solution.optimum.dtype)])
        states = jnp.concatenate([states, solution.qqt(jnp.asarray(until)[None])])
        # The kernel on white inputs has the angles of the one on isotropic inputs.
        x = jnp.eye(n_in, dtype=states.dtype)
        kernels = [
            ntk_of_representations(p[:n_in, :n_in], p[n_in:, n_in:], x) for p in states
        ]
        return kernel_distance(*kernels)

    def __call__(
        self, network: LinearNetwork, *, duration: Real[ArrayLike, ""] | None = None
    ) -> Float[Array, ""]:
        """The square of the distance less the target."""
        return (self.distance(network, duration=duration) - self.target) ** 2


def check_isotropic(name: str, task: Task) -> None:
    """Refuse other types and anisotropic inputs."""
    try:
        is_task("task", task)
        isotropic_variance(task, task.x.dtype)
    except (TypeError, ValueError) as error:
        text = str(error).replace("`task`", f"`{name}`")
        text = text.replace("`task.whitened()`", f"`{name}.whitened()`")
        raise type(error)(text) from None


def one_duration(value: Real[ArrayLike, ""], task: Task, *, infinite: bool) -> Array:
    """A duration in the task's dtype; refused as by `as_duration`."""
    duration = _checks.as_scalar("duration", value).astype(task.x.dtype)
    return as_duration("duration", duration, infinite=infinite)


def solved(network: LinearNetwork, task: Task) -> ExactSolution:
    """The solution; NaN, for traced networks, where it is not exact."""
    return ExactSolution(network, task, throw=_checks.is_concrete(network))
