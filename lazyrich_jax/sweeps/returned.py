"""Results of a function of one point: arrays by name, and the point's status."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import _checks
from .._trajectory import DIMS, RESULTS, Trajectory
from .names import checked_name
from .status import FAILURES, STATUS, Refused

_WANTED = (
    "`fn` must return a dictionary of arrays (or a trajectory, a named tuple, a "
    "dataclass, a module, one array)"
)


def named(
    result: Any, dims: dict[str, tuple[str, ...]]
) -> tuple[dict[str, Array], Array]:
    """Arrays by name, and the point's status; `dims` receives their dimensions."""
    failure, refused = RESULTS.successful, jnp.zeros((), bool)
    arrays, bad = {}, jnp.zeros((), bool)
    for name, value in _entries(result).items():
        if isinstance(value, RESULTS):  # the first failure counts
            first = failure != RESULTS.successful
            failure = RESULTS.where(first, failure, value)
            continue
        if isinstance(value, Refused):
            refused |= value.is_refused
            continue
        checked_name("`fn` must return entries", name)
        dims[name], arrays[name] = _array(name, value)
        if jnp.issubdtype(arrays[name].dtype, jnp.inexact):
            bad |= jnp.any(jnp.isnan(arrays[name]))
    _checks.require(
        len(arrays) > 0,
        f"{_WANTED} with at least one array, but it returned {result!r}.",
    )
    status = jnp.where(bad, STATUS.index("nan"), STATUS.index("ok")).astype(jnp.int8)
    for i, name in enumerate(FAILURES):
        failed = failure == getattr(RESULTS, name)
        status = jnp.where(failed, jnp.int8(len(STATUS) + i), status)
    status = jnp.where(refused, jnp.int8(STATUS.index("error")), status)
    return arrays, status


def _entries(result: Any) -> dict[Any, Any]:
    """The entries of a result by name."""
    if isinstance(result, Trajectory):
        entries = {name: (d, getattr(result, name)) for name, d in DIMS.items()}
        return {**entries, "result": result.result}
    if isinstance(result, RESULTS):
        return {"result": result}
    if isinstance(result, Mapping):
        return dict(result)
    if isinstance(result, tuple) and hasattr(result, "_asdict"):
        return result._asdict()  # pyright: ignore (a named tuple)
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        fields = [f for f in dataclasses.fields(result) if not f.metadata.get("static")]
        entries = {f.name: getattr(result, f.name) for f in fields}
        return {name: value for name, value in entries.items() if value is not None}
    _checks.require(
        eqx.is_array_like(result),
        f'{_WANTED}, but it returned a `{type(result).__name__}`: return {{"loss": '
        "loss}, for example, with a name for each array.",
    )
    return {"value": result}


def _array(name: str, value: Any) -> tuple[tuple[str, ...], Array]:
    """The names of an entry's dimensions, and its array."""
    names = None
    if _is_labelled(value):
        names, value = value
        names = (names,) if isinstance(names, str) else tuple(names)
    try:  # jax 0.4 takes None as NaN
        array = None if isinstance(value, tuple | str | None) else jnp.asarray(value)
    except (TypeError, ValueError):
        array = None
    if array is None:
        raise ValueError(
            f"`fn` must return an array for `{name}`, alone or as (dimension names, "
            f"array), but it was a `{type(value).__name__}`: return each array in it "
            f"by a name of its own, such as `{name}_0`."
        )
    _checks.require(
        not jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
        and np.dtype(array.dtype).kind in "biufc",
        f"`fn` must return numbers for `{name}`, but its dtype was {array.dtype}: "
        "convert it, with `jax.random.key_data` or `astype(jnp.float32)`.",
    )
    if names is None:
        names = tuple(f"{name}_{i}" for i in range(array.ndim))
    for dim in names:
        checked_name(f"`fn` must name dimensions of `{name}`", dim)
    _checks.require(
        len(names) == array.ndim,
        f"`fn` must name every dimension of `{name}`, but it named {names} for an "
        f"array of shape {array.shape}.",
    )
    return names, array


def _is_labelled(value: Any) -> bool:
    """Whether `value` is (dimension names, array), not a tuple of numbers."""
    if type(value) is not tuple or len(value) != 2:
        return False
    names = value[0]
    return isinstance(names, str | tuple | list) and all(
        not eqx.is_array_like(name) for name in names
    )
