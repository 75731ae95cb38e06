"""All figures by name, and `reproduce`, which computes and writes one."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..plot.style import style
from . import (
    aligned_modes,
    balance,
    braun1,
    braun2,
    braun3,
    braun5,
    braun6,
    continual,
    convergence_time,
    descent_accuracy,
    design,
    edge_of_stability,
    figure1,
    figure2,
    figure3,
    figure4,
    figure5,
    figure6,
    identifiability,
    kunin2,
    kunin4,
    kunin7,
    kunin8,
    nonlinear_balance,
    phase_diagram,
    real_networks,
    reductions,
    weight_decay,
    wide,
)
from .record import Difference, table
from .style import thinned

FIGURES = {
    "figure1": figure1,
    "figure2": figure2,
    "figure3": figure3,
    "figure4": figure4,
    "figure5": figure5,
    "figure6": figure6,
    "phase_diagram": phase_diagram,
    "wide": wide,
    "weight_decay": weight_decay,
    "identifiability": identifiability,
    "design": design,
    "reductions": reductions,
    "aligned_modes": aligned_modes,
    "balance": balance,
    "descent_accuracy": descent_accuracy,
    "edge_of_stability": edge_of_stability,
    "nonlinear_balance": nonlinear_balance,
    "real_networks": real_networks,
    "continual": continual,
    "convergence_time": convergence_time,
    "braun1": braun1,
    "braun2": braun2,
    "braun3": braun3,
    "braun5": braun5,
    "braun6": braun6,
    "kunin2": kunin2,
    "kunin4": kunin4,
    "kunin7": kunin7,
    "kunin8": kunin8,
}


class Reproduction(NamedTuple):
    """A computed and written figure."""

    name: str
    settings: Any
    differences: Sequence[Difference]
    seconds: float

    @property
    def text(self) -> str:
        """The caption, and the differences of theory and simulation."""
        figure = FIGURES[self.name]
        head = f"{figure.TITLE} ({figure.SOURCE})"
        return f"{head}\n\n{figure.caption(self.settings)}\n\n{table(self.differences)}"


def reproduce(
    name: str,
    out: Path,
    *,
    quick: bool = False,
    formats: Sequence[str] = ("pdf",),
    width: float | None = None,
    track=iter,
) -> Reproduction:
    """Compute one figure, and write it: PNG, vector graphics, NPZ and TXT.

    The files are `out/name.*`; `out` must exist. `quick` takes coarser settings;
    `formats` names the vector graphics; a `width` in inches draws the figure inside
    `plot.style`, with fonts as small as its panels need; `track` wraps the figure's
    longest loop, for a progress bar.
    """
    start = time.perf_counter()
    figure = FIGURES[name]
    settings = figure.QUICK if quick else figure.FULL
    record = figure.compute(settings, track)
    # Compressed, since much of the data repeats, such as a constant kernel.
    np.savez_compressed(out / f"{name}.npz", allow_pickle=False, **record.data)
    with np.load(out / f"{name}.npz") as data:
        loaded = dict(data)
    with contextlib.nullcontext() if width is None else style(width):
        drawing = figure.draw(loaded)
        if width is not None:
            thinned(drawing)
        drawing.savefig(out / f"{name}.png", dpi=160 if width is None else 300)
        for ending in formats:
            drawing.savefig(out / f"{name}.{ending}")
    seconds = time.perf_counter() - start
    done = Reproduction(name, settings, record.differences, seconds)
    (out / f"{name}.txt").write_text(f"{done.text}\n", encoding="utf-8")
    return done
