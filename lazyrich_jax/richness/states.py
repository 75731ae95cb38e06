"""Copies of a model's arrays on the host, and the model made of them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .. import _checks
from .._paths import path_name
from .parameters import require_unshared


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an array belongs in a model."""

    name: str
    shape: tuple[int, ...]
    dtype: Any
    on_device: bool = dataclasses.field(compare=False)  # of the first model


@dataclasses.dataclass(frozen=True)
class States:
    """The structure that all states of a model share.

    **Attributes:**

    - `structure`: of the tree.
    - `leaves`: a `Place` for each array; other leaves as they are.
    """

    structure: Any
    leaves: list[Any]

    @property
    def places(self) -> list[Place]:
        """The places of the arrays."""
        return [leaf for leaf in self.leaves if isinstance(leaf, Place)]

    def arrays(self, model: PyTree) -> list[np.ndarray]:
        """Copies of the model's arrays.

        **Raises:** `ValueError` if the model has another structure or other shapes.
        """
        other = states_of(model)
        for ours, theirs in zip(self.places, other.places, strict=False):
            _checks.require(
                ours == theirs,
                "`model` must keep its structure, but the array of "
                f"{_text(theirs)} was that of {_text(ours)} before.",
            )
        _checks.require(
            self.structure == other.structure and len(self.places) == len(other.places),
            "`model` must keep its structure, but it was another one before.",
        )
        found = [leaf for leaf in jax.tree.leaves(model) if _is_array(leaf)]
        for leaf in found:
            if isinstance(leaf, jax.Array):
                leaf.copy_to_host_async()
        return [np.array(leaf) for leaf in found]

    def model(self, arrays: list[np.ndarray]) -> Any:
        """The model that has these arrays."""
        rest = iter(arrays)
        leaves = [
            _placed(leaf, next(rest)) if isinstance(leaf, Place) else leaf
            for leaf in self.leaves
        ]
        return jax.tree.unflatten(self.structure, leaves)

    def stacked(self, states: list[list[np.ndarray]]) -> dict[str, np.ndarray]:
        """The arrays of several states by name, with the states as leading axis."""
        columns = zip(self.places, zip(*states, strict=True), strict=True)
        return {place.name: np.stack(arrays) for place, arrays in columns}

    def rows(self, stacked: Mapping[str, np.ndarray]) -> list[list[np.ndarray]]:
        """The states of `stacked` arrays.

        **Raises:** `ValueError` if these are not the arrays of the model.
        """
        names = {place.name for place in self.places}
        odd = sorted(names.symmetric_difference(stacked))
        _checks.require(
            not odd,
            "`like` must have the arrays of the file, but "
            f"{', '.join(odd)} was in one of them alone.",
        )
        columns = []
        for place in self.places:
            column = stacked[place.name]
            if column.dtype.kind == "V":  # NumPy's files don't know half precision
                column = column.view(place.dtype)
            _checks.require(
                column.shape[1:] == place.shape,
                f"`like` must have the arrays of the file, but {place.name} had shape "
                f"{place.shape}, and {column.shape[1:]} in the file.",
            )
            columns.append(column)
        return [list(map(np.asarray, row)) for row in zip(*columns, strict=True)]


def states_of(model: PyTree, name: str = "model") -> States:
    """The structure of a model.

    **Raises:** `TypeError` for a traced model and for one without arrays; `ValueError`
    for a module of Flax with a parameter in two places.
    """
    if not _checks.is_concrete(model):
        raise TypeError(
            f"`{name}` must be concrete, outside of `jax.jit` and the like, but it was "
            "traced: call the recorder between the steps."
        )
    require_unshared(name, model)
    paths, structure = jax.tree_util.tree_flatten_with_path(model)
    leaves = [
        Place(path_name(path), leaf.shape, leaf.dtype, isinstance(leaf, jax.Array))
        if _is_array(leaf)
        else leaf
        for path, leaf in paths
    ]
    found = States(structure, leaves)
    if not found.places:
        raise TypeError(
            f"`{name}` must hold arrays of JAX or NumPy, but it was a "
            f"`{type(model).__name__}` without any."
        )
    return found


def _is_array(leaf: Any) -> bool:
    """Whether a leaf is an array of numbers; keys of random numbers are not."""
    if isinstance(leaf, jax.Array):
        return not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return isinstance(leaf, np.ndarray)


def _placed(place: Place, array: np.ndarray) -> Any:
    return jnp.asarray(array) if place.on_device else array.copy()


def _text(place: Place) -> str:
    return f"`{place.name}`, {place.dtype}{list(place.shape)},"
