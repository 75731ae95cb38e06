"""A result as a small table."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from .._trajectory import RESULTS


def table(head: str, columns: Mapping[str, Iterable[Any]], result: RESULTS) -> str:
    """`head`, equally long `columns` under their names, and how learning ended."""
    cells = [[name, *map(_cell, values)] for name, values in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    rows = [
        "  " + "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True))
        for row in zip(*cells, strict=True)
    ]
    return "\n".join([head, *rows, f"  result: {_outcome(result)}"])


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else f"{float(value):.4g}"


def _outcome(result: RESULTS) -> str:
    failed = np.asarray(jax.device_get(result != RESULTS.successful))
    if not failed.any():
        return "successful"
    if failed.ndim == 0:
        return RESULTS[result]
    return f"{int(failed.sum())} of {failed.size} failed"
