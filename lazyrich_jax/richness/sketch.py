"""Estimates of inner products of tangent kernels along random vectors of outputs."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, Shaped

from .chunks import in_chunks
from .cost import Cost, most_samples
from .jacobian import along, costs, transposed
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
    samples, dtype = x.shape[0], jax.tree.leaves(function.parameters)[0].dtype
    once, each = costs(function, x, jnp.zeros((samples, outputs), dtype))
    operations = 2 * directions * (once.operations + samples * each.operations)
    size = most_samples(memory, once.bytes, each.bytes, samples)
    return size, Cost(operations, once.bytes + each.bytes)


def sketched_products(
    start: Function,
    end: Function,
    x: Shaped[Array, "samples ..."],
    outputs: int,
    size: int,
    directions: int,
    key: PRNGKeyArray,
) -> KernelProducts:
    """Estimates of the products, for `size` samples at a time."""
    shape = directions, x.shape[0], outputs
    signs = np.asarray(jax.random.rademacher(key, shape, jnp.int8))
    chunks = in_chunks(x, size)[0]
    rows = []
    for sign in signs:
        v = sign.astype(jax.tree.leaves(start.parameters)[0].dtype)
        before, after = (
            along(f, transposed(f, chunks, v), chunks)[: len(v)] for f in (start, end)
        )
        change, v = after - before, sign.astype(float)
        pairs = (before, before), (after, after), (change, change), (before, after)
        rows.append([np.vdot(a, b) for a, b in (*pairs, (v, before), (v, after))])
    return of_sketches(np.array(rows))
