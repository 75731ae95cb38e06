"""The shared parts of the laws of learning: protocol, refusals, loss gradient."""

import abc
import contextlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .. import _checks
from .._alignment import aligned_hint, alignment_text
from .._dtypes import as_real
from .._exactness import (
    anisotropy_text,
    imbalance_text,
    may_be_wide,
    near_hint,
    wide_text,
)
from .._linalg import norm
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import RESULTS, Trajectory


class AbstractDynamics(eqx.Module):
    """A law of learning: it takes a network from its start to later times."""

    @abc.abstractmethod
    def check(self, network: LinearNetwork, task: Task, ts: Array) -> None:
        """Refuse faults that can be seen before any computation."""

    @abc.abstractmethod
    def run(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        """The trajectory. It is traceable: a failure is a value in `result`."""

    def setting(self) -> str:
        """A sentence on the settings, the end of the message of a failed simulation."""
        return ""

    def warning_before(self, network: LinearNetwork, task: Task) -> str | None:
        """A warning of settings that are doubtful, if all arrays are concrete."""
        return None

    def warning_after(
        self, network: LinearNetwork, trajectory: Trajectory
    ) -> str | None:
        """A warning of a concrete trajectory that is far from exact."""
        return None

    def named_modes(self) -> contextlib.AbstractContextManager:
        """A context whose errors name the available derivatives of this law."""
        return contextlib.nullcontext()


def check_times(ts: Array, *, infinite: bool) -> None:
    """Refuse concrete times that are negative, NaN, falling or not allowed infinite."""
    values = _checks.known(ts)
    if values is not None:
        fault = _checks.times_fault(values, ordered=True, infinite=infinite)
        if fault is not None:
            raise ValueError(fault)


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


def error_share(
    function: Float[Array, "times out in"], estimate: Float[Array, " times"] | None
) -> Float[Array, ""]:
    """The largest estimated error of a function, over the function's largest norm."""
    if estimate is None:
        return jnp.zeros((), function.dtype)
    size = jnp.max(norm(function.reshape(len(function), -1), axis=1))
    return jnp.max(estimate) / jnp.where(size > 0, size, 1.0)


def failure(
    result: RESULTS, network: LinearNetwork, task: Task, setting: str = ""
) -> Exception:
    """The error for a concrete unsuccessful `result`, with the values behind it."""
    message = RESULTS[result]
    if result == RESULTS.unbalanced_weights:
        message = f"{message} {imbalance_text(network, task)}"
        if may_be_wide(network.sizes):
            message = f"{message} {wide_text(network, task)}"
        message += aligned_hint(network, task)
    if result == RESULTS.unaligned_weights:
        message = f"{message} {alignment_text(network, task)}"
    if result == RESULTS.anisotropic_inputs:
        message = f"{message} {anisotropy_text(task)}"
    if result == RESULTS.anisotropic_inputs or result == RESULTS.unbalanced_weights:
        message += near_hint(network, task)
    if result == RESULTS.too_far:
        message += setting
    if result == RESULTS.diverged or result == RESULTS.solver_failed:
        return RuntimeError(message + setting)
    return ValueError(message)


def weight_gradients(
    network: LinearNetwork, function_gradient: Float[Array, "out in"]
) -> LinearNetwork:
    """The gradient of a loss by the weights, given its gradient by the function."""
    _, pull_back = jax.vjp(lambda n: n.function, network)
    (gradients,) = pull_back(function_gradient)
    return gradients


def is_known_zero(x: Any) -> bool:
    """Whether a number is zero where programs are made: a Python number or NumPy's."""
    return isinstance(x, int | float | np.number) and x == 0


Decays = Float[Array, ""] | Float[Array, " layers"] | None


def layers_decay(weight_decay: Any) -> Decays:
    """A weight decay of all layers or of each, or `None` if it is known to be zero."""
    if is_known_zero(weight_decay):
        return None  # a law may be made at import: no arrays yet
    array = as_real("weight_decay", weight_decay)
    _checks.require(
        array.ndim < 2,
        "`weight_decay` must be a number, or one for each layer, but its shape was "
        f"{array.shape}.",
    )
    array = _checks.positive("weight_decay", array, zero=True)
    # Not where derivatives by it are taken.
    return None if _checks.is_concrete(array) and not np.any(array) else array


def one_decay(weight_decay: Any) -> Float[Array, ""] | None:
    """The weight decay of a closed form, or `None` if it is known to be zero."""
    decay = layers_decay(weight_decay)
    _checks.require(
        decay is None or decay.ndim == 0,
        "`weight_decay` must be one number for both layers, but it was "
        f"{weight_decay}: use `dynamics=GradientFlow(weight_decay=...)`. Layers that "
        "decay at different rates have no closed form.",
    )
    return decay


def one_balance(lmda: Any) -> Float[Array, ""]:
    """A balance that is given apart from the weights."""
    return _checks.finite("lmda", _checks.as_scalar("lmda", lmda))


def check_decay(decay: Decays, network: LinearNetwork) -> None:
    """Refuse weight decays of another number of layers."""
    _checks.require(
        decay is None or decay.shape in ((), (network.depth,)),
        "`weight_decay` must be a number, or one for each of the network's "
        f"{network.depth} layers, but there were {0 if decay is None else decay.size}.",
    )


def decayed(
    gradients: LinearNetwork, network: LinearNetwork, decay: Decays
) -> LinearNetwork:
    """The gradients with the weights' own decay."""
    if decay is None:
        return gradients
    of_layers = jnp.broadcast_to(decay, (network.depth,))
    pairs = zip(gradients.weights, network.weights, of_layers, strict=True)
    return LinearNetwork(tuple(g + x * w for g, w, x in pairs))
