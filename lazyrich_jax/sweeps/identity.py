"""What makes a sweep the same sweep as another, and what it ran with.

Attributes are numbers, lists of them or texts, as netCDF has no others; what has parts
is JSON text.
"""

import hashlib
import importlib.metadata
import json
from typing import Any

import jax
import numpy as np

from .evaluate import Lanes
from .grid import Grid
from .program import fingerprint


def attributes_of(
    grid: Grid, lanes: Lanes, dtype: Any, config: dict[str, Any]
) -> dict[str, Any]:
    """What makes this sweep this sweep, and what it ran with."""
    sweep: dict[str, Any] = {
        "axes": list(grid.dims),
        "dtype": str(dtype),
        "function": fingerprint(lanes.program),
    }
    for name, _, values in grid.arrays():
        digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:8]
        sweep[f"coordinate {name}"] = (
            f"{values.shape[0]} values from {values.min():.6g} to {values.max():.6g} "
            f"({digest})"
        )
    for name, output in lanes.outputs.items():
        sides = [f"{d} {n}" for d, n in zip(output.dims, output.shape, strict=True)]
        sweep[f"output {name}"] = f"{output.dtype} ({', '.join(sides)})"
    for key, value in config.items():
        sweep[f"config {key}"] = value
    versions = {
        "lazyrich_jax": importlib.metadata.version("lazyrich_jax"),
        "jax": jax.__version__,
    }
    return {
        "sweep": as_text(sweep),
        "hash": hashlib.sha256(as_text(sweep).encode()).hexdigest()[:16],
        "outputs": as_text(list(lanes.outputs)),
        "coordinate_names": as_text([name for name, _, _ in grid.arrays()]),
        "dtype": str(dtype),
        "device": lanes.mesh.devices.flat[0].device_kind,
        "versions": as_text(versions),
    }


def as_text(value: Any) -> str:
    """`value` as JSON: the same text for the same value, NaN included."""
    return json.dumps(value, sort_keys=True)


def from_text(value: Any) -> Any:
    """The value of an attribute; stores of format 1 have it without JSON."""
    return json.loads(value) if isinstance(value, str) else value


def checked_config(config: Any) -> dict[str, Any]:
    """`config` as it is read back from JSON; arrays become lists."""
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise TypeError(f"`config` must be a dictionary, but it was {config!r}.")
    try:
        return json.loads(json.dumps(config, default=_plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"`config` must be what JSON can hold, but it was not ({error})."
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    raise TypeError(f"a value was {value!r}")
