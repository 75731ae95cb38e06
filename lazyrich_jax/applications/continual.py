"""Continual learning: one task after another."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Real

from .. import _checks, _dtypes, theory
from .._dynamics import AbstractDynamics, Exact
from .._exactness import refined
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import RESULTS, Trajectory, raise_if_failed
from .stages import (
    as_duration,
    check_kinds,
    check_same_sizes,
    end,
    first_failure_of,
    stage_failure,
)
from .table import table


class Continual(eqx.Module):
    r"""A network that learned several tasks in a row, and its forgetting.

    `times` is `tasks * points`: the last time of a task and the first time of the next
    are equal, before and after the change of task.

    **Attributes:**

    - `ts`: time since the start of the first task, (times,), in units of learning rate
      x step.
    - `training`: the index of the task in training, (times,).
    - `losses`: the loss on every task, (times, tasks).
    - `loss_rates`: the rate of every loss under gradient flow on the task in training,
      (times, tasks), by `lazyrich_jax.theory.loss_rate` (Domine's thesis, Theorem
      4.4.1). It is also the rate of forgetting.
    - `forgetting`: (tasks, tasks). Entry [i, k] is the loss on task i after training
      task k, minus the loss on task i right after training task i. For k > i it is the
      cost of later training, for k = i zero, and for k < i the gain of the training
      from k to i.
    - `trajectories`: one per task, each with times from zero.
    - `result`: a member of `lazyrich_jax.RESULTS`, for the first task that failed.
    """

    ts: Float[Array, "*batch times"]
    training: Int[Array, "*batch times"]
    losses: Float[Array, "*batch times tasks"]
    loss_rates: Float[Array, "*batch times tasks"]
    forgetting: Float[Array, "*batch tasks tasks"]
    trajectories: tuple[Trajectory, ...]
    result: RESULTS

    @property
    def function(self) -> Float[Array, "*batch times out in"]:
        r"""$W_2W_1$ at every time."""
        return jnp.concatenate([t.function for t in self.trajectories], axis=-3)

    def __str__(self) -> str:
        """A table of the loss on every task after every task."""
        tasks = len(self.trajectories)
        sizes = _checks.sizes_text(self.trajectories[0].network.sizes)

        def columns():
            points = self.ts.size // tasks
            rows = [0, *range(points - 1, self.ts.size, points)]
            names = ["at the start", *(f"after task {k}" for k in range(tasks))]
            losses = {f"loss on {i}": self.losses[rows, i] for i in range(tasks)}
            return {"": names, **losses}

        what = f"learning of {tasks} tasks by a {sizes} network"
        return table(self, self.ts.shape[:-1], what, columns)


def continual(
    network: LinearNetwork,
    tasks: Sequence[Task],
    durations: Real[ArrayLike, "*tasks"] | Sequence[float],
    *,
    points: int = 100,
    dynamics: AbstractDynamics = Exact(),  # noqa: B008 (immutable)
    throw: bool = True,
) -> Continual:
    r"""Train `network` on one task after another.

    A change of task conserves the balance. Every task is therefore learned in closed
    form from the weights at the end of the previous one (Braun et al. 2022; Domine et
    al. 2025, section on continual learning).

    **Arguments:**

    - `network`: the network at time zero, of two layers.
    - `tasks`: the tasks in order, of equal sizes and any numbers of samples.
    - `durations`: the training time of each task, in units of learning rate x step: one
      number, or one per task; positive and finite.
    - `points`: evenly spaced times per task, its start and end included.
    - `dynamics`, `throw`: as for `lazyrich_jax.learn`.

    **Returns:** a `Continual`.

    **Raises:** `ValueError` for no tasks, tasks of different sizes, a wrong number of
    durations or one that isn't positive and finite, fewer than two points, another
    depth, and as `lazyrich_jax.learn`.

    ```python
    import jax
    import lazyrich_jax as lr

    keys = jax.random.split(jax.random.key(0), 3)
    tasks = [lr.Task.random_regression(3, 2, samples=10, key=key) for key in keys]
    network = lr.LambdaBalanced(lmda=1.0)(3, 2, 2, key=jax.random.key(1))
    learned = lr.applications.continual(network, tasks, 5.0, points=20)
    print(learned)
    print(learned.forgetting[0, 2])  # the cost of tasks 1 and 2 to task 0
    ```
    """
    check_kinds(network, dynamics)
    tasks = tuple(tasks)
    _checks.require(len(tasks) > 0, "`tasks` must hold at least one, but was empty.")
    for i, task in enumerate(tasks):
        check_same_sizes(f"tasks[{i}]", task, "tasks[0]", tasks[0])
        dynamics.check(network, task, jnp.zeros(1))
    points = _checks.size("points", points, least=2)
    dtype = _dtypes.common_dtype(network=network, tasks=tasks)
    durations = _as_durations(durations, len(tasks)).astype(dtype)
    network = refined(network, dtype)
    trajectories, start, result = [], network, RESULTS.successful
    for i, task in enumerate(tasks):
        ts = jnp.linspace(0.0, durations[i], points)
        trajectory = learn(start, task, ts, dynamics=dynamics, throw=False)
        result = first_failure_of(result, trajectory.result)
        if throw and _checks.is_concrete(result) and result != RESULTS.successful:
            raise stage_failure(result, start, task, f"tasks[{i}]", dynamics)
        trajectories.append(trajectory)
        start = end(trajectory)
    learned = _measured(tasks, tuple(trajectories), result)
    if throw and not _checks.is_concrete(result):
        learned = raise_if_failed(learned, result)
    return learned


def _as_durations(
    durations: Real[ArrayLike, "*tasks"] | Sequence[float], tasks: int
) -> Float[Array, " tasks"]:
    """One duration per task."""
    durations = _dtypes.as_real("durations", durations)
    _checks.require(
        durations.shape in ((), (tasks,)),
        f"`durations` must be one number or one for each of {tasks} tasks, but its "
        f"shape was {durations.shape}.",
    )
    if durations.ndim == 0:
        one = as_duration("durations", durations, infinite=False)
        return jnp.broadcast_to(one, (tasks,))
    each = [
        as_duration(f"durations[{i}]", durations[i], infinite=False)
        for i in range(tasks)
    ]
    return jnp.stack(each)


@eqx.filter_jit
def _measured(
    tasks: tuple[Task, ...], trajectories: tuple[Trajectory, ...], result: RESULTS
) -> Continual:
    """Losses, their rates and forgetting, given the trajectories."""
    ts, losses, rates, elapsed = [], [], [], jnp.zeros((), trajectories[0].ts.dtype)
    for k, (learning, trajectory) in enumerate(zip(tasks, trajectories, strict=True)):
        ts.append(elapsed + trajectory.ts)
        elapsed = ts[-1][-1]
        # The trajectory's loss keeps the digits of its excess.
        losses.append(
            jnp.stack(
                [
                    trajectory.loss if i == k else jax.vmap(t.loss)(trajectory.function)
                    for i, t in enumerate(tasks)
                ],
                axis=1,
            )
        )

        def rates_at(state, learning=learning):
            each = [theory.loss_rate(state, t, learning=learning) for t in tasks]
            return jnp.stack(each)

        rates.append(jax.vmap(rates_at)(trajectory.network))
    ends = [t.function[-1] for t in trajectories]
    forgetting = jnp.stack(
        [
            jnp.stack([theory.forgetting(ends[i], after, task) for after in ends])
            for i, task in enumerate(tasks)
        ]
    )
    points = trajectories[0].ts.size
    return Continual(
        ts=jnp.concatenate(ts),
        training=jnp.repeat(jnp.arange(len(tasks)), points),
        losses=jnp.concatenate(losses),
        loss_rates=jnp.concatenate(rates),
        forgetting=forgetting,
        trajectories=trajectories,
        result=result,
    )
