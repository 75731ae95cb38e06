"""Outputs over training from small weights and from prior knowledge."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._learn import learn
from .._task import Task
from ..theory import rich_limit
from . import comparison
from .record import Data, Record, against_descent
from .style import COLOURS, law_legend, new_figure
from .zero_balanced import SPREAD, zero_balanced

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Learning from small weights and from prior knowledge"
SOURCE = "Braun et al. 2022, Figure 1"


class Settings(NamedTuple):
    """All parameters of the figure."""

    sizes: tuple[int, int, int] = (5, 10, 2)
    samples: int = 10
    teacher: float = 0.35
    scales: tuple[float, ...] = (0.01, 0.25, 0.25)
    learning_rate: float = 0.1
    steps: int = 400
    points: int = 150
    shown: int = 4
    seed: int = 1


FULL = Settings()
QUICK = FULL._replace(points=60)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    sizes = "-".join(map(str, settings.sizes))
    scales = ", ".join(f"{scale:g}" for scale in settings.scales)
    return (
        f"Both outputs of a {sizes} network for the first {settings.shown} items (one "
        "colour each) over training: gradient descent (coloured) and Braun et al.'s "
        "closed form (dotted). Dashes on the right are the targets. From left to right "
        f"the zero-balanced weights have the scales {scales}; equal scales are "
        f"different draws. The task has {settings.samples} samples with white inputs "
        f"and the targets of a zero-balanced teacher of scale {settings.teacher:g}; "
        f"learning rate {settings.learning_rate:g}, {settings.steps} steps. A scale is "
        "the standard deviation of Gaussian weights whose product gives the singular "
        f"values. The source's code widens it by {SPREAD:g}, and so does this figure."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Learn from every start, exactly and by gradient descent."""
    rate = settings.learning_rate
    teacher_key, task_key, key = jax.random.split(jax.random.key(settings.seed), 3)
    teacher = zero_balanced(settings.teacher)(*settings.sizes, key=teacher_key)
    task = Task.teacher(teacher.function, settings.samples, key=task_key)
    steps = comparison.steps_to(settings.steps, settings.points)
    items = np.asarray(task.x)[: settings.shown]
    data = {
        "steps": steps,
        "scale": np.array(settings.scales),
        "targets": np.asarray(task.y)[: settings.shown],
    }
    differences = []
    ts = jnp.asarray(steps * rate)
    for i, scale in enumerate(track(settings.scales)):
        start_key = jax.random.fold_in(key, i)
        network = zero_balanced(scale)(*settings.sizes, key=start_key)
        exact = rich_limit(ts, network.function, task)
        functions = {"exact": exact.function}
        for law, dynamics in comparison.descents(rate).items():
            functions[law] = learn(network, task, ts, dynamics=dynamics).function
        for law, function in functions.items():
            data[f"{i}/{law}/output"] = np.asarray(function) @ items.T
        what = f"start {i + 1} (scale {scale:g}): function"
        differences.append(against_descent(what, *functions.values(), bound=0.2))
    return Record(data, differences)


def draw(data: Data) -> "Figure":
    """Draw a panel for every start and a colour for every item."""
    from matplotlib.lines import Line2D

    figure = new_figure(11.0, 3.9)
    axes = figure.subplots(1, len(data["scale"]), sharex=True, sharey=True)
    # A logarithmic axis can't show step 0.
    steps = data["steps"][1:]
    for i, (ax, scale) in enumerate(zip(axes, data["scale"], strict=True)):
        name = "small weights" if scale == data["scale"].min() else "prior knowledge"
        ax.set_title(f"{name}, scale {scale:g}")
        for item, targets in enumerate(data["targets"]):
            simulated, exact = (
                data[f"{i}/{law}/output"][1:, :, item] for law in ("descent", "exact")
            )
            ax.plot(steps, simulated, color=COLOURS[item], lw=2.5)
            ax.plot(steps, exact, "k:", lw=1.3)
            ax.scatter(
                np.full(len(targets), steps[-1] * 1.7),
                targets,
                s=90,
                marker="_",
                lw=2.5,
                color=COLOURS[item],
            )
        ax.set(xscale="log", xlabel="training step")
    axes[0].set_ylabel("network output")
    handles = [
        Line2D([], [], color=COLOURS[item], lw=2.5, label=f"item {item + 1}")
        for item in range(len(data["targets"]))
    ]
    axes[0].legend(handles=handles, frameon=False, loc="upper left")
    law_legend(figure)
    return figure
