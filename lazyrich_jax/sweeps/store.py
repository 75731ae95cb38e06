r"""Results in memory, or on disk in a zarr group that survives interruptions.

One zarr chunk is one block of points, has one writer, and ends in a checksum (the codec
crc32c). The status of a block is written after its values and marks it as done. A block
is computed again if it was interrupted before, or if a chunk of it is missing,
truncated or changed. Stores of formats 1 and 2 can be resumed. Their chunks have no
checksum: damage is detected if a chunk is missing (as chunks of zeros are) or can't be
decoded.
"""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .. import _checks
from .evaluate import Output
from .grid import Slices, blocks
from .identity import Coords, Plan, as_text, from_text
from .place import Place
from .status import FLAGS, STATUS

if TYPE_CHECKING:
    import xarray

_FORMATS = (1, 2, 3)  # formats that can be read; the last is written
_UNFINISHED = 0


class Memory:
    """The results of one sweep in NumPy arrays."""

    def __init__(self, plan: Plan):
        self.plan, self.block = plan, plan.block
        self.blocks = blocks(plan.grid.shape, plan.block)
        self.arrays = {k: np.zeros(v.shape, v.dtype) for k, v in plan.variables.items()}
        self.attributes = dict(plan.attributes)

    def note(self, name: str, text: str) -> None:
        """Add an attribute unless it exists."""
        self.attributes.setdefault(name, text)

    def write(self, block: Slices, values: dict[str, np.ndarray]) -> None:
        """Store the values of one block and its status."""
        for name, value in values.items():
            self.arrays[name][block] = value

    def dataset(self) -> "xarray.Dataset":
        """All results as a dataset."""
        import xarray

        dims = {name: one.dims for name, one in self.plan.variables.items()}
        variables = {k: (dims[k], v) for k, v in self.arrays.items()}
        data = xarray.Dataset(variables, self.plan.coords, self.attributes)
        data.status.attrs.update(FLAGS)
        return data


class Store:
    """The results of one sweep in a zarr group at `path`."""

    def __init__(self, path: Place, group: Any, block: tuple[int, ...]):
        self.path, self.group, self.block = path, group, block
        self.blocks = blocks(group["status"].shape, block)

    @classmethod
    def create(cls, path: Place, plan: Plan) -> "Store":
        """A new empty store; it appears at `path` only when it is complete."""
        import zarr

        building, block = path, plan.block
        if isinstance(path, pathlib.Path):  # the owner of the lock makes it
            building = path.with_name(f"{path.name}.new")
        with _os_errors(path):
            group = zarr.create_group(
                str(building), overwrite=True, attributes={"format": _UNFINISHED}
            )
            for name, (dims, values) in plan.coords.items():
                array = _array(group, name, Output(dims, values.shape, values.dtype))
                array[...] = values
            for name, one in plan.variables.items():
                _array(group, name, one, block)
            group["status"].attrs.update(FLAGS)
            end = {"block": list(block), "format": _FORMATS[-1]}
            group.attrs.update({**plan.attributes, **end})
        if isinstance(building, pathlib.Path):
            _moved(building, path)
        return cls.open(path)

    @staticmethod
    def exists(path: Place) -> bool:
        """Whether `path` exists; a URL must hold a complete store."""
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

        **Raises:** `ValueError` if there is none; the message says what `path` holds.
        """
        import zarr

        try:
            group: Any = zarr.open_group(str(path), mode=mode)
            block, version = tuple(group.attrs["block"]), group.attrs["format"]
        except Exception as error:  # other contents raise errors of many types
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
        """The differences between this store's sweep and `attributes`, in words."""
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
        """Add an attribute unless it exists."""
        if name not in self.group.attrs:
            self.group.attrs[name] = text

    def write(self, block: Slices, values: dict[str, np.ndarray]) -> None:
        """Write the values of one block, then its status, which marks it as done."""
        for name, value in values.items():
            self._put(name, block, value)

    def pending(self, block: Slices) -> bool:
        """Whether a block must be computed; a damaged block is marked as pending."""
        if not self._is_done(block):
            return True
        names = from_text(self.group.attrs["outputs"])
        is_whole = all(self._is_whole(name, block) for name in names)
        if not is_whole:
            self.group["status"][block] = STATUS.index("pending")
        return not is_whole

    def mend(self, coords: Coords) -> None:
        """Write damaged coordinates again."""
        for name, (_, values) in coords.items():
            if name in self.group and not self._is_whole(name, ()):
                self._put(name, (), values)

    def count_done(self) -> int:
        """The number of blocks that are done."""
        return sum(map(self._is_done, self.blocks))

    def dataset(self) -> "xarray.Dataset":
        """All results as a dataset; data are read when they are used."""
        import xarray

        data = xarray.open_zarr(str(self.path), consolidated=False, chunks=None)
        own = data.attrs.get("coordinate_names", data.attrs.get("coordinates"))
        parts = {k: as_text(v) for k, v in data.attrs.items() if isinstance(v, dict)}
        data.attrs.update(parts)  # format 1 has dictionaries
        # Formats 1 and 2 have an array of checksums.
        data = data.drop_vars("checksum", errors="ignore")
        data = data.set_coords(from_text(own))
        outputs = from_text(data.attrs.get("outputs", "[]"))  # in the order of the run
        first = [name for name in outputs if name in data.data_vars]
        rest = [name for name in data.data_vars if name not in first]
        return data[first + rest]

    def _is_done(self, block: Slices) -> bool:
        try:
            return bool(np.all(self.group["status"][block] != STATUS.index("pending")))
        except Exception:  # a damaged file can make the codecs raise anything
            return False

    def _is_whole(self, name: str, block: Slices) -> bool:
        """Whether the chunk of a block exists unchanged."""
        array = self.group[name]
        index = [s.start // b for s, b in zip(block, self.block, strict=False)]
        index += [0] * (array.ndim - len(index))
        key = f"{name}/{array.metadata.encode_chunk_key(tuple(index))}"
        try:
            array[block]  # a missing chunk is read as fill values
            return array.size == 0 or _exists(self.path, key)
        except Exception:  # a damaged chunk raises errors of many types
            return False

    def _put(self, name: str, block: Slices, value: np.ndarray) -> None:
        """Write a chunk, even of zeros: a missing chunk counts as damage."""
        array = self.group[name].with_config({"write_empty_chunks": True})
        with _os_errors(self.path):
            array[block] = value


def _exists(path: Place, key: str) -> bool:
    """Whether a store at `path` has the file `key`."""
    if isinstance(path, pathlib.Path):
        return (path / key).exists()
    import fsspec.core  # pyright: ignore (it is there, as the path is a URL)

    files, root = fsspec.core.url_to_fs(path)
    return files.exists(f"{root}/{key}")


@contextlib.contextmanager
def _os_errors(path: Place) -> Iterator[None]:
    """A context that turns errors of remote files, of many types, into `OSError`."""
    try:
        yield
    except Exception as error:
        if isinstance(path, pathlib.Path) or isinstance(error, OSError):
            raise
        raise OSError(f"{type(error).__name__}: {error}") from error


def _found(path: Place, error: Exception) -> str:
    """The contents of `path` in words, after opening a store there raised `error`."""
    if isinstance(error, PermissionError):
        return f"can't be read ({error.strerror or error})"
    if isinstance(path, pathlib.Path) and path.exists():
        return "holds something else" if path.is_dir() else "is a file"
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    is_other = isinstance(path, pathlib.Path) or isinstance(error, KeyError)
    return "holds something else" if is_other else f"can't be opened ({error})"


def _array(group: Any, name: str, one: Output, block: tuple[int, ...] = ()) -> Any:
    """A new array whose chunks have the shape `block` on the first axes.

    The other axes are not divided. Every chunk has a checksum.
    """
    from zarr.codecs import Crc32cCodec, ZstdCodec

    chunks = block + one.shape[len(block) :]
    return group.create_array(
        name,
        shape=one.shape,
        chunks=tuple(max(n, 1) for n in chunks),
        dtype=one.dtype,
        compressors=[ZstdCodec(), Crc32cCodec()],
        fill_value=one.missing,
        dimension_names=one.dims,
    )


def _moved(source: pathlib.Path, target: Place) -> None:
    """Rename `source`; remove it if that fails."""
    try:
        source.rename(target)
    except OSError:
        import shutil

        shutil.rmtree(source, ignore_errors=True)
        raise


def _short(text: str | None) -> str:
    text = text or "nothing"
    return text if len(text) < 80 else f"{text[:77]}..."
