"""Linear maps from vectors of a network to arrays at its times, and their transposes.

A map is a function of one network, or of lanes, at a time: it takes the network's
constants, the time and a vector. Its matrix would be many times as large as the results
and is never made.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..._xla import is_few, keeping, sizes
from .blocks import (
    AbstractConstants,
    WithVectors,
    as_matrices,
    cut_of,
    divided,
    evaluated,
)

Map = Callable[..., Array]  # map(constants, t, vector)


def mapped_to_times(
    one: Map,
    shape: tuple[int, ...],
    on_cpu: bool,
    x: AbstractConstants,
    ts: Array,
    v: Array,
) -> Array:
    """The map of `v`, (networks, numbers), at every time: (networks, times, *shape)."""

    def at(x: WithVectors, t: Array) -> Array:
        return one(x.constants, t, x.vectors)

    return evaluated(at, lambda x: shape, on_cpu, WithVectors(x, v), ts)


def summed_over_times(
    one: Map,
    numbers: int,
    on_cpu: bool,
    x: AbstractConstants,
    ts: Array,
    weights: Array,
) -> Array:
    """The transpose: the sum over times of `one` with the weights of each time.

    `weights` is (networks, times, ...), the result (networks, numbers).
    """
    if is_few(ts.size, sizes.FEW_LANES) or not isinstance(ts.shape[1], int):
        return jnp.sum(as_matrices(one, x, ts, weights), axis=1)
    with keeping(on_cpu):
        blocks = divided(on_cpu, x, ts)
        cut = cut_of(blocks, on_cpu, x, ts)
        per_network, per_time = blocks.per_network, blocks.per_time
        lanes = blocks.network_axis, blocks.time_axis

        def visit(i: Array, found: Array) -> Array:
            start = blocks.start(i)
            part, t = cut(*start)
            place = (*start, *[0] * (weights.ndim - 2))
            size = (per_network, per_time, *weights.shape[2:])
            own = jax.lax.dynamic_slice(weights, place, size)
            is_new = blocks.is_new(i)
            is_new = is_new.reshape(*is_new.shape, *[1] * (weights.ndim - 2))
            own = jnp.where(is_new, own, 0.0)
            if blocks.in_lanes:
                added = one(part, t, jnp.moveaxis(own, (0, 1), lanes))
                added = jnp.sum(added, axis=blocks.time_axis).T
            else:
                added = jnp.sum(as_matrices(one, part, t, own), axis=1)
            added += jax.lax.dynamic_slice_in_dim(found, start[0], per_network)
            return jax.lax.dynamic_update_slice_in_dim(found, added, start[0], 0)

        found = jnp.zeros((blocks.networks, numbers), ts.dtype)
        return jax.lax.fori_loop(0, blocks.how_many, visit, found)
