"""The results of a figure: its data, and the differences of theory and simulation.

A figure is a module with

- `TITLE` and `SOURCE`: the title, and the figure and paper that it reproduces;
- `Settings`, a named tuple of all parameters; `FULL`, the source's parameters, and
  `QUICK`, coarser ones;
- `compute(settings, track) -> Record`: `track` wraps its longest loop, for a progress
  bar;
- `draw(data) -> Figure`: from the data alone, so that the data file draws it again;
- `caption(settings) -> str`: a description of the panels, with all parameters, and the
  choice where text and code of the source disagree.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Real

Data = Mapping[str, np.ndarray]


class Difference(NamedTuple):
    """The relative difference of a result by two methods, and its bound.

    Against descent there may be a second one: of the solution corrected for finite
    steps, `NearlyExact(learning_rate=...)`. It must not be the larger one.
    """

    what: str
    against: str
    value: float
    bound: float
    corrected: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the differences are within their bound (NaN is not)."""
        most = min(self.bound, max(self.value, ROUNDING))
        corrected = 0.0 if self.corrected is None else self.corrected
        return self.value <= self.bound and corrected <= most

    @property
    def cells(self) -> tuple[str, ...]:
        """A row of a table under `HEAD`."""
        corrected = "-" if self.against == "descent" else ""
        if self.corrected is not None:
            corrected = f"{self.corrected:.1e}"
        return (
            self.what,
            self.against,
            f"{self.value:.1e}",
            f"{self.bound:.0e}",
            corrected,
        )


ROUNDING = 1e-8  # of the corrected solution, which is integrated
HEAD = ("quantity", "exact against", "difference", "at most", "corrected")


def against_descent(
    what: str,
    exact: Real[ArrayLike, "..."],
    descent: Real[ArrayLike, "..."],
    corrected: Real[ArrayLike, "..."],
    bound: float,
) -> Difference:
    """The difference of a result by theory and by descent, and the corrected one.

    A corrected result with NaN was refused (`comparison.Corrected`): it has none.
    """
    value, second = (difference(x, descent) for x in (exact, corrected))
    return Difference(
        what, "descent", value, bound, None if np.isnan(second) else second
    )


class Record(NamedTuple):
    """The data of a figure and its differences."""

    data: Data
    differences: Sequence[Difference]


def difference(a: Real[ArrayLike, "..."], b: Real[ArrayLike, "..."]) -> float:
    """The largest distance of `a` and `b` over the first axis, relative to `b`.

    Norms are taken over all other axes. 0.01 means one percent of the largest norm of
    `b`.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise ValueError(f"shapes must be equal, but were {a.shape} and {b.shape}")
    flat_a, flat_b = (x.reshape(len(x), -1) for x in (a, b))
    distance = np.linalg.norm(flat_a - flat_b, axis=1)
    return float(distance.max() / np.linalg.norm(flat_b, axis=1).max())


def table(differences: Sequence[Difference]) -> str:
    """The differences as a text table."""
    rows = [(*HEAD, "")]
    rows += [(*d.cells, "" if d.ok else "<- too large") for d in differences]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:]])
