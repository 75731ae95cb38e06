"""Checks of every key of a specification.

A check returns the value, or raises `ValueError` with a description of valid values.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .ready import MEASURES

_MOST = 2**63  # integers are below it
_LONGEST = 10**7  # most values of a range


def _is_number(value: Any) -> bool:
    """Whether `value` is a number in a float's range, NaN and infinity included."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return isinstance(value, float) or abs(value) <= sys.float_info.max


def _number(above: float = -math.inf, most: float = sys.float_info.max) -> Callable:
    def check(value: Any) -> Any:
        if not _is_number(value) or not above < value <= most:
            text = "" if above == -math.inf else f" above {above:g}"
            raise ValueError(f"a finite number{text}")
        return value

    return check


def _integer(low: int, most: int = _MOST) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if not is_integer or not low <= value < most:
            raise ValueError(f"an integer of at least {low} and below {most}")
        return value

    return check


def _one_of(*names: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return value

    return check


def _sizes(value: Any) -> list[int]:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("three integers, [in, hidden, out]")
    return [_integer(1)(n) for n in value]


def _names(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"a list of {', '.join(MEASURES)}")
    return [_one_of(*MEASURES)(name) for name in value]


def _values(above: float = -math.inf, most: float = sys.float_info.max) -> Callable:
    """A check of a number, a list of numbers or a range, all in (above, most]."""
    one = _number(above, most)
    return lambda value: [one(x) for x in _listed(value)]


def _listed(value: Any) -> list[float]:
    text = "a number, a list of numbers, or { from = ..., to = ..., count = ... }"
    if isinstance(value, dict):
        spacing = value.get("spacing", "linear")
        if set(value) - {"spacing"} != {"from", "to", "count"}:
            raise ValueError(text)
        _one_of("linear", "log")(spacing)
        low, high = _number()(value["from"]), _number()(value["to"])
        count = _integer(1, _LONGEST)(value["count"])
        if spacing == "log":
            if min(low, high) <= 0:
                raise ValueError("above zero at both ends of a logarithmic range")
            return np.geomspace(low, high, count).tolist()
        return np.linspace(low, high, count).tolist()
    items: list[Any] = value if isinstance(value, list) else [value]
    if not items or not all(map(_is_number, items)):
        raise ValueError(text)
    return [float(x) for x in items]


def _times(value: Any) -> list[float]:
    times = _values(most=math.inf)(value)
    if min(times) < 0 or sorted(times) != times:
        raise ValueError("non-negative times that don't fall")
    return times


def _seeds(value: Any) -> list[int]:
    if isinstance(value, dict) and set(value) == {"count"}:
        return list(range(_integer(1, _LONGEST)(value["count"])))
    items: list[Any] = value if isinstance(value, list) else [value]
    try:
        return [_integer(0)(x) for x in items or [None]]
    except ValueError as error:
        raise ValueError(f"{error}, a list of them, or {{ count = ... }}") from error


SCHEMA: dict[str, dict[str, Callable]] = {
    "network": {"sizes": _sizes},
    "task": {
        "kind": _one_of("regression", "hierarchy"),
        "samples": _integer(1),
        "target_scale": _number(),
        "seed": _integer(0),
        "levels": _integer(1),
    },
    "axes": {"lmda": _values(), "scale": _values(above=0.0), "seed": _seeds},
    "times": {"values": _times},
    "measure": {"names": _names, "threshold": _number(0.0)},
    "run": {
        "dtype": _one_of("float32", "float64"),
        "chunk_size": _integer(1),
        "memory": _number(0.0),
    },
}
