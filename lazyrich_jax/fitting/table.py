"""Tables of observations: a time or step, and observables in named columns."""

import csv
import dataclasses
import difflib
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..inference.observables import OBSERVABLES

CLOCKS = "step", "time"
NAME = re.compile(r"([^\[\]]+?)\s*((?:\[[\d\s,]*\])*)")
DELIMITERS = ",", "\t", ";"


class Column(NamedTuple):
    """An entry of an observable."""

    text: str
    observable: str
    entry: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of a file. Blank cells are NaN.

    **Attributes:**

    - `clock`: "step" or "time".
    - `times`: (rows,).
    - `columns`, `cells`: the observables, and their values, (rows, columns).
    """

    path: Path
    clock: str
    times: np.ndarray
    columns: tuple[Column, ...]
    cells: np.ndarray

    @property
    def observables(self) -> tuple[str, ...]:
        """The names of the observables, in the order of the columns."""
        return tuple(dict.fromkeys(c.observable for c in self.columns))

    def data(self, sizes: tuple[int, int], items: int) -> dict[str, np.ma.MaskedArray]:
        """Arrays with the times first, without the entries that no column has.

        **Raises:** `ValueError` for a column that is no entry.
        """
        data = {}
        for name in self.observables:
            shape = OBSERVABLES[name].shape(sizes, items)
            values = np.full((len(self.times), *shape), np.nan)
            for column, cells in zip(self.columns, self.cells.T, strict=True):
                if column.observable != name:
                    continue
                inside = len(column.entry) == len(shape) and all(
                    i < n for i, n in zip(column.entry, shape, strict=True)
                )
                if not inside:
                    last = "".join(f"[{n - 1}]" for n in shape)
                    raise ValueError(
                        f"{place(self.path, 1, column.text)} must name an entry of the "
                        f"{name}, at most {name}{last}, but it did not."
                    )
                values[:, *column.entry] = cells
            data[name] = np.ma.masked_invalid(values)
        return data


def place(path: Path, line: int, column: str | None = None) -> str:
    """A place in a file, as messages name it."""
    where = f"{path}, line {line}"
    return where if column is None else f"{where}, column {column!r},"


def read(path: Path) -> Table:
    """The table of a file of comma-separated values (or tabs, or semicolons).

    **Raises:** `ValueError` with the file, the line and the column of a fault.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"`DATA` must be a text file, but {path} was not UTF-8."
        ) from error
    except OSError as error:
        raise ValueError(
            f"`DATA` must be a file that can be read, but {str(path)!r} can't: "
            f"{error.strerror}."
        ) from error
    head = text.lstrip().split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=head.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
    rows = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num, [cell.strip() for cell in row]))
    except csv.Error as error:
        raise ValueError(
            f"{place(path, reader.line_num)} must be CSV: {error}."
        ) from error
    if not rows:
        raise ValueError(f"`DATA` must have a header, but {path} was empty.")
    (line, header), *body = rows
    clock, columns = _header(path, line, header)
    values = np.array([_row(path, i, header, row) for i, row in body])
    if len(body) == 0:
        raise ValueError(f"`DATA` must have rows, but {path} had only a header.")
    lines = [i for i, _ in body]
    _check_times(path, clock, lines, values[:, 0])
    _check_losses(path, lines, columns, values[:, 1:])
    return Table(path, clock, values[:, 0], columns, values[:, 1:])


def _header(path: Path, line: int, header: list[str]) -> tuple[str, tuple[Column, ...]]:
    if header[0] not in CLOCKS:
        raise ValueError(
            f'{place(path, line)} must be a header whose first column is "step" or '
            f'"time", but it began with {header[0]!r}.'
        )
    columns = tuple(_column(path, line, text) for text in header[1:])
    if not columns:
        raise ValueError(
            f"{place(path, line)} must have a column beside the {header[0]}, such as "
            '"loss", but it had none.'
        )
    seen: set[tuple] = set()
    for column in columns:
        if column[1:] in seen:
            raise ValueError(
                f"{place(path, line, column.text)} must be there once, but it was there"
                " twice."
            )
        seen.add(column[1:])
    return header[0], columns


def _column(path: Path, line: int, text: str) -> Column:
    match = NAME.fullmatch(text)
    name = match[1] if match else text
    if match is None or name not in OBSERVABLES:
        near = difflib.get_close_matches(name, OBSERVABLES, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        if "[" in name or "]" in name:
            hint = " (entries are as function[0][1])"
        known = ", ".join(OBSERVABLES)
        raise ValueError(
            f"{place(path, line, text)} must be one of {known}, with the indices of an "
            f"entry from 0 where there are several, but it was not{hint}."
        )
    return Column(text, name, tuple(int(i) for i in re.findall(r"\d+", match[2])))


def _row(path: Path, line: int, header: list[str], row: list[str]) -> list[float]:
    if len(row) != len(header):
        raise ValueError(
            f"{place(path, line)} must have {len(header)} cells as the header, but it "
            f"had {len(row)}."
        )
    return [
        _cell(path, line, name, cell, blank=i > 0)
        for i, (name, cell) in enumerate(zip(header, row, strict=True))
    ]


def _cell(path: Path, line: int, name: str, cell: str, *, blank: bool) -> float:
    if cell == "" and blank:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        allowed = "a finite number" + (" or blank" if blank else "")
        raise ValueError(
            f"{place(path, line, name)} must be {allowed}, but it was {cell!r}."
        )
    return value


def _check_times(path: Path, clock: str, lines: list[int], times: np.ndarray) -> None:
    before = 0.0
    for line, value in zip(lines, times, strict=True):
        if value < before:
            raise ValueError(
                f"{place(path, line, clock)} must be non-negative and not below the row"
                f" before, but it was {value:g} after {before:g}."
                if before > 0
                else f"{place(path, line, clock)} must be non-negative, but it was "
                f"{value:g}."
            )
        before = value


def _check_losses(
    path: Path, lines: list[int], columns: tuple[Column, ...], cells: np.ndarray
) -> None:
    for column, values in zip(columns, cells.T, strict=True):
        bad = values < 0
        if column.observable == "loss" and bad.any():
            i = int(np.argmax(bad))
            raise ValueError(
                f"{place(path, lines[i], column.text)} must be non-negative, but it was"
                f" {values[i]:g}."
            )
