"""Models that are linear networks: their matrices, and whether the model is linear."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import PyTree

from .. import _checks, _dtypes
from .._exactness import check_fit
from .._linalg import dot, norm
from .._network import LinearNetwork
from .._task import Task
from .model import function_of


def linear_network(
    name: str, model: PyTree, task: Task, apply: Callable | None, layout: str | None
) -> tuple[LinearNetwork, bool]:
    """A model as a linear network, and whether its outputs were compared with it.

    `name` is the argument's name in messages. Outputs are compared if the model can be
    called, or there is `apply`.

    **Raises:** as `LinearNetwork.from_layers`; `ValueError` for a network that does not
    fit the task, and for a model that is not linear.
    """
    _checks.one(name, model)
    network, is_network = model, isinstance(model, LinearNetwork)
    if not is_network:
        network = LinearNetwork.from_layers(model, layout=layout)
    check_fit(network, task, name)
    if is_network or (apply is None and not callable(model)):
        return network, is_network
    function, x = function_of(name, model, task.x, apply)
    found, expected = function.outputs(x), dot(x, network.function.mT)
    off = float(norm(found - expected) / jnp.maximum(norm(expected), 1e-30))
    _checks.require(
        off <= 1e3 * _dtypes.rounding(model=network),
        f"`{name}` must be linear, the product of its matrices, but its outputs "
        f"differed from it by {off:.2g} of their size. The closed forms do not hold "
        "for nonlinear networks: measure them by `lazyrich_jax.richness.report`, or "
        "see `lazyrich_jax.reductions.antisymmetric_relu`.",
    )
    return network, True
