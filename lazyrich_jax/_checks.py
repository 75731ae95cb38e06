"""One grammar for messages: "`name` must ..., but ..."."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def is_concrete(tree: Any) -> bool:
    """Whether every array in `tree` has a value to look at now (none is traced)."""
    return not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))


def require(ok: bool, message: str) -> None:
    """Raise a `ValueError` with `message` unless `ok`."""
    if not ok:
        raise ValueError(message)


def as_real(name: str, value: Any) -> Array:
    """`value` as a real floating-point array (integers take the default float)."""
    message = f"`{name}` must be a real number or array, but it was {value!r}."
    if isinstance(value, str):
        raise TypeError(message)
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(message) from error
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    if jnp.issubdtype(array.dtype, jnp.integer):
        if array.weak_type:  # a Python integer takes the dtype of what it meets
            return array * 1.0
        return array.astype(jnp.result_type(float))
    raise TypeError(f"`{name}` must be real, but its dtype was {array.dtype}.")


def instance(name: str, value: Any, kind: type, hint: str) -> None:
    """Raise a `TypeError` unless `value` is a `kind`."""
    if not isinstance(value, kind):
        raise TypeError(
            f"`{name}` must be a `{kind.__name__}`, but it was a "
            f"`{type(value).__name__}`; {hint}."
        )


def as_matrix(name: str, value: Any) -> Array:
    """`value` as a real matrix with no empty side and, if known now, finite entries."""
    array = as_real(name, value)
    hint = "; for leading axes use `jax.vmap`" if array.ndim > 2 else ""
    require(
        array.ndim == 2,
        f"`{name}` must be a matrix, but its shape was {array.shape}{hint}.",
    )
    require(
        min(array.shape) > 0,
        f"`{name}` must have no empty side, but its shape was {array.shape}.",
    )
    finite(name, array)
    return array


def as_scalar(name: str, value: Any) -> Array:
    """`value` as a real scalar array."""
    array = as_real(name, value)
    require(
        array.ndim == 0,
        f"`{name}` must be a scalar, but its shape was {array.shape}; "
        "to sweep over it use `jax.vmap`.",
    )
    return array


def finite(name: str, array: Array) -> None:
    """Refuse NaN and infinity where the values are known now."""
    if is_concrete(array):
        good = np.isfinite(np.asarray(array))
        if not good.all():
            index = tuple(int(i) for i in np.argwhere(~good)[0])
            place = f" at index {index}" if index else ""
            raise ValueError(
                f"`{name}` must be finite, but it was {float(array[index])}{place}."
            )


def positive(name: str, array: Array, *, zero: bool = False) -> None:
    """Refuse negative and non-finite scalars (and zero) where the value is known."""
    if is_concrete(array):
        value = float(array)
        good = math.isfinite(value) and (value >= 0 if zero else value > 0)
        word = "non-negative" if zero else "positive"
        require(good, f"`{name}` must be finite and {word}, but it was {value}.")


def size(name: str, value: Any, *, least: int = 1) -> int:
    """`value` as an integer of at least `least`."""
    try:
        integer = value.__index__()
    except AttributeError:
        integer = least - 1
    require(
        integer >= least,
        f"`{name}` must be an integer of at least {least}, but it was {value!r}.",
    )
    return integer


def as_times(name: str, value: Any, *, infinite: bool = True) -> Array:
    """`value` as times of any shape and order; traced ones that are bad become NaN."""
    ts = as_real(name, value)
    if is_concrete(ts):
        fault = times_fault(ts, ordered=False, infinite=infinite)
        if fault is not None:
            raise ValueError(fault.replace("`ts", f"`{name}"))
        return ts
    ok = ts >= 0 if infinite else (ts >= 0) & jnp.isfinite(ts)
    return jnp.where(ok, ts, jnp.nan)


def square(name: str, value: Any) -> Array:
    """`value` as a real square matrix."""
    array = as_matrix(name, value)
    require(
        array.shape[0] == array.shape[1],
        f"`{name}` must be a square matrix, but its shape was {array.shape}; for "
        "features x of shape (samples, features) the kernel is `x @ x.T`.",
    )
    return array


def same_shape(**arrays: Array) -> None:
    """Refuse two arrays, given by name, of different shapes."""
    (first, a), (second, b) = arrays.items()
    require(
        a.shape == b.shape,
        f"`{first}` and `{second}` must have the same shape, but their shapes were "
        f"{a.shape} and {b.shape}.",
    )


def times_fault(ts: Array, *, ordered: bool, infinite: bool) -> str | None:
    """What is wrong with concrete times, as a message; `None` where nothing is."""
    allowed = "non-negative" + (" (infinity is allowed)" if infinite else " and finite")
    if ordered:
        allowed += " and in non-decreasing order (repeats are allowed)"
    values = np.asarray(ts).reshape(-1)
    bad = ~(values >= 0) | (~np.isfinite(values) & (not infinite))
    if bad.any():
        index = int(np.argmax(bad))
        place = ", ".join(str(i) for i in np.unravel_index(index, np.shape(ts)))
        place = f"`ts[{place}]`" if place else "it"
        return f"`ts` must be {allowed}, but {place} was {float(values[index])}."
    # Not `np.diff`: the difference of two infinities is NaN.
    falls = values[1:] < values[:-1]
    if ordered and falls.any():
        i = int(np.argmax(falls))
        return (
            f"`ts` must be {allowed}, but `ts[{i}]` was {float(values[i])} and "
            f"`ts[{i + 1}]` was {float(values[i + 1])}."
        )
    return None


def times_valid(ts: Array, *, infinite: bool) -> Array:
    """Whether ordered times are good, as a traceable boolean."""
    ok = jnp.all(ts >= 0) & jnp.all(ts[1:] >= ts[:-1])
    return ok if infinite else ok & jnp.all(jnp.isfinite(ts))


def sizes_text(sizes: Sequence[int]) -> str:
    """Sizes as the field writes them: `3-2-2`."""
    return "-".join(str(size) for size in sizes)
