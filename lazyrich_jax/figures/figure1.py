"""Figure 1: a minimal model of the rich and lazy regimes."""

import itertools
from typing import TYPE_CHECKING

import jax
import numpy as np

from .._init import LambdaBalanced
from .._task import Task
from . import comparison
from .style import COLOURS, law_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "A minimal model of the rich and lazy regimes (3-2-2 network)"
LEARNING_RATE = 2e-4
STEPS = 25_000
SIZES = 3, 2, 2
SAMPLES, TARGET_SCALE, VARIANCE = 10, 10.0, 1e-5
LMDAS = 0.0, 20.0, -20.0
SHOWN = 3  # samples whose outputs are drawn


def compute(track=iter) -> list[comparison.Run]:
    """The three starts, learned by every law; `track` wraps the loop over them."""
    task_key, key = jax.random.split(jax.random.key(1))
    task = Task.random_regression(
        SIZES[0], SIZES[-1], SAMPLES, target_scale=TARGET_SCALE, key=task_key
    )
    runs = []
    for lmda in track(LMDAS):
        network = LambdaBalanced(lmda, VARIANCE**0.5)(*SIZES, key=key)
        label = f"lambda = {lmda:g}"
        steps = comparison.steps_to(STEPS)
        run = comparison.run(label, network, task, steps, LEARNING_RATE)
        for values in run.values.values():
            values["output"] = values["function"] @ np.asarray(task.x).T
        runs.append(run)
    return runs


def draw(runs: list[comparison.Run]) -> "Figure":
    """The network, then its outputs and loss over training from every start."""
    figure = new_figure(11.5, 5.2)
    grid = figure.add_gridspec(2, 4, width_ratios=(0.8, 1, 1, 1), height_ratios=(3, 2))
    _draw_network(figure.add_subplot(grid[:, 0]))
    regimes = {0: "rich", 1: "lazy", -1: "delayed rich"}
    outputs = losses = None
    for column, (run, lmda) in enumerate(zip(runs, LMDAS, strict=True), start=1):
        outputs = figure.add_subplot(grid[0, column], sharey=outputs)
        losses = figure.add_subplot(grid[1, column], sharex=outputs, sharey=losses)
        start = rf", variance $10^{{{np.log10(VARIANCE):.0f}}}$" if lmda == 0 else ""
        outputs.set_title(
            rf"$\lambda = {lmda:g}$" + start + f": {regimes[int(np.sign(lmda))]}"
        )
        outputs.tick_params(labelbottom=False)
        exact, descent = (run.values[law] for law in ("exact", "descent"))
        # Step 0 has no place on a logarithmic axis.
        steps = run.steps[1:]
        for output in range(SIZES[-1]):
            for sample in range(SHOWN):
                colour = COLOURS[1 + output * SHOWN + sample]
                curve = descent["output"][1:, output, sample]
                outputs.plot(steps, curve, color=colour, lw=2)
                curve = exact["output"][1:, output, sample]
                outputs.plot(steps, curve, "k:", lw=1.3)
        losses.plot(steps, descent["loss"][1:], color=COLOURS[0], lw=2)
        losses.plot(steps, exact["loss"][1:], "k:", lw=1.3)
        losses.set(xscale="log", xlabel="training step")
        if column == 1:
            outputs.set_ylabel("network output")
            losses.set_ylabel("loss")
        else:
            outputs.tick_params(labelleft=False)
            losses.tick_params(labelleft=False)
    law_legend(figure)
    return figure


def _draw_network(axes: "Axes") -> None:
    axes.set(xlim=(-0.6, 2.6), ylim=(-1.7, 1.7), aspect="equal")
    axes.axis("off")
    places = [
        [(layer, y) for y in np.linspace(1, -1, size) * (size - 1) / 2]
        for layer, size in enumerate(SIZES)
    ]
    for below, above in itertools.pairwise(places):
        for a in below:
            for b in above:
                axes.plot(*zip(a, b, strict=True), color="0.7", lw=1, zorder=1)
    for layer, units in enumerate(places):
        colour = (COLOURS[0], "0.4", COLOURS[1])[layer]
        axes.scatter(*zip(*units, strict=True), s=260, color=colour, zorder=2)
    for x, text in ((0, "$x$"), (1, "$h$"), (2, r"$\hat y$")):
        axes.text(x, -1.45, text, ha="center", va="center", size=12)
    for x, text in ((0.5, "$W_1$"), (1.5, "$W_2$")):
        axes.text(x, 1.15, text, ha="center", va="center", size=12)
    balance = r"$W_2^\top W_2 - W_1 W_1^\top = \lambda I$"
    axes.text(1, 1.65, balance, ha="center", va="center", size=10)
