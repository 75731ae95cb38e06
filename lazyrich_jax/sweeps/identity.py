"""The plan of a sweep before its first block, and the attributes that identify it.

Attributes are numbers, lists of numbers or texts, since netCDF has no others.
Structured values are JSON text.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import math
from typing import Any

import jax
import numpy as np

from .evaluate import Lanes, Output
from .grid import Grid, Slices, block_shape
from .program import fingerprint

Coords = dict[str, tuple[tuple[str, ...], np.ndarray]]  # (dimensions, values) by name
_MOST_LANES = 2**16


@dataclasses.dataclass(frozen=True)
class Plan:
    """The points of a sweep, its function and its results; `run` makes it once."""

    grid: Grid
    back: dict[str, Any] | None  # restores the given order of axes and points
    dtype: Any
    lanes: Lanes
    coords: Coords  # includes the grid's
    config: dict[str, Any]
    chunk_size: int | None
    memory: float  # bytes that a block may use if `chunk_size` is `None`

    @functools.cached_property
    def block(self) -> tuple[int, ...]:
        """The shape of a block, with as many points as the compiler says will fit."""
        most = block_shape(self.grid.shape, self.chunk_size or _MOST_LANES)
        if self.chunk_size is not None:
            return most
        needed = self.lanes.memory(math.prod(most))
        if needed <= self.memory:
            return most
        fits = int(math.prod(most) * self.memory / needed)
        return block_shape(self.grid.shape, max(1, fits))

    @functools.cached_property
    def variables(self) -> dict[str, Output]:
        """The results on the whole grid, and the status."""
        dims, shape = self.grid.dims, self.grid.shape
        every = {**self.lanes.outputs, "status": Output((), (), np.dtype("int8"))}
        return {
            name: Output(dims + one.dims, shape + one.shape, one.dtype)
            for name, one in every.items()
        }

    def values(self, block: Slices, lanes: int) -> dict[str, np.ndarray]:
        """The variables on a block, evaluated by the program for `lanes` points."""
        shape = tuple(s.stop - s.start for s in block)
        rows = self.lanes(self.grid.points(block, self.dtype), lanes)
        return {k: v.reshape(shape + v.shape[1:]) for k, v in rows.items()}

    @functools.cached_property
    def attributes(self) -> dict[str, Any]:
        """The identity of this sweep, and its environment."""
        sweep: dict[str, Any] = {
            "axes": list(self.grid.dims),
            "dtype": str(self.dtype),
            "function": fingerprint(self.lanes.program),
        }
        names = [name for name, _, _ in self.grid.arrays()]
        for name, _, values in self.grid.arrays():
            sweep[f"coordinate {name}"] = _described(values)
        for name, output in self.lanes.outputs.items():
            sides = [f"{d} {n}" for d, n in zip(output.dims, output.shape, strict=True)]
            sweep[f"output {name}"] = f"{output.dtype} ({', '.join(sides)})"
        for key, value in self.config.items():
            sweep[f"config {key}"] = value
        versions = {
            "lazyrich_jax": importlib.metadata.version("lazyrich_jax"),
            "jax": jax.__version__,
        }
        order = {} if self.back is None else {"order": as_text(self.back)}
        return {
            "sweep": as_text(sweep),
            "hash": hashlib.sha256(as_text(sweep).encode()).hexdigest()[:16],
            "outputs": as_text(list(self.lanes.outputs)),
            "coordinate_names": as_text(names),
            "dtype": str(self.dtype),
            "device": self.lanes.mesh.devices.flat[0].device_kind,
            "versions": as_text(versions),
            **order,
        }


def _described(values: np.ndarray) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:8]
    ends = f"from {values.min():.6g} to {values.max():.6g}"
    return f"{values.shape[0]} values {ends} ({digest})"


def as_text(value: Any) -> str:
    """`value` as JSON; equal values give equal texts, NaN included."""
    return json.dumps(value, sort_keys=True)


def from_text(value: Any) -> Any:
    """The value of an attribute; stores of format 1 do not use JSON."""
    return json.loads(value) if isinstance(value, str) else value


def checked_config(config: Any) -> dict[str, Any]:
    """`config` after conversion to JSON and back; arrays become lists."""
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise TypeError(f"`config` must be a dictionary, but it was {config!r}.")
    try:
        return json.loads(json.dumps(config, default=_plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"`config` must be a dictionary of JSON values, but it was not ({error})."
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    raise TypeError(f"a value was {value!r}")
