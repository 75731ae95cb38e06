"""Arrays by name in a .npz file.

In: a path, and arrays by their names. Out: the file, or its arrays. Pickled objects are
neither written nor read.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np


def write(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Write a file in place of an earlier one, which stays if it is interrupted."""
    partial = Path(f"{os.fspath(path)}.partial")
    with partial.open("wb") as file:
        np.savez(file, **content)
    os.replace(partial, path)


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a file by their names; nothing for a file of another kind."""
    try:
        with np.load(path) as file:
            return dict(file)
    except (ValueError, TypeError, EOFError, BadZipFile):  # TypeError: one array
        return {}
