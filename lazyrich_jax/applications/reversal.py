"""Reversal learning: a task, and then its opposite."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .. import _dtypes, measures, theory
from .._dynamics import AbstractDynamics, Exact
from .._exactness import exactness_tolerance
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import Trajectory
from .second_stage import time_to_learn
from .stages import Protocol, TwoStages, end


class Reversal(TwoStages):
    """Reversal learning at every balance.

    **Attributes:**

    - `lmda`: the balances, (lmdas,).
    - `before`, `after`: a `Trajectory` of each stage, with a leading axis lmdas:
      `before` at the `ts` up to `duration`, and last at `duration`; `after` at `ts`.
    - `time`: the time at which the loss above its optimum has fallen to `tolerance` of
      its value at the flip, (lmdas,); infinite if this is not within `ts`.
    - `escaped`: whether `time` is finite, (lmdas,). (A network that ends at the saddle
      at zero keeps a quarter of the loss at the flip.)
    - `predicted_time`: the time for aligned modes that start at `a0 = -s`, as after
      complete learning, (lmdas,). It grows as `log(1 / abs(lmda)) / s` as the balance
      vanishes. It is NaN for anisotropic inputs.
    - `shallow_loss`, `shallow_time`: loss and time of a network of one layer that
      starts with the same function and learns both stages, (times,) and a scalar.
    - `result`: members of `lazyrich_jax.RESULTS`, (lmdas,).
    """

    time: Float[Array, "*batch lmdas"]
    escaped: Bool[Array, "*batch lmdas"]
    predicted_time: Float[Array, "*batch lmdas"]
    shallow_loss: Float[Array, "*batch times"]
    shallow_time: Float[Array, "*batch"]

    def _columns(self) -> dict[str, Array]:
        shallow = jnp.broadcast_to(self.shallow_time, self.lmda.shape)
        return {
            "time to learn": self.time,
            "predicted": self.predicted_time,
            "of a shallow network": shallow,
        }


def reversal(
    network: LinearNetwork,
    task: Task,
    lmda: Real[ArrayLike, " lmdas"] | Sequence[float],
    *,
    duration: Real[ArrayLike, ""],
    ts: Real[ArrayLike, " times"] | Sequence[float],
    tolerance: Real[ArrayLike, ""] = 1e-2,
    dynamics: AbstractDynamics = Exact(),  # noqa: B008 (immutable)
    throw: bool = True,
) -> Reversal:
    r"""Learn a task, and then the same inputs with the opposite targets.

    At $\lambda = 0$ a network that has learned its task completely starts the reversed
    task on the stable manifold of a saddle, and never learns it. At any other balance
    it learns the reversed task (Braun et al. 2022; Domine et al. 2025, section 5). A
    shallow network has no saddle.

    **Arguments:**

    - `network`: a network of two layers. Every balance starts from its function
      (`network.rebalanced(lmda)`).
    - `task`: the task to learn and to reverse.
    - `lmda`: the balances, (lmdas,); the sizes must allow them.
    - `duration`: the training time of `task`, in units of learning rate x step;
      infinity for `Exact` only.
    - `ts`: times since the flip, (times,), non-decreasing. `time` is interpolated
      linearly between them.
    - `tolerance`: the fraction of the loss that defines `time`, between 0 and 1.
    - `dynamics`, `throw`: as for `lazyrich_jax.learn`; each balance has its own result.

    **Returns:** a `Reversal`.

    **Raises:** `ValueError` for a duration that isn't positive, or is infinite for a
    simulation; balances that aren't a vector or aren't allowed by the sizes; another
    depth; and as `lazyrich_jax.learn`.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    network = lr.LambdaBalanced(scale=0.1)(3, 2, 2, key=jax.random.key(1))
    ts = jnp.linspace(0, 60, 200)
    lmda = [0.0, 0.01, 1.0]
    print(lr.applications.reversal(network, task, lmda, duration=jnp.inf, ts=ts))
    ```
    """
    protocol = Protocol(network, task, lmda, duration, ts, dynamics, None, tolerance)
    before = protocol.first()
    start = end(before)
    after = protocol.then(start, task.reversed())
    more = _compared(protocol)
    return protocol.outcome(
        Reversal, _measures, before, start, after, throw=throw, **more
    )


def _measures(
    protocol: Protocol, start: LinearNetwork, after: Trajectory
) -> dict[str, Array]:
    second, width = protocol.task.reversed(), start.sizes[1]
    function, path = start.function, after.function
    time, escaped = time_to_learn(protocol, second, function, path, width)
    return {"time": time, "escaped": escaped}


@eqx.filter_jit
def _compared(protocol: Protocol) -> dict[str, Array]:
    """Predictions: the time of aligned modes, and a network of one layer."""
    task, second = protocol.task, protocol.task.reversed()
    start = theory.shallow_function(protocol.duration, protocol.network.function, task)
    shallow = theory.shallow_function(protocol.ts, start, second)
    time, _ = time_to_learn(protocol, second, start, shallow, min(start.shape))
    return {
        "predicted_time": _predicted(protocol),
        "shallow_loss": jax.vmap(second.loss)(shallow),
        "shallow_time": time,
    }


def _predicted(protocol: Protocol) -> Float[Array, " lmdas"]:
    """The time of aligned modes that start from the opposite of their limit."""
    tolerated = exactness_tolerance(protocol.task.x.dtype)
    task, ts = _dtypes.promoted(task=protocol.task, ts=protocol.ts)
    c = task.input_variance
    s = jnp.linalg.svd(task.input_output_correlation, compute_uv=False) / c
    s = s[: protocol.network.sizes[1]]  # a bottleneck learns the leading modes
    isotropic = task.anisotropy <= tolerated

    def predicted(lmda):
        modes = theory.aligned_modes(c * ts, s, -s, lmda)
        error = jnp.sum((s[None] - modes) ** 2, axis=1)
        limit = protocol.tolerance * jnp.sum((2 * s) ** 2)
        return measures.convergence_time(ts, error, limit)

    return jnp.where(isotropic, jax.vmap(predicted)(protocol.lmda), jnp.nan)
