"""`lazyrich list` and `lazyrich reproduce`: the figures."""

import argparse
import contextlib
import difflib
import functools
import math
import multiprocessing
import os
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from .._xla import prepare
from ..figures import FIGURES, Reproduction, reproduce
from ..figures.report import write_report
from .usage import UsageError, directory

VECTOR = "pdf", "svg"


def add(commands: Any) -> None:
    """Add both commands."""
    command = commands.add_parser("list", help="list the figures")
    command.set_defaults(run=_list)
    command = commands.add_parser(
        "reproduce",
        help="write the paper's figures",
        description="Compute figures exactly and by simulation (in double precision), "
        "write each as PNG and PDF or SVG with its data (NPZ) and its caption (TXT), "
        "and all of them as one report (report.html). The status is 1 if theory and "
        "simulation differ by more than their bound.",
    )
    command.add_argument(
        "names", nargs="*", metavar="NAME", help="figures to write; all by default"
    )
    command.add_argument(
        "--out",
        default="figures",
        metavar="DIR",
        help="where to write (default: %(default)s)",
    )
    command.add_argument(
        "--quick", action="store_true", help="coarser settings, for a first look"
    )
    command.add_argument(
        "--format",
        dest="formats",
        action="append",
        choices=VECTOR,
        metavar="FORMAT",
        help=f"vector graphics beside the PNG, one of {', '.join(VECTOR)}; may be "
        "repeated (default: pdf)",
    )
    command.add_argument(
        "--width",
        type=_inches,
        metavar="INCHES",
        help="draw for a paper: 6.9 is a page, 3.35 a column; fonts shrink where the "
        "panels need room, in a column below what can be read",
    )
    command.add_argument(
        "--show", action="store_true", help="open the report in the browser at the end"
    )
    command.set_defaults(run=_reproduce)


def _list(_: argparse.Namespace) -> int:
    width = max(map(len, FIGURES))
    for name, figure in FIGURES.items():
        print(f"{name:<{width}}  {figure.TITLE} ({figure.SOURCE})")
    return 0


def _inches(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"must be a positive number of inches, but it was {text!r}"
    )


def _reproduce(options: argparse.Namespace) -> int:
    names = list(dict.fromkeys(options.names)) or list(FIGURES)
    formats = tuple(dict.fromkeys(options.formats or ["pdf"]))
    settings = {"quick": options.quick, "formats": formats, "width": options.width}
    for name in names:
        if name not in FIGURES:
            near = difflib.get_close_matches(name, FIGURES, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            known = ", ".join(FIGURES)
            raise UsageError(
                f"`NAME` must be one of {known}, but it was {name!r}{hint}."
            )
    out = directory(options.out)
    done = []
    for one in _computed(names, out, settings):
        done.append(one)
        print(f"{one.name}: {one.text}\n")
        endings = "".join(f", .{name}" for name in (*formats, "npz", "txt"))
        files = f"{out / one.name}.png{endings}"
        print(f"{files} written in {one.seconds:.0f} s\n", flush=True)
        write_report(out / "report.html", done, out)
    page = out / "report.html"
    print(f"All of it in one page: {page}")
    if options.show and not webbrowser.open(page.resolve().as_uri()):
        print("lazyrich: no browser was found to show the page.", file=sys.stderr)
    far = [d for one in done for d in one.differences if not d.ok]
    if far:
        print(f"lazyrich: {len(far)} differences were too large.", file=sys.stderr)
    return 1 if far else 0


def _computed(
    names: Sequence[str], out: Path, settings: dict[str, Any]
) -> Iterator[Reproduction]:
    """The figures in order; a CPU computes several at a time."""
    prepare()
    workers = min(len(names), os.cpu_count() or 1, 4)
    if workers == 1 or jax.default_backend() != "cpu":
        for name in names:
            track = functools.partial(tqdm, desc=name, leave=False)
            yield reproduce(name, out, track=track, **settings)
        return
    # XLA's batched decompositions can wait for ever in a small pool of threads.
    os.environ.setdefault("NPROC", "4")
    # Most of the time is spent compiling, which uses one core.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, prepare) as pool:
        futures = [pool.submit(reproduce, name, out, **settings) for name in names]
        try:
            for future in tqdm(futures, desc="figures", leave=False):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
