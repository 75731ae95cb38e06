"""Functions of many networks at many times, a block of them at a time.

A block's intermediate results fit into the cache. Small matrices have their lanes
(networks and times) on the last axes: a vector unit works on several lanes at once,
whatever the matrices' sizes. Large matrices have networks and times on the first axes.
"""

import abc
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..._xla import is_few, keeping, kept, sizes
from .primitive import Operation, for_each


class AbstractConstants(eqx.Module):
    """Arrays without time, of one network or, on the last axes, of many."""

    @property
    @abc.abstractmethod
    def columns(self) -> int:
        """The number of columns of the matrices in a block."""

    @property
    @abc.abstractmethod
    def entries(self) -> int:
        """The number of entries of the largest of these matrices."""

    @property
    def weight(self) -> int:
        """Memory of the intermediate results, roughly, in units of the matrices."""
        return 1


class WithVectors(AbstractConstants):
    """Constants, and a vector or several of each network."""

    constants: AbstractConstants
    vectors: Float[Array, "numbers ..."]

    @property
    def columns(self) -> int:
        return self.constants.columns

    @property
    def entries(self) -> int:
        return self.constants.entries

    @property
    def weight(self) -> int:
        return self.constants.weight


T = TypeVar("T", bound=AbstractConstants)
One = Callable[[T, Array], Array]  # a function of one network and time, or of lanes
Shape = Callable[[Any], tuple[int, ...]]  # a result's shape, given all networks' tables


def batched(name: str, one: One, shape: Shape) -> Callable[..., Array]:
    """An operation: `one` for every network and time, (networks, times, ...).

    `jax.vmap` of it adds more networks, or more times of the same networks.
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
    """`one` for every network and time."""
    x, ts = for_each((x, ts))
    if is_few(ts.size, sizes.FEW_LANES) or not isinstance(ts.shape[1], int):
        return as_matrices(one, x, ts)
    with keeping(on_cpu):
        return in_blocks(one, shape(x), on_cpu, x, ts)


def more_times(size: Any, is_mapped: Any, x: AbstractConstants, ts: Array) -> Any:
    """The `Gather` of maps over times alone: more times of the same networks."""
    if any(jax.tree.leaves(is_mapped[0])):
        return None

    def separate(found: Array) -> Array:
        found = found.reshape(found.shape[0], size, -1, *found.shape[2:])
        return jnp.moveaxis(found, 1, 0)

    return (x, jnp.moveaxis(ts, 0, 1).reshape(ts.shape[1], -1)), separate


def total(terms: Any) -> Array:
    """The sum of `terms`, written out: additions of vectors of lanes."""
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
    """The shapes of one network's tables, given the tables of many."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), x)


def as_matrices(
    one: Callable[..., Array], x: AbstractConstants, *at_times: Array
) -> Array:
    """`one` for every network and time, with networks and times on the first axes.

    `at_times` are the times, and further arrays (networks, times, ...).
    """
    of_one = jax.vmap(one, in_axes=(None, *[0] * len(at_times)))
    if not is_few(at_times[0].shape[0], 1):
        return jax.vmap(of_one)(x, *at_times)
    # One network: a map less to trace.
    x, at_times = jax.tree.map(lambda a: a[0], (x, at_times))
    return of_one(x, *at_times)[None]


class Blocks(NamedTuple):
    """The division of networks and times into blocks."""

    networks: Any  # may be a symbolic number, as may `across`
    times: int
    per_network: int
    per_time: int
    across: Any  # number of blocks of networks
    down: int  # number of blocks of times
    in_lanes: bool  # lanes on the last axes, or matrices
    networks_last: bool  # order of the two axes of lanes

    @property
    def how_many(self) -> Any:
        """The number of all blocks."""
        return self.across * self.down

    def first(self, i: Array) -> tuple[Array, Array]:
        """The first network and time of block i that no block before contains."""
        return i // self.down * self.per_network, i % self.down * self.per_time

    def start(self, i: Array) -> tuple[Array, Array]:
        """The first network and time of block i; the last blocks overlap earlier ones.

        All blocks are of one size.
        """
        network, time = self.first(i)
        network = jnp.minimum(network, self.networks - self.per_network)
        return network, jnp.minimum(time, self.times - self.per_time)

    def is_new(self, i: Array) -> Bool[Array, "networks times"]:
        """The entries of block i that no block before contains: sums add these."""
        (first, first_time), (network, time) = self.first(i), self.start(i)
        is_new = (network + jnp.arange(self.per_network) >= first)[:, None]
        return is_new & (time + jnp.arange(self.per_time) >= first_time)[None]

    @property
    def network_axis(self) -> int:
        """The axis of a block's networks in lanes."""
        return -1 if self.networks_last else -2

    @property
    def time_axis(self) -> int:
        """The axis of a block's times in lanes."""
        return -2 if self.networks_last else -1


def divided(on_cpu: bool, x: AbstractConstants, ts: Array) -> Blocks:
    """The blocks for these networks and times."""
    networks, times = ts.shape
    one = of_one(x)
    in_lanes = one.columns <= sizes.LANE_COLUMNS
    most = sizes.CACHE_BYTES // x.weight if on_cpu else sizes.CARD_BYTES
    most //= one.entries * ts.dtype.itemsize
    if in_lanes:  # an odd multiple of 8: powers of two collide in the cache
        most = max((most + 8) // 16 * 16, 16) - 8
    else:
        most = max(most, 4)
    is_known = isinstance(networks, int)  # otherwise symbolic
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
    """A size of at most `most` for pieces of `count` that overlap little."""
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
    """`one` for every network and time, one block after the other."""
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
    """A function from a block's start to its tables and times, in lanes or not."""
    size = blocks.per_network, blocks.per_time
    # A CPU takes one slice for all tables, or none if a block has all networks; a card
    # reads only tables that are used.
    is_cut = on_cpu and not is_few(blocks.across, 1)
    packed, unpacked = (_packed if is_cut else _networks_last)(x, ts.dtype)

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
    """All tables in one array with networks last, and a function that unpacks it."""
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
    """The tables with networks last; nothing is to be unpacked."""
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), x), lambda part: part
