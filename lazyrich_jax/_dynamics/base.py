"""What every law of learning shares: its form, its refusals, the loss gradient."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _checks
from .._network import LinearNetwork, relative_imbalance
from .._task import Task
from .._trajectory import RESULTS, Trajectory


class AbstractDynamics(eqx.Module):
    """A law of learning: how a network gets from its start to later times."""

    @abc.abstractmethod
    def check(self, network: LinearNetwork, task: Task, ts: Array) -> None:
        """Refuse what can be seen before any computation."""

    @abc.abstractmethod
    def run(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        """The trajectory; traceable, failure being a value in `result`."""

    def setting(self) -> str:
        """What was asked of a simulation that failed; ends its message."""
        return ""


def check_times(ts: Array, *, infinite: bool) -> None:
    """Refuse concrete times that are negative, NaN, falling or not allowed infinite."""
    if _checks.is_concrete(ts):
        fault = _checks.times_fault(ts, ordered=True, infinite=infinite)
        if fault is not None:
            raise ValueError(fault)


def check_fit(network: LinearNetwork, task: Task) -> None:
    """Refuse a network whose input or output size is not the task's."""
    sizes = network.sizes
    _checks.require(
        (sizes[0], sizes[-1]) == (task.in_size, task.out_size),
        f"`network` must have the task's {task.in_size} inputs and {task.out_size} "
        f"outputs, but its sizes were {_checks.sizes_text(sizes)}.",
    )


def all_finite(*trees: eqx.Module) -> Bool[Array, ""]:
    """Whether every array is finite."""
    leaves = jax.tree.leaves(trees)
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))


def first_failure(*faults: tuple[Bool[Array, ""], RESULTS]) -> RESULTS:
    """The result of the first fault that is true, or `RESULTS.successful`."""
    result = RESULTS.successful
    for fault, name in reversed(faults):
        result = RESULTS.where(fault, name, result)
    return result


def exactness_tolerance(dtype: jnp.dtype) -> float:
    """The relative imbalance and anisotropy that `Exact` takes for rounding."""
    return float(jnp.finfo(dtype).eps) ** 0.5


def failure(
    result: RESULTS, network: LinearNetwork, task: Task, setting: str = ""
) -> Exception:
    """The error for a concrete unsuccessful `result`, with the values behind it."""
    message = RESULTS[result]
    tolerance = exactness_tolerance(task.x.dtype)
    if result == RESULTS.unbalanced_weights:
        message += (
            " |W2.T W2 - W1 W1.T - lambda I| / (|W1|^2 + |W2|^2) was "
            f"{float(relative_imbalance(network)):.3g} at the nearest lambda, "
            f"{float(network.lmda):.6g}; at most {tolerance:.2g} is taken for rounding."
        )
    if result == RESULTS.anisotropic_inputs:
        message += (
            " |Sxx - c I| / |c I| was "
            f"{float(task.anisotropy):.3g} at the nearest c, "
            f"{float(task.input_variance):.6g}; at most {tolerance:.2g} is taken for "
            "rounding."
        )
    if result == RESULTS.diverged or result == RESULTS.solver_failed:
        return RuntimeError(message + setting)
    return ValueError(message)


def weight_gradients(
    network: LinearNetwork, function_gradient: Float[Array, "out in"]
) -> LinearNetwork:
    """The gradient of a loss by the weights, from its gradient by the function."""
    _, pull_back = jax.vjp(lambda n: n.function, network)
    (gradients,) = pull_back(function_gradient)
    return gradients
