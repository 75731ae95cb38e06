"""`lazyrich sweep` and `lazyrich show`: sweeps from files, and their stores."""

import argparse
import json
import sys
from typing import Any

import jax

from .. import sweeps
from .._xla import compile_quickly, keep_programs, make_room_for_all_cores
from ..sweeps.place import Place, local, place
from ..sweeps.spec import EXAMPLE, decoded, parse
from ..sweeps.store import Store
from .usage import UsageError, usage


def add(commands: Any) -> None:
    """Add both commands."""
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
    command.set_defaults(run=_sweep)
    command = commands.add_parser("show", help="show the contents of a sweep's store")
    command.add_argument("store", metavar="PATH")
    command.set_defaults(run=_show)


def _sweep(options: argparse.Namespace) -> int:
    if options.example:
        print(EXAMPLE, end="")
        return 0
    for name, value in (("SPEC", options.spec), ("--store", options.store)):
        if value is None:
            raise UsageError(
                f"`{name}` must be given, but it was not; `lazyrich sweep --example` "
                "prints a SPEC to start from."
            )
    with usage():
        path, store = local("SPEC", options.spec), place("--store", options.store)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"`SPEC` must be a file that can be read, but {str(path)!r} can't: "
            f"{error.strerror}."
        ) from error
    spec = parse(decoded(raw), options.set)
    with usage():
        if options.resume and not Store.exists(store):
            raise UsageError(
                f"`--store` must be there to resume, but {str(store)!r} is not."
            )
        jax.config.update("jax_enable_x64", spec.dtype == "float64")
        compile_quickly()
        keep_programs()
        make_room_for_all_cores()
        fn, grid, settings = spec.build()
        print(f"{grid} -> {store}")
        data = sweeps.run(fn, grid, store=store, **settings)
        succeeded = sweeps.succeeded(data).values
    if succeeded.all() or (succeeded.any() and options.allow_failures):
        return 0
    failed = int(succeeded.size - succeeded.sum())
    # The summary has the first error, if there was one.
    reason = "" if "error" in data.attrs else " Their results were NaN."
    hint = "; `--allow-failures` allows it" if succeeded.any() else ""
    print(
        f"lazyrich: {failed} of {succeeded.size} points failed{hint}.{reason}",
        file=sys.stderr,
    )
    return 3 if succeeded.any() else 1


def _show(options: argparse.Namespace) -> int:
    with usage():
        store: Place = place("PATH", options.store)
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
