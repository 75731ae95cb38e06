"""The points of a sweep: named axes, multiplied or zipped."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks, _display
from .names import checked_axes, checked_name
from .program import uncommitted

Slices = tuple[slice, ...]


class Zip:
    """Coordinates that change together along one axis of a `Grid`.

    ```python
    import lazyrich_jax as lr

    small_and_large = lr.sweeps.Zip(lmda=[0.0, 10.0], scale=[0.01, 1.0])
    grid = lr.sweeps.Grid(start=small_and_large, hidden=[1.0, 2.0, 3.0])
    print(grid.shape)  # (2, 3)
    ```

    **Raises:** `ValueError` for coordinates of different lengths, or none, and for
    names that a store can't hold.
    """

    def __init__(self, **coordinates: Any):
        for name in coordinates:
            checked_name("`Zip` must have coordinates", name)
        self.coordinates = {k: _as_axis(k, v) for k, v in coordinates.items()}
        lengths = {k: v.shape[0] for k, v in self.coordinates.items()}
        _checks.require(
            len(set(lengths.values())) == 1,
            "`Zip` must have coordinates of one length, but their lengths were "
            f"{lengths}.",
        )


class Grid:
    """The cartesian product of named axes.

    **Arguments:** the values of each axis: an array or list with an entry per value on
    its first axis, random keys (`jax.random.split(key, n)`), or a `Zip` of several
    coordinates.

    **Raises:** `ValueError` for an axis without values and for a name that is used
    twice or that a store can't hold; `TypeError` for values that aren't numbers or
    keys.

    A point of the grid is a dictionary with one value of every coordinate. The last
    axis changes fastest.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    keys = jax.random.split(jax.random.key(0), 20)
    grid = lr.sweeps.Grid(lmda=jnp.linspace(-5, 5, 11), key=keys)
    print(grid.shape, grid.size)  # (11, 20) 220
    ```
    """

    def __init__(self, **axes: Any):
        _checks.require(len(axes) > 0, "`Grid` must have at least one axis, but had 0.")
        self.axes: dict[str, dict[str, Any]] = {}
        seen: set[str] = set()
        for name, values in axes.items():
            checked_name("`Grid` must have axes", name)
            group = (
                values.coordinates
                if isinstance(values, Zip)
                else {name: _as_axis(name, values)}
            )
            for coordinate in group:
                _checks.require(
                    coordinate not in seen,
                    f"`{coordinate}` must be one coordinate of the grid, but it was "
                    "given twice.",
                )
                seen.add(coordinate)
            self.axes[name] = group
        checked_axes(self)

    @property
    def dims(self) -> tuple[str, ...]:
        """The names of the axes."""
        return tuple(self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of values along every axis."""
        return tuple(next(iter(g.values())).shape[0] for g in self.axes.values())

    @property
    def size(self) -> int:
        """The number of points."""
        return math.prod(self.shape)

    def __repr__(self) -> str:
        """The axes and the number of points."""
        parts = [f"{n}: {k}" for n, k in zip(self.dims, self.shape, strict=True)]
        return f"Grid({', '.join(parts)}; {self.size} points)"

    def _repr_html_(self) -> str:
        """The coordinates, their numbers of values and their ranges."""
        rows = {}
        for axis, group in self.axes.items():
            for name, values in group.items():
                rows[name] = f"{len(values)} values along {axis}"
                if isinstance(values, np.ndarray) and values.ndim == 1:
                    rows[name] += f", {values.min():.4g} to {values.max():.4g}"
        return _display.card(repr(self), rows)

    def ordered(self, axis: str) -> tuple["Grid", dict[str, Any]]:
        """The grid with `axis` first and sorted by absolute value, and its inverse."""
        _checks.require(
            axis in self.axes,
            f"`order` must be an axis of the grid, one of {list(self.dims)}, but it "
            f"was {axis!r}.",
        )
        group = self.axes[axis]
        values = _plain(group.get(axis, next(iter(group.values()))))
        _checks.require(
            values.ndim == 1,
            f"`order` must be an axis of numbers, but `{axis}` had shape "
            f"{values.shape}.",
        )
        index = np.argsort(np.abs(values), kind="stable")
        new = Grid.__new__(Grid)
        rest = {k: v for k, v in self.axes.items() if k != axis}
        new.axes = {axis: {k: v[index] for k, v in group.items()}, **rest}
        rank = np.argsort(index).tolist()
        return new, {"axis": axis, "dims": list(self.dims), "rank": rank}

    def points(self, block: Slices, dtype: Any) -> dict[str, Any]:
        """The coordinates of a block: one row per point, in C order."""
        starts = np.array([s.start for s in block])[:, None]
        counts = [s.stop - s.start for s in block]
        index = starts + np.indices(counts).reshape(len(block), -1)
        return {
            name: _typed(values, dtype)[i]
            for i, group in zip(index, self.axes.values(), strict=True)
            for name, values in group.items()
        }

    def template(self, dtype: Any) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes and dtypes of one point.

        **Raises:** `ValueError` for integers that JAX would truncate.
        """
        for group in self.axes.values():
            for name, values in group.items():
                _checked_width(name, values)
        one = self.points((slice(0, 1),) * len(self.axes), dtype)
        return {k: jax.ShapeDtypeStruct(v.shape[1:], v.dtype) for k, v in one.items()}

    def arrays(self) -> Iterator[tuple[str, tuple[str, ...], np.ndarray]]:
        """Every coordinate as (name, dimensions, plain array)."""
        for dim, group in self.axes.items():
            for name, values in group.items():
                plain = _plain(values)
                extra = tuple(f"{name}_{i}" for i in range(plain.ndim - 1))
                # An index can't have more axes: such an array gets another name.
                label = f"{name}_data" if extra and name == dim else name
                yield label, (dim, *extra), plain


def _as_axis(name: str, value: Any) -> Any:
    if isinstance(value, jax.Array) and jnp.issubdtype(
        value.dtype, jax.dtypes.prng_key
    ):
        array = uncommitted(value)
    else:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"`{name}` must hold numbers or random keys, but its dtype was "
                f"{array.dtype}."
            )
        # Foreign byte orders, and half and extended precision, can't be an index.
        known = array.dtype.kind != "f" or array.dtype.itemsize in (4, 8)
        array = array.astype(array.dtype.newbyteorder("=") if known else np.float64)
    _checks.require(
        array.ndim > 0 and array.shape[0] > 0,
        f"`{name}` must be an axis with at least one value, but its shape was "
        f"{array.shape}.",
    )
    return array


def _typed(values: Any, dtype: Any) -> Any:
    is_plain = isinstance(values, np.ndarray) and values.dtype.kind == "f"
    return values.astype(dtype) if is_plain else values


def _checked_width(name: str, values: Any) -> None:
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        narrow = np.iinfo(jax.dtypes.canonicalize_dtype(values.dtype))
        _checks.require(
            int(values.min()) >= narrow.min and int(values.max()) <= narrow.max,
            f"`{name}` must fit into {narrow.dtype} while jax_enable_x64 is off, but "
            f"its values were from {values.min()} to {values.max()}.",
        )


def _plain(values: Any) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values
    return np.asarray(jax.random.key_data(values))


def block_shape(shape: tuple[int, ...], lanes: int) -> tuple[int, ...]:
    """The shape of a block of at most `lanes` points, complete along the last axes."""
    block = [1] * len(shape)
    for axis in reversed(range(len(shape))):
        block[axis] = max(1, min(shape[axis], lanes))
        lanes //= block[axis]
        if block[axis] < shape[axis]:
            # Blocks are as equal as possible: the last block is padded.
            count = -(-shape[axis] // block[axis])
            block[axis] = -(-shape[axis] // count)
            break
    return tuple(block)


def blocks(shape: tuple[int, ...], block: tuple[int, ...]) -> list[Slices]:
    """The blocks of the grid, as slices."""
    starts = [range(0, n, b) for n, b in zip(shape, block, strict=True)]
    return [
        tuple(
            slice(i, min(i + b, n)) for i, b, n in zip(start, block, shape, strict=True)
        )
        for start in itertools.product(*starts)
    ]
