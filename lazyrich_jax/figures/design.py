"""Starts and protocols of learning that are chosen by gradient."""

import itertools
from typing import TYPE_CHECKING, NamedTuple

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
from ..applications import continual
from ..inference import (
    Design,
    Information,
    KernelDistance,
    LossAt,
    SequenceLoss,
    design,
    orders,
)
from ..kernels import ntk
from ..measures import kernel_distance
from .record import Data, Difference, Record, difference
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Starts and protocols chosen by gradient"
SOURCE = "This library: docs/inference.md"


class Settings(NamedTuple):
    """All parameters of the figure."""

    strengths: tuple[float, ...] = (2.0, 0.5)
    start: tuple[float, ...] = (1.0, 0.5)
    angle: float = 0.8
    norm: float = 4.0
    deadlines: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0)
    small: float = 0.1
    targets: tuple[float, ...] = (0.02, 0.05, 0.08)
    largest: float = 10.0
    tasks: int = 3
    duration: float = 1.0
    observed: tuple[float, float] = (0.5, 0.3)  # the balance and the scale
    noise: float = 0.01
    last: float = 2.0
    points: int = 60
    seed: int = 1


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
    parts = (_deadlines, _kernels, _orders, _times)
    differences = [x for part in track(parts) for x in part(settings, data)]
    return Record(data, differences)


def _bases(settings: Settings) -> tuple[Array, Array, Array]:
    """Singular vectors of the task, and the start's left ones."""
    key1, key2 = jax.random.split(jax.random.key(settings.seed))
    u, v = (jax.random.orthogonal(key, 2) for key in (key1, key2))
    c, s = np.cos(settings.angle), np.sin(settings.angle)
    return u, v, u @ jnp.array([[c, -s], [s, c]])


def _task(settings: Settings) -> Task:
    u, v, _ = _bases(settings)
    return Task.from_correlation((u * jnp.array(settings.strengths)[None]) @ v.T)


def _function(settings: Settings, factor: float = 1.0) -> Float[Array, "out in"]:
    _, v, u = _bases(settings)
    return factor * (u * jnp.array(settings.start)[None]) @ v.T


@eqx.filter_jit
def _losses(
    starts: LinearNetwork, task: Task, deadlines: Float[Array, " times"]
) -> Float[Array, "starts times"]:
    def of(start):
        return ExactSolution(start, task, throw=False).loss(deadlines)

    return jax.vmap(of)(starts)


@eqx.filter_jit
def _balanced(
    function: Float[Array, "out in"], lmdas: Float[Array, " lmdas"]
) -> LinearNetwork:
    return jax.vmap(lambda x: balanced_network(function, x, throw=False))(lmdas)


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
        balanced_network(_function(settings, float(f)), jnp.asarray(x))
        for f, x in zip(low, lmdas, strict=True)
    ]
    return jax.tree.map(lambda *w: jnp.stack(w), *each)


def _deadlines(settings: Settings, data: dict) -> list[Difference]:
    task, deadlines = _task(settings), jnp.array(settings.deadlines)
    network = balanced_network(_function(settings), 0.0)
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
        _not_worse("loss at the deadline", best, losses.min(axis=0)),
    ]


def _not_worse(what: str, best: np.ndarray, swept: np.ndarray) -> Difference:
    """By how much the best points of a sweep are better than the designs."""
    worse = float(np.max((best - swept) / np.abs(swept)))
    return Difference(f"{what}: excess of the design", "sweep", max(worse, 0.0), 1e-6)


def _kernels(settings: Settings, data: dict) -> list[Difference]:
    task, function = _task(settings), _function(settings, settings.small)
    network = balanced_network(function, 0.0)
    lmdas = np.geomspace(1e-3 * settings.largest, settings.largest, settings.points)
    goals = [KernelDistance(task, target) for target in settings.targets]
    starts = _balanced(function, jnp.asarray(lmdas))
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


def _orders(settings: Settings, data: dict) -> list[Difference]:
    keys = jax.random.split(jax.random.key(settings.seed), settings.tasks)
    tasks = [Task.random_regression(2, 2, 8, key=key) for key in keys]
    goal = SequenceLoss(tasks, settings.duration)
    network = balanced_network(_function(settings, settings.small), 0.0)
    lmdas = np.geomspace(1e-3 * settings.largest, settings.largest, settings.points)
    starts = _balanced(network.function, jnp.asarray(lmdas))
    every = jnp.array(list(itertools.permutations(range(settings.tasks))))
    sweep = jax.vmap(lambda start: jax.vmap(lambda o: goal(start, order=o))(every))
    swept = np.asarray(eqx.filter_jit(sweep)(starts))
    free = {
        "lmda": (float(lmdas[0]), settings.largest),
        "order": orders(settings.tasks),
    }
    found = design(goal, network, free=free, searches=8)
    order = found.values["order"].tolist()
    run = continual(
        found.start,
        [tasks[i] for i in order],
        settings.duration,
        points=2,
        dynamics=GradientFlow(),
    )
    flow = float(jnp.mean(run.losses[-1]))
    data |= {
        "order/lmdas": lmdas,
        "order/loss": swept,
        "order/orders": np.asarray(every),
        "order/best": np.array(float(found.values["lmda"])),
        "order/best_order": np.array(order),
        "order/best_loss": np.array(float(found.goal)),
    }
    value = np.array([float(found.goal)])
    return [
        Difference(
            "loss after all tasks", "flow", difference(value, np.array([flow])), 1e-4
        ),
        _not_worse("loss after all tasks", value, np.array([swept.min()])),
    ]


def _times(settings: Settings, data: dict) -> list[Difference]:
    task, function = _task(settings), _function(settings)

    def loss(logarithms, t):
        lmda, scale = jnp.exp(logarithms)
        start = balanced_network(scale**2 * function, lmda, throw=False)
        return ExactSolution(start, task, throw=False).loss(t)

    at = jnp.log(jnp.array(settings.observed))
    goal = Information(loss, at, noise=settings.noise)
    found = design(goal, free={"times": (0.0, settings.last * jnp.ones(2))}, searches=8)
    ts = np.linspace(0, settings.last, settings.points)
    fisher = eqx.filter_jit(jax.vmap(lambda t: goal.fisher(t[None])))
    each = np.asarray(jax.vmap(fisher)(jnp.asarray(ts)[:, None])[:, 0])
    swept = np.linalg.slogdet(each[:, None] + each[None])
    swept = np.where(swept[0] > 0, swept[1], -np.inf)
    data |= {
        "times/ts": ts,
        "times/information": np.maximum(swept, swept.max() - 12),
        "times/best": np.sort(np.asarray(found.values["times"])),
        "times/best_information": np.array(float(found.goal)),
    }
    return [
        _not_worse(
            "information", -np.array([float(found.goal)]), -np.array([swept.max()])
        )
    ]


def draw(data: Data) -> "Figure":
    """Draw the goals over their variables, and the designs."""
    figure = new_figure(10.0, 7.6)
    axes = figure.subplots(2, 2)
    _draw_deadlines(axes[0, 0], data)
    _draw_kernels(axes[0, 1], data)
    _draw_orders(axes[1, 0], data)
    _draw_times(axes[1, 1], data)
    return figure


def _star(colour: str) -> dict:
    return {"color": colour, "mec": "k", "ms": 15, "clip_on": False, "zorder": 5}


def _draw_deadlines(ax: "Axes", data: Data) -> None:
    zero = data["deadline/losses"][0]
    for i, t in enumerate(data["deadlines"]):
        colour = COLOURS[i]
        curve = data["deadline/losses"][:, i] / zero[i]
        ax.plot(data["deadline/lmdas"], curve, color=colour, label=f"$t = {t:g}$")
        best = data["deadline/best_loss"][i] / zero[i]
        ax.plot(data["deadline/best"][i], best, "*", **_star(colour))
    ax.set(xlabel=r"$\lambda$", ylabel=r"loss, relative to $\lambda = 0$")
    ax.set(yscale="log", title="deadline, at a fixed norm")
    ax.legend(frameon=False)


def _draw_kernels(ax: "Axes", data: Data) -> None:
    ax.plot(data["kernel/lmdas"], data["kernel/distances"], color=COLOURS[0])
    for i, target in enumerate(data["kernel/targets"]):
        colour = COLOURS[i + 1]
        ax.axhline(target, color=colour, ls="--", lw=1)
        where = data["kernel/best"][i], data["kernel/best_distance"][i]
        ax.plot(*where, "*", **_star(colour))
    ax.set(xscale="log", xlabel=r"$\lambda$", ylabel="distance of the kernel")
    ax.set(title="target distance of the kernel", ylim=(0, None))


def _draw_orders(ax: "Axes", data: Data) -> None:
    for i, order in enumerate(data["order/orders"]):
        label = ", ".join(str(k + 1) for k in order)
        curve = data["order/loss"][:, i]
        ax.plot(data["order/lmdas"], curve, color=COLOURS[i], label=label)
        if np.array_equal(order, data["order/best_order"]):
            where = data["order/best"], data["order/best_loss"]
            ax.plot(*where, "*", **_star(COLOURS[i]))
    ax.set(xscale="log", xlabel=r"$\lambda$", ylabel="mean loss after the last task")
    ax.set(title="order of tasks")
    ax.legend(frameon=False, title="order", ncols=2)


def _draw_times(ax: "Axes", data: Data) -> None:
    ts, values = data["times/ts"], data["times/information"]
    levels = np.linspace(values.max() - 12, values.max(), 13)
    image = ax.contourf(ts, ts, values.T, levels, cmap="cividis")
    ax.figure.colorbar(image, ax=ax, label=r"$\ln \det F$")
    for pair in (data["times/best"], data["times/best"][::-1]):
        ax.plot(*pair, "*", **_star(COLOURS[1]))
    ax.set(xlabel="first time", ylabel="second time", title="most informative times")
