"""`learn`: training under any law of learning."""

import warnings
from collections.abc import Sequence

import equinox as eqx
from jaxtyping import Array, ArrayLike, Float, Real

from . import _checks, _dtypes
from ._dynamics import AbstractDynamics, Exact, failure
from ._exactness import are_network_and_task
from ._network import LinearNetwork
from ._task import Task
from ._trajectory import RESULTS, Trajectory, raise_if_failed
from ._xla import on_any_mesh


def learn(
    network: LinearNetwork,
    task: Task,
    ts: Real[ArrayLike, " times"] | Sequence[float],
    *,
    dynamics: AbstractDynamics = Exact(),  # noqa: B008 (immutable)
    throw: bool = True,
) -> Trajectory:
    """Train `network` on `task` from time 0 and return it at the times `ts`.

    **Arguments:**

    - `network`: the `LinearNetwork` at time 0.
    - `task`: the `Task` to learn.
    - `ts`: times in units of learning rate x step, non-negative and in non-decreasing
      order. Repeats are allowed; infinity only for `Exact`,
      `WideLimit` and `NearlyExact`.
    - `dynamics`: the law: `Exact()`, `WideLimit()` and `NearlyExact()` (approximate),
      `GradientFlow()` or `GradientDescent(rate)`.
    - `throw`: whether a failure raises an error (the default) or is reported in
      `trajectory.result`. Under `jax.vmap` each member has its own result.

    **Returns:** a `Trajectory`, computed in the wider of the dtypes of `network` and
    `task`. Times and the numbers of the law are converted to that dtype.

    **Raises:** `ValueError` for bad input: sizes that don't fit, bad times, values
    that aren't finite, for `Exact` unbalanced weights, anisotropic inputs and other
    depths than two, and for `NearlyExact` an estimated error above its tolerance.
    `TypeError` for half precision. `RuntimeError` if descent diverges or the solver
    fails. With traced arguments, errors that depend on values are runtime errors
    instead.

    Each law has its modes of differentiation: `Exact` has all, `GradientFlow` those of
    its `adjoint` (reverse by default), `NearlyExact` and `GradientDescent` forward
    mode.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    network = lr.LambdaBalanced(lmda=1.0)(3, 2, 2, key=jax.random.key(1))
    ts = jnp.linspace(0, 5, 100)
    exact = lr.learn(network, task, ts)
    simulated = lr.learn(network, task, ts, dynamics=lr.GradientDescent(1e-3))
    ```
    """
    are_network_and_task(network, task)
    _checks.instance("dynamics", dynamics, AbstractDynamics, "such as `Exact()`")
    dtype = _dtypes.common_dtype(network=network, task=task)
    ts = _dtypes.as_real("ts", ts).astype(dtype)
    _checks.require(
        ts.ndim == 1 and ts.size > 0,
        "`ts` must be a vector of at least one time, but its shape was "
        f"{ts.shape}; for a scalar time use `ExactSolution`.",
    )
    dynamics.check(network, task, ts)
    _warn(dynamics.warning_before(network, task))
    with dynamics.named_modes():
        trajectory = _learn(dynamics, network, task, ts)
    result = trajectory.result
    if throw and not _checks.is_concrete(result):
        trajectory = raise_if_failed(trajectory, result)
    elif throw and result != RESULTS.successful:
        raise failure(result, network, task, dynamics.setting())
    _warn(dynamics.warning_after(network, trajectory))
    return trajectory


def _warn(text: str | None) -> None:
    """Warn in the line that calls `learn`."""
    if text is not None:
        warnings.warn(text, stacklevel=3)


@on_any_mesh
@eqx.filter_jit
def _learn(
    dynamics: AbstractDynamics,
    network: LinearNetwork,
    task: Task,
    ts: Float[Array, " times"],
) -> Trajectory:
    return dynamics.run(network, task, ts)
