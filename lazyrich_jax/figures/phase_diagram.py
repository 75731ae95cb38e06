"""The regimes of learning over balance and scale."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import sweeps
from .._dynamics import GradientDescent
from .._init import LambdaBalanced
from .._learn import learn
from .._task import Task
from ..kernels import ntk
from ..measures import convergence_time, kernel_distance, rich_lazy_index
from .record import Data, Difference, Record, difference
from .style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Phase diagram: rich and lazy over balance and scale"
SOURCE = "Domine et al. 2025; in the manner of Kunin et al. 2024, Figure 1"


MEASURES = {
    "kernel_distance": "kernel distance",
    "richness": "rich-lazy index",
    "convergence_time": "time to converge",
}


class Settings(NamedTuple):
    """Every parameter."""

    strengths: tuple[float, ...] = (4.0, 2.0, 1.0)
    lmdas: tuple[float, float, int] = (1e-2, 1e2, 30)
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
    learning_rate: float = 0.01
    steps: int = 20_000
    seed: int = 2


FULL = Settings()
QUICK = FULL._replace(lmdas=(1e-2, 1e2, 10), scales=(1e-2, 10.0, 20), points=200)


def caption(settings: Settings) -> str:
    """What is seen, and its parameters."""
    size = len(settings.strengths)
    strengths = ", ".join(f"{s:g}" for s in settings.strengths)
    balances, scales = 2 * settings.lmdas[2], settings.scales[2]
    return (
        "The distance of the NTK from its start to its end (left), the rich-lazy index "
        "(middle: the change of the NTK over the sum of its norms, which also sees it "
        "grow) and the time until the loss has lost all but "
        f"{settings.threshold:g} of what it loses (right), exact, for {balances} by "
        f"{scales} λ-balanced starts of a {size}-{size}-{size} network, all from one "
        f"random function; a task with white inputs and singular values {strengths}. "
        "Learning is lazy, the NTK staying as it is, where |λ| is large against the "
        "singular values and the squared weights. "
        f"At the circles gradient descent (learning rate {settings.learning_rate:g}, "
        f"{settings.steps} steps) was run beside it. The paper has no such diagram; "
        "that of Kunin et al. is for two-layer ReLU networks: the settings are this "
        "library's."
    )


def compute(settings: Settings, track=iter) -> Record:
    """The sweep, and gradient descent at some cells."""
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
    simulated = _descend(settings, task, lmda[i], scale[j])
    data = {
        "lmda": lmda,
        "scale": scale,
        "lmda_cells": lmda[i],
        "scale_cells": scale[j],
    }
    differences = []
    for name, values in zip(MEASURES, simulated, strict=True):
        data[name] = found[name].values
        data[f"descent/{name}"] = np.asarray(values)
        pair = found[name].values[i, j], data[f"descent/{name}"]
        what = f"{MEASURES[name]} at {len(rows)} cells"
        differences.append(Difference(what, "descent", difference(*pair), 5e-2))
    return Record(data, differences)


def _task(settings: Settings) -> Task:
    """White inputs, and the singular values of the settings in random directions."""
    size = len(settings.strengths)
    u, v = (jax.random.orthogonal(jax.random.key(i), size) for i in range(2))
    return Task.from_correlation((u * jnp.array(settings.strengths)[None]) @ v.T)


@eqx.filter_jit
def _descend(
    settings: Settings,
    task: Task,
    lmda: Real[ArrayLike, " cells"],
    scale: Real[ArrayLike, " cells"],
) -> tuple[Float[Array, " cells"], ...]:
    """The measures by gradient descent."""
    size, key = task.in_size, jax.random.key(settings.seed)
    steps = np.unique(np.geomspace(1, settings.steps, settings.points).round())
    ts = np.r_[0, steps] * settings.learning_rate
    law = GradientDescent(settings.learning_rate)

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
    """Both measures as maps."""
    from matplotlib.colors import LogNorm

    figure = new_figure(13.0, 3.8)
    axes = figure.subplots(1, len(MEASURES), sharey=True)
    lmda, scale = data["lmda"], data["scale"]
    for ax, (name, title) in zip(axes, MEASURES.items(), strict=True):
        time = name == "convergence_time"
        mesh = ax.pcolormesh(
            lmda,
            scale,
            np.ma.masked_invalid(data[name]).T,
            cmap="cividis" if time else "viridis",
            norm=LogNorm() if time else None,
            shading="nearest",
        )
        mesh.set_rasterized(True)
        ax.plot(data["lmda_cells"], data["scale_cells"], "o", mfc="none", mec="w", ms=8)
        ax.set_xscale("symlog", linthresh=np.abs(lmda).min())
        ax.set_xticks([-100, -1, -0.01, 0.01, 1, 100])
        ax.set(yscale="log", title=title, xlabel=r"$\lambda$")
        figure.colorbar(mesh, ax=ax)
    axes[0].set_ylabel("scale of the weights")
    return figure
