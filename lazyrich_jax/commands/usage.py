"""Errors that the user of a command must correct."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..sweeps.place import local
from ..sweeps.spec import SpecError


class UsageError(Exception):
    """An error that the user must correct."""


@contextlib.contextmanager
def usage() -> Iterator[None]:
    """Turn errors of the user's input into a message without a traceback."""
    try:
        yield
    except (SpecError, UsageError):
        raise
    except (
        ValueError,
        TypeError,
        ArithmeticError,
        RuntimeError,
        MemoryError,
        OSError,
    ) as error:
        text = None
        if isinstance(error, OSError) and error.filename is None:
            text = error.strerror  # without its number
        raise UsageError(text or str(error) or type(error).__name__) from error


def directory(given: str) -> Path:
    """The folder that `--out` names, made if it is not there."""
    with usage():
        out = local("--out", given)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"`--out` must be a directory that can be made, but {str(out)!r} can't: "
            f"{error.strerror}."
        ) from error
    if not os.access(out, os.W_OK):
        raise UsageError(f"`--out` must be writable, but {str(out)!r} is not.")
    return out
