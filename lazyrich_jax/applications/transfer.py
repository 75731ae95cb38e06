"""A second task after a first one: transfer and fine-tuning at every balance."""

from collections.abc import Sequence

from jaxtyping import Array, ArrayLike, Float, Real

from .. import kernels, measures, theory
from .._dynamics import AbstractDynamics, Exact
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import Trajectory
from .second_stage import time_to_learn
from .stages import Protocol, TwoStages, end, rebalanced


class _SecondStage(TwoStages):
    """A second task learned after a first one, at every balance."""

    time: Float[Array, "*batch lmdas"]
    kernel_distance: Float[Array, "*batch lmdas"]
    forgetting: Float[Array, "*batch lmdas"]

    def _columns(self) -> dict[str, Array]:
        return {
            "time to learn": self.time,
            "kernel distance": self.kernel_distance,
            "forgetting": self.forgetting,
        }


class Transfer(_SecondStage):
    """A second task learned after a first, at every balance.

    **Attributes:**

    - `lmda`: the balances, (lmdas,).
    - `before`, `after`: a `Trajectory` of each stage, with a leading axis lmdas:
      `before` at the `ts` up to `duration`, and last at `duration`; `after` at `ts`.
    - `time`: the time at which the loss on `second` above its optimum has fallen to
      `tolerance` of its value at the start of the second stage, (lmdas,); infinite if
      this is not within `ts`.
    - `kernel_distance`: the distance of the tangent kernels, on the inputs of `second`,
      at the start and the end of the second stage, (lmdas,).
    - `forgetting`: the loss on `task` at the end of the second stage minus the loss at
      its start, (lmdas,).
    - `result`: members of `lazyrich_jax.RESULTS`, (lmdas,).
    """


class FineTuning(_SecondStage):
    """One pretrained network, fine-tuned at every balance.

    **Attributes:** as `Transfer`, except that `before`, the single pretraining, has no
    axis of balances.
    """


def transfer(
    network: LinearNetwork,
    task: Task,
    second: Task,
    lmda: Real[ArrayLike, " lmdas"] | Sequence[float],
    *,
    duration: Real[ArrayLike, ""],
    ts: Real[ArrayLike, " times"] | Sequence[float],
    tolerance: Real[ArrayLike, ""] = 1e-2,
    dynamics: AbstractDynamics = Exact(),  # noqa: B008 (immutable)
    throw: bool = True,
) -> Transfer:
    r"""Learn a task, and then a second one, at every balance.

    Every balance starts from one function and learns both tasks; `finetune` has a
    single pretraining instead. `related_task` and `low_rank_change` make second tasks
    with a known relation to the first.

    **Arguments:**

    - `network`: a network of two layers. Every balance starts from its function
      (`network.rebalanced(lmda)`).
    - `task`, `second`: the first and the second task, of equal sizes.
    - `lmda`: the balances, (lmdas,); the sizes must allow them.
    - `duration`: the training time of `task`, in units of learning rate x step;
      infinity for `Exact` only.
    - `ts`: times since the start of the second stage, (times,), non-decreasing. `time`
      is interpolated linearly between them.
    - `tolerance`: the fraction of the loss that defines `time`, between 0 and 1.
    - `dynamics`, `throw`: as for `lazyrich_jax.learn`; each balance has its own result.

    **Returns:** a `Transfer`.

    **Raises:** `ValueError` for a `second` of other sizes; a duration that isn't
    positive, or is infinite for a simulation; balances that aren't a vector or aren't
    allowed by the sizes; another depth; and as `lazyrich_jax.learn`.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    second = lr.applications.related_task(task, 0.67, key=jax.random.key(1))
    network = lr.LambdaBalanced(scale=0.1)(3, 2, 2, key=jax.random.key(2))
    ts, lmda = jnp.linspace(0, 60, 200), [-5.0, 0.01, 5.0]
    print(
        lr.applications.transfer(network, task, second, lmda, duration=jnp.inf, ts=ts)
    )
    ```
    """
    protocol = Protocol(network, task, lmda, duration, ts, dynamics, second, tolerance)
    before = protocol.first()
    start = end(before)
    after = protocol.then(start, second)
    return protocol.outcome(Transfer, _measures, before, start, after, throw=throw)


def finetune(
    network: LinearNetwork,
    task: Task,
    second: Task,
    lmda: Real[ArrayLike, " lmdas"] | Sequence[float],
    *,
    duration: Real[ArrayLike, ""],
    ts: Real[ArrayLike, " times"] | Sequence[float],
    tolerance: Real[ArrayLike, ""] = 1e-2,
    dynamics: AbstractDynamics = Exact(),  # noqa: B008 (immutable)
    throw: bool = True,
) -> FineTuning:
    r"""Pretrain once, rebalance without changing the function, and fine-tune.

    Rebalancing is an intervention on a trained network: it keeps the function and
    changes further learning (Domine et al. 2025, section 5).

    **Arguments:**

    - `network`: the network of two layers before pretraining, at its own balance.
    - `task`, `second`: the tasks of pretraining and of fine-tuning, of equal sizes.
    - `lmda`: the balances of fine-tuning, (lmdas,); the sizes must allow them.
    - `duration`: the time of pretraining on `task`, in units of learning rate x step;
      infinity for `Exact` only.
    - `ts`, `tolerance`, `dynamics`, `throw`: as for `transfer`.

    **Returns:** a `FineTuning`.

    **Raises:** as `transfer`.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    second = lr.applications.low_rank_change(task, 1, 0.3, key=jax.random.key(1))
    network = lr.LambdaBalanced(lmda=1.0)(3, 2, 2, key=jax.random.key(2))
    ts, lmda = jnp.linspace(0, 60, 200), [-5.0, 0.0, 5.0]
    print(
        lr.applications.finetune(network, task, second, lmda, duration=jnp.inf, ts=ts)
    )
    ```
    """
    protocol = Protocol(network, task, lmda, duration, ts, dynamics, second, tolerance)
    network, ts = protocol.network, protocol.first_ts
    before = learn(network, task, ts, dynamics=dynamics, throw=False)
    start = rebalanced(end(before), protocol.lmda)
    after = protocol.then(start, second)
    return protocol.outcome(FineTuning, _measures, before, start, after, throw=throw)


def _measures(
    protocol: Protocol, start: LinearNetwork, after: Trajectory
) -> dict[str, Array]:
    """The fields of a `_SecondStage` at one balance."""
    second, last = protocol.second, end(after)
    f0, f1, width = start.function, last.function, start.sizes[1]
    k0, k1 = kernels.ntk(start, second.x), kernels.ntk(last, second.x)
    time, _ = time_to_learn(protocol, second, f0, after.function, width)
    return {
        "time": time,
        "kernel_distance": measures.kernel_distance(k0, k1),
        "forgetting": theory.forgetting(f0, f1, protocol.task),
    }
