"""The command `lazyrich`."""

import argparse
import contextlib
import difflib
import functools
import io
import json
import math
import multiprocessing
import os
import sys
import webbrowser
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from . import __version__, bench, checkpoints, fitting, sweeps
from ._xla import keep_programs, prepare, use_all_cores
from .figures import FIGURES, Reproduction, reproduce
from .figures.report import write_report
from .sweeps.place import Place, local, place
from .sweeps.spec import EXAMPLE, SpecError, decoded, parse
from .sweeps.store import Store

VECTOR = "pdf", "svg"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # its encoding may lack characters
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        status = _run(options)
        sys.stdout.flush()
        return status
    except (_UsageError, SpecError) as error:
        print(f"lazyrich: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # such as `lazyrich list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(options: argparse.Namespace) -> int:
    if options.command == "list":
        width = max(map(len, FIGURES))
        for name, figure in FIGURES.items():
            print(f"{name:<{width}}  {figure.TITLE} ({figure.SOURCE})")
        return 0
    if options.command == "sweep":
        return _sweep(options)
    if options.command == "show":
        return _show(options.store)
    if options.command == "fit":
        return _fit(options)
    if options.command == "richness":
        return _richness(options)
    if options.command == "bench":
        return _bench(options.out, options.only, options.quick)
    return _reproduce(options)


class _UsageError(Exception):
    """An error that the user must correct."""


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
        help="draw for a paper, with its fonts: 3.35 is a column, 6.9 a page",
    )
    command.add_argument(
        "--show", action="store_true", help="open the report in the browser at the end"
    )
    command = commands.add_parser(
        "sweep",
        help="run a sweep from a file",
        description="Evaluate measures of exact learning over balances, scales and "
        "seeds, as a TOML file specifies, and write them to a zarr store. An "
        "interrupted sweep resumes when it is run again. The status is 1 if every "
        "point failed, and 3 if some points failed.",
    )
    command.add_argument("spec", nargs="?", metavar="SPEC", help="TOML file")
    command.add_argument("--store", metavar="PATH", help="where to write: path or URL")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a value of the file; may be repeated",
    )
    command.add_argument(
        "--resume", action="store_true", help="refuse to start a new store"
    )
    command.add_argument(
        "--allow-failures",
        action="store_true",
        help="status 0 if some points failed, but not all",
    )
    command.add_argument(
        "--example", action="store_true", help="print a commented SPEC and stop"
    )
    command = commands.add_parser("show", help="show the contents of a sweep's store")
    command.add_argument("store", metavar="PATH")
    command = commands.add_parser(
        "fit",
        help="fit the theory to a table of losses",
        description="Fit the balance, the scale and the rate of a network to a CSV "
        "table. Write their values, the numbers that the table leaves open, and the "
        "quality of the fit (report.md, fit.json, fit.png). The first column is "
        '"step" or "time" (learning rate x step). The others are "loss" and entries '
        'of other observables, such as "function[0][1]", "modes[0]", "input '
        'representation[0][0]". A blank cell is a missing value.',
    )
    fitting.add_options(command)
    command = commands.add_parser(
        "richness",
        help="report how rich the training of a model was",
        description="Compare two checkpoints of a model, NPZ files of its arrays: "
        "movement, ranks and balance of the weights, and, with samples, kernels, "
        "features and their change (richness.txt, richness.csv, richness.png).",
    )
    checkpoints.add_options(command)
    command = commands.add_parser(
        "bench",
        help="measure the speed of the exact solution",
        description="Time the exact loss and its gradient beside NumPy, LAPACK, "
        "diffrax and gradient descent, on this machine, in double precision, and write "
        "a table, a plot and the numbers (about eight minutes on two cores).",
    )
    command.add_argument(
        "--out",
        default="benchmarks/results",
        metavar="DIR",
        help="where to write (default: %(default)s)",
    )
    command.add_argument(
        "--only",
        nargs="+",
        choices=bench.GROUPS,
        default=bench.GROUPS,
        metavar="GROUP",
        help=f"some of {', '.join(bench.GROUPS)} (default: all; losses per second of "
        "many networks in one call are always measured)",
    )
    command.add_argument(
        "--quick",
        action="store_true",
        help="fewer networks and sizes",
    )
    return parser


@contextlib.contextmanager
def _usage() -> Iterator[None]:
    """Turn errors of the user's input into a message without a traceback."""
    try:
        yield
    except (SpecError, _UsageError):
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
        raise _UsageError(text or str(error) or type(error).__name__) from error


def _bench(out: str, only: Collection[str], quick: bool) -> int:
    folder = _directory(out)
    jax.config.update("jax_enable_x64", True)
    bench.run(folder, only=only, quick=quick)
    print(f"Written to {folder}")
    return 0


def _sweep(options: argparse.Namespace) -> int:
    if options.example:
        print(EXAMPLE, end="")
        return 0
    for name, value in (("SPEC", options.spec), ("--store", options.store)):
        if value is None:
            raise _UsageError(
                f"`{name}` must be given, but it was not; `lazyrich sweep --example` "
                "prints a SPEC to start from."
            )
    with _usage():
        path, store = local("SPEC", options.spec), place("--store", options.store)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _UsageError(
            f"`SPEC` must be a file that can be read, but {str(path)!r} can't: "
            f"{error.strerror}."
        ) from error
    spec = parse(decoded(raw), options.set)
    with _usage():
        if options.resume and not Store.exists(store):
            raise _UsageError(
                f"`--store` must be there to resume, but {str(store)!r} is not."
            )
        jax.config.update("jax_enable_x64", spec.dtype == "float64")
        keep_programs()
        use_all_cores()
        fn, grid, settings = spec.build()
        print(f"{grid} -> {store}")
        data = sweeps.run(fn, grid, store=store, **settings)
        succeeded = sweeps.succeeded(data).values
    if succeeded.all() or (succeeded.any() and options.allow_failures):
        return 0
    failed = int(succeeded.size - succeeded.sum())
    reason = data.attrs.get("error", "their results were NaN.")
    hint = "; `--allow-failures` allows it" if succeeded.any() else ""
    print(
        f"lazyrich: {failed} of {succeeded.size} points failed{hint}. "
        f"The first error: {reason}",
        file=sys.stderr,
    )
    return 3 if succeeded.any() else 1


def _fit(options: argparse.Namespace) -> int:
    jax.config.update("jax_enable_x64", True)
    with _usage():
        data = local("DATA", options.data)
        found = fitting.prepare(options, data)
    out = _directory(options.out)
    keep_programs()
    with _usage():
        print(fitting.run(found, out))
    files = ", ".join(str(out / name) for name in fitting.FILES)
    print(f"\n{files} written")
    return 0


def _richness(options: argparse.Namespace) -> int:
    jax.config.update("jax_enable_x64", True)
    with _usage():
        start, end = local("START", options.start), local("END", options.end)
        found = checkpoints.prepare(options, start, end)
    out = _directory(options.out)
    keep_programs()
    with _usage():
        print(checkpoints.run(found, out))
    files = ", ".join(str(out / name) for name in checkpoints.FILES)
    print(f"\n{files} written")
    return 0


def _show(path: str) -> int:
    with _usage():
        store: Place = place("PATH", path)
        data = sweeps.load(store)
        sizes = ", ".join(f"{k} {n}" for k, n in data.sizes.items())
        print(f"{store}: {sizes}")
        for name, text in json.loads(data.attrs["sweep"]).items():
            if name.startswith(("coordinate", "output")):
                print(f"  {name}: {text}")
        versions = json.loads(data.attrs["versions"]).items()
        text = ", ".join(f"{k} {v}" for k, v in versions)
        print(f"  {data.attrs['dtype']} on {data.attrs['device']}; {text}")
        print(f"  {sweeps.summary(data.status.values, data.attrs.get('error'))}")
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
            raise _UsageError(
                f"`NAME` must be one of {known}, but it was {name!r}{hint}."
            )
    out = _directory(options.out)
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


def _directory(given: str) -> Path:
    with _usage():
        out = local("--out", given)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _UsageError(
            f"`--out` must be a directory that can be made, but {str(out)!r} can't: "
            f"{error.strerror}."
        ) from error
    if not os.access(out, os.W_OK):
        raise _UsageError(f"`--out` must be writable, but {str(out)!r} is not.")
    return out


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


if __name__ == "__main__":
    sys.exit(main())
