"""Estimates of inner products of tangent kernels along random directions."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Shaped

from .._linalg import dot
from .cost import Cost, cost_of, in_chunks, most_samples, parameter_count
from .model import Function
from .products import KernelProducts, of_sketches


def sketch_size(
    function: Function,
    x: Shaped[Array, "samples ..."],
    outputs: int,
    directions: int,
    memory: float,
) -> tuple[int, Cost]:
    """How many samples fit at a time (zero if none does), and the least cost."""
    item = jax.tree.leaves(function.parameters)[0].dtype.itemsize
    cost = cost_of(_of_sample, function, function.parameters, x[0])
    fixed = item * (4.0 * parameter_count(function) + 6.0 * directions**2)
    each = 2 * cost.bytes + 4.0 * item * directions * outputs
    operations = 2.0 * cost.operations * x.shape[0] * directions
    size = most_samples(memory, fixed, each, x.shape[0])
    return size, Cost(operations, fixed + each)


def sketched_products(
    start: Function,
    end: Function,
    x: Shaped[Array, "samples ..."],
    size: int,
    directions: int,
    key: PRNGKeyArray,
) -> KernelProducts:
    """Estimates of the products, for `size` samples at a time."""
    keys = jax.random.split(key, directions)
    grams = _grams(start, end, *in_chunks(x, size), keys)
    return of_sketches(*(np.asarray(gram, float) for gram in grams))


def _of_sample(function: Function, direction: PyTree, sample: Array) -> Array:
    """The derivative of one sample's outputs along a direction of the parameters."""
    at = (function.parameters,)
    return jax.jvp(lambda p: function(p, sample), at, (direction,))[1]


@eqx.filter_jit
def _grams(
    start: Function,
    end: Function,
    chunks: Array,
    keep: Bool[Array, "chunks size"],
    keys: Array,
) -> tuple[Array, Array, Array]:
    r"""$R^\top J_0^\top J_0 R$, $R^\top J_0^\top D R$ and $R^\top D^\top D R$."""

    def step(sums: Any, chunk: Any) -> tuple[Any, None]:
        x, keep = chunk

        def along(function: Function) -> Any:
            def outputs(parameters: PyTree) -> Array:
                return jax.vmap(lambda sample: function(parameters, sample))(x)

            return jax.linearize(outputs, function.parameters)[1]

        of_start, of_end = along(start), along(end)

        def sketch(key: PRNGKeyArray) -> tuple[Array, Array]:
            direction = _direction(key, start.parameters)
            before = jnp.where(keep[:, None], of_start(direction), 0)
            after = jnp.where(keep[:, None], of_end(direction), 0)
            return before.ravel(), (after - before).ravel()

        before, change = jax.lax.map(sketch, keys)
        more = dot(before, before.T), dot(before, change.T), dot(change, change.T)
        return jax.tree.map(jnp.add, sums, more), None

    size, dtype = keys.shape[0], jax.tree.leaves(start.parameters)[0].dtype
    zero = jnp.zeros((size, size), dtype)
    return jax.lax.scan(step, (zero, zero, zero), (chunks, keep))[0]


def _direction(
    key: PRNGKeyArray, parameters: PyTree[Float[Array, "..."]]
) -> PyTree[Float[Array, "..."]]:
    leaves, structure = jax.tree.flatten(parameters)
    keys = jax.random.split(key, len(leaves))
    drawn = [
        jax.random.normal(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)
