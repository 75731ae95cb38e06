"""One neuron's rich and lazy learning: Kunin et al., figures 2, 3 and 4a."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._task import Task
from . import neuron
from .record import Data, Record
from .style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d.axes3d import Axes3D

TITLE = "One neuron: balance, magnitude, alignment and kernel distance"
SOURCE = "Kunin et al. 2024, Figures 2, 3 and 4a"
LIMIT = 2.5  # limit of the axes of parameter space
CURVES = {
    "magnitude": r"magnitude $\mu$",
    "alignment": r"alignment $\phi$",
    "kernel_distance": "kernel distance",
}


class Settings(NamedTuple):
    """All parameters of the figure."""

    target: tuple[float, float] = (0.0, 1.0)
    function: tuple[float, float] = (-1.0, 0.0)
    deltas: tuple[float, ...] = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)
    shown: tuple[float, ...] = (-2.0, 0.0, 2.0)
    last: float = 20.0
    points: int = 300


FULL = Settings()
QUICK = FULL._replace(points=120)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    deltas = ", ".join(f"{d:g}" for d in settings.deltas)
    return (
        f"A single neuron y = a w·x learns the map β* = ({settings.target[0]:g}, "
        f"{settings.target[1]:g}) of white inputs from β = ({settings.function[0]:g}, "
        f"{settings.function[1]:g}) at balances δ = a² - |w|² of {deltas}. Above: the "
        "path in parameter space on the conserved surface, between the hyperbolas of "
        "the starting function (grey) and of the solution (green), and the paths in "
        "function space. Below: the magnitude a|w|, its alignment with β*, and the "
        "distance of the tangent kernel from its start. Coloured: integrated gradient "
        "flow; dotted: theory. In one factor of the kernel distance the published code "
        "has the initial readout in place of the present one; here it is the present "
        "one."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute all flows, by theory and by simulation."""
    ts = neuron.times(settings.last, settings.points)
    data = {
        name: np.asarray(value)
        for name, value in _learn(settings, jnp.asarray(ts)).items()
    }
    data |= {"ts": ts, "deltas": np.array(settings.deltas)}
    data |= {"shown": np.array(settings.shown), "target": np.array(settings.target)}
    names = ("w", "a", "function", *CURVES)
    return Record(data, neuron.differences(data, names, 1e-7))


@eqx.filter_jit
def _learn(settings: Settings, ts: Float[Array, " times"]) -> dict[str, Array]:
    target = jnp.array(settings.target)
    start = neuron.starts(jnp.array(settings.function), jnp.array(settings.deltas))
    out = {}
    for law, flow in (
        ("theory", neuron.solve(start, target, ts)),
        ("flow", neuron.simulate(start, Task.from_correlation(target[None]), ts)),
    ):
        out |= neuron.arrays(
            law,
            flow,
            magnitude=flow.magnitude,
            alignment=flow.alignment(target),
            kernel_distance=neuron.kernel_distances(flow),
        )
    return out


def draw(data: Data) -> "Figure":
    """Draw parameter and function space above, curves over time below."""
    figure = new_figure(13.0, 7.5)
    shown = data["shown"]
    grid = figure.add_gridspec(2, 12, height_ratios=(1.2, 1))
    colours = neuron.delta_colours(data["deltas"])
    for column, delta in enumerate(shown):
        place = grid[0, 3 * column : 3 * column + 3]
        axes = neuron.parameter_space(figure, place, LIMIT, zoom=1.15)
        i = int(np.flatnonzero(data["deltas"] == delta)[0])
        _draw_parameters(axes, data, i, colours[i])
        axes.set_title(rf"$\delta = {delta:g}$")
    ax = figure.add_subplot(grid[0, 9:])
    x, y = np.linspace(-1.25, 0.35, 100), np.linspace(-0.3, 1.3, 100)
    loss = (x[None] - data["target"][0]) ** 2 + (y[:, None] - data["target"][1]) ** 2
    neuron.function_space(ax, x, y, loss)
    for i, colour in enumerate(colours):
        ax.plot(*data["flow/function"][i].T, color=colour, lw=3)
        ax.plot(*data["theory/function"][i].T, **neuron.THEORY)
    ax.plot(*data["target"], "*", color="k", ms=12)
    for column, (name, label) in enumerate(CURVES.items()):
        ax = figure.add_subplot(grid[1, 4 * column : 4 * column + 4])
        for i, colour in enumerate(colours):
            label_of = rf"$\delta = {data['deltas'][i]:g}$"
            curve = data[f"flow/{name}"][i]
            ax.plot(data["ts"], curve, color=colour, lw=3, label=label_of)
            ax.plot(data["ts"], data[f"theory/{name}"][i], **neuron.THEORY)
        ax.set(xlabel="time (learning rate × step)", ylabel=label)
    handles, _ = ax.get_legend_handles_labels()
    figure.legend(
        handles=[*handles, *neuron.law_handles()],
        loc="outside lower center",
        ncols=len(handles) + 2,
        frameon=False,
    )
    return figure


def _draw_parameters(axes: "Axes3D", data: Data, i: int, colour) -> None:
    delta = data["deltas"][i]
    angle = np.linspace(0, 2 * np.pi, 40)[None]
    radius = np.linspace(max(0, -delta) ** 0.5, LIMIT, 14)[:, None]
    height = np.sqrt(np.maximum(radius**2 + delta, 0.0))
    w1, w2 = radius * np.cos(angle), radius * np.sin(angle)
    inside = (np.abs(w1) <= LIMIT) & (np.abs(w2) <= LIMIT) & (height <= LIMIT)
    w1, w2 = (np.where(inside, w, np.nan) for w in (w1, w2))
    for sign, zorder in ((-1, -2), (1, 1)):
        axes.plot_wireframe(
            w1,
            w2,
            sign * height + 0 * w1,
            color="0.75",
            lw=0.4,
            zorder=zorder,
        )
    neuron.hyperbola(axes, data["theory/function"][i, 0], LIMIT, "0.4", 2)
    neuron.hyperbola(axes, data["target"], LIMIT, "#009E73", 2)
    w, a = data["flow/w"][i], data["flow/a"][i]
    axes.plot(w[:, 0], w[:, 1], a, color=colour, lw=4, zorder=4)
    w, a = data["theory/w"][i], data["theory/a"][i]
    axes.plot(w[:, 0], w[:, 1], a, zorder=5, **neuron.THEORY)
