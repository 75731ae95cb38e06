"""Checks and defaults of the arguments of `run`."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from .evaluate import Lanes
from .grid import Grid
from .names import checked_outputs
from .place import Place, place


def checked_store(store: Any) -> Place:
    """The place of the results: a path in an existing folder, or a URL."""
    path = place("store", store)
    if isinstance(path, str):
        return path
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
    """The dtype of the coordinates, checked against JAX's setting of x64."""
    default = jnp.result_type(float)
    if dtype is None:
        return default
    try:
        dtype = jnp.dtype(dtype)
    except TypeError as error:
        raise TypeError(
            f"`dtype` must be float32 or float64, but it was {dtype!r}."
        ) from error
    _checks.require(
        dtype in (jnp.float32, jnp.float64),
        f"`dtype` must be float32 or float64, but it was {dtype}.",
    )
    _checks.require(
        dtype.itemsize <= default.itemsize,
        f"`dtype` must be float32 while jax_enable_x64 is off, but it was {dtype}: "
        "`jax.config.update('jax_enable_x64', True)`.",
    )
    return dtype


def checked_mesh(mesh: jax.sharding.Mesh | None) -> jax.sharding.Mesh:
    """A mesh of this process's devices, by default all of them.

    Axes of all types become automatic: `Lanes` shards the blocks.
    """
    if mesh is None:
        return jax.sharding.Mesh(np.array(jax.local_devices()), ("points",))
    _checks.instance("mesh", mesh, jax.sharding.Mesh, "make one with `jax.make_mesh`")
    local = set(jax.local_devices())
    _checks.require(
        set(mesh.devices.flat) <= local,
        "`mesh` must be of this process's devices (every process has its own blocks), "
        f"but it was {mesh}.",
    )
    return jax.sharding.Mesh(mesh.devices, mesh.axis_names)


def checked_memory(memory: float | None) -> float:
    """The number of bytes that a block may use."""
    if memory is None:
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError, AttributeError):
            free = 2**32
        return min(2.0**30, free / 4)
    _checks.require(
        memory > 0, f"`memory` must be a positive number of bytes, but was {memory}."
    )
    return memory


def checked_coords(
    coords: dict[str, Any] | None, lanes: Lanes, grid: Grid
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """The coordinates of the grid and the results' dimensions; clashes are refused."""
    _checks.instance("coords", coords or {}, dict, "such as `{'time': ts}`")
    sizes = checked_outputs(grid, lanes.outputs)
    result = {name: (dims, values) for name, dims, values in grid.arrays()}
    for name, values in (coords or {}).items():
        array = np.asarray(values)
        _checks.require(
            name in sizes and array.shape == (sizes[name],),
            f"`coords` must have a value for each of the {sizes.get(name, 0)} entries "
            f"of a dimension, but `{name}` had shape {array.shape}; the dimensions are "
            f"{sorted(sizes)}.",
        )
        _checks.require(
            name not in result,
            f"`coords` must be of dimensions without coordinates, but `{name}` has the "
            "grid's.",
        )
        _checks.require(
            array.dtype.kind not in "OV",
            f"`coords` must be numbers, texts or dates, but `{name}` was of the dtype "
            f"{array.dtype}.",
        )
        result[name] = ((name,), array)
    return result
