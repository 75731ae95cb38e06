"""Estimates of inner products of tangent kernels along random directions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Shaped

from .._linalg import dot
from .cost import Cost, cost_of, in_chunks, most_samples, parameter_count
from .model import Function
from .products import KernelProducts, of_sketches

BITS = 32  # of a random word


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
    """Estimates of the products, for `size` samples at a time.

    The loops are of Python: inside of `jax.lax.scan` and the like, XLA runs
    convolutions on processors without its fast kernels.
    """
    keys = jax.random.split(key, directions)
    grams = np.zeros((3, directions, directions))
    for chunk, keep in zip(*in_chunks(x, size), strict=True):
        rows = [_along(start, end, chunk, keep, key) for key in keys]
        before, change = (jnp.stack(of) for of in zip(*rows, strict=True))
        grams += [np.asarray(gram, float) for gram in _grams(before, change)]
    return of_sketches(*grams)


def _of_sample(function: Function, direction: PyTree, sample: Array) -> Array:
    """The derivative of one sample's outputs along a direction of the parameters."""
    at = (function.parameters,)
    return jax.jvp(lambda p: function(p, sample), at, (direction,))[1]


@eqx.filter_jit
def _along(
    start: Function,
    end: Function,
    x: Shaped[Array, "samples ..."],
    keep: Bool[Array, " samples"],
    key: PRNGKeyArray,
) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
    """$J_0 r$ and $(J_1 - J_0) r$ of all outputs for a random direction r."""
    direction = _signs(key, start.parameters)
    before, after = (
        jax.vmap(lambda sample, f=f: _of_sample(f, direction, sample))(x)
        for f in (start, end)
    )
    rows = before, after - before
    return tuple(jnp.where(keep[:, None], row, 0).ravel() for row in rows)


@jax.jit
def _grams(
    before: Float[Array, "directions rows"], change: Float[Array, "directions rows"]
) -> tuple[Array, Array, Array]:
    r"""$R^\top J_0^\top J_0 R$, $R^\top J_0^\top D R$ and $R^\top D^\top D R$."""
    return dot(before, before.T), dot(before, change.T), dot(change, change.T)


def _signs(
    key: PRNGKeyArray, parameters: PyTree[Float[Array, "..."]]
) -> PyTree[Float[Array, "..."]]:
    """A direction of random signs, one bit for each parameter."""
    flat, restored = ravel_pytree(parameters)
    words = jax.random.bits(key, (-(-flat.size // BITS), 1), jnp.uint32)
    bits = (words >> jnp.arange(BITS, dtype=jnp.uint32)[None]) & jnp.uint32(1)
    return restored(2 * bits.ravel()[: flat.size].astype(flat.dtype) - 1)
