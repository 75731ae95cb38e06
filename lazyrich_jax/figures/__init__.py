"""The figures of the paper: `compute(track) -> runs`, `draw(runs) -> Figure`."""

from pathlib import Path

import numpy as np

from . import comparison, figure1, figure2

FIGURES = {"figure1": figure1, "figure2": figure2}


def reproduce(name: str, out: Path, track=iter) -> str:
    """Compute and write one figure: PNG, PDF, NPZ and TXT; returns its table.

    The files are `out/name.*`; `out` must exist. `track` wraps the loop over the
    figure's parts, for a progress bar.
    """
    figure = FIGURES[name]
    runs = figure.compute(track)
    table = comparison.table(runs)
    # compressed: much of the data repeats, such as a kernel that doesn't change
    data = comparison.arrays(runs)
    np.savez_compressed(out / f"{name}.npz", allow_pickle=False, **data)
    drawing = figure.draw(runs)
    drawing.savefig(out / f"{name}.png", dpi=160)
    drawing.savefig(out / f"{name}.pdf")
    (out / f"{name}.txt").write_text(f"{figure.TITLE}\n\n{table}\n")
    return table
