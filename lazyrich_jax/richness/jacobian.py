"""Products of a model's Jacobian with vectors, of some samples at a time.

The loops are of Python: inside of `jax.lax.scan` and the like, XLA runs convolutions on
processors without its fast kernels.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from .cost import Cost, costs_of_samples
from .model import Function


def costs(
    function: Function,
    x: Shaped[Array, "samples ..."],
    v: Float[Array, "samples outputs"],
) -> tuple[Cost, Cost]:
    r"""What both products, $JJ^\top v$, cost once, and for each sample."""

    def both(part: tuple[Array, Array]) -> Array:
        return _pushed(function, _pulled(function, *part), part[0])

    return costs_of_samples(both, (x, v))


def transposed(
    function: Function,
    chunks: Shaped[Array, "chunks size ..."],
    v: Float[np.ndarray, "samples outputs"],
) -> PyTree[Float[Array, "..."]]:
    r"""$J^\top v$: the gradient of the sum of outputs times v, as the parameters.

    The samples are in chunks of one size. Those beyond the rows of v do not count.
    """
    count, size = chunks.shape[:2]
    rows = np.zeros((count, size, v.shape[1]), v.dtype)
    rows.reshape(count * size, -1)[: len(v)] = v
    total = _pull(function, chunks[0], rows[0])
    for i in range(1, count):
        total = _sum(total, _pull(function, chunks[i], rows[i]))
    return total


def along(
    function: Function,
    direction: PyTree[Float[Array, "..."]],
    chunks: Shaped[Array, "chunks size ..."],
) -> Float[np.ndarray, "rows outputs"]:
    r"""$Jr$: the derivative of all outputs along a direction r of the parameters."""
    found = [_push(function, direction, chunk) for chunk in chunks]
    return np.concatenate([np.asarray(rows, float) for rows in found])


def _outputs(function: Function, parameters: PyTree, x: Array) -> Array:
    return jax.vmap(lambda sample: function(parameters, sample))(x)


def _pulled(function: Function, x: Array, v: Array) -> PyTree:
    def product(parameters: PyTree) -> Array:
        return jnp.sum(_outputs(function, parameters, x) * v)

    return jax.grad(product)(function.parameters)


def _pushed(function: Function, direction: PyTree, x: Array) -> Array:
    at = (function.parameters,)
    return jax.jvp(lambda p: _outputs(function, p, x), at, (direction,))[1]


_pull, _push = eqx.filter_jit(_pulled), eqx.filter_jit(_pushed)


@jax.jit
def _sum(a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, a, b)
