"""Checks of what an argument is: its class, its place, one or a batch."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ARRAY = jax.Array | np.ndarray


def instance(
    name: str, value: Any, kind: type, hint: str, *, batched: bool = False
) -> None:
    """Raise a `TypeError` unless `value` is a `kind`, and refuse a batch of them.

    `batched` allows leading axes.
    """
    if not isinstance(value, kind):
        was = _what(value)
        if isinstance(value, type) and issubclass(value, kind):
            hint = (
                f"type `{value.__name__}({'...' if _needs_arguments(value) else ''})`"
            )
        raise TypeError(
            f"`{name}` must be a `{kind.__name__}`, but it was {was}; {hint}."
        )
    if not batched:
        one(name, value)


def one(name: str, value: Any) -> None:
    """Refuse a batch: an object whose `batch_shape` has axes."""
    shape = getattr(value, "batch_shape", ())
    if shape != ():
        raise ValueError(
            f"`{name}` must be one `{type(value).__name__}`, but it was a batch of "
            f"shape {shape}; use `jax.vmap` to map over it."
        )


def not_swapped(**given: tuple[Any, Any]) -> None:
    """Raise a `TypeError` if two arguments are in each other's place.

    The keywords are the names; every value comes with its class or union of classes.
    """
    (first, (a, kind_a)), (second, (b, kind_b)) = given.items()
    if isinstance(a, kind_a) or isinstance(b, kind_b):
        return
    if isinstance(a, kind_b) and isinstance(b, kind_a):
        raise TypeError(
            f"`{first}` must be {_kind(kind_a)} and `{second}` {_kind(kind_b)}, but "
            f"they were {_what(a)} and {_what(b)}: swap them."
        )


def random_key(value: Any) -> None:
    """Raise a `TypeError` unless `key`, `value`, is a random key, new or old."""
    dtype = getattr(value, "dtype", np.dtype(bool))
    is_new = jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not (is_new or dtype == np.uint32):
        was = repr(value) if isinstance(value, int) else _what(value)
        raise TypeError(
            f"`key` must be a random key, `jax.random.key(0)` for example, but it was "
            f"{was}."
        )


def _kind(kind: Any) -> str:
    return "an array" if kind is ARRAY else f"a `{kind.__name__}`"


def _what(value: Any) -> str:
    """What a wrong argument is, in words."""
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, type):
        return f"the class `{value.__name__}`"
    if isinstance(value, jax.Array):
        return f"an array of shape {value.shape}"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function `{value.__name__}`"
    return f"a `{type(value).__name__}`"


def _needs_arguments(kind: type) -> bool:
    """Whether an instance of the class can't be made without arguments."""
    parameters = inspect.signature(kind).parameters.values()
    return any(
        p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        for p in parameters
    )
