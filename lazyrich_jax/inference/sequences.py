"""Goals of several tasks that are learned one after another."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Real

from .. import _checks, _dtypes, theory
from .._dynamics import ExactSolution
from .._network import LinearNetwork
from .._task import Task
from ..applications.stages import as_duration, check_same_sizes
from .goals import AbstractGoal, check_isotropic


class _Sequence(AbstractGoal):
    """A goal of several tasks that are learned one after another."""

    each: tuple[Task, ...]
    durations: Float[Array, " tasks"]
    stacked: Task

    def __init__(
        self,
        tasks: Sequence[Task],
        durations: Real[ArrayLike, "*tasks"] | Sequence[float],
    ):
        tasks = tuple(tasks)
        _checks.require(
            len(tasks) > 1, f"`tasks` must hold at least two, but held {len(tasks)}."
        )
        for i, task in enumerate(tasks):
            check_same_sizes(f"tasks[{i}]", task, "tasks[0]", tasks[0])
            check_isotropic(f"tasks[{i}]", task)
        self.each = _dtypes.promoted(**{f"tasks[{i}]": t for i, t in enumerate(tasks)})
        self.stacked = _stacked(self.each)
        dtype = self.each[0].x.dtype
        self.durations = self._times(durations).astype(dtype)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks."""
        return self.each

    def check(self, name: str, value: Array) -> None:
        if name == "order":
            _order(value, len(self.each))
        elif name == "durations":
            self._times(value)

    def _times(
        self, durations: Real[ArrayLike, "*tasks"] | Sequence[float]
    ) -> Float[Array, " tasks"]:
        durations, count = _dtypes.as_real("durations", durations), len(self.each)
        _checks.require(
            durations.shape in ((), (count,)),
            f"`durations` must be one number or one for each of {count} tasks, but its "
            f"shape was {durations.shape}.",
        )
        durations = as_duration("durations", durations, infinite=False)
        return jnp.broadcast_to(durations, (count,))

    def _learned(
        self,
        network: LinearNetwork,
        durations: Real[ArrayLike, "*tasks"] | Sequence[float] | None,
        order: Int[ArrayLike, " tasks"] | Sequence[int] | None,
    ) -> tuple[Task, Float[Array, "tasks out in"]]:
        """The tasks in their order, and the function after each of them."""
        times = self.durations if durations is None else self._times(durations)
        tasks = self.stacked
        if order is not None:
            order = _order(order, len(self.each))
            tasks, times = jax.tree.map(lambda x: x[order], (tasks, times))
        throw = _checks.is_concrete((network, times))
        network, tasks, times = _dtypes.promoted(
            network=network, tasks=tasks, durations=times
        )

        def learn(network, one):
            task, time = one
            network = ExactSolution(network, task, throw=throw).network(time)
            return network, network.function

        return tasks, jax.lax.scan(learn, network, (tasks, times))[1]


class Forgetting(_Sequence):
    """The mean forgetting of all tasks but the last, after the last one.

    The forgetting of a task is its loss at the end less its loss right after its own
    training (`lazyrich_jax.applications.continual`). Tasks that were hardly learned are
    hardly forgotten: where durations are free, `SequenceLoss` is the better goal.

    **Arguments:**

    - `tasks`: at least two tasks of equal sizes with isotropic inputs.
    - `durations`: the training time of each task, one number or one per task; positive
      and finite. They are a free variable of the name `durations`, too.

    The order in which the tasks are learned is a free variable of the name `order`, a
    permutation of their indices; see `lazyrich_jax.inference.orders`. Each task keeps
    its own duration.

    **Raises:** `ValueError` for fewer than two tasks, different sizes, anisotropic
    inputs, and durations of another number or that aren't positive and finite.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        durations: Real[ArrayLike, "*tasks"] | Sequence[float],
    ):
        super().__init__(tasks, durations)

    def __call__(
        self,
        network: LinearNetwork,
        *,
        durations: Real[ArrayLike, "*tasks"] | Sequence[float] | None = None,
        order: Int[ArrayLike, " tasks"] | Sequence[int] | None = None,
    ) -> Float[Array, ""]:
        """The mean forgetting from a start."""
        tasks, ends = self._learned(network, durations, order)
        earlier = jax.tree.map(lambda x: x[:-1], tasks)
        grown = jax.vmap(theory.forgetting, (0, None, 0))(ends[:-1], ends[-1], earlier)
        return jnp.mean(grown)


class SequenceLoss(_Sequence):
    """The mean loss on all tasks after the last one.

    Arguments, free variables and errors are those of
    `lazyrich_jax.inference.Forgetting`.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        durations: Real[ArrayLike, "*tasks"] | Sequence[float],
    ):
        super().__init__(tasks, durations)

    def __call__(
        self,
        network: LinearNetwork,
        *,
        durations: Real[ArrayLike, "*tasks"] | Sequence[float] | None = None,
        order: Int[ArrayLike, " tasks"] | Sequence[int] | None = None,
    ) -> Float[Array, ""]:
        """The mean loss at the end, from a start."""
        tasks, ends = self._learned(network, durations, order)
        return jnp.mean(jax.vmap(lambda task: task.loss(ends[-1]))(tasks))


def _stacked(tasks: tuple[Task, ...]) -> Task:
    """Tasks with a leading axis. Samples of zero make their numbers equal."""
    most = max(task.samples for task in tasks)

    def padded(task):
        factor = (most / task.samples) ** 0.5  # keeps the loss
        rows = [(0, most - task.samples), (0, 0)]
        return jax.tree.map(lambda x: factor * jnp.pad(x, rows), task)

    return jax.tree.map(lambda *x: jnp.stack(x), *map(padded, tasks))


def _order(
    order: Int[ArrayLike, " tasks"] | Sequence[int], count: int
) -> Int[Array, " tasks"]:
    order = jnp.asarray(order)
    known = _checks.known(order)
    _checks.require(
        order.shape == (count,)
        and (known is None or sorted(known.tolist()) == list(range(count))),
        f"`order` must be a permutation of 0 to {count - 1}, but it was {known}.",
    )
    return order
