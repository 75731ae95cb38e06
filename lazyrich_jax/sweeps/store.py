r"""Results on disk: a zarr group, written block by block, that survives anything.

One zarr chunk is one block of points, and has one writer. A block counts as done once
its checksum is written, after its values and its status; what was cut off before, was
truncated or was changed since, doesn't match its checksum and is computed again.
"""

import json
import pathlib
import zlib
from typing import Any, Literal

import numpy as np

from .. import _checks
from .evaluate import Output
from .grid import Grid, Slices
from .status import FLAGS

_FORMAT = 1
_PENDING = -1


class Store:
    """The arrays of one sweep in a zarr group at `path`."""

    def __init__(self, path: pathlib.Path, group: Any, block: tuple[int, ...]):
        self.path, self.group, self.block = path, group, block

    @classmethod
    def create(
        cls,
        path: pathlib.Path,
        grid: Grid,
        outputs: dict[str, Output],
        block: tuple[int, ...],
        coords: dict[str, tuple[tuple[str, ...], np.ndarray]],
        attributes: dict[str, Any],
    ) -> "Store":
        """An empty store; nobody sees it before it is whole."""
        import zarr

        building = path.with_name(f"{path.name}.new")  # of the lock's one owner
        group = zarr.create_group(store=str(building), overwrite=True)
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
            dimension_names=tuple(f"{d}_block" for d in grid.dims),
            config=config,
        )
        group.attrs.update({**attributes, "format": _FORMAT, "block": list(block)})
        try:
            building.rename(path)
        except OSError:
            import shutil

            shutil.rmtree(building, ignore_errors=True)
            raise
        return cls.open(path)

    @classmethod
    def open(cls, path: pathlib.Path, mode: Literal["r", "r+"] = "r+") -> "Store":
        """The store at `path`.

        **Raises:** `ValueError` where there is none.
        """
        import zarr

        try:
            group: Any = zarr.open_group(str(path), mode=mode)
            block, version = tuple(group.attrs["block"]), group.attrs["format"]
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(
                f"`store` must be the path of a sweep, but {str(path)!r} holds "
                "something else."
            ) from error
        _checks.require(
            version == _FORMAT,
            f"`store` must have the format {_FORMAT}, but that of {str(path)!r} is "
            f"{version}.",
        )
        return cls(path, group, block)

    def differences(self, attributes: dict[str, Any]) -> list[str]:
        """What about the sweep that made this store differs, in words."""
        mine = json.loads(json.dumps(attributes["sweep"]))
        theirs = self.group.attrs.get("sweep", {})
        return [
            f"{key} ({_short(theirs.get(key))} there, {_short(mine.get(key))} now)"
            for key in sorted({*mine, *theirs})
            if mine.get(key) != theirs.get(key)
        ]

    def note(self, name: str, text: str) -> None:
        """Put something into the attributes."""
        self.group.attrs[name] = text

    def write(
        self, block: Slices, values: dict[str, np.ndarray], status: np.ndarray
    ) -> None:
        """One block: values, then status, then the checksum that makes it count."""
        shape = tuple(s.stop - s.start for s in block)
        arrays = {k: v.reshape(shape + v.shape[1:]) for k, v in values.items()}
        arrays["status"] = status.reshape(shape)
        for name, array in arrays.items():
            self.group[name][block] = array
        self.group["checksum"][self._index(block)] = _checksum(arrays)

    def pending(self, block: Slices) -> bool:
        """Whether a block is to be computed; one that is damaged no longer counts."""
        names = [*self.group.attrs["outputs"], "status"]
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


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:77]}..."
