"""`lazyrich bench`: the speed of the exact solution on this machine."""

import argparse
from typing import Any

import jax

from .. import bench
from .usage import directory


def add(commands: Any) -> None:
    """Add the command."""
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
    command.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> int:
    folder = directory(options.out)
    jax.config.update("jax_enable_x64", True)
    bench.run(folder, only=options.only, quick=options.quick)
    print(f"Written to {folder}")
    return 0
