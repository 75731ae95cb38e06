"""The steps of training at which a recorder looks."""

import operator
from collections.abc import Collection
from typing import Any, Literal, SupportsIndex

import jax.core
import numpy as np

from .. import _checks

Steps = int | Literal["doubling"] | Collection[SupportsIndex] | np.ndarray
Chosen = int | str | frozenset[int]


def chosen_of(steps: Any) -> Chosen:
    """`steps` as an integer, `"doubling"` or a set."""
    if isinstance(steps, str):
        _checks.require(
            steps == "doubling",
            '`steps` must be an integer, a collection of integers or "doubling", but '
            f"it was {steps!r}.",
        )
        return steps
    if isinstance(steps, set | frozenset) or np.ndim(steps) == 1:
        chosen = frozenset(index_of("steps", step) for step in steps)
        _checks.require(bool(chosen), "`steps` must hold a step, but it was empty.")
        return chosen
    return _checks.size("steps", steps)


def index_of(name: str, step: Any) -> int:
    """A step as an integer."""
    if isinstance(step, jax.core.Tracer):
        raise TypeError(
            f"`{name}` must be a number of the host, but it was traced: call the "
            "recorder outside of `jax.jit`."
        )
    try:
        index = operator.index(step)
    except TypeError as error:
        raise TypeError(f"`{name}` must be an integer, but it was {step!r}.") from error
    _checks.require(index >= 0, f"`{name}` must not be negative, but it was {index}.")
    return index


def is_chosen(index: int, chosen: Chosen) -> bool:
    """Whether a step is among the chosen ones."""
    if isinstance(chosen, str):  # "doubling": zero, and the powers of two
        return index & (index - 1) == 0
    if isinstance(chosen, int):
        return index % chosen == 0
    return index in chosen
