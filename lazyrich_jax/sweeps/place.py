"""Places of files: paths on this machine, and URLs that fsspec opens."""

import os
import pathlib
import re
from typing import Any

from .. import _checks

Place = pathlib.Path | str  # a string is a URL

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})")
_URL = re.compile(r"([a-z][a-z0-9+.-]+)(://|::)", re.IGNORECASE)


def place(name: str, value: Any) -> Place:
    """`value` with `~` and `$VARIABLE` expanded: an absolute path, or a URL.

    **Raises:** `ValueError` for unknown users and variables, and for a URL that fsspec
    can't open.
    """
    _checks.require(
        isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str),
        f"`{name}` must be a path, but it was {value!r}.",
    )
    text = os.fspath(value)
    _checks.require(text != "", f"`{name}` must be a path, but it was empty.")
    for match in _VARIABLE.finditer(text):
        _checks.require(
            (match[1] or match[2]) in os.environ,
            f"`{name}` must have variables that are set, but {match[0]} in {text!r} "
            "was not.",
        )
    text = os.path.expanduser(os.path.expandvars(text))
    _checks.require(
        not text.startswith("~"),
        f"`{name}` must begin with a user that is known, but it was {text!r}; a "
        "folder of that name is './~...'.",
    )
    url = _URL.match(text)
    if url and url[1].lower() in ("file", "local") and url[2] == "://":
        text, url = text[url.end() :], None
    if url:
        _openable(name, text)
        return text
    _checks.require(
        not re.match(r"[a-z][a-z0-9+.-]+:/", text, re.IGNORECASE),
        f"`{name}` must be a string with two slashes where it is a URL, but it was "
        f"{text!r} (`pathlib.Path` takes one away); a folder of that name is './...'.",
    )
    return pathlib.Path(text).absolute()


def local(name: str, value: Any) -> pathlib.Path:
    """`value` as a path; URLs are refused."""
    result = place(name, value)
    if isinstance(result, str):
        raise ValueError(
            f"`{name}` must be a path of this machine, but it was the URL {result!r}."
        )
    return result


def _openable(name: str, url: str) -> None:
    """Refuse a URL that fsspec, or its package for this protocol, can't open."""
    try:
        import fsspec.core  # pyright: ignore (it need not be there)
    except ImportError as error:
        raise ValueError(
            f"`{name}` must be a path of this machine while fsspec is not installed, "
            f"but it was the URL {url!r}: `pip install fsspec`, with its package for "
            "this protocol."
        ) from error
    try:
        fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be a URL that fsspec can open, but it was {url!r} "
            f"({error})."
        ) from error
