"""Paths in the tree of a model as text, and the names of its layers."""

import re
from collections.abc import Iterable
from typing import Any

from jax.tree_util import SequenceKey


def path_name(path: tuple[Any, ...]) -> str:
    """The path of a leaf as text, such as `layers[0].weight` or `Dense_0.kernel`."""
    text = ""
    for key in path:
        if isinstance(key, SequenceKey):
            text += f"[{key.idx}]"
        else:
            name = getattr(key, "name", getattr(key, "key", key))
            text += "." + ".".join(key_parts(name))
    return text.removeprefix(".").replace(".[", "[")  # also of names such as "[0]"


def key_parts(key: Any) -> list[str]:
    """The parts of a key of a flat dict: a tuple of them, or joined by slashes."""
    parts = key if isinstance(key, tuple) else str(key).split("/")
    return [str(part) for part in parts]


def layer_name(path: tuple[Any, ...]) -> str:
    """The name of the layer with a weight at `path`: its module's name, if any."""
    place = path_name(path).removeprefix("params.")
    if place in ("weight", "kernel"):  # the model is the layer
        return "weight"
    return re.sub(r"\.(weight|kernel)(\.value)?$", "", place)


def ordered(keys: Iterable[Any]) -> list[Any]:
    """Keys in their order, but with ascending numbers: `Dense_2` before `Dense_10`.

    JAX sorts the keys of dicts as texts.
    """
    given = list(keys)
    places: dict[str, list[Any]] = {}
    for key in given:
        places.setdefault(re.sub(r"\d+", "0", str(key)), []).append(key)

    def numbers(key: Any) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", str(key))]

    rows = {stem: iter(sorted(same, key=numbers)) for stem, same in places.items()}
    return [next(rows[re.sub(r"\d+", "0", str(key))]) for key in given]
