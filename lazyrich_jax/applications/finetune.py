"""One pretraining, and fine-tuning at every balance."""

from collections.abc import Sequence

from jaxtyping import ArrayLike, Real

from .._dynamics import AbstractDynamics, Exact
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from .second_stage import SecondStage, second_stage
from .stages import (
    Protocol,
    as_tolerance,
    checked_outcome,
    end,
    rebalanced,
)


class FineTuning(SecondStage):
    """One pretrained network, fine-tuned at every balance.

    **Attributes:** those of `Transfer`, except that `before`, the one pretraining, has
    no axis of balances.
    """


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

    The balance is an intervention on a trained network: what it computes stays, how it
    goes on learning doesn't (Domine et al. 2025, section 5).

    **Arguments:**

    - `network`: where pretraining starts, of two layers, at its own balance.
    - `task`, `second`: what is learned first, and then fine-tuned to; of equal sizes.
    - `lmda`: the balances to fine-tune at, (lmdas,), that the sizes allow.
    - `duration`: how long `task` is trained, in units of learning rate x step;
      infinity for `Exact` only.
    - `ts`, `tolerance`, `dynamics`, `throw`: as for `transfer`.

    **Returns:** a `FineTuning`.

    **Raises:** as `transfer`.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(4, 3, samples=10, key=jax.random.key(0))
    second = lr.applications.low_rank_change(task, 1, 0.3, key=jax.random.key(1))
    network = lr.LambdaBalanced(lmda=1.0)(4, 3, 3, key=jax.random.key(2))
    ts, lmda = jnp.linspace(0, 50, 200), [-5.0, 0.0, 5.0]
    print(
        lr.applications.finetune(network, task, second, lmda, duration=jnp.inf, ts=ts)
    )
    ```
    """
    protocol = Protocol(network, task, lmda, duration, ts, dynamics, second)
    tolerance = as_tolerance(tolerance, protocol.ts.dtype)
    network, ts = protocol.network, protocol.first_ts
    before = learn(network, task, ts, dynamics=dynamics, throw=False)
    start = rebalanced(end(before), protocol.lmda)
    fields = second_stage(protocol, before, start, tolerance)
    return checked_outcome(FineTuning(**fields), protocol, throw=throw)
