"""What the closed forms for two layers assume, checked."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks
from .._network import LinearNetwork, relative_imbalance
from .._task import Task


def isotropic_variance(task: Task) -> Float[Array, ""]:
    r"""The c of $\Sigma_{xx} = cI$; refused for other inputs (NaN where traced)."""
    tolerance = float(jnp.finfo(task.x.dtype).eps) ** 0.5
    isotropic = task.anisotropy <= tolerance
    if _checks.is_concrete((isotropic, task.x)):
        _checks.require(
            bool(isotropic),
            "`task` must have isotropic inputs (x.T x / samples = c I, c > 0), but "
            f"|Sxx - c I| / |c I| was {float(task.anisotropy):.3g}; `task.whitened()` "
            "has.",
        )
    return jnp.where(isotropic, task.input_variance, jnp.nan)


def balance_of(name: str, network: LinearNetwork, task: Task) -> Float[Array, ""]:
    """The balance of two layers that fit `task`; refused for others (traced: NaN)."""
    _checks.require(
        network.depth == 2,
        f"`{name}` must have two layers, but it had {network.depth}.",
    )
    sizes = network.sizes
    _checks.require(
        (sizes[0], sizes[-1]) == (task.in_size, task.out_size),
        f"`{name}` must have the task's {task.in_size} inputs and {task.out_size} "
        f"outputs, but its sizes were {_checks.sizes_text(sizes)}.",
    )
    imbalance = relative_imbalance(network)
    balanced = imbalance <= float(jnp.finfo(imbalance.dtype).eps) ** 0.5
    if _checks.is_concrete((balanced, network)):
        _checks.require(
            bool(balanced),
            f"`{name}` must be lambda-balanced (W2.T W2 - W1 W1.T = lambda I), but "
            "|W2.T W2 - W1 W1.T - lambda I| / (|W1|^2 + |W2|^2) was "
            f"{float(imbalance):.3g} at the nearest lambda, {float(network.lmda):.6g}; "
            "`network.rebalanced(lmda)` is.",
        )
    return jnp.where(balanced, network.lmda, jnp.nan)
