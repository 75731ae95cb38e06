"""Checks of every key of a specification.

A check returns the value, or raises `ValueError` with a description of valid values.
"""

import difflib
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .ready import MEASURES, measures_of, unknown_measure
from .starts import KINDS, unused

_MOST = 2**63  # integers are below it
_LONGEST = 10**7  # most values of a range


def _is_number(value: Any) -> bool:
    """Whether `value` is a number in a float's range, NaN and infinity included."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return isinstance(value, float) or abs(value) <= sys.float_info.max


def _number(
    above: float = -math.inf,
    most: float = sys.float_info.max,
    *,
    least: float = -math.inf,
) -> Callable:
    """A check of a number in (above, most] that is at least `least`."""
    text = "" if above == -math.inf else f" above {above:g}"
    text = text if least == -math.inf else f" of at least {least:g}"

    def check(value: Any) -> Any:
        if not _is_number(value) or not above < value <= most or value < least:
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
            near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.9)
            others = ", ".join(name for name in names if name not in near)
            raise ValueError(", or ".join([*near, f"one of {others}"]))
        return value

    return check


def _sizes(value: Any) -> list[int]:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("three integers, [in, hidden, out]")
    return [_integer(1)(n) for n in value]


def _matrix(value: Any) -> list[list[float]]:
    rows: list[Any] = value if isinstance(value, list) else []
    if not rows or not all(isinstance(row, list) and row for row in rows):
        raise ValueError("a list of rows, such as [[2, 0], [0, 1]]")
    if len({len(row) for row in rows}) > 1:
        raise ValueError("a list of rows of one length")
    return [[float(_number()(x)) for x in row] for row in rows]


def _names(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"a list of {', '.join(MEASURES)}")
    return [_one_of(*_ALL_MEASURES)(name) for name in value]


def _values(one: Callable[[Any], float]) -> Callable[[Any], list[float]]:
    """A check of a number, a list of numbers or a range, each checked by `one`."""
    return lambda value: [one(x) for x in _listed(value)]


def _widths(value: Any) -> list[int]:
    """Integers, or a range of numbers that is rounded to distinct integers."""
    if isinstance(value, dict):
        return list(dict.fromkeys(_integer(1)(round(x)) for x in _listed(value)))
    return _integers(value, 1, "{ from = ..., to = ..., count = ... }")


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
    times = _values(_number(most=math.inf))(value)
    if min(times) < 0 or sorted(times) != times:
        raise ValueError("non-negative times that don't fall")
    return times


def _seeds(value: Any) -> list[int]:
    if isinstance(value, dict) and set(value) == {"count"}:
        return list(range(_integer(1, _LONGEST)(value["count"])))
    return _integers(value, 0, "{ count = ... }")


def _integers(value: Any, low: int, other: str) -> list[int]:
    """An integer or a list of them; `other` names a further form for the message."""
    items: list[Any] = value if isinstance(value, list) else [value]
    try:
        return [_integer(low)(x) for x in items or [None]]
    except ValueError as error:
        raise ValueError(f"{error}, a list of them, or {other}") from error


_ALL_MEASURES = {
    name: text for kind in KINDS for name, text in measures_of(kind).items()
}
SCHEMA: dict[str, dict[str, Callable]] = {
    "network": {"sizes": _sizes, "kind": _one_of(*KINDS)},
    "task": {
        "kind": _one_of("regression", "hierarchy", "correlation"),
        "samples": _integer(1),
        "target_scale": _number(),
        "seed": _integer(0),
        "levels": _integer(1),
        "correlation": _matrix,
    },
    "axes": {
        "lmda": _values(_number()),
        "scale": _values(_number(0.0)),
        "width": _widths,
        "input_variance": _values(_number(least=0.0)),
        "output_variance": _values(_number(least=0.0)),
        "seed": _seeds,
    },
    "times": {"values": _times},
    "measure": {"names": _names, "threshold": _number(0.0)},
    "run": {
        "dtype": _one_of("float32", "float64"),
        "chunk_size": _integer(1),
        "memory": _number(0.0),
    },
}


def conflict(values: dict[str, dict[str, Any]]) -> tuple[str, str, str] | None:
    """The first key that does not fit the kinds or the sizes: section, key and fault.

    The last text completes the message "the key must be". All keys are checked alone.
    """
    kind = values["network"].get("kind", "balanced")
    for axis in values["axes"]:
        must = unused(axis, kind, ("seed",))
        if must is not None:
            return "axes", axis, must
    must = unknown_measure(values["measure"]["names"], kind)
    if must is not None:
        return "measure", "names", must
    must = _misfit(values["task"], values["network"]["sizes"])
    return None if must is None else ("task", "correlation", must)


def _misfit(task: dict[str, Any], sizes: list[int]) -> str | None:
    """What the correlation must be, if it is not."""
    given, used = "correlation" in task, task["kind"] == "correlation"
    if given != used:
        word = "given" if used else "left out"
        return (
            f"{word} with kind {task['kind']!r}, but it was{'' if given else ' not'}."
        )
    n_in, _, n_out = sizes
    shape = (n_out, n_in)
    if used and np.shape(task["correlation"]) != shape:
        was = np.shape(task["correlation"])
        return f"of shape {shape}, (out, in), but its shape was {was}."
    return None
