"""Sweeps from a file: what the command `lazyrich sweep` reads."""

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from .._task import Task
from .grid import Grid
from .ready import MEASURES, learning

_LIST = "\n".join(f"#   {name}: {text}" for name, text in MEASURES.items())
EXAMPLE = f"""\
# A sweep of two-layer linear networks: lazyrich sweep THIS.toml --store PATH
# What is commented out shows a default or another choice.

[network]
sizes = [3, 2, 2]            # in, hidden, out

[task]
kind = "regression"          # white random inputs, random targets; or "hierarchy"
samples = 10
target_scale = 1.0
seed = 0
# levels = 3                 # of the hierarchy: 2**levels items and attributes

[axes]                       # each a number, a list, or a range
lmda = {{ from = -10, to = 10, count = 21 }}
scale = [0.1, 1.0]           # or {{ from = 1e-3, to = 1, count = 7, spacing = "log" }}
seed = {{ count = 5 }}         # the seeds 0 to 4; or a list

[times]                      # in units of learning rate x step
values = {{ from = 0, to = 20, count = 50 }}

[measure]
names = ["loss", "richness", "convergence_time"]
# of the measures below
# threshold = 1e-3           # of the convergence time

[run]
dtype = "float64"            # or "float32"
# chunk_size = 1000          # points per block; by default what fits
# memory = 1e9               # bytes that a block may need

# The measures:
{_LIST}
"""


class SpecError(ValueError):
    """What must change in a specification."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """A sweep, as a file describes it; its arrays are made by `build`."""

    values: dict[str, dict[str, Any]]

    @property
    def dtype(self) -> str:
        """The precision."""
        return self.values["run"].get("dtype", "float64")

    def build(self) -> tuple[Callable, Grid, dict[str, Any]]:
        """The function, the grid, and the options of `run`."""
        task = self._task()
        sizes = self.values["network"]["sizes"]
        ts = np.asarray(self.values["times"]["values"], self.dtype)
        measure = self.values["measure"]
        fn = learning(
            task, sizes, ts, measure["names"], threshold=measure.get("threshold", 1e-3)
        )
        axes = {k: np.asarray(v) for k, v in self.values["axes"].items()}
        in_time = {"loss", "function"} & set(measure["names"])
        options = {
            "dtype": self.dtype,
            "coords": {"time": ts} if in_time else None,
            "config": {"spec": self.values},
            **{
                k: self.values["run"][k]
                for k in ("chunk_size", "memory")
                if k in self.values["run"]
            },
        }
        return fn, Grid(**axes), options

    def _task(self) -> Task:
        task = self.values["task"]
        if task["kind"] == "hierarchy":
            return Task.hierarchy(task.get("levels", 3))
        n_in, _, n_out = self.values["network"]["sizes"]
        return Task.random_regression(
            n_in,
            n_out,
            task.get("samples", n_in + 1),
            target_scale=float(task.get("target_scale", 1.0)),
            key=jax.random.key(task.get("seed", 0)),
        )


def parse(text: str, overrides: Sequence[str] = ()) -> Spec:
    """The specification in `text`, with `section.key=value` put over it.

    **Raises:** `SpecError` naming the key, its line and the nearest valid one.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"the file must be TOML, but: {error}.") from error
    for override in overrides:
        name, equals, value = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot):
            raise SpecError(
                f"`--set` must be SECTION.KEY=VALUE, but it was {override!r}."
            )
        try:
            value = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            value = value.strip()  # a word without quotes
        values.setdefault(section, {})[key] = value
    checked: dict[str, dict[str, Any]] = {}
    for section, keys in values.items():
        _known(section, _SCHEMA, "section", _line(text, section))
        if not isinstance(keys, dict):
            raise SpecError(f"`{section}` must be a section, [{section}].")
        checked[section] = {}
        for key, value in keys.items():
            place = _line(text, section, key)
            _known(key, _SCHEMA[section], f"key of [{section}]", place)
            try:
                checked[section][key] = _SCHEMA[section][key](value)
            except (ValueError, TypeError) as error:
                raise SpecError(
                    f"`{section}.{key}`{place} must be {error}, but it was {value!r}."
                ) from error
    for section, key in _REQUIRED:
        if key not in checked.get(section, {}):
            raise SpecError(f"`{section}.{key}` must be given, but it was not.")
    checked.setdefault("run", {})
    if not checked.setdefault("axes", {}):
        raise SpecError("`axes` must hold at least one of lmda, scale and seed.")
    return Spec(checked)


def _known(name: str, known: dict, kind: str, place: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise SpecError(
            f"`{name}`{place} must be a known {kind} ({', '.join(known)}){hint}"
        )


def _line(text: str, section: str, key: str | None = None) -> str:
    """Where a section, or its key, stands in the file."""
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([\w.-]+)\s*\]", line)
        if header:
            inside = header[1] == section
            if inside and key is None:
                return f" (line {number})"
        elif inside and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return f" (line {number})"
    return ""


def _number(low: int | None = None) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        text = "a number" if low is None else f"a number above {low}"
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or (low is not None and value <= low):
            raise ValueError(text)
        return value

    return check


def _integer(low: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise ValueError(f"an integer of at least {low}")
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


def _values(value: Any) -> list[float]:
    """A number, a list of them, or a range."""
    text = "a number, a list of numbers, or { from = ..., to = ..., count = ... }"
    if isinstance(value, dict):
        spacing = value.get("spacing", "linear")
        if set(value) - {"spacing"} != {"from", "to", "count"}:
            raise ValueError(text)
        _one_of("linear", "log")(spacing)
        ends = (_number()(value["from"]), _number()(value["to"]))
        count = _integer(1)(value["count"])
        if spacing == "log":
            if min(ends) <= 0:
                raise ValueError("above zero at both ends of a logarithmic range")
            return np.geomspace(*ends, count).tolist()
        return np.linspace(*ends, count).tolist()
    items = value if isinstance(value, list) else [value]
    if not items or not all(
        isinstance(x, int | float) and not isinstance(x, bool) for x in items
    ):
        raise ValueError(text)
    return [float(x) for x in items]


def _times(value: Any) -> list[float]:
    times = _values(value)
    if min(times) < 0 or sorted(times) != times:
        raise ValueError("non-negative times that don't fall")
    return times


def _seeds(value: Any) -> list[int]:
    if isinstance(value, dict) and set(value) == {"count"}:
        return list(range(_integer(1)(value["count"])))
    items: list[Any] = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(x, int) and x >= 0 for x in items):
        raise ValueError("integers of at least 0, or { count = ... }")
    return items


_SCHEMA: dict[str, dict[str, Callable]] = {
    "network": {"sizes": _sizes},
    "task": {
        "kind": _one_of("regression", "hierarchy"),
        "samples": _integer(1),
        "target_scale": _number(),
        "seed": _integer(0),
        "levels": _integer(1),
    },
    "axes": {"lmda": _values, "scale": _values, "seed": _seeds},
    "times": {"values": _times},
    "measure": {"names": _names, "threshold": _number(0)},
    "run": {
        "dtype": _one_of("float32", "float64"),
        "chunk_size": _integer(1),
        "memory": _number(0),
    },
}
_REQUIRED = (
    ("network", "sizes"),
    ("task", "kind"),
    ("times", "values"),
    ("measure", "names"),
)
