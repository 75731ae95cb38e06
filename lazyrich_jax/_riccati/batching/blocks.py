"""Functions of many networks at many times, a block of them at a time.

A block is so small that its intermediate results stay in the cache. Small matrices have
their lanes, networks and times, on the last axes: a vector unit works on several of
these at once, whatever the matrices' sizes. Large ones are matrices.
"""

import abc
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._xla import is_few, keeping, kept, sizes
from .primitive import Operation, for_each

# Bytes of K in a block, on a CPU and elsewhere, where all cores of a card work on one.


class AbstractConstants(eqx.Module):
    """Arrays without time, of one network or, on the last axes, of many."""

    @property
    @abc.abstractmethod
    def columns(self) -> int:
        """Of the matrices in a block."""

    @property
    @abc.abstractmethod
    def entries(self) -> int:
        """Of the largest of these matrices."""

    @property
    def weight(self) -> int:
        """The memory of intermediate results over that of the matrices, roughly."""
        return 1


T = TypeVar("T", bound=AbstractConstants)
One = Callable[[T, Array], Array]  # of a network at a time, or lanes of them
Shape = Callable[[Any], tuple[int, ...]]  # of its result, from tables of many networks


def batched(name: str, one: One, shape: Shape) -> Callable[..., Array]:
    """`one` of every network at every time, (networks, times, ...), as an operation.

    What it is mapped over becomes more networks, or more times of the same ones.
    """
    return Operation(
        name,
        lambda x, ts: (ts.shape[1], *shape(x)),
        functools.partial(evaluated, one, shape, True),
        functools.partial(evaluated, one, shape, False),
        more_times,
    )


def evaluated(
    one: One, shape: Shape, on_cpu: bool, x: AbstractConstants, ts: Array
) -> Array:
    """`one` of every network at every time."""
    x, ts = for_each((x, ts))
    if is_few(ts.size, sizes.FEW_LANES) or not isinstance(ts.shape[1], int):
        return as_matrices(one, x, ts)
    with keeping(on_cpu):
        return in_blocks(one, shape(x), on_cpu, x, ts)


def more_times(size: Any, is_mapped: Any, x: AbstractConstants, ts: Array) -> Any:
    """What only times are mapped over, as more of them."""
    if any(jax.tree.leaves(is_mapped[0])):
        return None

    def separate(found: Array) -> Array:
        found = found.reshape(found.shape[0], size, -1, *found.shape[2:])
        return jnp.moveaxis(found, 1, 0)

    return (x, jnp.moveaxis(ts, 0, 1).reshape(ts.shape[1], -1)), separate


def total(terms: Any) -> Array:
    """The sum, written out: a vector of lanes at a time."""
    return functools.reduce(jnp.add, list(terms))


def long_total(term: Callable[[int], Array], count: int) -> Array:
    """The sum of terms 0 to `count`, written out in several loops.

    XLA for CPUs finds no vector instructions for one loop of hundreds of arrays.
    """

    def part(first: int) -> Array:
        numbers = range(first, min(first + sizes.LOOP_TERMS, count))
        return kept(lambda: total(term(i) for i in numbers))

    return total(part(first) for first in range(0, count, sizes.LOOP_TERMS))


def of_one(x: T) -> T:
    """The shapes of one network's tables, of those of many."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), x)


def as_matrices(one: Callable[[T, Array], Array], x: T, ts: Array) -> Array:
    """`one` of every network at every time, not in lanes."""
    return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(x, ts)


class Blocks(NamedTuple):
    """How networks and times are divided."""

    networks: Any  # also a symbolic number, and so `across`
    times: int
    per_network: int
    per_time: int
    across: Any  # how many of networks
    down: int  # and of times
    in_lanes: bool  # or matrices
    networks_last: bool  # of the lanes' axes

    @property
    def how_many(self) -> Any:
        """Of all blocks."""
        return self.across * self.down

    def first(self, i: Array) -> tuple[Array, Array]:
        """The network and the time with which block i starts."""
        return i // self.down * self.per_network, i % self.down * self.per_time

    def start(self, i: Array) -> tuple[Array, Array]:
        """The same, where the last blocks are as large, and overlap those before."""
        network, time = self.first(i)
        network = jnp.minimum(network, self.networks - self.per_network)
        return network, jnp.minimum(time, self.times - self.per_time)

    @property
    def network_axis(self) -> int:
        """Of a block's lanes."""
        return -1 if self.networks_last else -2

    @property
    def time_axis(self) -> int:
        """Of a block's lanes."""
        return -2 if self.networks_last else -1


def divided(on_cpu: bool, x: AbstractConstants, ts: Array) -> Blocks:
    """The blocks for these networks and times."""
    networks, times = ts.shape
    one = of_one(x)
    in_lanes = one.columns <= sizes.LANE_COLUMNS
    most = sizes.CACHE_BYTES // x.weight if on_cpu else sizes.CARD_BYTES
    most //= one.entries * ts.dtype.itemsize
    if in_lanes:  # not a power of two, which would share cache lines
        most = max((most + 8) // 16 * 16, 16) - 8
    else:
        most = max(most, 4)
    is_known = isinstance(networks, int)  # not symbolic
    networks_last = is_known and times < min(networks, 32)
    if networks_last:
        per_network = _even(networks, most)
        per_time = min(times, max(most // per_network, 1))
    else:
        per_time = _even(times, most)
        per_network = min(networks, max(most // per_time, 1)) if is_known else 1
    across, down = -(-networks // per_network), -(-times // per_time)
    return Blocks(
        networks, times, per_network, per_time, across, down, in_lanes, networks_last
    )


def _even(count: int, most: int) -> int:
    """The size of pieces of `count`, at most so large, that overlap little."""
    pieces = -(-count // most)
    size = -(-count // pieces)
    if pieces > 1 and most >= 8:
        size = -(-(size + 8) // 16) * 16 - 8
    return min(size, count, most)


def in_blocks(
    one: Callable[[T, Array], Array],
    shape: tuple[int, ...],
    on_cpu: bool,
    x: T,
    ts: Array,
) -> Array:
    """`one` of every network at every time, a block after the other."""
    blocks = divided(on_cpu, x, ts)
    cut = cut_of(blocks, on_cpu, x, ts)

    def visit(i: Array, found: Array) -> Array:
        start = blocks.start(i)
        part, t = cut(*start)
        if blocks.in_lanes:
            lanes = blocks.network_axis, blocks.time_axis
            added = jnp.moveaxis(one(part, t), lanes, (0, 1))
        else:
            added = as_matrices(one, part, t)
        place = (*start, *[0] * len(shape))
        return jax.lax.dynamic_update_slice(found, added, place)

    found = jnp.zeros((*ts.shape, *shape), ts.dtype)
    return jax.lax.fori_loop(0, blocks.how_many, visit, found)


def cut_of(
    blocks: Blocks, on_cpu: bool, x: T, ts: Array
) -> Callable[[Array, Array], tuple[T, Array]]:
    """A block's tables and times, in lanes or not."""
    size = blocks.per_network, blocks.per_time
    # On a CPU one slice, not one for each table; elsewhere only tables that are used.
    packed, unpacked = (_packed if on_cpu else _networks_last)(x, ts.dtype)

    def cut(network: Array, time: Array) -> tuple[T, Array]:
        t = jax.lax.dynamic_slice(ts, (network, time), size)
        of_last = functools.partial(jax.lax.dynamic_slice_in_dim, axis=-1)
        part = jax.tree.map(lambda a: of_last(a, network, size[0]), packed)
        if not blocks.in_lanes:
            return jax.vmap(unpacked, in_axes=-1)(part), t
        part = jax.tree.map(lambda a: jnp.expand_dims(a, blocks.time_axis), part)
        return unpacked(part), t.T if blocks.networks_last else t

    return cut


def _packed(
    x: T, dtype: Any
) -> tuple[Float[Array, "numbers networks"], Callable[[Array], T]]:
    """All numbers of each network in one array, and its inverse: lanes stay last."""
    leaves, tree = jax.tree.flatten(x)
    rows = [a.reshape(a.shape[0], -1).astype(dtype) for a in leaves]
    ends = np.cumsum([a.shape[1] for a in rows])

    def unpacked(numbers: Float[Array, "numbers *lanes"]) -> T:
        parts = []
        for part, a in zip(jnp.split(numbers, ends[:-1]), leaves, strict=True):
            part = part.reshape(*a.shape[1:], *numbers.shape[1:])
            parts.append(part != 0 if a.dtype == bool else part)
        return jax.tree.unflatten(tree, parts)

    return jnp.concatenate(rows, axis=1).T, unpacked


def _networks_last(x: T, _: Any) -> tuple[T, Callable[[T], T]]:
    """The tables as they are."""
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), x), lambda part: part
