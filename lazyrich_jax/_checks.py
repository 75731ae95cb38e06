"""Checks of arguments. Their messages share one grammar: "`name` must ..., but ..."."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._dtypes import as_real
from ._kinds import ARRAY as ARRAY
from ._kinds import instance as instance
from ._kinds import not_swapped as not_swapped
from ._kinds import one as one
from ._kinds import random_key as random_key
from ._xla import sharded_over


def is_concrete(tree: Any) -> bool:
    """Whether every array in `tree` has a value now (none is traced)."""
    return not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))


def known(array: Array) -> np.ndarray | None:
    """The values of an array, also under differentiation; `None` if it is traced."""
    if isinstance(array, jax.core.Tracer):
        array = jax.lax.stop_gradient(array)
    return None if isinstance(array, jax.core.Tracer) else np.asarray(array)


def number(array: Array, spec: str = "") -> str:
    """A scalar as text for a message; it may be traced."""
    value = known(array)
    return "a traced value" if value is None else format(float(value), spec)


def require(ok: bool, message: str) -> None:
    """Raise a `ValueError` with `message` unless `ok`."""
    if not ok:
        raise ValueError(message)


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


def finite(name: str, array: Array) -> Array:
    """`array`; NaN and infinity are refused, or become NaN if they are traced."""
    values = known(array)
    if values is None:
        return jnp.where(jnp.isfinite(array), array, jnp.nan)
    _refuse_first(values, np.isfinite(values), f"`{name}` must be finite, but")
    return array


def positive(
    name: str, array: Array, *, zero: bool = False, throw: bool = False
) -> Array:
    """`array`; entries that aren't finite and positive (or zero) are refused.

    Traced entries become NaN instead; with `throw` they stop the program.
    """

    def is_good(x: Any) -> Any:
        return (x < jnp.inf) & ((x >= 0) if zero else (x > 0))

    word = "non-negative" if zero else "positive"
    return checked(name, array, f"be finite and {word}", is_good, throw=throw)


def checked(
    name: str,
    array: Array,
    what: str,
    is_good: Callable[[Any], Any],
    *,
    throw: bool = False,
) -> Array:
    """`array`; entries that aren't `is_good` are refused.

    `what` completes the message "`name` must". Traced bad entries become NaN instead;
    with `throw` they stop the program.
    """
    message = f"`{name}` must {what}, but"
    values = known(array)
    if values is None:
        good = is_good(array)
        if throw:
            array = error_if(
                array,
                ~good,
                f"{message} a traced value was not; `throw=False` gives NaN instead.",
            )
        # A product: derivatives of bad entries become NaN too.
        return array * jnp.where(good, jnp.ones_like(array), jnp.nan)
    _refuse_first(values, is_good(values), message)
    return array


def _refuse_first(values: np.ndarray, good: Any, message: str) -> None:
    """Raise an error that names the first bad value and its index."""
    if np.all(good):
        return
    index = tuple(int(i) for i in np.argwhere(~np.asarray(good))[0])
    place = f" at index {index}" if index else ""
    raise ValueError(f"{message} it was {float(values[index])}{place}.")


def size(name: str, value: Any, *, least: int = 1) -> int:
    """`value` as an integer of at least `least`."""
    try:
        integer = was = value.__index__()
    except jax.errors.TracerIntegerConversionError:
        raise
    except (AttributeError, TypeError):  # an array of another type or shape
        integer, was = least - 1, repr(value)
    require(
        integer >= least,
        f"`{name}` must be an integer of at least {least}, but it was {was}.",
    )
    return integer


def size_or_traced(name: str, value: Any) -> int | Array:
    """`value` as `size`; a traced integer of any value is returned."""
    if not isinstance(value, jax.core.Tracer):
        return size(name, value)
    require(
        value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.integer),
        f"`{name}` must be an integer, but it was a traced array of shape "
        f"{value.shape} and dtype {value.dtype}.",
    )
    return value


def as_times(name: str, value: Any, *, infinite: bool = True) -> Array:
    """`value` as times of any shape and order; traced bad times become NaN."""
    ts = as_real(name, value)
    values = known(ts)
    if values is None:
        ok = ts >= 0 if infinite else (ts >= 0) & jnp.isfinite(ts)
        return jnp.where(ok, ts, jnp.nan)
    fault = times_fault(values, ordered=False, infinite=infinite)
    if fault is not None:
        raise ValueError(fault.replace("`ts", f"`{name}"))
    return ts


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
    """Refuse two arrays of different shapes; their names are the keywords."""
    (first, a), (second, b) = arrays.items()
    require(
        a.shape == b.shape,
        f"`{first}` and `{second}` must have the same shape, but their shapes were "
        f"{a.shape} and {b.shape}.",
    )


def times_fault(ts: np.ndarray, *, ordered: bool, infinite: bool) -> str | None:
    """A message on bad concrete times; `None` for good ones."""
    allowed = "non-negative" + (" (infinity is allowed)" if infinite else " and finite")
    if ordered:
        allowed += " and in non-decreasing order (repeats are allowed)"
    values = ts.reshape(-1)
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
    """Whether times are valid and in order, as a traceable boolean."""
    ok = jnp.all(ts >= 0) & jnp.all(ts[1:] >= ts[:-1])
    return ok if infinite else ok & jnp.all(jnp.isfinite(ts))


def sizes_text(sizes: Sequence[int]) -> str:
    """Sizes in the usual notation: `3-2-2`."""
    return "-".join(str(size) for size in sizes)


def error_if(x: Any, bad: Array, message: str) -> Any:
    """`x`, with a runtime error if a traced `bad` is true."""
    can_raise(bad)
    return eqx.error_if(x, bad, message)


def can_raise(bad: Array) -> None:
    """Raise an error inside `jax.shard_map`, which allows no runtime errors."""
    if sharded_over(bad):
        raise TypeError(
            "`throw` must be `False` inside `jax.shard_map`, which has no runtime "
            "errors, but it was `True`; without `throw` bad values are marked. "
            "`jax.shard_map(..., check_vma=False)` allows them, too."
        )


def can_solve(name: str, tree: Any) -> None:
    """Refuse an ODE solver inside `jax.shard_map` with its check on (`check_vma`)."""
    if sharded_over(*jax.tree.leaves(tree)):
        raise TypeError(
            f"`{name}` must be used inside `jax.shard_map(..., check_vma=False)`, but "
            "the check was on: the loops of its ODE solver do not pass it."
        )


@eqx.filter_custom_jvp
def refuse_derivative(
    x: Array, bad: Array, *, message: str, throw: bool = True
) -> Array:
    """`x`; its derivative is a runtime error where `bad` (NaN without `throw`)."""
    return x


@refuse_derivative.def_jvp
def _refuse_derivative_jvp(primals, tangents, *, message, throw=True):
    (x, bad), (dx, _) = primals, tangents
    if dx is None:
        return x, None
    # The check is on the derivative: XLA drops checks of values that nothing uses.
    mark = jnp.where(bad, jnp.nan, jnp.ones((), x.dtype))
    return x, dx * (error_if(mark, bad, message) if throw else mark)


@eqx.filter_custom_jvp
def refuse_second_derivative(
    x: Array, bad: Array, *, message: str, throw: bool = True
) -> Array:
    """`x`; its second derivative is a runtime error where `bad`, or NaN."""
    return x


@refuse_second_derivative.def_jvp
def _refuse_second_derivative_jvp(primals, tangents, *, message, throw=True):
    (x, bad), (dx, _) = primals, tangents
    return x, None if dx is None else dx + 0 * refuse_derivative(
        x, bad, message=message, throw=throw
    )
