"""Products of vectors with a matrix per network, which has a row for every time.

The matrix would be many times as large as the product. It is made block by block
(blocks.py), and of each block only its part of the product is kept.
"""

import functools
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..._linalg import dot
from ..._xla import is_few, keeping, sizes
from .blocks import (
    AbstractConstants,
    WithVectors,
    as_matrices,
    cut_of,
    divided,
    evaluated,
    long_total,
)

T = TypeVar("T", bound=AbstractConstants)
Row = Callable[[T, Array], list[Array]]  # a row of the matrix as consecutive parts


def matrix_times_vectors(
    one: Row, on_cpu: bool, x: AbstractConstants, ts: Array, v: Array
) -> Array:
    """The matrix times vectors.

    `v` is (networks, numbers, vectors), the result (networks, times, vectors).
    """

    def product(x: WithVectors, t: Array) -> Array:
        found = one(x.constants, t)
        if t.ndim == 0:
            return dot(jnp.concatenate(found), x.vectors)
        # Each number is taken from its part inside the loop that uses it.
        places = [(part, row) for part in found for row in range(len(part))]

        def term(i: int) -> Array:
            part, row = places[i]
            return part[row][None] * x.vectors[i]

        return long_total(term, len(places))

    both = WithVectors(x, v)
    return evaluated(product, lambda x: x.vectors.shape[-1:], on_cpu, both, ts)


def vectors_times_matrix(
    one: Row, numbers: int, on_cpu: bool, x: AbstractConstants, ts: Array, v: Array
) -> Array:
    """The transpose of the matrix times vectors.

    `v` is (networks, times, vectors), the result (networks, numbers, vectors).
    """
    if is_few(ts.size, sizes.FEW_LANES) or not isinstance(ts.shape[1], int):
        return _summed(one, x, ts, v)
    with keeping(on_cpu):
        return _summed_in_blocks(one, numbers, on_cpu, x, ts, v)


def _summed(one: Callable[[T, Array], list[Array]], x: T, ts: Array, v: Array) -> Array:
    numbers = as_matrices(lambda x, t: jnp.concatenate(one(x, t)), x, ts)
    return dot(numbers.mT, v)


def _summed_in_blocks(
    one: Callable[[T, Array], list[Array]],
    numbers: int,
    on_cpu: bool,
    x: T,
    ts: Array,
    v: Array,
) -> Array:
    blocks = divided(on_cpu, x, ts)
    cut = cut_of(blocks, on_cpu, x, ts)
    per_network, per_time = blocks.per_network, blocks.per_time

    def block(network: Array, time: Array, v: Array) -> Array:
        part, t = cut(network, time)
        if not blocks.in_lanes:
            return _summed(one, part, t, v)
        lanes = "tn" if blocks.networks_last else "nt"
        product = functools.partial(
            jnp.einsum, f"p{lanes},ntv->npv", precision="highest"
        )
        return jnp.concatenate([product(p, v) for p in one(part, t)], axis=1)

    def visit(i: Array, found: Array) -> Array:
        network, time = blocks.start(i)
        is_new = blocks.is_new(i)
        size = (per_network, per_time, v.shape[2])
        weights = jax.lax.dynamic_slice(v, (network, time, 0), size)
        added = block(network, time, jnp.where(is_new[..., None], weights, 0.0))
        added += jax.lax.dynamic_slice_in_dim(found, network, per_network)
        return jax.lax.dynamic_update_slice_in_dim(found, added, network, 0)

    found = jnp.zeros((blocks.networks, numbers, v.shape[2]), ts.dtype)
    return jax.lax.fori_loop(0, blocks.how_many, visit, found)
