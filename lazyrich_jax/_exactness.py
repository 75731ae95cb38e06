"""What closed forms need of a network and a task: that they fit, balance, isotropy."""

import jax.numpy as jnp

from . import _checks
from ._network import LinearNetwork, relative_imbalance
from ._task import Task


def exactness_tolerance(dtype: jnp.dtype) -> float:
    """The relative imbalance and anisotropy that is taken for rounding."""
    return float(jnp.finfo(dtype).eps) ** 0.5


def check_fit(network: LinearNetwork, task: Task, name: str = "network") -> None:
    """Refuse a network whose input or output size is not the task's."""
    sizes = network.sizes
    _checks.require(
        (sizes[0], sizes[-1]) == (task.in_size, task.out_size),
        f"`{name}` must have the task's {task.in_size} inputs and {task.out_size} "
        f"outputs, but its sizes were {_checks.sizes_text(sizes)}.",
    )


def check_two_layers(network: LinearNetwork, name: str = "network") -> None:
    """Refuse a network of another depth."""
    _checks.require(
        network.depth == 2,
        f"`{name}` must have two layers, but it had {network.depth}.",
    )


def imbalance_text(network: LinearNetwork) -> str:
    """How far a network is from balanced, as a sentence."""
    tolerance = exactness_tolerance(network.weights[0].dtype)
    return (
        "|W2.T W2 - W1 W1.T - lambda I| / (|W1|^2 + |W2|^2) was "
        f"{float(relative_imbalance(network)):.3g} at the nearest lambda, "
        f"{float(network.lmda):.6g}; at most {tolerance:.2g} is taken for rounding."
    )


def anisotropy_text(task: Task) -> str:
    """How far inputs are from isotropic, as a sentence."""
    tolerance = exactness_tolerance(task.x.dtype)
    return (
        f"|Sxx - c I| / |c I| was {float(task.anisotropy):.3g} at the nearest c, "
        f"{float(task.input_variance):.6g}; at most {tolerance:.2g} is taken for "
        "rounding."
    )
