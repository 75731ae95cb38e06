"""Specifications: the files that the command `lazyrich sweep` reads."""

import codecs
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
from .ready import MEASURES as MEASURES
from .ready import learning, measures_of
from .schema import SCHEMA, conflict

_LIST = "\n".join(f"#   {k}: {text}" for k, text in measures_of("gaussian").items())
EXAMPLE = f"""\
# A sweep of two-layer linear networks: lazyrich sweep THIS.toml --store PATH
# Lines that are commented out show a default or another choice.

[network]
sizes = [3, 2, 2]            # in, hidden, out

[task]
kind = "regression"          # white random inputs, random targets; or "hierarchy"
samples = 10
target_scale = 1.0
seed = 0
# levels = 3                 # the hierarchy has 2**levels items and attributes

[axes]                       # each a number, a list, or a range
lmda = {{ from = -10, to = 10, count = 21 }}
scale = [0.1, 1.0]           # or {{ from = 1e-3, to = 1, count = 7, spacing = "log" }}
seed = {{ count = 5 }}         # the seeds 0 to 4; or a list

[times]                      # in units of learning rate x step
values = {{ from = 0, to = 20, count = 50 }}

[measure]
names = ["loss", "richness", "convergence_time"]
# all names are listed below
# threshold = 1e-3           # fraction of the loss that defines convergence_time

[run]
dtype = "float64"            # or "float32"
# chunk_size = 1000          # points per block; by default as many as fit
# memory = 1e9               # bytes that a block may use

# The measures:
{_LIST}
#
# A task of your own has white inputs and a given correlation of outputs and inputs:
#   [task]
#   kind = "correlation"
#   correlation = [[2, 0, 0], [0, 1, 0]]  # mean of y x^T: a row for each output
#
# Gaussian networks of any width, in the limit of infinite width (approximate:
# error_estimate tells the error), have these axes, in place of lmda and scale:
#   [network]
#   kind = "gaussian"          # the default is "balanced"
#   [axes]
#   width = {{ from = 16, to = 4096, count = 9, spacing = "log" }}  # rounded; or a list
#   input_variance = [0.1, 1]  # of the weights; by default 1 / in
#   output_variance = 0.01     # by default 1 / width
"""


_REQUIRED = {"network": "sizes", "task": "kind", "times": "values", "measure": "names"}


class SpecError(ValueError):
    """An error in a specification that the user must correct."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """A sweep as described by a file; `build` makes its arrays."""

    values: dict[str, dict[str, Any]]

    @property
    def dtype(self) -> str:
        """The dtype of the sweep."""
        return self.values["run"].get("dtype", "float64")

    def build(self) -> tuple[Callable, Grid, dict[str, Any]]:
        """The function, the grid, and the options of `run`."""
        task = self._task()
        sizes = self.values["network"]["sizes"]
        ts = np.asarray(self.values["times"]["values"], self.dtype)
        measure = self.values["measure"]
        fn = learning(
            task,
            sizes,
            ts,
            measure["names"],
            threshold=measure.get("threshold", 1e-3),
            kind=self.values["network"].get("kind", "balanced"),
        )
        axes = {k: np.asarray(v) for k, v in self.values["axes"].items()}
        in_time = {"loss", "function"} & set(measure["names"])
        options = {
            **self.values["run"],
            "dtype": self.dtype,
            "coords": {"time": ts} if in_time else None,
            "config": {"spec": self.values},
        }
        return fn, Grid(**axes), options

    def _task(self) -> Task:
        task = self.values["task"]
        if task["kind"] == "hierarchy":
            return Task.hierarchy(task.get("levels", 3))
        if task["kind"] == "correlation":
            return Task.from_correlation(np.asarray(task["correlation"], self.dtype))
        n_in, _, n_out = self.values["network"]["sizes"]
        return Task.random_regression(
            n_in,
            n_out,
            task.get("samples", n_in + 1),
            target_scale=float(task.get("target_scale", 1.0)),
            key=jax.random.key(task.get("seed", 0)),
        )


def decoded(raw: bytes) -> str:
    """The text of a file in UTF-8 or, with a byte order mark, UTF-16.

    **Raises:** `SpecError` for another encoding, naming the byte and its line.
    """
    marked = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return raw.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SpecError(
            f"the file must be UTF-8, but byte 0x{raw[error.start]:02x} on line {line} "
            "is not: save it as UTF-8."
        ) from error


def parse(text: str, overrides: Sequence[str] = ()) -> Spec:
    """The specification in `text`, with values overridden by `section.key=value`.

    **Raises:** `SpecError` naming the key, its line and the nearest valid one.
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"the file must be TOML, but: {error}.") from error
    for override in overrides:
        name, equals, value = override.partition("=")
        section, _, key = name.strip().partition(".")
        if not (equals and section and key):
            raise SpecError(
                f"`--set` must be SECTION.KEY=VALUE, but it was {override!r}."
            )
        try:
            value = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            value = value.strip()  # a word without quotes
        if not isinstance(values.setdefault(section, {}), dict):
            raise SpecError(f"`{section}` must be a section, [{section}].")
        values[section][key] = value
    checked: dict[str, dict[str, Any]] = {}
    for section, keys in values.items():
        _known(section, SCHEMA, "section", _line(text, section))
        if not isinstance(keys, dict):
            raise SpecError(f"`{section}` must be a section, [{section}].")
        checked[section] = {}
        for key, value in keys.items():
            place = _line(text, section, key)
            _known(key, SCHEMA[section], f"key of [{section}]", place)
            try:
                checked[section][key] = SCHEMA[section][key](value)
            except ValueError as error:
                raise SpecError(
                    f"`{section}.{key}`{place} must be {error}, but it was {value!r}."
                ) from error
    for section, key in _REQUIRED.items():
        if key not in checked.get(section, {}):
            raise SpecError(f"`{section}.{key}` must be given, but it was not.")
    checked.setdefault("run", {})
    if not checked.setdefault("axes", {}):
        known = ", ".join(SCHEMA["axes"])
        raise SpecError(f"`axes` must hold at least one of {known}.")
    found = conflict(checked)
    if found is not None:
        section, key, must = found
        place = _line(text, section, key)
        raise SpecError(f"`{section}.{key}`{place} must be {must}")
    return Spec(checked)


def _known(name: str, known: dict, kind: str, place: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? The others are" if near else "they are"
        others = ", ".join(x for x in known if x not in near)
        raise SpecError(f"`{name}`{place} must be a known {kind}: {hint} {others}.")


def _line(text: str, section: str, key: str | None = None) -> str:
    """The line of a section, or of its key, as text for a message."""
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
