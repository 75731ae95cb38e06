r"""Results on disk: a zarr group, written block by block, that survives anything.

One zarr chunk is one block of points, and has one writer. A block counts as done once
its checksum is written, after its values and its status; what was cut off before, was
truncated or was changed since, doesn't match its checksum and is computed again.
"""

import contextlib
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from .. import _checks
from .evaluate import Output
from .grid import Grid, Slices
from .identity import as_text, from_text
from .place import Place
from .status import FLAGS

_FORMATS = (1, 2)  # those that can be read; the last is written
_UNFINISHED = 0
_PENDING = -1


class Store:
    """The arrays of one sweep in a zarr group at `path`."""

    def __init__(self, path: Place, group: Any, block: tuple[int, ...]):
        self.path, self.group, self.block = path, group, block

    @classmethod
    def create(
        cls,
        path: Place,
        grid: Grid,
        outputs: dict[str, Output],
        block: tuple[int, ...],
        coords: dict[str, tuple[tuple[str, ...], np.ndarray]],
        attributes: dict[str, Any],
    ) -> "Store":
        """An empty store; nobody takes it for one before it is whole."""
        building = path
        if isinstance(path, pathlib.Path):  # the lock's one owner makes it
            building = path.with_name(f"{path.name}.new")
        with _os_errors(path):
            group = _filled(building, grid, outputs, block, coords)
            end = {"block": list(block), "format": _FORMATS[-1]}
            group.attrs.update({**attributes, **end})
        if isinstance(building, pathlib.Path):
            _moved(building, path)
        return cls.open(path)

    @staticmethod
    def exists(path: Place) -> bool:
        """Whether there is something at `path`: a whole store, if it is a URL."""
        if isinstance(path, pathlib.Path):
            return path.exists()
        import zarr

        try:
            with _os_errors(path):
                group = zarr.open_group(path, mode="r")
        except FileNotFoundError:
            return False
        return group.attrs.get("format") != _UNFINISHED

    @classmethod
    def open(cls, path: Place, mode: Literal["r", "r+"] = "r+") -> "Store":
        """The store at `path`.

        **Raises:** `ValueError` where there is none, saying what there is.
        """
        import zarr

        try:
            group: Any = zarr.open_group(str(path), mode=mode)
            block, version = tuple(group.attrs["block"]), group.attrs["format"]
        except Exception as error:  # what is there can be anything
            raise ValueError(
                f"`store` must be the path of a sweep, but {str(path)!r} "
                f"{_found(path, error)}."
            ) from error
        _checks.require(
            version in _FORMATS,
            f"`store` must have one of the formats {_FORMATS}, but that of "
            f"{str(path)!r} is {version}.",
        )
        return cls(path, group, block)

    def differences(self, attributes: dict[str, Any]) -> list[str]:
        """What about the sweep that made this store differs, in words."""
        mine, theirs = (
            {k: as_text(v) for k, v in from_text(attrs["sweep"]).items()}
            for attrs in (attributes, self.group.attrs)
        )
        return [
            f"{key} ({_short(theirs.get(key))} there, {_short(mine.get(key))} now)"
            for key in sorted({*mine, *theirs})
            if mine.get(key) != theirs.get(key)
        ]

    def note(self, name: str, text: str) -> None:
        """Put something into the attributes, if it isn't there."""
        if name not in self.group.attrs:
            self.group.attrs[name] = text

    def write(
        self, block: Slices, values: dict[str, np.ndarray], status: np.ndarray
    ) -> None:
        """One block: values, then status, then the checksum that makes it count."""
        shape = tuple(s.stop - s.start for s in block)
        arrays = {k: v.reshape(shape + v.shape[1:]) for k, v in values.items()}
        arrays["status"] = status.reshape(shape)
        with _os_errors(self.path):
            for name, array in arrays.items():
                self.group[name][block] = array
            self.group["checksum"][self._index(block)] = _checksum(arrays)

    def pending(self, block: Slices) -> bool:
        """Whether a block is to be computed; one that is damaged no longer counts."""
        names = [*from_text(self.group.attrs["outputs"]), "status"]
        try:
            expected = int(self.group["checksum"][self._index(block)])
            if expected == _PENDING:
                return True
            arrays = {k: np.asarray(self.group[k][block]) for k in names}
            damaged = _checksum(arrays) != expected
        except Exception:  # a damaged file can make the codecs raise anything
            damaged = True
        if damaged:
            self.group["checksum"][self._index(block)] = _PENDING
        return damaged

    def count_done(self) -> int:
        """How many blocks have a checksum."""
        return int(np.sum(self.group["checksum"][...] != _PENDING))

    def _index(self, block: Slices) -> tuple[int, ...]:
        return tuple(s.start // b for s, b in zip(block, self.block, strict=True))


@contextlib.contextmanager
def _os_errors(path: Place) -> Iterator[None]:
    """What is behind a URL has errors of its own: they become `OSError`."""
    try:
        yield
    except Exception as error:
        if isinstance(path, pathlib.Path) or isinstance(error, OSError):
            raise
        raise OSError(f"{type(error).__name__}: {error}") from error


def _found(path: Place, error: Exception) -> str:
    """What is at `path`, where opening a store there raised `error`."""
    if isinstance(error, PermissionError):
        return f"can't be read ({error.strerror or error})"
    if isinstance(path, pathlib.Path) and path.exists():
        return "holds something else" if path.is_dir() else "is a file"
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    is_other = isinstance(path, pathlib.Path) or isinstance(error, KeyError)
    return "holds something else" if is_other else f"can't be opened ({error})"


def _filled(
    path: Place,
    grid: Grid,
    outputs: dict[str, Output],
    block: tuple[int, ...],
    coords: dict[str, tuple[tuple[str, ...], np.ndarray]],
) -> Any:
    """A group with the coordinates, and room for the results."""
    import zarr

    group = zarr.create_group(
        store=str(path), overwrite=True, attributes={"format": _UNFINISHED}
    )
    for name, dims, values in grid.arrays():
        _write_array(group, name, dims, values)
    for name, (dims, values) in coords.items():
        _write_array(group, name, dims, values)
    config: Any = {"write_empty_chunks": True}
    for name, output in outputs.items():
        group.create_array(
            name,
            shape=grid.shape + output.shape,
            chunks=block + tuple(max(n, 1) for n in output.shape),
            dtype=output.dtype,
            fill_value=np.nan if np.issubdtype(output.dtype, np.inexact) else 0,
            dimension_names=grid.dims + output.dims,
            config=config,
        )
    status = group.create_array(
        "status",
        shape=grid.shape,
        chunks=block,
        dtype="int8",
        fill_value=0,
        dimension_names=grid.dims,
        config=config,
    )
    status.attrs.update(FLAGS)
    counts = [-(-n // b) for n, b in zip(grid.shape, block, strict=True)]
    group.create_array(
        "checksum",
        shape=counts,
        chunks=(1,) * len(counts),
        dtype="int64",
        fill_value=_PENDING,
        dimension_names=tuple(f"checksum_{d}" for d in grid.dims),
        config=config,
    )
    return group


def _moved(source: pathlib.Path, target: Place) -> None:
    """`source` renamed; nothing stays where that fails."""
    try:
        source.rename(target)
    except OSError:
        import shutil

        shutil.rmtree(source, ignore_errors=True)
        raise


def _write_array(
    group: Any, name: str, dims: tuple[str, ...], values: np.ndarray
) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=tuple(max(n, 1) for n in values.shape),
        dtype=values.dtype,
        dimension_names=dims,
    )
    array[...] = values


def _checksum(arrays: dict[str, np.ndarray]) -> int:
    total = 0
    for name in sorted(arrays):
        total = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), total)
    return total


def _short(text: str | None) -> str:
    text = text or "nothing"
    return text if len(text) < 80 else f"{text[:77]}..."
