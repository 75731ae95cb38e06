"""Checks of the names of axes, coordinates, results and dimensions."""

from typing import Any

from .. import _checks

_LONGEST = 200  # bytes: the name of a folder in the store


def checked_name(what: str, name: Any) -> None:
    """Refuse a name that an array in a zarr store or a netCDF file can't have.

    `what` begins the message, such as "`Grid` must have axes".
    """
    if not isinstance(name, str):
        raise TypeError(f"{what} with strings as names, but one was {name!r}.")
    good = (
        name.isprintable()
        and name == name.strip()
        and name.strip(".") != ""
        and not {"/", "\\"} & set(name)
        and not name.startswith("__")
        and len(name.encode()) <= _LONGEST
    )
    _checks.require(
        good,
        f"{what} with names that a store can hold (printable, without slashes, not "
        f"beginning with two underscores, of at most {_LONGEST} bytes), but one was "
        f"{name!r}.",
    )
    _checks.require(
        name not in ("status", "zarr.json") and not name.startswith("checksum"),
        f"{what} with names of their own, but one was {name!r}: `status`, `zarr.json` "
        "and all names that begin with `checksum` are the sweep's.",
    )


def checked_axes(grid: Any) -> None:
    """Refuse names with two meanings in a `Grid`."""
    dims = set(grid.dims)
    seen: set[str] = set()
    for name, (first, *others), _ in grid.arrays():
        for word in (name, *others):
            _checks.require(
                word not in seen and (word not in dims or word == first == name),
                f"`{word}` must be one coordinate or one axis of the grid, but it was "
                "two.",
            )
        seen |= {name, *others}


def checked_outputs(grid: Any, outputs: dict[str, Any]) -> dict[str, int]:
    """The sizes of all dimensions; results with clashing names are refused."""
    coordinates = {name: dims for name, dims, _ in grid.arrays()}
    sizes = dict(zip(grid.dims, grid.shape, strict=True))
    for _, dims, values in grid.arrays():
        sizes |= dict(zip(dims[1:], values.shape[1:], strict=True))
    for name, output in outputs.items():
        for dim, size in zip(output.dims, output.shape, strict=True):
            _checks.require(
                sizes.setdefault(dim, size) == size,
                f"`fn` must return one size for the dimension `{dim}`, but `{name}` "
                f"had {size} where there were {sizes[dim]}.",
            )
        every = grid.dims + output.dims
        _checks.require(
            len(set(every)) == len(every),
            f"`fn` must name every dimension of `{name}` once and unlike the grid's "
            f"axes, but with the grid's they were {every}.",
        )
    for name in outputs:
        _checks.require(
            name not in coordinates,
            f"`fn` must return names that are not the grid's, but one was `{name}`.",
        )
    for name in (*outputs, *coordinates):
        _checks.require(
            name not in sizes or coordinates.get(name, ())[:1] == (name,),
            f"`fn` must return names that are not dimensions', but `{name}` was one; "
            "what belongs to a dimension goes into `coords`.",
        )
    return sizes
