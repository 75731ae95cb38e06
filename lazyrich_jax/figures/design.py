"""Starts and protocols of learning that are chosen by gradient."""

from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._dynamics import ExactSolution, GradientFlow
from .._init import balanced_network
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from ..inference import Design, KernelDistance, LossAt, design
from ..kernels import ntk
from ..measures import kernel_distance
from . import protocols
from .design_problem import Settings, balanced, function_of, not_worse, star, task_of
from .record import Data, Difference, Record, difference
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Starts and protocols chosen by gradient"
SOURCE = "This library: docs/inference.md"

FULL = Settings()
QUICK = FULL._replace(points=24)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    strengths = ", ".join(f"{s:g}" for s in settings.strengths)
    deadlines = ", ".join(f"{t:g}" for t in settings.deadlines)
    targets = ", ".join(f"{d:g}" for d in settings.targets)
    lmda, scale = settings.observed
    return (
        "λ-balanced 2-2-2 networks learn a task with white inputs and singular values "
        f"{strengths}. Stars: designs, found from 8 points by gradient. Lines and "
        "colours: sweeps. Top left: the loss at a deadline, relative to λ = 0, where "
        f"the squares of all weights add up to {settings.norm:g} (deadlines "
        f"{deadlines}). A larger balance leaves less for the function, whose singular "
        f"vectors are turned by {settings.angle:g} against the task's. The best "
        "balance is in between. Top right: the distance of the "
        "final tangent kernel from the first one, for a function of "
        f"{settings.small:g} times that size, and targets of {targets}. No λ reaches "
        "the highest one. "
        f"Bottom left: the mean loss on {settings.tasks} random tasks after the last, "
        f"each trained for {settings.duration:g}, in every order, and the best order "
        "with its best λ. Bottom right: two times at which the loss, with errors of "
        f"{settings.noise:g}, says most about λ = {lmda:g} and the scale "
        f"{scale:g} of the start: the information ln det F."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute the designs, sweeps for comparison, and simulations of the designs."""
    data: dict[str, np.ndarray] = {"strengths": np.array(settings.strengths)}
    parts = _deadlines, _kernels, protocols.compute_orders, protocols.compute_times
    differences = [x for part in track(parts) for x in part(settings, data)]
    return Record(data, differences)


@eqx.filter_jit
def _losses(
    starts: LinearNetwork, task: Task, deadlines: Float[Array, " times"]
) -> Float[Array, "starts times"]:
    def of(start):
        return ExactSolution(start, task, throw=False).loss(deadlines)

    return jax.vmap(of)(starts)


def _fixed_norm(settings: Settings, lmdas: np.ndarray) -> LinearNetwork:
    """Starts of a given norm, with a scale by bisection."""
    a = np.array(settings.start)
    low, high = np.zeros_like(lmdas), np.full_like(lmdas, settings.norm / a.sum())
    for _ in range(60):
        x = (low + high) / 2
        total = np.hypot(lmdas[:, None], 2 * x[:, None] * a).sum(axis=1)
        low = np.where(total < settings.norm, x, low)
        high = np.where(total < settings.norm, high, x)
    each = [
        balanced_network(function_of(settings, float(f)), jnp.asarray(x))
        for f, x in zip(low, lmdas, strict=True)
    ]
    return jax.tree.map(lambda *w: jnp.stack(w), *each)


def _deadlines(settings: Settings, data: dict) -> list[Difference]:
    task, deadlines = task_of(settings), jnp.array(settings.deadlines)
    network = balanced_network(function_of(settings), 0.0)
    largest = settings.norm / len(settings.start)
    lmdas = np.linspace(0, 0.999 * largest, settings.points)
    losses = np.asarray(_losses(_fixed_norm(settings, lmdas), task, deadlines))
    found = [
        design(
            LossAt(task, t),
            network,
            free={"lmda": (0.0, largest)},
            norm=settings.norm,
            searches=8,
        )
        for t in deadlines
    ]
    best = np.array([float(x.goal) for x in found])
    data |= {
        "deadlines": np.asarray(deadlines),
        "deadline/lmdas": lmdas,
        "deadline/losses": losses,
        "deadline/best": np.array([float(x.values["lmda"]) for x in found]),
        "deadline/best_loss": best,
    }
    flow = [
        float(
            learn(x.start, task, jnp.array([0.0, t]), dynamics=GradientFlow()).loss[-1]
        )
        for x, t in zip(found, deadlines, strict=True)
    ]
    return [
        Difference(
            "loss at the deadline", "flow", difference(best, np.array(flow)), 1e-5
        ),
        not_worse("loss at the deadline", best, losses.min(axis=0)),
    ]


def _kernels(settings: Settings, data: dict) -> list[Difference]:
    task, function = task_of(settings), function_of(settings, settings.small)
    network = balanced_network(function, 0.0)
    lmdas = np.geomspace(1e-3 * settings.largest, settings.largest, settings.points)
    goals = [KernelDistance(task, target) for target in settings.targets]
    starts = balanced(function, jnp.asarray(lmdas))
    swept = np.asarray(eqx.filter_jit(jax.vmap(goals[0].distance))(starts))
    free = {"lmda": (float(lmdas[0]), settings.largest)}
    found = [design(goal, network, free=free, searches=8) for goal in goals]
    distances = np.array([_distance(x, task) for x in found])
    exact = np.array([float(goals[0].distance(x.start)) for x in found])
    data |= {
        "kernel/lmdas": lmdas,
        "kernel/distances": swept,
        "kernel/targets": np.array(settings.targets),
        "kernel/best": np.array([float(x.values["lmda"]) for x in found]),
        "kernel/best_distance": exact,
    }
    within = (data["kernel/targets"] > swept.min()) & (
        data["kernel/targets"] < swept.max()
    )
    missed = np.abs(exact - settings.targets)[within]
    return [
        Difference("kernel distance", "flow", difference(exact, distances), 1e-4),
        Difference("kernel distance", "its target", float(missed.max()), 1e-6),
    ]


def _distance(found: Design, task: Task) -> float:
    """The distance of a design's kernels by a simulation."""
    ts = jnp.array([0.0, 40.0])
    run = learn(found.start, task, ts, dynamics=GradientFlow())
    kernels = [
        ntk(jax.tree.map(lambda w, i=i: w[i], run.network), task.x) for i in (0, 1)
    ]
    return float(kernel_distance(*kernels))


def draw(data: Data) -> "Figure":
    """Draw the goals over their variables, and the designs."""
    figure = new_figure(10.0, 7.6)
    axes = figure.subplots(2, 2)
    _draw_deadlines(axes[0, 0], data)
    _draw_kernels(axes[0, 1], data)
    protocols.draw_orders(axes[1, 0], data)
    protocols.draw_times(axes[1, 1], data)
    return figure


def _draw_deadlines(ax: "Axes", data: Data) -> None:
    zero = data["deadline/losses"][0]
    for i, t in enumerate(data["deadlines"]):
        colour = COLOURS[i]
        curve = data["deadline/losses"][:, i] / zero[i]
        ax.plot(data["deadline/lmdas"], curve, color=colour, label=f"$t = {t:g}$")
        best = data["deadline/best_loss"][i] / zero[i]
        ax.plot(data["deadline/best"][i], best, "*", **star(colour))
    ax.set(xlabel=r"$\lambda$", ylabel=r"loss, relative to $\lambda = 0$")
    ax.set(yscale="log", title="deadline, at a fixed norm")
    ax.legend(frameon=False)


def _draw_kernels(ax: "Axes", data: Data) -> None:
    ax.plot(data["kernel/lmdas"], data["kernel/distances"], color=COLOURS[0])
    for i, target in enumerate(data["kernel/targets"]):
        colour = COLOURS[i + 1]
        ax.axhline(target, color=colour, ls="--", lw=1)
        where = data["kernel/best"][i], data["kernel/best_distance"][i]
        ax.plot(*where, "*", **star(colour))
    ax.set(xscale="log", xlabel=r"$\lambda$", ylabel="distance of the kernel")
    ax.set(title="target distance of the kernel", ylim=(0, None))
