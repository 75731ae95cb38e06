"""Distances of courses of learning: loss, function, representations, kernel."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._linalg import dot, norm
from .._network import LinearNetwork
from .._task import Task
from .._xla import compiled

QUANTITIES = {
    "loss": "loss",
    "function": "function",
    "input_representation": "input representation",
    "output_representation": "output representation",
    "kernel": "tangent kernel",
}


class Gaps(eqx.Module):
    """Distances of two courses of learning, over how far the second one moved.

    A gap of one is as large as all that was learned. It is the largest distance over
    time divided by the largest distance of the second course from its start: zero if
    both are equal, infinite if the second did not move.

    **Attributes:** one number each for the `loss`, the `function`, the
    `input_representation`, the `output_representation` and the tangent `kernel` on the
    task's inputs.
    """

    loss: Float[Array, ""]
    function: Float[Array, ""]
    input_representation: Float[Array, ""]
    output_representation: Float[Array, ""]
    kernel: Float[Array, ""]

    def worst(self) -> tuple[str, float]:
        """The largest gap, with its name."""
        found = {words: float(getattr(self, x)) for x, words in QUANTITIES.items()}
        name = max(found, key=lambda x: (found[x] != found[x], found[x]))  # NaN first
        return name, found[name]


class States(eqx.Module):
    """What is compared, along the first axis."""

    loss: Float[Array, " times"]
    function: Float[Array, "times out in"]
    input_representation: Float[Array, "times in in"]
    output_representation: Float[Array, "times out out"]


@compiled
def states_of(networks: LinearNetwork, task: Task) -> States:
    """What is compared, of networks along a leading axis."""
    return States(
        jax.vmap(task.loss)(networks.function),
        networks.function,
        networks.input_representation,
        networks.output_representation,
    )


@compiled
def gaps_of(found: States, reference: States, start: States, task: Task) -> Gaps:
    """The distances of two courses over how far the second one moved."""
    apart = jax.tree.map(lambda a, b: _sizes(a - b), found, reference)
    moved = jax.tree.map(lambda a, b: _sizes(a - b), reference, start)
    kernels = (
        _kernel_sizes(
            a.input_representation - b.input_representation,
            a.output_representation - b.output_representation,
            task.input_correlation,
        )
        for a, b in ((found, reference), (reference, start))
    )
    numbers = [
        (getattr(apart, name), getattr(moved, name))
        for name in QUANTITIES
        if name != "kernel"
    ]
    return Gaps(*(_share(a, b) for a, b in [*numbers, tuple(kernels)]))


def _sizes(x: Float[Array, "times ..."]) -> Float[Array, " times"]:
    return norm(x.reshape(x.shape[0], -1), axis=1)


def _kernel_sizes(
    of_inputs: Float[Array, "times in in"],
    of_outputs: Float[Array, "times out out"],
    correlation: Float[Array, "in in"],
) -> Float[Array, " times"]:
    r"""Norms of $I \otimes XAX^\top + B \otimes XX^\top$, over the samples' number.

    The mean of B's diagonal joins A; the two terms are then orthogonal.
    """
    n_out, n_in = of_outputs.shape[-1], of_inputs.shape[-1]
    mean = jnp.trace(of_outputs, axis1=1, axis2=2)[:, None, None] / n_out
    of_inputs += mean * jnp.eye(n_in, dtype=mean.dtype)[None]
    of_outputs -= mean * jnp.eye(n_out, dtype=mean.dtype)[None]
    product = dot(of_inputs, correlation)
    first = jnp.sum(product * product.mT, axis=(1, 2))
    second = jnp.sum(of_outputs**2, axis=(1, 2)) * jnp.sum(correlation**2)
    return jnp.sqrt(jnp.maximum(n_out * first + second, 0.0))


def _share(apart: Array, moved: Array) -> Float[Array, ""]:
    apart, moved = jnp.max(apart), jnp.max(moved)
    return jnp.where(apart == 0, 0.0, apart / jnp.where(apart == 0, 1.0, moved))
