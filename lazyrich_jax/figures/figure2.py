"""Figure 2: the exact solution of lambda-balanced networks beside the simulation."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from .._init import LambdaBalanced
from .._task import Task
from . import comparison
from .style import COLOURS, law_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Loss, function, representations and NTK, exact and simulated (3-3-3 network)"
LEARNING_RATE = 2e-4
STEPS = 50_000
SIZE, SAMPLES = 3, 10
LMDAS = -50.0, 0.01, 50.0
NTK_SHOWN = 5  # a corner of the kernel, SIZE * SAMPLES wide

COLUMNS = (
    ("loss", "loss"),
    ("function", r"$W_2 W_1$"),
    ("input_representation", r"$W_1^\top W_1$"),
    ("output_representation", r"$W_2 W_2^\top$"),
    ("ntk", "NTK"),
)


def compute(track=iter) -> list[comparison.Run]:
    """Every lambda, learned by every law; `track` wraps the loop over them."""
    task_key, key = jax.random.split(jax.random.key(6))
    task = Task.random_regression(SIZE, SIZE, SAMPLES, key=task_key)
    steps = comparison.steps_to(STEPS)
    return [
        comparison.run(
            f"lambda = {lmda:g}",
            LambdaBalanced(lmda)(SIZE, SIZE, SIZE, key=key),
            task,
            steps,
            LEARNING_RATE,
        )
        for lmda in track(LMDAS)
    ]


def draw(runs: list[comparison.Run]) -> "Figure":
    """A row for every lambda, a column for every quantity, a line for every entry."""
    figure = new_figure(13.0, 6.5)
    axes = figure.subplots(len(runs), len(COLUMNS), sharex=True, squeeze=False)
    for ax, (_, title) in zip(axes[0], COLUMNS, strict=True):
        ax.set_title(title)
    for ax in axes[-1]:
        ax.set_xlabel("training step")
    for row, run, lmda in zip(axes, runs, LMDAS, strict=True):
        for ax, (name, _) in zip(row, COLUMNS, strict=True):
            # Step 0 has no place on a logarithmic axis.
            simulated, exact = (
                _lines(run, law, name)[1:] for law in ("descent", "exact")
            )
            for i, curve in enumerate(simulated.T):
                ax.plot(run.steps[1:], curve, color=COLOURS[i % len(COLOURS)], lw=2)
            ax.plot(run.steps[1:], exact, "k:", lw=1.2)
            ax.set_xscale("log")
        row[0].set_ylabel(rf"$\lambda = {lmda:g}$")
    law_legend(figure)
    return figure


def _lines(run: comparison.Run, law: str, name: str) -> np.ndarray:
    """The curves of a quantity as columns: its entries, or a corner of the kernel."""
    values = run.values[law][name]
    if name == "ntk":
        values = values[:, :NTK_SHOWN, :NTK_SHOWN]
    return values.reshape(len(values), -1)
