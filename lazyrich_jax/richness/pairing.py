"""Which layers of a model are pairs, and the matrices of a pair."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks
from .._layers import Layer
from .._network import LinearNetwork

PLAIN = ("dense", "convolution")
ATTENTION = (("key", "query"), ("value", "output"))


class Pair(NamedTuple):
    """Two layers, one after the other, or those of a head of attention."""

    place: int  # of the first layer
    names: tuple[str, str]
    head: int | None
    network: LinearNetwork


def pairs_in(
    found: Sequence[Layer], channels: str | None
) -> tuple[list[Pair], dict[tuple[str, str], str]]:
    """All pairs of layers in forward order, and why others can't be made.

    **Raises:** `ValueError` for attention whose heads don't fit.
    """
    left_out: dict[tuple[str, str], str] = {}
    pairs = [*_of_plain(found, channels, left_out), *_of_attention(found)]
    return sorted(pairs, key=lambda pair: pair.place), left_out


def _of_plain(
    found: Sequence[Layer],
    channels: str | None,
    left_out: dict[tuple[str, str], str],
) -> Iterator[Pair]:
    """Pairs of dense and convolutional layers; `left_out` gets the others."""
    for (i, below), (j, above) in itertools.combinations(enumerate(found), 2):
        if above.after is None:  # a tree does not tell
            follows = j == i + 1
        else:
            follows = above.after == (below.name,) and below.into == (above.name,)
        if not follows or below.kind not in PLAIN or above.kind not in PLAIN:
            continue
        names = below.name, above.name
        if channels is None and _is_flattened(below, above):
            left_out[names] = (
                "`channels` must be 'first' (Equinox, PyTorch) or 'last' (Flax), as "
                f"`{above.name}` follows the flattened `{below.name}`, but it was None."
            )
            continue
        outward = _outward(below, above, channels)
        if outward is not None:
            yield Pair(i, names, None, LinearNetwork((_inward(below), outward)))


def _is_flattened(below: Layer, above: Layer) -> bool:
    """Whether a dense layer has a weight for each channel and place of the other."""
    hidden, n_in = below.weight.shape[0], above.weight.shape[1]
    kinds = below.kind, above.kind
    return kinds == ("convolution", "dense") and n_in != hidden and n_in % hidden == 0


def _dense(layer: Layer) -> Float[Array, "out in *window"]:
    """The weight; that of a convolution by groups with zeros between the groups."""
    weight, groups = layer.weight, layer.groups
    if groups == 1:
        return weight
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    whole = jnp.zeros((groups, blocks.shape[1], groups, *weight.shape[1:]))
    place = jnp.arange(groups)
    whole = whole.astype(weight.dtype).at[place, :, place].set(blocks)
    return whole.reshape(weight.shape[0], -1, *weight.shape[2:])


def _inward(layer: Layer) -> Float[Array, "out in"]:
    """The weights into each unit, with its bias as the last column."""
    rows = _dense(layer).reshape(layer.weight.shape[0], -1)
    if layer.bias is None:
        return rows
    return jnp.concatenate([rows, layer.bias.reshape(-1, 1)], axis=1)


def _outward(
    below: Layer, above: Layer, channels: str | None
) -> Float[Array, "out hidden"] | None:
    """The weights out of each unit of the layer below, if the sizes chain."""
    hidden, weight = below.weight.shape[0], _dense(above)
    n_out, n_in = weight.shape[:2]
    if n_in == hidden:
        return jnp.moveaxis(weight, 1, -1).reshape(-1, hidden)
    if not _is_flattened(below, above):
        return None
    if channels == "first":
        weight = weight.reshape(n_out, hidden, n_in // hidden).swapaxes(1, 2)
    return weight.reshape(-1, hidden)


def _of_attention(found: Sequence[Layer]) -> Iterator[Pair]:
    """Pairs of each head of attention."""
    for lower, upper in ATTENTION:
        firsts, seconds = (
            [(i, layer) for i, layer in enumerate(found) if layer.kind == kind]
            for kind in (lower, upper)
        )
        _checks.require(
            len(firsts) == len(seconds),
            f"`model` must have as many layers of kind '{lower}' as of '{upper}', but "
            f"there were {len(firsts)} and {len(seconds)}.",
        )
        for (i, below), (_, above) in zip(firsts, seconds, strict=True):
            for head, pair in enumerate(_of_heads(below, above)):
                yield Pair(i, (below.name, above.name), head, pair)


def _of_heads(below: Layer, above: Layer) -> Iterator[LinearNetwork]:
    rows = _inward(below)
    columns = _inward(above).mT if above.kind == "query" else above.weight
    _checks.require(
        below.heads == above.heads and rows.shape[0] == columns.shape[1],
        f"`{below.name}` and `{above.name}` must have heads of the same number and "
        f"size, but they had {below.heads} of {rows.shape[0]} units in all and "
        f"{above.heads} of {columns.shape[1]}.",
    )
    size = rows.shape[0] // below.heads
    for head in range(below.heads):
        units = slice(head * size, (head + 1) * size)
        yield LinearNetwork((rows[units], columns[:, units]))
