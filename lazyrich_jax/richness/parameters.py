"""The parameters of a model, apart from running means and the like."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .. import _checks, _dtypes
from .._layers import is_of_flax, is_of_optax
from .._paths import key_parts, path_name

BUFFERS = {"running_mean", "running_var"}  # PyTorch's names


def parameters_of(name: str, model: PyTree) -> PyTree[bool]:
    """Which leaves of a model are its parameters.

    **Raises:** `ValueError` for one that isn't finite, and for a variable of Flax in
    two places; `TypeError` if there is none, and for complex numbers and half
    precision.
    """
    require_unshared(name, model)
    is_other = _others_of(model)

    def is_parameter(path: Any, leaf: Any) -> bool:
        if not is_inexact(leaf) or is_other(path, leaf):
            return False
        full = name + jax.tree_util.keystr(path)
        _dtypes.require_precision(full, leaf.dtype)
        _checks.finite(full, jnp.asarray(leaf))
        return True

    chosen = jax.tree_util.tree_map_with_path(is_parameter, model, is_leaf=_is_state)
    if not any(jax.tree.leaves(chosen)):
        raise TypeError(
            f"`{name}` must hold its parameters as floating-point arrays, but it had "
            f"none: it was {short(model)}."
        )
    return chosen


def statistics_of(model: PyTree) -> PyTree[bool]:
    """Which leaves of a model are running means and variances."""
    is_statistic = _statistics_of(model)
    return jax.tree_util.tree_map_with_path(is_statistic, model, is_leaf=_is_state)


def require_unshared(name: str, model: PyTree) -> None:
    """Refuse a module of Flax with a parameter in two places.

    JAX takes them for two parameters.
    """
    places: dict[int, str] = {}
    for place, parameter in _flax_parameters(model):
        first = places.setdefault(id(parameter), place)
        _checks.require(
            first == place,
            f"`{name}` must hold each parameter once, but `{first}` and `{place}` were "
            "one. Pass the states of `nnx.split(model)`, and an `apply` that merges "
            "them.",
        )


def require_apart(start: PyTree, end: PyTree) -> None:
    """Refuse two states of a module of Flax that are one: it is trained in place."""
    ours = {id(parameter) for _, parameter in _flax_parameters(start)}
    for place, parameter in _flax_parameters(end):
        _checks.require(
            id(parameter) not in ours,
            "`start` and `end` must be two states of a model, but they shared the "
            f"variable `{place}`, which training changes in place: keep "
            "`nnx.clone(model)` before it.",
        )


def _flax_parameters(model: PyTree) -> Iterator[tuple[str, Any]]:
    """The parameters among the variables of Flax, and their places."""
    leaves = jax.tree_util.tree_leaves_with_path(model, is_leaf=_is_parameter)
    for path, leaf in leaves:
        if _is_parameter(leaf):
            yield path_name(path), leaf


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf is an array of real or complex numbers."""
    is_array = isinstance(leaf, jax.Array | np.ndarray)
    return is_array and jnp.issubdtype(leaf.dtype, jnp.inexact)


def short(value: Any) -> str:
    """A value as text for a message."""
    text = repr(value)
    return text if len(text) < 80 else f"a `{type(value).__name__}`"


Chooses = Callable[[Any, Any], bool]  # by path and leaf


def _others_of(model: PyTree) -> Chooses:
    """Whether a leaf is none of the parameters, though it may be an array."""
    is_statistic = _statistics_of(model)
    flax = isinstance(model, Mapping) and any(map(_is_params, model.items()))

    def is_other(path: Any, leaf: Any) -> bool:
        if _is_state(leaf) or is_statistic(path, leaf):
            return True
        return flax and _collection(path) != "params"

    return is_other


def _statistics_of(model: PyTree) -> Chooses:
    """Whether a leaf is a running mean or variance, by its type or name."""
    places = {path_name(path) for path, _ in jax.tree.leaves_with_path(model)}

    def is_statistic(path: Any, leaf: Any) -> bool:
        if is_of_flax(leaf, "BatchStat"):
            return True
        place = path_name(path)
        before, _, last = place.rpartition(".")
        if last in BUFFERS or "batch_stats" in before.split("."):  # in Flax
            return True
        # Those of Flax beside the parameters, as in `nnx.to_pure_dict`.
        norm = {f"{before}.{key}".removeprefix(".") for key in ("mean", "var")}
        norm_of = {f"{before}.{key}".removeprefix(".") for key in ("scale", "bias")}
        return last in ("mean", "var") and norm <= places and bool(norm_of & places)

    return is_statistic


def _is_params(item: tuple[Any, Any]) -> bool:
    """Whether an entry of a dict is Flax's collection of parameters, or a part of it.

    A dot is not enough: PyTorch's names have dots.
    """
    key, value = item
    if key == "params":
        return isinstance(value, Mapping)
    is_flat = isinstance(key, tuple) or (isinstance(key, str) and "/" in key)
    return is_flat and key_parts(key)[0] == "params"


def _collection(path: tuple[Any, ...]) -> Any:
    """Flax's collection of the leaf at a path, if it is one of its variables."""
    is_entry = path and isinstance(path[0], jax.tree_util.DictKey)
    return key_parts(path[0].key)[0] if is_entry else None


def _is_state(node: Any) -> bool:
    """Whether a node holds no parameters, whatever its arrays are.

    These are the states of Equinox, the variables of Flax that are no parameters, and
    the states of Optax's optimisers.
    """
    if isinstance(node, eqx.nn.State | eqx.nn.StateIndex) or is_of_optax(node):
        return True
    return is_of_flax(node, "Variable") and not _is_parameter(node)


def _is_parameter(node: Any) -> bool:
    return is_of_flax(node, "Param")
