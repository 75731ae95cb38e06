"""Protocols chosen by gradient: the order of tasks, and times of observation.

In: the `Settings` of the figure `design`. Out: designs and sweeps, added to `data`, and
their panels. docs/inference.md.
"""

import itertools
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._dynamics import ExactSolution, GradientFlow
from .._init import balanced_network
from .._task import Task
from ..applications import continual
from ..inference import Information, SequenceLoss, design, orders
from .design_problem import Settings, balanced, function_of, not_worse, star, task_of
from .record import Data, Difference, difference
from .style import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def compute_orders(settings: Settings, data: dict) -> list[Difference]:
    """The best order of tasks with its best balance, and a sweep of both."""
    keys = jax.random.split(jax.random.key(settings.seed), settings.tasks)
    tasks = [Task.random_regression(2, 2, 8, key=key) for key in keys]
    goal = SequenceLoss(tasks, settings.duration)
    network = balanced_network(function_of(settings, settings.small), 0.0)
    lmdas = np.geomspace(1e-3 * settings.largest, settings.largest, settings.points)
    starts = balanced(network.function, jnp.asarray(lmdas))
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
        not_worse("loss after all tasks", value, np.array([swept.min()])),
    ]


def compute_times(settings: Settings, data: dict) -> list[Difference]:
    """The two most informative times, and the information of all pairs."""
    task, function = task_of(settings), function_of(settings)

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
        not_worse(
            "information", -np.array([float(found.goal)]), -np.array([swept.max()])
        )
    ]


def draw_orders(ax: "Axes", data: Data) -> None:
    """Draw the loss after the last task, over balances, for every order."""
    for i, order in enumerate(data["order/orders"]):
        label = ", ".join(str(k + 1) for k in order)
        curve = data["order/loss"][:, i]
        ax.plot(data["order/lmdas"], curve, color=COLOURS[i], label=label)
        if np.array_equal(order, data["order/best_order"]):
            where = data["order/best"], data["order/best_loss"]
            ax.plot(*where, "*", **star(COLOURS[i]))
    ax.set(xscale="log", xlabel=r"$\lambda$", ylabel="mean loss after the last task")
    ax.set(title="order of tasks")
    ax.legend(frameon=False, title="order", ncols=2)


def draw_times(ax: "Axes", data: Data) -> None:
    """Draw the information of all pairs of times."""
    ts, values = data["times/ts"], data["times/information"]
    levels = np.linspace(values.max() - 12, values.max(), 13)
    image = ax.contourf(ts, ts, values.T, levels, cmap="cividis")
    ax.figure.colorbar(image, ax=ax, label=r"$\ln \det F$")
    for pair in (data["times/best"], data["times/best"][::-1]):
        ax.plot(*pair, "*", **star(COLOURS[1]))
    ax.set(xlabel="first time", ylabel="second time", title="most informative times")
