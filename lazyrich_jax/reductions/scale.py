"""The scale of a network's output, and its value at the start."""

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks
from .._exactness import check_fit, check_two_layers
from .._linalg import dot
from .._network import LinearNetwork
from .._task import Task
from .reduction import Reduction, scaled, scaled_clock, scaled_layers


def output_scale(
    network: LinearNetwork,
    task: Task,
    scale: Real[ArrayLike, ""],
    *,
    centred: bool = False,
) -> Reduction:
    r"""A network whose output has a scale, and may be centred (Chizat et al. 2019).

    The model is $f = \alpha W_2W_1$, or centred $f = \alpha (W_2W_1 - W_2W_1(0))$. It
    has the flow $\dot W = -\partial L / \partial W$ of its loss L(f). The network
    $V = \sqrt\alpha W$ with the target $\Sigma$, or centred
    $\Sigma + \alpha W_2W_1(0) \Sigma_{xx}$, takes $\alpha$ times as long. It is exact
    for any network and task. (Divide times by $\alpha^2$ for the loss
    $L / \alpha^2$.)

    **Arguments:**

    - `network`: W at time zero, two layers.
    - `task`: the task of f.
    - `scale`: $\alpha$, positive.
    - `centred`: whether the start's output is subtracted.

    **Returns:** a `Reduction`. Times are learning rate x step of the model.

    **Raises:** `ValueError` for another depth, sizes that don't fit and a scale that
    isn't positive (traced: NaN); `TypeError` for a `centred` that isn't a `bool`.
    """
    check_fit(network, task)
    check_two_layers(network)
    _checks.instance("centred", centred, bool, "use `True` or `False`")
    scale = _checks.positive("scale", _checks.as_scalar("scale", scale))
    root = jnp.sqrt(scale)
    weights = scaled_layers((root, root), network.weights)
    before = scaled(scale, network.function)
    if not centred:
        before = jnp.zeros_like(before)
    return Reduction(
        LinearNetwork(weights),
        Task(task.x, task.y + dot(task.x, before.astype(task.x.dtype).mT)),
        scaled_clock(scale),
        to_function=Partial(_less, before),
        to_weights=Partial(scaled_layers, (1 / root, 1 / root)),
    )


def _less(before: Float[Array, "out in"], function: Array) -> Array:
    return function - before.astype(function.dtype)
