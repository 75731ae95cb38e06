"""Reversal learning, and the revision of structured knowledge."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._dynamics import Exact, GradientDescent
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from ..applications import Continual, continual
from ..theory import shallow_function
from . import comparison
from .maps import draw_matrix
from .record import Data, Difference, Record, against_descent, difference
from .style import COLOURS, law_legend, new_figure
from .zero_balanced import SPREAD, zero_balanced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Reversal learning, and the revision of knowledge"
SOURCE = "Braun et al. 2022, Figure 6"
# For each item of the source's ColourHierarchy, the item with the same attributes.
RECOLOURED = (4, 3, 0, 6, 2, 1, 7, 5)
REVISIONS = ("last attribute reversed", "items exchanged")


class Settings(NamedTuple):
    """All parameters of the figure."""

    deep_sizes: tuple[int, int, int] = (4, 6, 4)
    samples: int = 16
    deep_scale: float = 0.25
    deep_steps: tuple[int, int] = (2000, 2000)
    deep_rates: tuple[float, ...] = (0.05, 0.005, 0.0025)
    shallow_std: float = 0.3
    shallow_steps: tuple[int, int] = (400, 400)
    hidden: int = 14
    scales: tuple[float, float] = (0.001, 0.35)
    revision_steps: tuple[int, int] = (2000, 500)
    learning_rate: float = 0.05
    points: int = 251
    seed: int = 3


FULL = Settings()
# The sizes equal the hierarchy's, so that they share programs.
QUICK = FULL._replace(deep_sizes=(8, 14, 8), deep_rates=(0.05,))
QUICK = QUICK._replace(deep_steps=(4000, 2000))


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    sizes = "-".join(map(str, settings.deep_sizes))
    rates = ", ".join(f"{rate:g}" for rate in settings.deep_rates)
    before, after = settings.deep_steps
    scales = " and ".join(f"{scale:g}" for scale in settings.scales)
    steps = " and ".join(map(str, settings.revision_steps))
    return (
        f"Above: the loss of a deep ({sizes}, zero-balanced weights of scale "
        f"{settings.deep_scale:g}) and a shallow network while a task is learned and "
        "then reversed. The exact deep solution (dotted) stays longer at the saddle at "
        "zero if the task was learned more completely: almost twice as long as the "
        "learning took. The source continues for 8000 steps, but double precision "
        f"can't represent the remaining error there. Descent (learning rates {rates}; "
        f"{before} and {after} steps at {settings.learning_rate:g} or the same time) "
        "leaves the saddle because its steps break the balance, and later with smaller "
        "steps. Below: a hierarchy is learned, and then one whose last attribute is "
        "reversed, or whose items are exchanged (the source's ColourHierarchy), from "
        f"weights of scale {scales}, {steps} steps each, 8-{settings.hidden}-8. Panels "
        "show targets (attributes by items), loss, and the items' outputs over time in "
        "two dimensions (circles: learned, squares: revised), by classical scaling of "
        "the exact outputs; the source uses scikit-learn's metric scaling. Reversing "
        "one attribute changes the sign of the determinant, which zero-balanced "
        "learning conserves: one mode is never learned. Coloured: gradient descent at "
        f"{settings.learning_rate:g}; dotted: exact. Scales are widened by {SPREAD:g}, "
        "as in the source's code. The source's solution for the reversal assumes a "
        "diagonal B and adds 1e-12 to a denominator; the solution here is general."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute deep and shallow reversal, and the two revisions."""
    deep, found = _deep(settings)
    shallow, more = _shallow(settings)
    data, differences = deep | shallow, [*found, *more]
    for i, name in enumerate(track(REVISIONS)):
        values, difference = _revision(settings, i, name)
        data |= values
        differences.append(difference)
    return Record(data, differences)


def _reversal_task(settings: Settings) -> tuple[Task, jax.Array]:
    """The source's task for the reversal, with white inputs, and a key."""
    n_in, _, n_out = settings.deep_sizes
    task_key, key = jax.random.split(jax.random.key(settings.seed))
    u, s, vt = jnp.linalg.svd(jax.random.normal(task_key, (n_out, n_in)), False)
    root = jnp.sqrt(s / settings.samples)
    return Task.from_correlation(u @ (root[:, None] * vt)), key


def _stages(steps: tuple[int, int], rate: float) -> list[float]:
    return [count * rate for count in steps]


def _deep(settings: Settings) -> tuple[dict, list[Difference]]:
    task, key = _reversal_task(settings)
    network = zero_balanced(settings.deep_scale)(*settings.deep_sizes, key=key)
    tasks = [task, task.reversed()]
    durations = _stages(settings.deep_steps, settings.learning_rate)
    points = settings.points
    exact = continual(network, tasks, durations, points=points)
    losses = []
    for rate in settings.deep_rates:
        law = GradientDescent(rate)
        run = continual(network, tasks, durations, points=points, dynamics=law)
        losses.append(_trained(run))
    data = {
        "deep/ts": np.asarray(exact.ts),
        "deep/rates": np.array(settings.deep_rates),
        "deep/exact": _trained(exact),
        "deep/descent": np.stack(losses),
    }
    # Descent leaves the saddle after the flip, by rounding: theory never does.
    law, ts = comparison.Corrected(settings.deep_rates[-1]), exact.ts[:points]
    corrected = learn(network, task, ts, dynamics=law).loss
    values = data["deep/exact"][:points], losses[-1][:points], corrected
    what = "deep, before the flip: loss"
    found = [against_descent(what, *values, bound=0.03)]
    saddle = task.loss(jnp.zeros_like(task.input_output_correlation))
    value = difference(data["deep/exact"][-1:], np.array([saddle]))
    found.append(Difference("deep, at the end: loss", "saddle", value, 1e-3))
    return data, found


def _trained(run: Continual) -> np.ndarray:
    """The loss on the task in training."""
    losses, training = np.asarray(run.losses), np.asarray(run.training)
    return losses[np.arange(len(training)), training]


def _shallow(settings: Settings) -> tuple[dict, list[Difference]]:
    task, key = _reversal_task(settings)
    n_in, _, n_out = settings.deep_sizes
    w = settings.shallow_std * jax.random.normal(key, (n_out, n_in))
    rate, function, network = settings.learning_rate, w, LinearNetwork((w,))
    durations = _stages(settings.shallow_steps, rate)
    parts = {"ts": [], "exact": [], "descent": []}
    stages = zip(
        (task, task.reversed()), durations, settings.shallow_steps, strict=True
    )
    for stage, duration, steps in stages:
        ts = jnp.linspace(0, duration, steps + 1)
        functions = shallow_function(ts, function, stage)
        run = learn(network, stage, ts, dynamics=GradientDescent(rate))
        network = jax.tree.map(lambda w: w[-1], run.network)
        function = functions[-1]
        elapsed = parts["ts"][-1][-1] if parts["ts"] else 0.0
        parts["ts"].append(elapsed + np.asarray(ts))
        parts["exact"].append(np.asarray(jax.vmap(stage.loss)(functions)))
        parts["descent"].append(np.asarray(run.loss))
    data = {f"shallow/{name}": np.concatenate(part) for name, part in parts.items()}
    value = difference(data["shallow/exact"], data["shallow/descent"])
    return data, [Difference("shallow: loss", "descent", value, 0.03)]


def _revision(settings: Settings, i: int, name: str) -> tuple[dict, Difference]:
    task = Task.hierarchy(3, separate=True)
    size = task.in_size
    revised = (
        task.y * jnp.where(jnp.arange(size) == size - 1, -1.0, 1.0)[None],
        task.y[jnp.array(RECOLOURED)],
    )[i]
    tasks = [task, Task(task.x, revised)]
    key = jax.random.key(settings.seed)
    network = zero_balanced(settings.scales[i])(size, settings.hidden, size, key=key)
    rate, steps = settings.learning_rate, settings.revision_steps[i]
    duration = rate * steps
    runs = [
        continual(network, tasks, [duration] * 2, points=settings.points, dynamics=law)
        for law in (Exact(), *comparison.descents(rate).values())
    ]
    exact, descent, _ = runs
    # Items are points: the columns of the function, with axes time and item.
    outputs = [np.swapaxes(np.asarray(run.function), 1, 2) for run in runs]
    axes = _scaling_axes(outputs[0].reshape(-1, size))
    middle = outputs[0].mean(axis=(0, 1))
    data = {
        f"{i}/steps": np.asarray(exact.ts) / rate,
        f"{i}/targets": np.stack([task.y.T, revised.T]),
        f"{i}/exact/loss": _trained(exact),
        f"{i}/descent/loss": _trained(descent),
        f"{i}/exact/scaling": (outputs[0] - middle) @ axes,
        f"{i}/descent/scaling": (outputs[1] - middle) @ axes,
    }
    return data, against_descent(f"{name}: outputs", *outputs, bound=0.05)


def _scaling_axes(points: np.ndarray) -> np.ndarray:
    """The two axes of classical multidimensional scaling.

    For Euclidean distances, this scaling is the projection onto the leading principal
    axes. Other points, such as the simulation's, can be projected onto the same axes.
    """
    _, _, vt = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    return vt[:2].T


def draw(data: Data) -> "Figure":
    """Draw losses of the reversal above, and the two revisions below."""
    figure = new_figure(12.5, 10.0)
    parts = figure.subfigures(3, 1, squeeze=False, height_ratios=(0.9, 1, 1))[:, 0]
    top, *rows = parts
    deep, shallow = top.subplots(1, 2, width_ratios=(2, 1))
    ts = data["deep/ts"]
    for i, rate in enumerate(data["deep/rates"]):
        label = f"gradient descent, rate {rate:g}"
        deep.plot(ts, data["deep/descent"][i], color=COLOURS[i], lw=2.5, label=label)
    deep.plot(ts, data["deep/exact"], "k:", lw=1.5, label="exact solution")
    deep.set(title="deep reversal", ylabel="loss on the task in training")
    deep.legend(frameon=False, loc="upper right")
    shallow.plot(data["shallow/ts"], data["shallow/descent"], color=COLOURS[0], lw=2.5)
    shallow.plot(data["shallow/ts"], data["shallow/exact"], "k:", lw=1.5)
    shallow.set(title="shallow reversal")
    for ax in (deep, shallow):
        ax.set_xlabel("time (learning rate × step)")
    for i, (row, name) in enumerate(zip(rows, REVISIONS, strict=True)):
        before, after, loss, scaling = row.subplots(
            1, 4, width_ratios=(0.7, 0.7, 1.2, 1.1)
        )
        _draw_targets((before, after), data[f"{i}/targets"])
        before.set_title("hierarchy")
        after.set_title(name)
        steps = data[f"{i}/steps"]
        loss.plot(steps, data[f"{i}/descent/loss"], color=COLOURS[0], lw=2.5)
        loss.plot(steps, data[f"{i}/exact/loss"], "k:", lw=1.5)
        loss.set(xlabel="training step", ylabel="loss on the task in training")
        _draw_scaling(scaling, data, i)
    law_legend(figure)
    return figure


def _draw_targets(axes: tuple["Axes", "Axes"], targets: np.ndarray) -> None:
    limit = float(np.abs(targets).max())
    for ax, matrix in zip(axes, targets, strict=True):
        draw_matrix(ax, matrix, limit=limit)
        ax.set_xlabel("items")
    axes[0].set_ylabel("attributes")


def _draw_scaling(ax: "Axes", data: Data, i: int) -> None:
    simulated, exact = (data[f"{i}/{law}/scaling"] for law in ("descent", "exact"))
    half = len(exact) // 2
    for item in range(exact.shape[1]):
        colour = COLOURS[item]
        ax.plot(*simulated[:, item].T, color=colour, lw=2.2, alpha=0.8)
        ax.plot(*exact[:, item].T, "k:", lw=1)
        ax.plot(*simulated[half - 1, item], "o", color=colour, mec="k", ms=7)
        ax.plot(*simulated[-1, item], "s", color="k", mfc="none", ms=11)
    ax.set(title="outputs, scaled to two dimensions", xticks=[], yticks=[])
    ax.set_aspect("equal", adjustable="datalim")
