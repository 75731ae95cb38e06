"""The regimes of wide random networks, beside those of balanced ones."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .._dynamics import ExactSolution, GradientFlow
from .._init import Gaussian, LambdaBalanced, wide_network
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from ..kernels import ntk_of_representations
from ..measures import rich_lazy_index
from .maps import guide, sample
from .record import Data, Difference, Record, difference
from .style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Phase diagram of wide random networks, beside balanced ones"
SOURCE = "This library: docs/theory.md, section 7"

MEASURES = {"ntk": "NTK", "features": "hidden features"}


class Settings(NamedTuple):
    """All parameters of the figure."""

    strengths: tuple[float, ...] = (4.0, 2.0, 1.0)
    widths: tuple[int, ...] = (32, 512)
    laziness: tuple[float, float, int] = (1e-2, 1e2, 60)
    odds: tuple[float, float, int] = (1e-3, 1e3, 50)
    lmdas: tuple[float, float, int] = (1e-2, 1e2, 30)
    scales: tuple[float, float, int] = (1e-2, 10.0, 50)
    cells: tuple[tuple[float, float], ...] = (
        (0.03, -0.9),
        (0.1, 0.9),
        (0.5, 0.0),
        (2.0, -0.97),
        (4.0, 0.7),
        (7.0, -0.6),
        (20.0, 0.99),
        (50.0, 0.9),
        (50.0, 0.996),
    )
    last: float = 40.0
    seed: int = 3


FULL = Settings()
QUICK = FULL._replace(
    laziness=(1e-2, 1e2, 24),
    odds=(1e-3, 1e3, 20),
    lmdas=(1e-2, 1e2, 12),
    scales=(1e-2, 10.0, 20),
)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    size = len(settings.strengths)
    strengths = ", ".join(f"{s:g}" for s in settings.strengths)
    widths = " and ".join(f"{w}" for w in settings.widths)
    return (
        "The rich-lazy index (change over sum of norms) between start and end of "
        "learning, of the NTK (top) and of the hidden features' similarities of inputs "
        "(bottom). It is exact, for wide networks (left, middle) and for λ-balanced "
        f"{size}-{size}-{size} networks from one random function (right), on a task "
        f"with white inputs and singular values {strengths}. The wide networks start "
        f"with the functions of Gaussian weights of widths {widths}. Their input scale "
        "l1 and output scale l2 are the width times the variances of the two layers. "
        "The NTK is constant where the laziness l1 + l2 is large against twice the "
        "largest singular value (dashed), at any asymmetry. The features also need an "
        "input scale above their growth (right of the dotted line). Between the lines, "
        "where the asymmetry is large, they change under a nearly constant NTK. For "
        "balanced networks |λ| is the laziness, and only the sign of λ is left of the "
        "asymmetry. The dotted lines are there where |λ| is the square of the weights' "
        "scale. The colours inside the circles are from gradient flow of Gaussian "
        f"weights, until time {settings.last:g}. They tend to the map as the width "
        "grows."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute both diagrams, and the flow of Gaussian weights at some cells."""
    task = Task.from_correlation(np.diag(settings.strengths))
    size, key = task.in_size, jax.random.key(settings.seed)
    half = np.geomspace(*settings.lmdas)
    odds = np.geomspace(*settings.odds)
    laziness, asymmetry = np.array(settings.cells).T
    data = {
        "laziness": np.geomspace(*settings.laziness),
        "asymmetry": (odds - 1) / (odds + 1),
        "lmda": np.r_[-half[::-1], half],
        "scale": np.geomspace(*settings.scales),
        "laziness_cells": laziness,
        "asymmetry_cells": asymmetry,
        "strengths": np.array(settings.strengths),
        "widths": np.array(settings.widths),
    }
    grid = np.meshgrid(data["laziness"], data["asymmetry"])
    cells = len(settings.cells)
    pairs = zip((laziness, asymmetry), grid, strict=True)
    points = [jnp.asarray(np.r_[few, many.ravel()]) for few, many in pairs]
    differences = []
    for width in track(settings.widths):
        sizes = size, width, size
        # The representations fluctuate by twice this, relative to their sizes.
        bound = np.sqrt(2 * size / width) / 2
        # The draw of any standard deviations has this function times both.
        function = Gaussian(1.0)(*sizes, key=key).function / width
        exact = _of_wide(task, function, *points)
        flow = _simulated(task, _drawn(sizes, key, laziness, asymmetry), settings.last)
        for name, found, simulated in zip(MEASURES, exact, flow, strict=True):
            data[f"{width}/{name}"] = np.reshape(found[cells:], grid[0].shape)
            data[f"{width}/flow/{name}"] = np.asarray(simulated)
            what = f"index of the {MEASURES[name]} at {cells} points, width {width}"
            value = difference(found[:cells], simulated)
            differences.append(Difference(what, "flow", value, bound))
    grid = np.meshgrid(data["lmda"], data["scale"])
    balanced = _of_balanced(task, key, *map(jnp.asarray, grid))
    for name, found in zip(MEASURES, balanced, strict=True):
        data[f"balanced/{name}"] = np.asarray(found)
    return Record(data, differences)


Map = tuple[Float[Array, "*cells"], Float[Array, "*cells"]]


def _scales(laziness: Array, asymmetry: Array) -> tuple[Array, Array]:
    """The input scale and the output scale."""
    return laziness * (1 - asymmetry) / 2, laziness * (1 + asymmetry) / 2


def _indices(
    task: Task, qqt: Float[Array, "times both both"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The changes of the NTK and of the features from the first time to the last."""
    n = task.in_size
    ends = qqt[0], qqt[-1]
    ntk = (ntk_of_representations(p[:n, :n], p[n:, n:], task.x) for p in ends)
    features = (task.x @ p[:n, :n] @ task.x.T for p in ends)
    return rich_lazy_index(*ntk), rich_lazy_index(*features)


def _exact(task: Task, start: LinearNetwork) -> tuple[Array, Array]:
    solution = ExactSolution(start, task, throw=False)
    return _indices(task, solution.qqt(jnp.array([0.0, jnp.inf])))


@eqx.filter_jit
def _of_wide(
    task: Task,
    function: Float[Array, "out in"],
    laziness: Float[Array, "*cells"],
    asymmetry: Float[Array, "*cells"],
) -> Map:
    def of(laziness, asymmetry):
        first, second = _scales(laziness, asymmetry)
        start = wide_network(jnp.sqrt(first * second) * function, first, second)
        return _exact(task, start)

    return jnp.vectorize(of)(laziness, asymmetry)


@eqx.filter_jit
def _of_balanced(
    task: Task,
    key: PRNGKeyArray,
    lmda: Float[Array, "*cells"],
    scale: Float[Array, "*cells"],
) -> Map:
    n = task.in_size

    def of(lmda, scale):
        return _exact(task, LambdaBalanced(lmda, scale)(n, n, n, key=key))

    return jnp.vectorize(of)(lmda, scale)


@eqx.filter_jit
def _drawn(
    sizes: tuple[int, int, int],
    key: PRNGKeyArray,
    laziness: Float[ArrayLike, " cells"],
    asymmetry: Float[ArrayLike, " cells"],
) -> LinearNetwork:
    """Gaussian networks of these sizes, in the hidden units that they use."""

    def of(laziness, asymmetry):
        deviations = jnp.sqrt(jnp.stack(_scales(laziness, asymmetry)) / sizes[1])
        return Gaussian(deviations)(*sizes, key=key).compressed()[0]

    return jax.vmap(of)(jnp.asarray(laziness), jnp.asarray(asymmetry))


@eqx.filter_jit
def _simulated(task: Task, starts: LinearNetwork, last: float) -> Map:
    """The indices by gradient flow."""
    law = GradientFlow(rtol=1e-7, atol=1e-10)

    def of(start):
        return _indices(task, learn(start, task, [0.0, last], dynamics=law).qqt)

    return jax.vmap(of)(starts)


def draw(data: Data) -> "Figure":
    """Draw all maps, and the flow's indices as the colours of circles."""
    figure = new_figure(12.0, 6.4)
    widths = data["widths"]
    axes = figure.subplots(len(MEASURES), len(widths) + 1, sharex="col")
    colours = {"vmin": 0, "vmax": 1, "cmap": "viridis"}
    for row, (name, title) in zip(axes, MEASURES.items(), strict=True):
        for ax, width in zip(row, widths, strict=False):
            _draw_wide(ax, data, width, name, colours)
        _draw_balanced(row[-1], data, name, colours)
        bar = figure.colorbar(row[-1].collections[0], ax=row)
        bar.set_label(f"rich-lazy index of the {title}")
    for ax, width in zip(axes[0], widths, strict=False):
        ax.set_title(f"random networks, width {width}")
    axes[0, -1].set_title("balanced networks")
    for ax in axes[:, 1:-1].flat:
        ax.tick_params(labelleft=False)
    for ax in axes[:, 0]:
        ax.set_ylabel(r"asymmetry $(l_2 - l_1)/(l_1 + l_2)$")
    for ax in axes[-1, :-1]:
        ax.set_xlabel(r"laziness $l_1 + l_2$")
    axes[-1, -1].set_xlabel(r"balance $\lambda$")
    return figure


def _draw_wide(ax: "Axes", data: Data, width: int, name: str, colours: dict) -> None:
    laziness, asymmetry = data["laziness"], data["asymmetry"]
    values, circles = data[f"{width}/{name}"], data[f"{width}/flow/{name}"]
    ax.pcolormesh(
        laziness, asymmetry, values, shading="nearest", rasterized=True, **colours
    )
    cells = data["laziness_cells"], data["asymmetry_cells"]
    ax.scatter(*cells, c=circles, zorder=3, **colours, **sample())
    strongest = data["strengths"].max()
    ax.axvline(2 * strongest, **guide("--"))
    if name == "features":  # they grow by the input scale
        edge = 2 * strongest / np.sqrt((1 - asymmetry) * (3 - asymmetry))
        ax.plot(edge, asymmetry, **guide(":"))
    ax.set(xscale="log", xlim=laziness[[0, -1]], ylim=asymmetry[[0, -1]])
    ax.set_yscale("function", functions=(_odds, np.tanh))
    ax.set_yticks([-0.99, -0.9, -0.5, 0, 0.5, 0.9, 0.99])
    ax.set_xticks([0.1, 1, 10])


def _odds(asymmetry: np.ndarray) -> np.ndarray:
    """Half of the logarithm of the ratio of both scales."""
    # The edges of the map's outer cells may lie outside.
    return np.arctanh(np.clip(asymmetry, -1 + 1e-9, 1 - 1e-9))


def _draw_balanced(ax: "Axes", data: Data, name: str, colours: dict) -> None:
    lmda, scale = data["lmda"], data["scale"]
    values = data[f"balanced/{name}"]
    ax.pcolormesh(lmda, scale, values, shading="nearest", rasterized=True, **colours)
    ax.set_xscale("symlog", linthresh=np.abs(lmda).min())
    for sign in (-1, 1):
        ax.axvline(2 * sign * data["strengths"].max(), **guide("--"))
        ax.plot(sign * scale**2, scale, **guide(":"))
    ax.set(yscale="log", ylabel="scale of the weights", xlim=lmda[[0, -1]])
    ax.set_ylim(*scale[[0, -1]])
    ax.set_xticks([-100, -1, 1, 100])
