"""What makes a sweep the same sweep as another, and what it ran with."""

import hashlib
import importlib.metadata
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .evaluate import Lanes
from .grid import Grid


def attributes_of(
    grid: Grid, lanes: Lanes, dtype: Any, config: dict[str, Any] | None
) -> dict[str, Any]:
    """What makes this sweep this sweep, and what it ran with."""
    sweep: dict[str, Any] = {
        "axes": list(grid.dims),
        "dtype": str(dtype),
        "function": _fingerprint(lanes),
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
    for key, value in (config or {}).items():
        sweep[f"config {key}"] = value
    return {
        "sweep": sweep,
        "hash": hashlib.sha256(repr(sorted(sweep.items())).encode()).hexdigest()[:16],
        "outputs": list(lanes.outputs),
        "coordinates": [name for name, _, _ in grid.arrays()],
        "dtype": str(dtype),
        "device": lanes.mesh.devices.flat[0].device_kind,
        "versions": {
            "lazyrich_jax": importlib.metadata.version("lazyrich_jax"),
            "jax": jax.__version__,
        },
    }


def _fingerprint(lanes: Lanes) -> str:
    """What the function computes, constants included."""
    text = re.sub(r"0x[0-9a-f]+", "", str(lanes.jaxpr.jaxpr))
    digest = hashlib.sha256(text.encode())
    for value in lanes.jaxpr.consts:
        plain = value
        if jnp.issubdtype(getattr(value, "dtype", float), jax.dtypes.prng_key):
            plain = jax.random.key_data(value)
        digest.update(np.ascontiguousarray(plain).tobytes())
    return digest.hexdigest()[:16]
