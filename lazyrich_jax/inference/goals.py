"""Goals of a design: callables from a start to a number."""

import abc
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Real

from .. import _checks, _dtypes, theory
from .._dynamics import ExactSolution
from .._exactness import is_task
from .._linalg import safe_hypot
from .._network import LinearNetwork
from .._task import Task
from ..applications.second_stage import best_function
from ..applications.stages import as_duration, check_same_sizes
from ..kernels import ntk_of_representations
from ..measures import kernel_distance
from ..theory.assumptions import isotropic_variance
from .implicit import with_derivative


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


class _OneTask(AbstractGoal):
    """A goal of one task."""

    task: Task

    def __init__(self, task: Task):
        _isotropic("task", task)
        self.task = task

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The task."""
        return (self.task,)


class LossAt(_OneTask):
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
        self.duration = _duration(duration, task, infinite=False)

    def __call__(
        self, network: LinearNetwork, *, duration: Real[ArrayLike, ""] | None = None
    ) -> Float[Array, ""]:
        """The loss of a start after `duration`."""
        until = self.duration if duration is None else duration
        return _solved(network, self.task).loss(until)


class LearningTime(_OneTask):
    r"""The time in which the loss falls to a fraction of its start, above its optimum.

    The time is infinite if the loss stays above. It has first derivatives only.

    **Arguments:**

    - `task`: a task with isotropic inputs.
    - `tolerance`: the fraction, between 0 and 1.

    **Raises:** `ValueError` for anisotropic inputs and a tolerance outside of (0, 1).
    """

    tolerance: Float[Array, ""]

    def __init__(self, task: Task, *, tolerance: Real[ArrayLike, ""] = 1e-2):
        super().__init__(task)
        self.tolerance = _tolerance(tolerance, task)

    def __call__(self, network: LinearNetwork) -> Float[Array, ""]:
        """The time that a start needs, in units of learning rate x step."""
        solution = _solved(network, self.task)
        return _time_to_learn(solution, network, self.task, self.tolerance)


class ReversalTime(_OneTask):
    r"""The time to learn the opposite of a task, after the task itself.

    It is the time after the flip in which the loss falls to a fraction of its value at
    the flip, above its optimum, as in `lazyrich_jax.applications.reversal` but without
    a grid of times. After complete learning it depends on the balance alone. It is
    infinite at a saddle, and grows as $\log(1 / |\lambda|) / s$ near it.

    **Arguments:**

    - `task`: a task with isotropic inputs.
    - `duration`: the training time of the task before the flip; infinity by default.
      It is a free variable of the name `duration`, too.
    - `tolerance`: the fraction, between 0 and 1.

    **Raises:** `ValueError` for anisotropic inputs, a duration that isn't positive and
    a tolerance outside of (0, 1).
    """

    duration: Float[Array, ""]
    tolerance: Float[Array, ""]

    def __init__(
        self,
        task: Task,
        duration: Real[ArrayLike, ""] = jnp.inf,
        *,
        tolerance: Real[ArrayLike, ""] = 1e-2,
    ):
        super().__init__(task)
        self.duration = _duration(duration, task, infinite=True)
        self.tolerance = _tolerance(tolerance, task)

    def __call__(
        self, network: LinearNetwork, *, duration: Real[ArrayLike, ""] | None = None
    ) -> Float[Array, ""]:
        """The time after the flip that a start needs."""
        until = self.duration if duration is None else duration
        learned = _solved(network, self.task).network(until)
        second = self.task.reversed()
        solution = _solved(learned, second)
        return _time_to_learn(solution, learned, second, self.tolerance)


class KernelDistance(_OneTask):
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
        self.duration = _duration(duration, task, infinite=True)

    def distance(
        self, network: LinearNetwork, *, duration: Real[ArrayLike, ""] | None = None
    ) -> Float[Array, ""]:
        """The distance of a start's kernel from the one after `duration`."""
        until = self.duration if duration is None else duration
        solution, n_in = _solved(network, self.task), self.task.in_size
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
            _isotropic(f"tasks[{i}]", task)
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


def _isotropic(name: str, task: Task) -> None:
    """Refuse other types and anisotropic inputs."""
    try:
        is_task("task", task)
        isotropic_variance(task, task.x.dtype)
    except (TypeError, ValueError) as error:
        text = str(error).replace("`task`", f"`{name}`")
        text = text.replace("`task.whitened()`", f"`{name}.whitened()`")
        raise type(error)(text) from None


def _duration(value: Real[ArrayLike, ""], task: Task, *, infinite: bool) -> Array:
    duration = _checks.as_scalar("duration", value).astype(task.x.dtype)
    return as_duration("duration", duration, infinite=infinite)


def _tolerance(value: Real[ArrayLike, ""], task: Task) -> Array:
    tolerance = _checks.as_scalar("tolerance", value)
    allowed = "be more than 0 and less than 1"
    good = _checks.checked("tolerance", tolerance, allowed, lambda x: (x > 0) & (x < 1))
    return good.astype(task.x.dtype)


def _solved(network: LinearNetwork, task: Task) -> ExactSolution:
    """The solution; NaN, for traced networks, where it is not exact."""
    return ExactSolution(network, task, throw=_checks.is_concrete(network))


@eqx.filter_jit
def _time_to_learn(
    solution: ExactSolution,
    network: LinearNetwork,
    task: Task,
    tolerance: Float[Array, ""],
) -> Float[Array, ""]:
    """The time at which the excess loss is `tolerance` of its value at the start."""
    network, task, tolerance = _dtypes.promoted(
        network=network, task=task, tolerance=tolerance
    )
    best = best_function(task, network.sizes[1])
    limit = tolerance * theory.forgetting(best, network.function, task)
    frozen, most = jax.lax.stop_gradient((solution, limit))
    s = jnp.linalg.norm(task.input_output_correlation)
    rate = safe_hypot(task.input_variance * network.lmda, 2 * s)
    first = jax.lax.stop_gradient(1 / rate)
    steps = jnp.finfo(first.dtype).nmant

    def excess(t):
        return theory.forgetting(best, frozen.function(t), task)

    def goes_on(state):
        _, high, found, halvings = state
        return jnp.where(found, halvings < steps, high < first * 2.0**40)

    def halve_or_double(state):
        low, high, found, halvings = state
        middle = jnp.where(found, (low + high) / 2, high)
        is_above = excess(middle) > most
        low = jnp.where(is_above, middle, low)
        high = jnp.where(is_above, jnp.where(found, high, 2 * high), middle)
        return low, high, found | ~is_above, halvings + found.astype(int)

    state = jnp.zeros_like(first), first, jnp.array(False), jnp.array(0)
    _, root, found, _ = jax.lax.while_loop(goes_on, halve_or_double, state)
    # The residual has derivatives by the start, the rate of the loss needs none.
    n_in, qqt = task.in_size, solution.qqt(root)
    blocks = qqt[n_in:, :n_in], qqt[:n_in, :n_in], qqt[n_in:, n_in:]
    still = theory.Representations(*jax.lax.stop_gradient(blocks))
    fall = theory.loss_rate(still, task, learning=task)
    residual = theory.forgetting(best, blocks[0], task) - limit
    time = with_derivative(root, residual, fall)
    # A failed solution is NaN, which is never above.
    return jnp.where(found, time, jnp.inf)
