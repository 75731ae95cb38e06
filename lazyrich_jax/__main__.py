"""The command `lazyrich`."""

import argparse
import difflib
import functools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from tqdm import tqdm

from . import __version__
from .figures import FIGURES, reproduce


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "list":
        for name, figure in FIGURES.items():
            print(f"{name}  {figure.TITLE}")
        return 0
    try:
        return _reproduce(options.names, options.out)
    except _UsageError as error:
        print(f"lazyrich: {error}", file=sys.stderr)
        return 2


class _UsageError(Exception):
    """What the user must change."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lazyrich",
        description="Exact learning dynamics of deep linear networks.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="list the figures")
    command = commands.add_parser(
        "reproduce",
        help="write the paper's figures",
        description="Compute figures exactly and by simulation (in double precision), "
        "write each as PNG and PDF with its data (NPZ) and its table (TXT), and print "
        "how far the exact solution and the simulations differ.",
    )
    command.add_argument(
        "names", nargs="*", metavar="NAME", help="figures to write; all by default"
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("figures"),
        metavar="DIR",
        help="where to write (default: %(default)s)",
    )
    return parser


def _reproduce(names: Sequence[str], out: Path) -> int:
    names = list(dict.fromkeys(names)) or list(FIGURES)
    for name in names:
        if name not in FIGURES:
            near = difflib.get_close_matches(name, FIGURES, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            known = ", ".join(FIGURES)
            raise _UsageError(
                f"`NAME` must be one of {known}, but it was {name!r}{hint}."
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _UsageError(
            f"`--out` must be a directory that can be made, but {str(out)!r} can't: "
            f"{error.strerror}."
        ) from error
    if not os.access(out, os.W_OK):
        raise _UsageError(f"`--out` must be writable, but {str(out)!r} is not.")
    jax.config.update("jax_enable_x64", True)
    for name in names:
        start = time.perf_counter()
        track = functools.partial(tqdm, desc=name, unit="start", leave=False)
        table = reproduce(name, out, track)
        seconds = time.perf_counter() - start
        print(f"{name}: {FIGURES[name].TITLE}\n\n{table}\n")
        print(f"{out / name}.png, .pdf, .npz, .txt written in {seconds:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
