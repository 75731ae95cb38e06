"""One neuron and one datum: Kunin et al., figure 4b."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._task import Task
from ..theory import neuron_one_datum
from . import neuron
from .record import Data, Difference, Record, difference
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "One neuron, one datum: the end for every balance"
SOURCE = "Kunin et al. 2024, Figure 4b"
LIMIT = 2.5  # limit of the axes of parameter space


class Settings(NamedTuple):
    """All parameters of the figure."""

    x: tuple[float, float] = (0.5, 1.0)
    y: float = 1.1
    function: tuple[float, float] = (0.4, 0.05)
    deltas: tuple[float, ...] = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)
    spectrum: tuple[float, float, int] = (1e-2, 1e3, 40)
    last: float = 20.0
    points: int = 200


FULL = Settings()
QUICK = FULL._replace(points=80)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    x, y, start = settings.x, settings.y, settings.function
    return (
        f"A single neuron learns one datum, x = ({x[0]:g}, {x[1]:g}) with target "
        f"{y:g}, from β = ({start[0]:g}, {start[1]:g}). Left: paths by integrated "
        f"gradient flow (coloured) for {len(settings.deltas)} balances δ in the space "
        "of parameters, from starts on one hyperbola (grey). Middle: paths in the "
        "space of functions, with the functions that fit the datum (black line), the "
        "ends by theory (dots), and the limits δ → -∞ (square: β keeps its direction) "
        "and δ → +∞ (diamond: the nearest point). Right: both components of the end "
        "against δ."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute the simulated flows, and their ends by theory."""
    ts = neuron.times(settings.last, settings.points)
    data = {
        name: np.asarray(value)
        for name, value in _learn(settings, jnp.asarray(ts)).items()
    }
    data["deltas"] = np.array(settings.deltas)
    spectrum = data["spectrum/ends"]
    pairs = (
        ("end of learning", "flow", data["theory/ends"], data["flow/function"][:, -1]),
        ("end at the most negative δ", "limit", spectrum[:1], data["minus"][None]),
        ("end at the most positive δ", "limit", spectrum[-1:], data["plus"][None]),
    )
    bounds = (1e-6, 1e-3, 1e-3)
    differences = [
        Difference(what, against, difference(a, b), bound)
        for (what, against, a, b), bound in zip(pairs, bounds, strict=True)
    ]
    return Record(data, differences)


@eqx.filter_jit
def _learn(settings: Settings, ts: Float[Array, " times"]) -> dict[str, Array]:
    x, y = jnp.array([settings.x]), jnp.array([[settings.y]])
    target = y[0, 0] * x[0] / jnp.sum(x**2)
    function, deltas = jnp.array(settings.function), jnp.array(settings.deltas)
    flow = neuron.simulate(neuron.starts(function, deltas), Task(x, y), ts)
    half = jnp.asarray(np.geomspace(*settings.spectrum))
    spectrum = jnp.concatenate([-half[::-1], half])

    def ends(deltas):
        return jax.vmap(lambda d: neuron_one_datum(function, d, target))(deltas)

    minus, plus = ends(jnp.array([-jnp.inf, jnp.inf]))
    return {
        "target": target,
        **neuron.arrays("flow", flow),
        "theory/ends": ends(deltas),
        "spectrum": spectrum,
        "spectrum/ends": ends(spectrum),
        "minus": minus,
        "plus": plus,
    }


def draw(data: Data) -> "Figure":
    """Draw parameter and function space, and the ends against the balance."""
    figure = new_figure(14.0, 4.6)
    grid = figure.add_gridspec(1, 3)
    space = neuron.parameter_space(figure, grid[0], LIMIT)
    left, right = (figure.add_subplot(grid[column]) for column in (1, 2))
    neuron.hyperbola(space, data["flow/function"][0, 0], LIMIT, "0.5", 1)
    target = data["target"]
    x, y = np.linspace(0.0, 1.9, 100), np.linspace(-0.05, 1.15, 100)
    along = x[None] * target[0] + y[:, None] * target[1]
    neuron.function_space(left, x, y, (along - target @ target) ** 2)
    normal = np.array([-target[1], target[0]])
    ends = target + np.linspace(-2, 2, 2)[:, None] * normal
    left.plot(*ends.T, color="k", lw=1)
    colours = neuron.delta_colours(data["deltas"])
    for i, (delta, colour) in enumerate(zip(data["deltas"], colours, strict=True)):
        w, a = data["flow/w"][i], data["flow/a"][i]
        space.plot(w[:, 0], w[:, 1], a, color=colour, lw=3, zorder=4)
        path = data["flow/function"][i]
        left.plot(*path.T, color=colour, lw=2.5, label=rf"$\delta = {delta:g}$")
        left.plot(*data["theory/ends"][i], "o", color=colour, mec="k", zorder=3)
    left.plot(*data["minus"], "s", color="w", mec="k", ms=8)
    left.plot(*data["plus"], "D", color="w", mec="k", ms=8)
    left.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    left.legend(frameon=False, fontsize="small", ncols=2, loc="upper right")
    for k in range(2):
        colour = COLOURS[k]
        curve = data["spectrum/ends"][:, k]
        label = rf"$\beta_{k + 1}$, theory"
        right.plot(data["spectrum"], curve, color=colour, label=label)
        simulated = data["flow/function"][:, -1, k]
        right.plot(data["deltas"], simulated, "o", color=colour, mec="k")
        for limit in ("minus", "plus"):
            right.axhline(data[limit][k], color=colour, ls="--", lw=0.8)
    right.plot([], [], "o", color="w", mec="k", label="gradient flow")
    right.plot(
        [], [], "--", color="0.5", lw=0.8, label=r"limits $\delta \to \pm\infty$"
    )
    right.set_xscale("symlog", linthresh=np.abs(data["spectrum"]).min())
    right.set_xticks([-1e3, -10, -0.1, 0, 0.1, 10, 1e3])
    right.set(xlabel=r"balance $\delta$", ylabel="the learned function")
    right.legend(frameon=False, loc="upper right")
    return figure
