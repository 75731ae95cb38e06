"""Curves over training, simulated (coloured) and exact (dotted)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .record import Data
from .style import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NTK_SHOWN = 5  # width of the drawn corner of the kernel
COLUMNS = {
    "loss": "loss",
    "function": r"$W_2 W_1$",
    "input_representation": r"$W_1^\top W_1$",
    "output_representation": r"$W_2 W_2^\top$",
    "ntk": "NTK",
}


def draw_entries(
    ax: "Axes", x: np.ndarray, simulated: np.ndarray, exact: np.ndarray
) -> None:
    """Draw a line for every entry of matrices over time, or for a scalar."""
    simulated, exact = (values.reshape(len(x), -1) for values in (simulated, exact))
    for i, curve in enumerate(simulated.T):
        ax.plot(x, curve, color=COLOURS[i % len(COLOURS)], lw=2)
    ax.plot(x, exact, "k:", lw=1.2)


def draw_quantities(axes: np.ndarray, data: Data, labels: Sequence[str]) -> None:
    """Draw a labelled row for every start and a column for every quantity.

    The data of start i are `i/descent/...` and `i/exact/...`, over `steps`.
    """
    # A logarithmic axis can't show step 0.
    steps = data["steps"][1:]
    for i, (row, label) in enumerate(zip(axes, labels, strict=True)):
        for ax, name in zip(row, COLUMNS, strict=True):
            shown = np.s_[1:, :NTK_SHOWN, :NTK_SHOWN] if name == "ntk" else np.s_[1:]
            pair = (data[f"{i}/{law}/{name}"][shown] for law in ("descent", "exact"))
            draw_entries(ax, steps, *pair)
            ax.set_xscale("log")
        row[0].set_ylabel(label)
    for ax, title in zip(axes[0], COLUMNS.values(), strict=True):
        ax.set_title(title)
    for ax in axes[-1]:
        ax.set_xlabel("training step")


def draw_losses_of_tasks(
    ax: "Axes",
    steps: np.ndarray,
    training: np.ndarray,
    simulated: np.ndarray,
    exact: np.ndarray,
) -> None:
    """Draw the loss on every task (columns), thick while that task is trained."""
    for i, curve in enumerate(simulated.T):
        ax.plot(steps, curve, color=COLOURS[i], lw=1.5)
        own = np.where(training == i, curve, np.nan)
        ax.plot(steps, own, color=COLOURS[i], lw=4, label=f"task {i + 1}")
    ax.plot(steps, exact, "k:", lw=1.1)
    ax.set(xlabel="training step", ylabel="loss")
