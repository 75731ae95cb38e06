"""Continual learning: the tasks alone determine forgetting."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from .._dynamics import Exact
from .._task import Task
from ..applications import Continual, continual
from ..theory import forgetting
from . import comparison, forgetting_runs
from .curves import draw_entries, draw_losses_of_tasks
from .maps import draw_matrix
from .record import Data, Difference, Record, against_descent, difference
from .style import law_legend, new_figure
from .zero_balanced import SPREAD, zero_balanced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

TITLE = "Continual learning and forgetting, numerical and analytic"
SOURCE = "Braun et al. 2022, Figure 5"


class TaskSequence(NamedTuple):
    """The settings of a sequence of tasks."""

    name: str
    sizes: tuple[int, int, int]
    samples: int
    tasks: int
    scale: float
    rate: float
    steps: int


class Settings(NamedTuple):
    """All parameters of the figure."""

    sizes: tuple[int, int, int] = (5, 10, 6)
    samples: int = 25
    tasks: int = 4
    scale: float = 1e-4
    learning_rate: float = 0.05
    steps: int = 6000
    points: int = 301
    runs: int = 20
    largest: int = 30
    run_samples: int = 100
    run_scale: float = 0.5
    run_rate: float = 0.075
    run_steps: int = 5000
    run_points: int = 26
    many_sizes: tuple[int, int, int] = (15, 18, 21)
    many_samples: int = 50
    many_tasks: int = 5
    many_scale: float = 0.025
    many_rate: float = 0.1
    many_steps: int = 20_000
    seed: int = 2


FULL = Settings()
QUICK = FULL._replace(runs=6, largest=8, run_samples=20, run_steps=1000)
# Both sequences have equal sizes and numbers of tasks, so that they share programs.
QUICK = QUICK._replace(
    tasks=3, many_sizes=FULL.sizes, many_samples=FULL.samples, many_tasks=3
)
QUICK = QUICK._replace(many_steps=6000, points=151)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    sizes = "-".join(map(str, settings.sizes))
    many = "-".join(map(str, settings.many_sizes))
    return (
        f"a: the function of a {sizes} network and its loss on each of "
        f"{settings.tasks} random regression tasks, learned one after another (thick "
        "while trained), by gradient descent (coloured) and exactly, each task from "
        f"the exact end of the previous one (dotted); {settings.samples} samples, "
        f"learning rate {settings.learning_rate:g}, {settings.steps} steps each, "
        f"zero-balanced weights of scale {settings.scale:g}. b: the forgetting of a "
        "first task by a second one, numerical against analytic (half the squared "
        f"distance of the two correlations), for {settings.runs} random networks with "
        f"every activation, of 2 to {settings.largest} units per layer (hidden ones at "
        f"least the smaller of inputs and outputs), {settings.run_samples} samples, "
        f"learning rate {settings.run_rate:g}, {settings.run_steps} steps per task. "
        "Nonlinear networks forget more than the linear theory predicts. c: the root "
        "of |W₂ᵀW₂ - W₁W₁ᵀ| over their training (mean and standard deviation). d, e: "
        f"losses of a {many} network on {settings.many_tasks} tasks "
        f"({settings.many_samples} samples, rate {settings.many_rate:g}, "
        f"{settings.many_steps} steps each, scale {settings.many_scale:g}), and the "
        "forgetting of task i between the ends of tasks j and k, by gradient descent "
        "(upper row) and from the correlations alone (lower row). Inputs are white, "
        f"targets have the variance 1/outputs. Scales are widened by {SPREAD:g}, as in "
        "the source's code. The source has 50 runs in b and c, and 50000 steps for "
        "nonlinear networks."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute the two sequences of tasks and the random networks."""
    data, differences = {}, []
    sequences = (
        TaskSequence(
            "few",
            settings.sizes,
            settings.samples,
            settings.tasks,
            settings.scale,
            settings.learning_rate,
            settings.steps,
        ),
        TaskSequence(
            "many",
            settings.many_sizes,
            settings.many_samples,
            settings.many_tasks,
            settings.many_scale,
            settings.many_rate,
            settings.many_steps,
        ),
    )
    for i, sequence in enumerate(track(sequences)):
        key = jax.random.fold_in(jax.random.key(settings.seed), i)
        more, found = _learn_in_a_row(sequence, settings.points, key)
        data |= more
        differences += found
    more, found = forgetting_runs.compute(_runs(settings), settings.seed)
    return Record(data | more, [*differences, found])


def _runs(settings: Settings) -> forgetting_runs.Runs:
    return forgetting_runs.Runs(
        settings.runs,
        settings.largest,
        settings.run_samples,
        settings.run_scale,
        settings.run_rate,
        settings.run_steps,
        settings.run_points,
    )


def _learn_in_a_row(
    sequence: TaskSequence, points: int, key: jax.Array
) -> tuple[dict, list[Difference]]:
    """Learn a sequence of tasks, exactly and by gradient descent."""
    name, sizes, samples, count, scale, rate, steps = sequence
    n_in, _, n_out = sizes
    key, *keys = jax.random.split(key, count + 1)
    tasks = [
        Task.random_regression(n_in, n_out, samples, target_scale=n_out**-0.5, key=k)
        for k in keys
    ]
    network = zero_balanced(scale)(*sizes, key=key)
    exact, descent, corrected = (
        continual(network, tasks, steps * rate, points=points, dynamics=law)
        for law in (Exact(), *comparison.descents(rate).values())
    )
    # The correlations predict forgetting after complete learning.
    sigmas = [task.input_output_correlation for task in tasks]
    analytic = np.array(
        [[[forgetting(j, k, task) for k in sigmas] for j in sigmas] for task in tasks]
    )
    numerical = _forgotten(descent)
    data = {
        f"{name}/steps": np.asarray(exact.ts) / rate,
        f"{name}/training": np.asarray(exact.training),
        f"{name}/exact/function": np.asarray(exact.function),
        f"{name}/descent/function": np.asarray(descent.function),
        f"{name}/exact/losses": np.asarray(exact.losses),
        f"{name}/descent/losses": np.asarray(descent.losses),
        f"{name}/numerical/forgetting": numerical,
        f"{name}/analytic/forgetting": analytic,
    }
    text = f"{name} tasks"
    runs = exact, descent, corrected
    functions, losses = ([getattr(x, y) for x in runs] for y in ("function", "losses"))
    # The analytic law is of complete learning, which ends alike after any steps.
    ends = ("descent", numerical), ("exact solution", _forgotten(exact))
    return data, [
        against_descent(f"{text}: function", *functions, bound=0.1),
        against_descent(f"{text}: losses", *losses, bound=0.02),
        *(
            Difference(f"{text}: forgetting", law, difference(analytic, end), 0.01)
            for law, end in ends
        ),
    ]


def _forgotten(run: Continual) -> np.ndarray:
    """The growth of the loss on task i from the end of task j to the end of task k."""
    ends = np.asarray(run.losses)[-1 :: -run.trajectories[0].ts.size][::-1].T
    return ends[:, None, :] - ends[:, :, None]


def draw(data: Data) -> "Figure":
    """Draw the sequences, the random networks and the matrices of forgetting."""
    figure = new_figure(13.0, 13.5)
    parts = figure.subfigures(3, 1, squeeze=False, height_ratios=(2, 1, 1.5))[:, 0]
    top, middle, bottom = parts
    grid = top.add_gridspec(2, 2, width_ratios=(2, 1))
    function = top.add_subplot(grid[0, 0])
    losses = top.add_subplot(grid[1, 0], sharex=function)
    steps = data["few/steps"]
    pair = (data[f"few/{law}/function"] for law in ("descent", "exact"))
    draw_entries(function, steps, *pair)
    function.set(title=r"a   $W_2 W_1$", ylabel="entries of the function")
    _draw_losses(losses, data, "few")
    forgetting_runs.draw_scatter(top.add_subplot(grid[0, 1]), data)
    forgetting_runs.draw_imbalance(top.add_subplot(grid[1, 1]), data)
    many = middle.subplots()
    _draw_losses(many, data, "many")
    many.set_title("d")
    law_legend(middle)
    _draw_matrices(bottom, data)
    return figure


def _draw_losses(ax: "Axes", data: Data, name: str) -> None:
    steps, training = data[f"{name}/steps"], data[f"{name}/training"]
    simulated, exact = (data[f"{name}/{law}/losses"] for law in ("descent", "exact"))
    draw_losses_of_tasks(ax, steps, training, simulated, exact)
    ax.set_ylim(0, 1.3 * exact.max())
    ax.legend(frameon=False, ncols=training.max() + 1, loc="upper center")


def _draw_matrices(figure: "SubFigure", data: Data) -> None:
    names = ("numerical", "analytic")
    both = [data[f"many/{name}/forgetting"] for name in names]
    limit = float(np.abs(both[1]).max())
    axes = figure.subplots(2, len(both[0]), sharex=True, sharey=True)
    numbers, images = np.arange(len(both[0])), []
    for row, matrices, name in zip(axes, both, names, strict=True):
        for ax, matrix in zip(row, matrices, strict=True):
            images.append(draw_matrix(ax, matrix, limit=limit))
            ax.set(xticks=numbers, yticks=numbers)
            ax.set_xticklabels(numbers + 1)
            ax.set_yticklabels(numbers + 1)
        row[0].set_ylabel(f"{name}\nfrom the end of task j")
    for i in range(len(both[0])):
        axes[0, i].set_title(f"{'e   ' if i == 0 else ''}loss on task {i + 1}")
        axes[1, i].set_xlabel("to the end of task k")
    figure.colorbar(images[-1], ax=axes, label="forgetting", shrink=0.8)
