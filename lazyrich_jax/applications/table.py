"""Results as small tables."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .._checks import is_concrete
from .._trajectory import describe


def table(
    outcome: Any,
    batch: tuple[int, ...],
    what: str,
    columns: Callable[[], Mapping[str, Iterable[Any]]],
) -> str:
    """A result as a headline, columns of equal length by name, and its outcome.

    Batches and traced results have only the headline.
    """
    of_batch = f" x {batch}" if batch else ""
    head = f"{type(outcome).__name__}{of_batch} {what}"
    if not is_concrete(outcome):
        return f"{head} (traced)"
    if batch:
        return head
    cells = [[name, *map(_cell, values)] for name, values in columns().items()]
    widths = [max(map(len, column)) for column in cells]
    rows = [
        "  " + "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True))
        for row in zip(*cells, strict=True)
    ]
    return "\n".join([head, *rows, f"  result: {describe(outcome.result)}"])


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else f"{float(value):.4g}"
