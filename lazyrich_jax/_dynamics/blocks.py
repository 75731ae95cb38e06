"""Functions of many networks at many times, a block of them at a time.

A block is so small that its intermediate results stay in the cache. Small matrices have
their lanes, networks and times, on the last axes: a vector unit works on several of
these at once, whatever the matrices' sizes. Large ones are matrices.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from .._compiled import Apart, at_once, kept
from .tables import AbstractTables

LARGEST = 20  # columns of matrices with lanes on the last axes
FEW = 64  # lanes that aren't worth a loop
# Bytes of K in a block: of lanes, and of matrices, which wait for calls, on a CPU; and
# elsewhere, where all cores of a card work on one block.
_CACHE, _LARGE_CACHE, _CARD = 250_000, 1_000_000, 20_000_000


T = TypeVar("T", bound=AbstractTables)


def batched(
    one: Callable[[Apart, T, Array], Array],
) -> Callable[..., Array]:
    """`one` of every network at every time, (networks, times, ...).

    What it is mapped over becomes more networks, or more times of the same ones.
    """

    @custom_vmap
    def of_all(x: T, ts: Float[Array, "networks times"]) -> Array:
        if ts.size <= FEW:
            return _as_matrices(functools.partial(one, at_once), x, ts)
        on_cpu = functools.partial(_in_blocks, functools.partial(one, kept), True)
        if jax.default_backend() == "cpu":  # nothing else to trace for
            return on_cpu(x, ts)
        elsewhere = functools.partial(
            _in_blocks, functools.partial(one, at_once), False
        )
        return jax.lax.platform_dependent(x, ts, cpu=on_cpu, default=elsewhere)

    @of_all.def_vmap
    def _(size: int, batched: Any, x: T, ts: Array) -> tuple[Array, bool]:
        if not any(jax.tree.leaves(batched[0])):
            networks, times = ts.shape[1:]
            more = jnp.moveaxis(ts, 0, 1).reshape(networks, size * times)
            found = of_all(x, more)
            found = found.reshape(networks, size, times, *found.shape[2:])
            return jnp.moveaxis(found, 1, 0), True

        def flat(has_axis: bool, x: Array) -> Array:
            x = x if has_axis else jnp.broadcast_to(x[None], (size, *x.shape))
            return x.reshape(size * x.shape[1], *x.shape[2:])

        found = of_all(*jax.tree.map(flat, tuple(batched), (x, ts)))
        return found.reshape(size, -1, *found.shape[1:]), True

    return of_all


def _as_matrices(one: Callable[[T, Array], Array], x: T, ts: Array) -> Array:
    return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(x, ts)


def _in_blocks(
    one: Callable[[T, Array], Array], on_cpu: bool, x: T, ts: Array
) -> Array:
    networks, times = ts.shape
    m, r, n = jax.tree.map(lambda a: a[0], x).sizes
    small = n <= LARGEST
    most = (_CACHE if small else _LARGE_CACHE) if on_cpu else _CARD
    most //= (2 * m + r + n) * n * ts.dtype.itemsize
    if small:  # not a power of two, which would share cache lines
        most = max((most + 8) // 16 * 16, 16) - 8
    else:
        most = max(most, 4)
    by_network = times < min(networks, 32)  # the last axis
    if by_network:
        per_network = _even(networks, most)
        per_time = min(times, max(most // per_network, 1))
    else:
        per_time = _even(times, most)
        per_network = min(networks, max(most // per_time, 1))
    across, down = -(-networks // per_network), -(-times // per_time)

    @jax.jit  # traced once, also for its shape
    def block(network: Array, time: Array) -> Array:
        cut = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=network)
        part = jax.tree.map(lambda a: cut(a, slice_size=per_network), x)
        t = cut(ts, slice_size=per_network)
        t = jax.lax.dynamic_slice_in_dim(t, time, per_time, axis=1)
        if not small:
            return _as_matrices(one, part, t)
        axis = -2 if by_network else -1
        part = jax.tree.map(
            lambda a: jnp.expand_dims(jnp.moveaxis(a, 0, -1), axis), part
        )
        t = t.T if by_network else t
        found = one(part, t)
        return jnp.moveaxis(found, (-1, -2) if by_network else (-2, -1), (0, 1))

    def visit(i: Array, found: Array) -> Array:
        # The last blocks overlap those before them.
        network = jnp.minimum(i // down * per_network, networks - per_network)
        time = jnp.minimum(i % down * per_time, times - per_time)
        start = (network, time, *[0] * (found.ndim - 2))
        return jax.lax.dynamic_update_slice(found, block(network, time), start)

    zero = jnp.array(0)
    shape = jax.eval_shape(block, zero, zero).shape[2:]
    found = jnp.zeros((networks, times, *shape), ts.dtype)
    return jax.lax.fori_loop(0, across * down, visit, found)


def _even(count: int, most: int) -> int:
    """The size of pieces of `count`, at most so large, that overlap little."""
    pieces = -(-count // most)
    size = -(-count // pieces)
    if pieces > 1 and most >= 8:
        size = -(-(size + 8) // 16) * 16 - 8
    return min(size, count, most)
