"""Figure 2: the exact solution of lambda-balanced networks beside the simulation."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from .._init import LambdaBalanced
from .._network import LinearNetwork
from .._task import Task
from . import comparison
from .curves import COLUMNS, draw_quantities
from .record import Data, Record
from .style import law_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Loss, function, representations and NTK, exact and simulated"
SOURCE = "Domine et al. 2025, Figure 2; Figure 3.3 of Domine's thesis"


class Settings(NamedTuple):
    """All parameters of the figure."""

    size: int = 3
    samples: int = 10
    lmdas: tuple[float, ...] = (-50.0, 0.01, 50.0)
    learning_rate: float = 2e-4
    steps: int = 50_000
    points: int = 200
    seed: int = 6


FULL = Settings()
QUICK = FULL._replace(points=60)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    size = settings.size
    return (
        "The loss and every entry of the function, the representations and (a corner "
        f"of) the NTK of a {size}-{size}-{size} network over training: gradient "
        "descent (coloured) and the exact solution (dotted). Random regression, "
        f"{settings.samples} samples, white inputs; weights of variance 1; learning "
        f"rate {settings.learning_rate:g}. The seed is this library's: the source "
        "gives none, and computes its NTK labelled analytical from simulated weights."
    )


def start(settings: Settings, lmda: float) -> tuple[Task, LinearNetwork]:
    """The task and the network at time zero."""
    size = settings.size
    task_key, key = jax.random.split(jax.random.key(settings.seed))
    task = Task.random_regression(size, size, settings.samples, key=task_key)
    return task, LambdaBalanced(lmda)(size, size, size, key=key)


def compute(settings: Settings, track=iter) -> Record:
    """Learn at every lambda by every law; `track` wraps the loop over lambdas."""
    steps = comparison.steps_to(settings.steps, settings.points)
    data = {"steps": steps, "lmda": np.array(settings.lmdas)}
    differences = []
    for i, lmda in enumerate(track(settings.lmdas)):
        task, network = start(settings, lmda)
        values = comparison.run(network, task, steps, settings.learning_rate)
        differences += comparison.differences(
            f"λ = {lmda:g}", values, flow=1e-7, descent=1e-2
        )
        data.update({f"{i}/{name}": value for name, value in values.items()})
    return Record(data, differences)


def draw(data: Data) -> "Figure":
    """Draw a row per lambda, a column per quantity and a line per entry."""
    figure = new_figure(13.0, 6.5)
    lmdas = data["lmda"]
    axes = figure.subplots(len(lmdas), len(COLUMNS), sharex=True, squeeze=False)
    draw_quantities(axes, data, [rf"$\lambda = {lmda:g}$" for lmda in lmdas])
    law_legend(figure)
    return figure
