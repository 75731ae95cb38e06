"""Reports on two checkpoints: the work of `lazyrich richness`."""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .plot.reports import figure_of
from .richness import Chain, Report, report
from .richness.chain import ACTIVATIONS

FILES = "richness.txt", "richness.csv", "richness.png"


class Checkpoints(NamedTuple):
    """The arrays of two checkpoints, and samples with targets, if any."""

    start: dict[str, np.ndarray]
    end: dict[str, np.ndarray]
    x: np.ndarray | None
    y: np.ndarray | None
    apply: Chain | None
    layout: str | None
    channels: str | None
    samples: int


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the report."""
    for name in ("start", "end"):
        command.add_argument(
            name,
            metavar=name.upper(),
            help=f"the weights at the {name} of training: NPZ file, an array per "
            "parameter, such as np.savez(path, **{k: v.numpy() for k, v in "
            "model.state_dict().items()})",
        )
    command.add_argument(
        "--data",
        metavar="FILE",
        help="samples: NPZ file of x (samples, in) and, if known, y (targets, or a "
        "class per sample); without it the report is about the weights alone",
    )
    command.add_argument(
        "--activation",
        choices=tuple(ACTIVATIONS),
        help="of the hidden layers, for models of dense layers; needed with --data",
    )
    command.add_argument(
        "--layout",
        choices=("out_in", "in_out"),
        help="of arrays whose names tell no framework: axes of a weight",
    )
    command.add_argument(
        "--channels",
        choices=("first", "last"),
        help="of a flattened convolution that a dense layer follows",
    )
    command.add_argument(
        "--samples",
        type=int,
        default=300,
        metavar="N",
        help="at most so many samples are drawn (default: %(default)s)",
    )
    command.add_argument(
        "--out",
        metavar="DIR",
        default="richness",
        help="where to write (default: %(default)s)",
    )


def prepare(options: argparse.Namespace, start: Path, end: Path) -> Checkpoints:
    """The arrays that the options name.

    **Raises:** `ValueError` for files that can't be read, and options that don't fit.
    """
    given = options.data is not None, options.activation is not None
    if given[0] != given[1]:
        raise ValueError(
            "`--data` and `--activation` must be given together, but only "
            f"`{'--data' if given[0] else '--activation'}` was."
        )
    data = _arrays("--data", Path(options.data)) if given[0] else {}
    if given[0] and "x" not in data:
        raise ValueError(
            "`--data` must be an NPZ file of x (and y), but it had "
            f"{', '.join(data) or 'no arrays'}."
        )
    chain = Chain(options.activation, layout=options.layout) if given[1] else None
    return Checkpoints(
        _arrays("START", start),
        _arrays("END", end),
        data.get("x"),
        data.get("y"),
        chain,
        None if given[0] else options.layout,
        options.channels,
        options.samples,
    )


def run(found: Checkpoints, out: Path) -> Report:
    """Report on two checkpoints, and write the report into the folder `out`.

    **Raises:** as `lazyrich_jax.richness.report`.
    """
    made = report(
        found.start,
        found.end,
        found.x,
        found.y,
        apply=found.apply,
        samples=found.samples,
        layout=found.layout,
        channels=found.channels,
    )
    text, table, picture = (out / name for name in FILES)
    text.write_text(f"{made}\n", encoding="utf-8")
    made.to_pandas().to_csv(table, index=False)
    figure_of(made).savefig(picture, dpi=160, bbox_inches="tight")
    return made


def _arrays(name: str, path: Path) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file."""
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("it holds one array without a name")
        with file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"`{name}` must be an NPZ file of arrays, but {str(path)!r} is not: "
            f"{reason}."
        ) from error
