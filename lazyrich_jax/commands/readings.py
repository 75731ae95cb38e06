"""`lazyrich fit` and `lazyrich richness`: readings of data, written to a folder."""

import argparse
from typing import Any

import jax

from .. import checkpoints, fitting
from .._xla import compile_quickly, keep_programs
from ..sweeps.place import local
from .usage import directory, usage


def add(commands: Any) -> None:
    """Add both commands."""
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
    command.set_defaults(run=_fit)
    command = commands.add_parser(
        "richness",
        help="report how rich the training of a model was",
        description="Compare two checkpoints of a model, NPZ files of its arrays: "
        "movement, ranks and balance of the weights, and, with samples, kernels, "
        "features and their change (richness.txt, richness.csv, richness.png).",
    )
    checkpoints.add_options(command)
    command.set_defaults(run=_richness)


def _fit(options: argparse.Namespace) -> int:
    return _written(fitting, options, "DATA")


def _richness(options: argparse.Namespace) -> int:
    return _written(checkpoints, options, "START", "END")


def _written(work: Any, options: argparse.Namespace, *files: str) -> int:
    """Read the files, ask `work`, print its answer and write its files."""
    compile_quickly()
    jax.config.update("jax_enable_x64", True)
    with usage():
        paths = [local(name, getattr(options, name.lower())) for name in files]
        found = work.prepare(options, *paths)
    out = directory(options.out)
    keep_programs()
    with usage():
        print(work.run(found, out))
    print(f"\n{', '.join(str(out / name) for name in work.FILES)} written")
    return 0
