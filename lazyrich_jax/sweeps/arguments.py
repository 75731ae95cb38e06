"""What `run` is given, checked, and what it takes by itself where it is not."""

import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from .evaluate import Lanes
from .grid import Grid

_MOST_LANES = 2**16


def checked_path(store: Any) -> pathlib.Path:
    """`store` as an absolute path whose folder exists."""
    _checks.require(
        isinstance(store, str | os.PathLike),
        f"`store` must be a path, but it was {store!r}.",
    )
    path = pathlib.Path(store).absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            error.errno,
            f"`store` must be in a folder, but {str(path.parent)!r} can't be one "
            f"({error.strerror})",
        ) from error
    return path


def checked_dtype(dtype: Any) -> Any:
    """The precision of the coordinates, which jax must be able to hold."""
    default = jnp.result_type(float)
    if dtype is None:
        return default
    dtype = jnp.dtype(dtype)
    _checks.require(
        jnp.issubdtype(dtype, jnp.floating),
        f"`dtype` must be a floating-point type, but it was {dtype}.",
    )
    _checks.require(
        dtype.itemsize <= default.itemsize,
        f"`dtype` must be float32 or smaller while jax_enable_x64 is off, but it was "
        f"{dtype}: `jax.config.update('jax_enable_x64', True)`.",
    )
    return dtype


def checked_mesh(mesh: jax.sharding.Mesh | None) -> jax.sharding.Mesh:
    """A mesh of this process's devices; by default all of them."""
    if mesh is None:
        return jax.sharding.Mesh(np.array(jax.local_devices()), ("points",))
    local = set(jax.local_devices())
    _checks.require(
        set(mesh.devices.flat) <= local,
        "`mesh` must be of this process's devices (every process has its own blocks), "
        f"but it was {mesh}.",
    )
    return mesh


def checked_chunk_size(
    chunk_size: int | None, memory: float | None, lanes: Lanes, points: int
) -> int:
    """Points per block."""
    if chunk_size is not None:
        return min(_checks.size("chunk_size", chunk_size), points)
    if memory is None:
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError, AttributeError):
            free = 2**32
        memory = min(2.0**30, free / 4)
    _checks.require(
        memory > 0, f"`memory` must be a positive number of bytes, but was {memory}."
    )
    fits = int(memory // lanes.bytes_per_point())
    return max(1, min(fits, points, _MOST_LANES))


def checked_coords(
    coords: dict[str, Any] | None, lanes: Lanes, grid: Grid
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """The coordinates of the results' dimensions, whose names and sizes must agree."""
    sizes = dict(zip(grid.dims, grid.shape, strict=True))
    for name, output in lanes.outputs.items():
        for dim, size in zip(output.dims, output.shape, strict=True):
            _checks.require(
                sizes.setdefault(dim, size) == size,
                f"`fn` must return one size for the dimension `{dim}`, but `{name}` "
                f"had {size} where there were {sizes[dim]}.",
            )
    taken = {name for name, _, _ in grid.arrays()} | {"status", "checksum"}
    for name in lanes.outputs:
        _checks.require(
            name not in taken,
            f"`fn` must return names that are not the grid's, but one was `{name}`.",
        )
    result = {}
    for name, values in (coords or {}).items():
        array = np.asarray(values)
        _checks.require(
            name in sizes and array.shape == (sizes[name],),
            f"`coords` must have a value for each of the {sizes.get(name, 0)} entries "
            f"of a dimension, but `{name}` had shape {array.shape}; the dimensions are "
            f"{sorted(sizes)}.",
        )
        result[name] = ((name,), array)
    return result
