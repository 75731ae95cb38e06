"""A second task after a first, at every balance."""

from collections.abc import Sequence

from jaxtyping import ArrayLike, Real

from .._dynamics import AbstractDynamics, Exact
from .._network import LinearNetwork
from .._task import Task
from .second_stage import SecondStage, second_stage
from .stages import (
    Protocol,
    as_tolerance,
    checked_outcome,
    end,
)


class Transfer(SecondStage):
    """A second task learned after a first, at every balance.

    **Attributes:**

    - `lmda`: the balances, (lmdas,).
    - `before`, `after`: a `Trajectory` with a leading axis lmdas of each stage: `after`
      at `ts`; `before` at the `ts` up to `duration`, and last at `duration`.
    - `time`: when the loss on `second` above its optimum has fallen to `tolerance` of
      its value at the start of the second stage, (lmdas,): infinite where that isn't
      within `ts`.
    - `kernel_distance`: of the tangent kernels, on the inputs of `second`, at the start
      and the end of the second stage, (lmdas,).
    - `forgetting`: the loss on `task` at the end of the second stage minus that at its
      start, (lmdas,).
    - `result`: members of `lazyrich_jax.RESULTS`, (lmdas,).
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

    Every balance starts from one function and learns both tasks; the same question
    with one pretraining is `finetune`. For a second task of a known relation to the
    first see `related_task` and `low_rank_change`.

    **Arguments:**

    - `network`: two layers; its function is where every balance starts
      (`network.rebalanced(lmda)`).
    - `task`, `second`: what is learned first, and second; of equal sizes.
    - `lmda`: the balances, (lmdas,), that the sizes allow.
    - `duration`: how long `task` is trained, in units of learning rate x step;
      infinity for `Exact` only.
    - `ts`: times since the start of the second stage, (times,), non-decreasing. `time`
      is interpolated linearly between them.
    - `tolerance`: of the time, between 0 and 1.
    - `dynamics`, `throw`: as for `lazyrich_jax.learn`; each balance has its own result.

    **Returns:** a `Transfer`.

    **Raises:** `ValueError` for a `second` of other sizes; a duration that isn't
    positive, or infinite for a simulation; balances that aren't a vector or not allowed
    by the sizes; another depth; and as `lazyrich_jax.learn`.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(4, 3, samples=10, key=jax.random.key(0))
    second = lr.applications.related_task(task, 0.67, key=jax.random.key(1))
    network = lr.LambdaBalanced(scale=0.1)(4, 3, 3, key=jax.random.key(2))
    ts, lmda = jnp.linspace(0, 50, 200), [-5.0, 0.01, 5.0]
    print(
        lr.applications.transfer(network, task, second, lmda, duration=jnp.inf, ts=ts)
    )
    ```
    """
    protocol = Protocol(network, task, lmda, duration, ts, dynamics, second)
    tolerance = as_tolerance(tolerance, protocol.ts.dtype)
    before = protocol.first()
    fields = second_stage(protocol, before, end(before), tolerance)
    return checked_outcome(Transfer(**fields), protocol, throw=throw)
