"""Linear maps from vectors of a network to arrays at its times, and their transposes.

A map is a function of one network, or of lanes, at a time: it takes the network's
constants and the time, and returns a linear function. Its matrix would be many times as
large as the results and is never made. Vectors are on the last axis; what the map needs
besides a vector is computed once for all of them.
"""

import functools
from collections.abc import Callable
from typing import Any

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
    in_blocks,
)

Map = Callable[[Any, Array], Callable[[Array], Array]]  # map(constants, t)(vector)


def mapped_to_times(
    one: Map,
    shape: tuple[int, ...],
    on_cpu: bool,
    x: AbstractConstants,
    ts: Array,
    v: Array,
) -> Array:
    """The map of `v` at every time.

    `v` is (networks, numbers, vectors), the result (networks, times, *shape, vectors).
    """

    def at(mapped: Callable, x: WithVectors, t: Array) -> Array:
        linear = one(x.constants, t)
        return _of_each(linear, x.vectors, 1, len(shape), mapped)

    both = WithVectors(x, v)
    if _together(ts, v):
        return as_matrices(functools.partial(at, _vmapped), both, ts)
    one_by_one = functools.partial(at, jax.lax.map)
    with keeping(on_cpu):
        return in_blocks(one_by_one, (*shape, v.shape[-1]), on_cpu, both, ts)


def summed_over_times(
    one: Map,
    numbers: int,
    on_cpu: bool,
    x: AbstractConstants,
    ts: Array,
    weights: Array,
) -> Array:
    """The transpose: the sum over times of `one` with the weights of each time.

    `weights` is (networks, times, ..., vectors), the result (networks, numbers,
    vectors).
    """

    def at(mapped: Callable, x: AbstractConstants, t: Array, w: Array) -> Array:
        return _of_each(one(x, t), w, weights.ndim - 3, 1, mapped)

    if _together(ts, weights):
        at_once = functools.partial(at, _vmapped)
        return jnp.sum(as_matrices(at_once, x, ts, weights), axis=1)
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
                added = at(jax.lax.map, part, t, jnp.moveaxis(own, (0, 1), lanes))
                added = jnp.moveaxis(jnp.sum(added, axis=blocks.time_axis), -1, 0)
            else:
                at_each = as_matrices(
                    lambda *args: at(jax.lax.map, *args), part, t, own
                )
                added = jnp.sum(at_each, axis=1)
            added += jax.lax.dynamic_slice_in_dim(found, start[0], per_network)
            return jax.lax.dynamic_update_slice_in_dim(found, added, start[0], 0)

        found = jnp.zeros((blocks.networks, numbers, weights.shape[-1]), ts.dtype)
        return jax.lax.fori_loop(0, blocks.how_many, visit, found)


def more_vectors(size: Any, is_mapped: Any, *args: Any) -> Any:
    """The `Gather` of maps over the last argument alone: more vectors of a network."""
    *others, v = args
    if any(jax.tree.leaves(is_mapped[:-1])):
        return None

    def separate(found: Array) -> Array:
        return jnp.moveaxis(found.reshape(*found.shape[:-1], size, -1), -2, 0)

    v = jnp.moveaxis(v, 0, -2)
    return (*others, v.reshape(*v.shape[:-2], -1)), separate


def _together(ts: Array, v: Array) -> bool:
    """Whether networks, times and vectors are evaluated without a loop."""
    is_known = isinstance(ts.shape[1], int)
    return not is_known or is_few(ts.size * v.shape[-1], sizes.FEW_LANES)


def _of_each(
    linear: Callable[[Array], Array],
    vectors: Array,
    axis: int,
    out_axis: int,
    mapped: Callable[[Callable, Array], Array],
) -> Array:
    """A function of every vector, which are numbered along `axis`."""
    if is_few(vectors.shape[axis], 1):
        return jnp.expand_dims(linear(jnp.squeeze(vectors, axis)), out_axis)
    return jnp.moveaxis(mapped(linear, jnp.moveaxis(vectors, axis, 0)), 0, out_axis)


def _vmapped(function: Callable[[Array], Array], xs: Array) -> Array:
    return jax.vmap(function)(xs)
