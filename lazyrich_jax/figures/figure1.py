"""Figure 1: a minimal model of the rich and lazy regimes."""

import itertools
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from .._init import LambdaBalanced
from .._task import Task
from . import comparison
from .record import Data, Record
from .style import COLOURS, law_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "A minimal model of the rich and lazy regimes"
SOURCE = "Domine et al. 2025, Figure 1"
SHOWN = 3  # number of samples whose outputs are drawn


class Settings(NamedTuple):
    """All parameters of the figure."""

    sizes: tuple[int, int, int] = (3, 2, 2)
    samples: int = 10
    target_scale: float = 10.0
    lmdas: tuple[float, ...] = (0.0, 20.0, -20.0)
    variance: float = 1e-5
    learning_rate: float = 2e-4
    steps: int = 25_000
    points: int = 200
    seed: int = 1


FULL = Settings()
QUICK = FULL._replace(points=60)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    sizes = "-".join(map(str, settings.sizes))
    return (
        f"Outputs for {SHOWN} samples and the loss of a {sizes} network over training: "
        "gradient descent (coloured) and the exact solution (dotted), from a rich "
        "(λ = 0, small weights), a lazy (λ > 0) and a delayed-rich start (λ < 0). "
        f"Random regression of {settings.samples} samples with white inputs and "
        f"targets of scale {settings.target_scale:g}; λ-balanced weights of variance "
        f"{settings.variance:g}; learning rate {settings.learning_rate:g}."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Learn the three starts by every law; `track` wraps the loop over starts."""
    task_key, key = jax.random.split(jax.random.key(settings.seed))
    task = Task.random_regression(
        settings.sizes[0],
        settings.sizes[-1],
        settings.samples,
        target_scale=settings.target_scale,
        key=task_key,
    )
    steps = comparison.steps_to(settings.steps, settings.points)
    data = {
        "sizes": np.array(settings.sizes),
        "steps": steps,
        "lmda": np.array(settings.lmdas),
    }
    differences = []
    for i, lmda in enumerate(track(settings.lmdas)):
        network = LambdaBalanced(lmda, settings.variance**0.5)(*settings.sizes, key=key)
        values = comparison.run(network, task, steps, settings.learning_rate)
        differences += comparison.differences(
            f"λ = {lmda:g}", values, flow=1e-7, descent=1e-2
        )
        for law in comparison.LAWS:
            output = values[f"{law}/function"] @ np.asarray(task.x).T
            values[f"{law}/output"] = output
        data.update({f"{i}/{name}": value for name, value in values.items()})
    return Record(data, differences)


def draw(data: Data) -> "Figure":
    """Draw the network, and its outputs and loss over training from every start."""
    figure = new_figure(11.5, 5.2)
    grid = figure.add_gridspec(2, 4, width_ratios=(0.8, 1, 1, 1), height_ratios=(3, 2))
    _draw_network(figure.add_subplot(grid[:, 0]), data["sizes"])
    regimes = {0: "rich", 1: "lazy", -1: "delayed rich"}
    outputs = losses = None
    # A logarithmic axis can't show step 0.
    steps = data["steps"][1:]
    for i, lmda in enumerate(data["lmda"]):
        column = i + 1
        exact, descent = (
            {name: data[f"{i}/{law}/{name}"][1:] for name in ("output", "loss")}
            for law in ("exact", "descent")
        )
        outputs = figure.add_subplot(grid[0, column], sharey=outputs)
        losses = figure.add_subplot(grid[1, column], sharex=outputs, sharey=losses)
        outputs.set_title(rf"$\lambda = {lmda:g}$: {regimes[int(np.sign(lmda))]}")
        outputs.tick_params(labelbottom=False)
        for output in range(exact["output"].shape[1]):
            for sample in range(SHOWN):
                colour = COLOURS[1 + output * SHOWN + sample]
                curve = descent["output"][:, output, sample]
                outputs.plot(steps, curve, color=colour, lw=2)
                curve = exact["output"][:, output, sample]
                outputs.plot(steps, curve, "k:", lw=1.3)
        losses.plot(steps, descent["loss"], color=COLOURS[0], lw=2)
        losses.plot(steps, exact["loss"], "k:", lw=1.3)
        losses.set(xscale="log", xlabel="training step")
        if column == 1:
            outputs.set_ylabel("network output")
            losses.set_ylabel("loss")
        else:
            outputs.tick_params(labelleft=False)
            losses.tick_params(labelleft=False)
    law_legend(figure)
    return figure


def _draw_network(axes: "Axes", sizes: np.ndarray) -> None:
    from matplotlib.patches import Circle

    axes.set(xlim=(-0.6, 2.6), ylim=(-1.7, 1.7), aspect="equal")
    axes.axis("off")
    places = [
        [(layer, y) for y in np.linspace(1, -1, size) * (size - 1) / 2]
        for layer, size in enumerate(sizes)
    ]
    for below, above in itertools.pairwise(places):
        for a in below:
            for b in above:
                axes.plot(*zip(a, b, strict=True), color="0.7", lw=1, zorder=1)
    for layer, units in enumerate(places):
        colour = (COLOURS[0], "0.4", COLOURS[1])[layer]
        for unit in units:
            axes.add_patch(Circle(unit, 0.15, color=colour, zorder=2))
    for x, text in ((0, "$x$"), (1, "$h$"), (2, r"$\hat y$")):
        axes.text(x, -1.45, text, ha="center", va="center", size="large")
    for x, text in ((0.5, "$W_1$"), (1.5, "$W_2$")):
        axes.text(x, 1.15, text, ha="center", va="center", size="large")
    balance = r"$W_2^\top W_2 - W_1 W_1^\top = \lambda I$"
    axes.text(1, 1.65, balance, ha="center", va="center")
