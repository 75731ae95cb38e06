"""Checks of the closed forms' assumptions about their arguments."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .. import _checks, _dtypes
from .._exactness import (
    anisotropy_text,
    check_fit,
    check_two_layers,
    exactness_tolerance,
    imbalance_text,
    is_balanced,
    is_task,
)
from .._feasible import feasible_lmda
from .._network import LinearNetwork
from .._task import Task
from .._xla import compiled


def feasible_balance(
    lmda: Float[Array, ""], hidden_size: int, shape: tuple[int, ...]
) -> tuple[Float[Array, ""], tuple[int, int, int]]:
    """`lmda` and the sizes (in, hidden, out) of a network with a function of `shape`.

    The sizes must allow `lmda`; a traced infeasible `lmda` becomes NaN.
    """
    n_out, n_in = shape
    sizes = (n_in, _checks.size("hidden_size", hidden_size), n_out)
    return feasible_lmda(lmda, sizes), sizes


def function_of(
    name: str, value: Real[ArrayLike, "out in"], task: Task
) -> tuple[Float[Array, "out in"], Task]:
    """`value` as a linear map that fits `task`, and the task, in one dtype."""
    is_task("task", task)
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
    return _dtypes.promoted(**{name: function}, task=task)


def isotropic_variance(task: Task, dtype: jnp.dtype) -> Float[Array, ""]:
    r"""The c of $\Sigma_{xx} = cI$ in `dtype`; other inputs are refused (traced: NaN).

    The inputs' dtype sets the tolerance.
    """
    tolerance = exactness_tolerance(task.x.dtype)
    finer = jax.tree.map(lambda x: x.astype(dtype), task)
    variance, isotropic = _variance(finer, tolerance)
    if _checks.is_concrete(isotropic) and not isotropic:
        raise ValueError(
            "`task` must have isotropic inputs (x.T x / samples = c I, c > 0), as "
            f"`task.whitened()` has, but it did not: {anisotropy_text(task)}"
        )
    return variance


@functools.partial(compiled, static_argnames="tolerance")
def _variance(task: Task, tolerance: float) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    isotropic = task.anisotropy <= tolerance
    return jnp.where(isotropic, task.input_variance, jnp.nan), isotropic


def balance_of(name: str, network: LinearNetwork, task: Task) -> Float[Array, ""]:
    r"""The balance of a two-layer network that fits `task`, in their common dtype.

    Other networks are refused (traced unbalanced ones: NaN). The network's dtype sets
    the tolerance.
    """
    check_fit(network, task, name)
    check_two_layers(network, name)
    tolerance = exactness_tolerance(network.weights[0].dtype)
    finer, task = _dtypes.promoted(**{name: network}, task=task)
    lmda, balanced = _balance(finer, task, tolerance)
    if _checks.is_concrete(balanced) and not balanced:
        raise ValueError(
            f"`{name}` must be lambda-balanced (W2.T W2 - W1 W1.T = lambda I), as "
            "`network.rebalanced(lmda)` is, but it was not: "
            f"{imbalance_text(network, task)}"
        )
    return lmda


@functools.partial(compiled, static_argnames="tolerance")
def _balance(
    network: LinearNetwork, task: Task, tolerance: float
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    s = jnp.linalg.svd(task.input_output_correlation, compute_uv=False)
    balanced = is_balanced(network, task.input_variance, s, tolerance)
    return jnp.where(balanced, network.lmda, jnp.nan), balanced


def cuts_through(
    s: Float[Array, " modes"],
    hidden: int,
    noise: float,
    *,
    least: Float[ArrayLike, ""] = 0.0,
) -> Bool[Array, ""]:
    """Whether `hidden` units learn only some of several equal modes above `least`.

    `s` is in decreasing order; equal values differ by at most `noise` times the first.
    """
    if hidden >= s.size:
        return jnp.array(False)
    kept, dropped = s[hidden - 1], s[hidden]
    return (kept - dropped <= noise * s[0]) & (kept > least)


def refuse_cut(
    cut: Bool[ArrayLike, ""], hidden: int, s: Float[Array, " modes"]
) -> None:
    """Refuse a known hidden size that cuts through equal singular values."""
    if _checks.is_concrete(cut):
        _checks.require(
            not bool(cut),
            "`hidden_size` must not cut through equal singular values of the task, "
            f"but it was {hidden} and the singular values were {_checks.known(s)}: "
            "which of them are learned depends on the start.",
        )


def three_sizes(sizes: tuple[int, int, int]) -> tuple[int, int, int]:
    """The sizes of two layers: inputs, hidden units and outputs."""
    _checks.require(
        len(sizes) == 3, f"`sizes` must be (in, hidden, out), but it was {sizes!r}."
    )
    n_in, hidden, n_out = (_checks.size("sizes", size) for size in sizes)
    return n_in, hidden, n_out
