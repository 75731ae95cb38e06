"""The regimes of learning over balance and scale."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import sweeps
from .._dynamics import AbstractDynamics
from .._init import LambdaBalanced
from .._learn import learn
from .._task import Task
from ..kernels import ntk
from ..measures import convergence_time, kernel_distance, rich_lazy_index
from . import comparison
from .maps import guide, sample
from .record import Data, Record, against_descent
from .style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Phase diagram: rich and lazy over balance and scale"
SOURCE = "In the manner of Kunin et al. 2024, Figure 1"


MEASURES = {
    "kernel_distance": "kernel distance",
    "richness": "rich-lazy index",
    "convergence_time": "time to converge",
}


class Settings(NamedTuple):
    """All parameters of the figure."""

    strengths: tuple[float, ...] = (4.0, 2.0, 1.0)
    lmdas: tuple[float, float, int] = (1e-4, 1e2, 30)
    scales: tuple[float, float, int] = (1e-2, 10.0, 60)
    threshold: float = 1e-3
    last: float = 1e3
    points: int = 400
    cells: tuple[tuple[float, float], ...] = (
        (0.1, 0.03),
        (-0.1, 0.3),
        (1.0, 0.3),
        (-5.0, 0.1),
        (5.0, 1.0),
    )
    learning_rate: float = 1e-3
    steps: int = 20_000
    seed: int = 2


FULL = Settings()
QUICK = FULL._replace(lmdas=(1e-4, 1e2, 10), scales=(1e-2, 10.0, 20), points=200)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    size = len(settings.strengths)
    strengths = ", ".join(f"{s:g}" for s in settings.strengths)
    balances, scales = 2 * settings.lmdas[2], settings.scales[2]
    return (
        "The distance of the NTK from its start to its end (left), the rich-lazy index "
        "(middle: the change of the NTK over the sum of its norms, which also detects "
        f"its growth) and the time until {settings.threshold:g} of the loss above its "
        f"end is left (right). They are exact, for {balances} by {scales} λ-balanced "
        f"starts of a {size}-{size}-{size} network, all from one random function, on a "
        f"task with white inputs and singular values {strengths}. Learning is lazy, "
        "with a constant NTK, where |λ| is large against the singular values (dashed: "
        "the largest) and the squared weights (dotted: their scale squared). The NTK "
        "turns most where |λ| is small against the squared weights. Between the lines, "
        "for small weights, it mostly grows. The colours inside the circles are from "
        f"gradient descent (learning rate {settings.learning_rate:g}, {settings.steps} "
        "steps). The diagram of Kunin et al. is for two-layer ReLU networks: task and "
        "settings are this library's."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute the sweep, and gradient descent at some cells."""
    task = _task(settings)
    size = task.in_size
    half = np.geomspace(*settings.lmdas)
    lmda, scale = np.r_[-half[::-1], half], np.geomspace(*settings.scales)
    ts = np.r_[0, np.geomspace(1e-3, settings.last, settings.points)]
    key = jax.random.key(settings.seed)
    found = sweeps.phase_diagram(
        task,
        (size, size, size),
        ts,
        lmda=lmda,
        scale=scale,
        key=key[None],
        progress=False,
    ).isel(key=0)
    rows = [
        (int(np.abs(lmda - cell[0]).argmin()), int(np.abs(scale - cell[1]).argmin()))
        for cell in settings.cells
    ]
    i, j = np.array(rows).T
    laws = comparison.descents(settings.learning_rate)
    runs = {
        name: _learned(settings, task, lmda[i], scale[j], law)
        for name, law in laws.items()
    }
    data = {
        "lmda": lmda,
        "scale": scale,
        "lmda_cells": lmda[i],
        "scale_cells": scale[j],
        "strengths": np.array(settings.strengths),
    }
    differences = []
    for k, name in enumerate(MEASURES):
        data[name] = found[name].values
        descent, corrected = (np.asarray(runs[law][k]) for law in laws)
        data |= {f"descent/{name}": descent, f"corrected/{name}": corrected}
        values = found[name].values[i, j], descent, corrected
        if name == "convergence_time":  # all times count, not only the longest
            values = [x / descent for x in values]
        what = f"{MEASURES[name]} at {len(rows)} cells"
        differences.append(against_descent(what, *values, bound=1e-2))
    return Record(data, differences)


def _task(settings: Settings) -> Task:
    # The task's directions don't matter: the weights' directions are random.
    return Task.from_correlation(np.diag(settings.strengths))


@eqx.filter_jit
def _learned(
    settings: Settings,
    task: Task,
    lmda: Real[ArrayLike, " cells"],
    scale: Real[ArrayLike, " cells"],
    law: AbstractDynamics,
) -> tuple[Float[Array, " cells"], ...]:
    """The measures by a law for gradient descent."""
    size, key = task.in_size, jax.random.key(settings.seed)
    steps = np.unique(np.geomspace(1, settings.steps, settings.points).round())
    ts = np.r_[0, steps] * settings.learning_rate

    def of(lmda, scale):
        start = LambdaBalanced(lmda, scale)(size, size, size, key=key)
        run = learn(start, task, ts, dynamics=law)
        end = jax.tree.map(lambda w: w[-1], run.network)
        kernels = ntk(start, task.x), ntk(end, task.x)
        left = run.loss - run.loss[-1]
        time = convergence_time(ts, left, settings.threshold * left[0])
        return kernel_distance(*kernels), rich_lazy_index(*kernels), time

    return jax.vmap(of)(jnp.asarray(lmda), jnp.asarray(scale))


def draw(data: Data) -> "Figure":
    """Draw the measures as maps, and gradient descent's as the colours of circles."""
    from matplotlib.colors import LogNorm, Normalize

    figure = new_figure(13.0, 3.9)
    axes = figure.subplots(1, len(MEASURES), sharey=True)
    lmda, scale = data["lmda"], data["scale"]
    for ax, (name, title) in zip(axes, MEASURES.items(), strict=True):
        time = name == "convergence_time"
        values = np.ma.masked_invalid(data[name]).T
        ends = (values.min(), values.max()) if time else (0, values.max())
        colours = {
            "norm": (LogNorm if time else Normalize)(*ends),
            "cmap": "cividis" if time else "viridis",
        }
        mesh = ax.pcolormesh(
            lmda, scale, values, shading="nearest", rasterized=True, **colours
        )
        cells = data["lmda_cells"], data["scale_cells"]
        ax.scatter(*cells, c=data[f"descent/{name}"], zorder=3, **colours, **sample())
        ax.set_xscale("symlog", linthresh=np.abs(lmda).min())
        for sign in (-1, 1):
            ax.plot(sign * scale**2, scale, **guide(":"))
            ax.axvline(sign * data["strengths"].max(), **guide("--"))
        ax.set_xlim(lmda[0], lmda[-1])
        ax.set_xticks([-100, -0.1, 0.1, 100])
        ax.set(yscale="log", title=title, xlabel=r"balance $\lambda$")
        label = "learning rate × step" if time else None
        figure.colorbar(mesh, ax=ax, label=label)
    axes[0].set_ylabel("scale of the weights")
    return figure
