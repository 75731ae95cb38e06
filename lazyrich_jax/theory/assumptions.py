"""What the closed forms assume of their arguments, checked."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .. import _checks
from .._compiled import compiled
from .._exactness import (
    anisotropy_text,
    check_fit,
    check_two_layers,
    exactness_tolerance,
    imbalance_text,
)
from .._network import LinearNetwork, check_feasible, relative_imbalance
from .._task import Task


def _is_task(name: str, task: Task) -> None:
    hint = "of a correlation, `Task.from_correlation(sigma)`"
    _checks.instance(name, task, Task, hint)


def feasible_balance(
    function: Float[Array, "out in"], lmda: Real[ArrayLike, ""], hidden_size: int
) -> tuple[Float[Array, ""], tuple[int, int, int]]:
    """`lmda` and the sizes, which must allow it (NaN if traced and infeasible)."""
    lmda = _checks.as_scalar("lmda", lmda).astype(function.dtype)
    n_out, n_in = function.shape
    sizes = (n_in, _checks.size("hidden_size", hidden_size), n_out)
    return jnp.where(check_feasible(lmda, sizes), lmda, jnp.nan), sizes


def function_of(
    name: str, value: Real[ArrayLike, "out in"], task: Task
) -> Float[Array, "out in"]:
    """`value` as a linear map that fits `task`."""
    _is_task("task", task)
    if isinstance(value, LinearNetwork):
        raise TypeError(
            f"`{name}` must be a linear map, (out, in), but it was a network: pass "
            "`network.function`."
        )
    function = _checks.as_matrix(name, value)
    _checks.require(
        function.shape == (task.out_size, task.in_size),
        f"`{name}` must fit the task's {task.in_size} inputs and {task.out_size} "
        f"outputs, but its function had shape {function.shape}.",
    )
    return function


def isotropic_variance(task: Task) -> Float[Array, ""]:
    r"""The c of $\Sigma_{xx} = cI$; refused for other inputs (NaN where traced)."""
    _is_task("task", task)
    variance, isotropic = _variance(task)
    if _checks.is_concrete((isotropic, task.x)) and not isotropic:
        raise ValueError(
            "`task` must have isotropic inputs (x.T x / samples = c I, c > 0), as "
            f"`task.whitened()` has, but it did not: {anisotropy_text(task)}"
        )
    return variance


@compiled
def _variance(task: Task) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    isotropic = task.anisotropy <= exactness_tolerance(task.x.dtype)
    return jnp.where(isotropic, task.input_variance, jnp.nan), isotropic


def balance_of(name: str, network: LinearNetwork, task: Task) -> Float[Array, ""]:
    r"""The balance of two layers that fit `task`; refused for others (traced: NaN)."""
    _checks.instance(name, network, LinearNetwork, "the arguments may be swapped")
    _is_task("task", task)
    check_two_layers(network, name)
    check_fit(network, task, name)
    lmda, balanced = _balance(network)
    if _checks.is_concrete((balanced, network)) and not balanced:
        raise ValueError(
            f"`{name}` must be lambda-balanced (W2.T W2 - W1 W1.T = lambda I), as "
            f"`network.rebalanced(lmda)` is, but it was not: {imbalance_text(network)}"
        )
    return lmda


@compiled
def _balance(network: LinearNetwork) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    imbalance = relative_imbalance(network)
    balanced = imbalance <= exactness_tolerance(imbalance.dtype)
    return jnp.where(balanced, network.lmda, jnp.nan), balanced
