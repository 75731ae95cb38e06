"""Continual learning: one task after another, and forgetting."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from .._dynamics import Exact
from .._init import LambdaBalanced
from .._task import Task
from ..applications import continual
from . import comparison
from .curves import draw_entries, draw_losses_of_tasks
from .record import Data, Record, against_descent
from .style import law_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Continual learning and the rate of forgetting"
SOURCE = (
    "Domine et al. 2025, continual learning; Figures 4.6 and 4.7 of Domine's thesis"
)


class Settings(NamedTuple):
    """All parameters of the figure."""

    size: int = 5
    tasks: int = 4
    samples: int = 25
    lmda: float = 1.0
    learning_rate: float = 0.01
    steps: int = 6000
    drawn: int = 300
    rate_steps: int = 1000
    seed: int = 2


FULL = Settings()
QUICK = FULL._replace(steps=1500)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    size = settings.size
    return (
        f"A {size}-{size}-{size} network with λ = {settings.lmda:g} learns "
        f"{settings.tasks} random regression tasks ({settings.samples} samples, white "
        f"inputs) one after another, {settings.steps} steps each at learning rate "
        f"{settings.learning_rate:g}. Panels show the entries of its function; the "
        "loss on every task (thick while that task is trained); and the rate of every "
        f"loss, per unit of learning rate × step, in the first {settings.rate_steps} "
        "steps of the second task. Coloured: gradient descent, whose rate is the "
        "difference of two steps. Dotted: exact, task by task; the source restarts it "
        "from the simulation. Axes are cut at the start, which is larger. The thesis "
        "gives the rate for λ = 5 in its text and λ = 1 in its code; here it belongs "
        "to the same run."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute the sequence of tasks, exactly and by gradient descent, at every step."""
    size, rate = settings.size, settings.learning_rate
    key, *keys = jax.random.split(jax.random.key(settings.seed), settings.tasks + 1)
    tasks = [
        Task.random_regression(size, size, settings.samples, key=key) for key in keys
    ]
    network = LambdaBalanced(settings.lmda)(size, size, size, key=key)
    points = settings.steps + 1
    duration = settings.steps * rate
    laws = {"exact": Exact(), **comparison.descents(rate)}
    runs = {
        law: continual(network, tasks, duration, points=points, dynamics=laws[law])
        for law in track(laws)
    }
    exact = runs["exact"]
    every = max(1, points // settings.drawn)
    data = {"steps": np.asarray(exact.ts)[::every] / rate}
    data["training"] = np.asarray(exact.training)[::every]
    for law, run in runs.items():
        data[f"{law}/function"] = np.asarray(run.function)[::every]
        data[f"{law}/losses"] = np.asarray(run.losses)[::every]
    second = slice(points, points + min(settings.rate_steps, settings.steps) + 1)
    rates = np.asarray(exact.loss_rates)[second]
    # A difference belongs to the time between two steps.
    data["exact/rates"] = (rates[1:] + rates[:-1]) / 2
    for law in comparison.descents(rate):
        losses = np.asarray(runs[law].losses)[second]
        data[f"{law}/rates"] = np.diff(losses, axis=0) / rate
    differences = [
        against_descent(name, *(data[f"{law}/{name}"] for law in laws), bound=5e-2)
        for name in ("function", "losses", "rates")
    ]
    return Record(data, differences)


def draw(data: Data) -> "Figure":
    """Draw the function, the losses and the rates of the losses."""
    figure = new_figure(11.0, 7.5)
    grid = figure.add_gridspec(2, 2, width_ratios=(2, 1))
    function = figure.add_subplot(grid[0, 0])
    losses = figure.add_subplot(grid[1, 0], sharex=function)
    rates = figure.add_subplot(grid[:, 1])
    steps, training = data["steps"], data["training"]
    exact = data["exact/function"]
    draw_entries(function, steps, data["descent/function"], exact)
    function.set(title=r"$W_2 W_1$", ylabel="entries of the function")
    # Axes are for the learned function; the start is larger and soon forgotten.
    function.set_ylim(np.array([-1.5, 1.5]) * np.abs(exact[training > 0]).max())
    count = np.arange(len(data["descent/rates"])) + 1
    pair = (data[f"{law}/losses"] for law in ("descent", "exact"))
    draw_losses_of_tasks(losses, steps, training, *pair)
    losses.set_ylim(0, 1.3 * data["exact/losses"][training > 0].max())
    losses.legend(frameon=False, ncols=2)
    for start in steps[1:][np.diff(training) > 0]:
        for ax in (function, losses):
            ax.axvline(start, color="0.7", lw=0.8, zorder=0)
    draw_entries(rates, count, data["descent/rates"], data["exact/rates"])
    rates.set(
        title="while task 2 is trained",
        xlabel="training step of the task",
        ylabel="rate of the loss, $dL_i/dt$",
        xscale="log",
    )
    law_legend(figure)
    return figure
