"""Which layers of a model are pairs, and the matrices of a pair."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._layers import Layer
from .._network import LinearNetwork

PLAIN = ("dense", "convolution")
ATTENTION = (("key", "query"), ("value", "output"))


class Pair(NamedTuple):
    """Two layers, one after the other, or two projections of a head of attention."""

    place: int  # of the first layer
    names: tuple[str, str]
    head: int | None
    network: LinearNetwork


def pairs_in(
    found: Sequence[Layer], channels: str | None
) -> tuple[list[Pair], dict[tuple[str, ...], str]]:
    """All pairs of layers in forward order, and why others can't be made."""
    left_out: dict[tuple[str, ...], str] = {}
    pairs = [*_of_plain(found, channels, left_out), *_of_attention(found, left_out)]
    return sorted(pairs, key=lambda pair: pair.place), left_out


def _of_plain(
    found: Sequence[Layer],
    channels: str | None,
    left_out: dict[tuple[str, ...], str],
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
    """The weight; convolutions by groups have zeros between the groups."""
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


def _of_attention(
    found: Sequence[Layer], left_out: dict[tuple[str, ...], str]
) -> Iterator[Pair]:
    """Pairs of each head of attention; `left_out` gets the others."""
    for kinds in ATTENTION:
        modules: dict[str, dict[str, tuple[int, Layer]]] = {}
        for i, layer in enumerate(found):
            if layer.kind in kinds:
                module = layer.name.rpartition(".")[0]
                modules.setdefault(module, {})[layer.kind] = i, layer
        for layers in modules.values():
            if len(layers) == 1:
                ((kind, (_, layer)),) = layers.items()
                (other,) = {*kinds} - {kind}
                left_out[layer.name,] = (
                    f"`{layer.name}` must have a layer of kind '{other}' in its module "
                    "to be a pair, but there was none."
                )
                continue
            (i, below), (_, above) = (layers[kind] for kind in kinds)
            names = below.name, above.name
            rows, columns = _of_heads(below, above)
            if below.heads != above.heads or rows.shape[0] != columns.shape[1]:
                left_out[names] = (
                    f"`{below.name}` and `{above.name}` must have heads of the same "
                    f"number and size, but they had {below.heads} of {rows.shape[0]} "
                    f"units in all and {above.heads} of {columns.shape[1]}."
                )
                continue
            size = rows.shape[0] // below.heads
            for head in range(below.heads):
                units = slice(head * size, (head + 1) * size)
                network = LinearNetwork((rows[units], columns[:, units]))
                yield Pair(i, names, head, network)


def _of_heads(below: Layer, above: Layer) -> tuple[Array, Array]:
    """The weights into and out of all units of all heads."""
    return _inward(below), _inward(above).mT if above.kind == "query" else above.weight
