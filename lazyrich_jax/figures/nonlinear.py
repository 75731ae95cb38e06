"""Two-layer networks with an activation, for comparison with the linear theory."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._linalg import dot
from .._task import Task

Weights = tuple[Float[Array, "hidden in"], Float[Array, "out hidden"]]
Activation = Callable[[Array], Array]


def identity(h: Array) -> Array:
    """The activation of a linear network."""
    return h


ACTIVATIONS = {"linear": identity, "ReLU": jax.nn.relu, "tanh": jnp.tanh}


def loss(weights: Weights, task: Task, activation: Activation) -> Float[Array, ""]:
    r"""The loss of $\hat y = W_2\,f(W_1 x)$, as `lazyrich_jax.Task` defines it."""
    w1, w2 = weights
    outputs = dot(activation(dot(task.x, w1.T)), w2.T)
    return jnp.sum((task.y - outputs) ** 2) / (2 * task.samples)


@functools.partial(jax.jit, static_argnames="activation")
def train(
    weights: Weights,
    task: Task,
    activation: Activation,
    rate: float | Float[Array, ""],
    steps: Int[Array, " times"],
) -> Weights:
    """The weights after each of `steps` steps of gradient descent, on a leading axis.

    `steps` counts from the start, non-decreasing; `activation` is one of
    `ACTIVATIONS`, or any other function of an array. Works under `jax.vmap`.
    """
    gradient = jax.grad(loss)

    def step(_, weights):
        w1, w2 = weights
        g1, g2 = gradient(weights, task, activation)
        return w1 - rate * g1, w2 - rate * g2

    def record(weights, span):
        weights = jax.lax.fori_loop(span[0], span[1], step, weights)
        return weights, weights

    spans = jnp.stack([jnp.concatenate([jnp.zeros_like(steps[:1]), steps[:-1]]), steps])
    return jax.lax.scan(record, weights, spans.T)[1]
