"""One neuron on either side of its basin boundary: Kunin et al., appendix, figure 7."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._linalg import norm
from .._task import Task
from ..theory import SingleNeuron, neuron_boundary
from . import neuron
from .record import Data, Difference, Record
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "One neuron at the boundary of its basins"
SOURCE = "Kunin et al. 2024, appendix, Figure 7"
LIMIT = 5.0  # limit of the axes of parameter space
SIDES = ("-", (0, (3, 1.5)))  # line styles: ends with a > 0, with a < 0


class Settings(NamedTuple):
    """All parameters of the figure."""

    target: tuple[float, float] = (1.0, 0.25)
    a: float = -4.0
    nudge: float = 1e-3
    deltas: tuple[float, ...] = (0.0, -2.0, -10.0)
    last: float = 200.0
    points: int = 400


FULL = Settings()
QUICK = FULL._replace(points=150)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    deltas = ", ".join(f"{d:g}" for d in settings.deltas)
    return (
        "The surface that separates the basins of a single neuron (grey), β*·w = -a (δ "
        f"+ √(δ² + 4|β*|²))/2, the neurons that fit β* = ({settings.target[0]:g}, "
        f"{settings.target[1]:g}) at white inputs (black hyperbola), and pairs of "
        f"flows at δ = {deltas} that start with a = {settings.a:g} ± "
        f"{settings.nudge:g}. Their w is on the surface for a = {settings.a:g}. The "
        "upper flow (solid) ends with a > 0, the lower one (broken) with a < 0, after "
        "a time near the saddle at a = 0. Integrated gradient flow is coloured, theory "
        "dotted. The alignment is between w and β*. The source shows the alignment of "
        "the function a w, which ends at one on either side."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute both flows of every balance, and the surface."""
    # The times to reach and to leave the saddle differ by orders of magnitude.
    ts = np.r_[0.0, np.geomspace(1e-3, settings.last, settings.points)]
    data = {
        name: np.asarray(value)
        for name, value in _learn(settings, jnp.asarray(ts)).items()
    }
    data |= {"ts": ts, "deltas": np.array(settings.deltas)}
    data["target"] = np.array(settings.target)
    # Leaving the saddle amplifies the solver's error.
    names = ("function", "alignment")
    differences = neuron.differences(data, names, 1e-6)
    wrong = np.mean(np.sign(data["flow/a"][:, -1]) != np.sign(data["growing"]))
    what = "part of starts that end on another side"
    differences.append(Difference(what, "flow", float(wrong), 0.0))
    return Record(data, differences)


@eqx.filter_jit
def _learn(settings: Settings, ts: Float[Array, " times"]) -> dict[str, Array]:
    target = jnp.array(settings.target)
    deltas = jnp.repeat(jnp.array(settings.deltas), 2)
    nudges = jnp.tile(jnp.array([1.0, -1.0]) * settings.nudge, len(settings.deltas))
    a = jnp.asarray(settings.a)
    w = jax.vmap(lambda delta: _on_boundary(a, delta, target, 1.0))(deltas)
    starts = SingleNeuron(w, a + nudges)
    out = {"growing": jax.vmap(lambda start: start.growing_component(target))(starts)}
    for law, flow in (
        ("theory", neuron.solve(starts, target, ts)),
        ("flow", neuron.simulate(starts, Task.from_correlation(target[None]), ts)),
    ):
        size = norm(flow.function, axis=-1)
        out |= neuron.arrays(law, flow, alignment=flow.alignment(target), size=size)
    heights = jnp.linspace(-LIMIT, LIMIT, 41)
    # These balances are evenly spaced along w.
    across = -(jnp.linspace(0, 1.5 * LIMIT, 31) ** 2)
    of_sides = jax.vmap(_on_boundary, in_axes=(None, None, None, 0))
    of_heights = jax.vmap(of_sides, in_axes=(0, None, None, None))
    of_grid = jax.vmap(of_heights, in_axes=(None, 0, None, None))
    out["surface/w"] = of_grid(heights, across, target, jnp.array([-1.0, 1.0]))
    out["surface/a"] = heights
    return out


def _on_boundary(
    a: Float[Array, ""],
    delta: Float[Array, ""],
    target: Float[Array, " in"],
    side: float | Float[Array, ""],
) -> Float[Array, " in"]:
    """Input weights on the boundary, on one `side` of the target."""
    unit = target / norm(target)
    along = neuron_boundary(a, delta, target) / norm(target)
    # The remaining part of |w|^2 = a^2 - delta is orthogonal to the target.
    across = jnp.sqrt(jnp.maximum(a**2 - delta - along**2, 0.0))
    return along * unit + side * across * jnp.array([unit[1], -unit[0]])


def draw(data: Data) -> "Figure":
    """Draw parameter space, the alignment and the norm of the function."""
    from matplotlib.lines import Line2D

    figure = new_figure(13.0, 4.8)
    grid = figure.add_gridspec(1, 3, width_ratios=(1.25, 1, 1))
    space = neuron.parameter_space(figure, grid[0], LIMIT)
    panels = [figure.add_subplot(grid[column]) for column in (1, 2)]
    a = np.broadcast_to(data["surface/a"], data["surface/w"].shape[:2])
    for side in range(2):
        w = data["surface/w"][:, :, side]
        inside = np.all(np.abs(w) <= LIMIT, axis=-1)
        w1, w2 = (np.where(inside, w[..., k], np.nan) for k in range(2))
        space.plot_surface(w1, w2, a, color="0.8", alpha=0.5, lw=0, zorder=0)
        space.plot_wireframe(w1, w2, a, color="0.6", lw=0.3, zorder=0)
    neuron.hyperbola(space, data["target"], LIMIT, "k", 1)
    # A logarithmic axis can't show time 0.
    ts = data["ts"][1:]
    for i in range(len(data["flow/a"])):
        colour, side = COLOURS[i // 2], SIDES[i % 2]
        for law, style in (
            ("flow", {"color": colour, "lw": 3.5, "ls": side}),
            ("theory", neuron.THEORY),
        ):
            w, a = data[f"{law}/w"][i], data[f"{law}/a"][i]
            space.plot(w[:, 0], w[:, 1], a, zorder=4, **style)
            for ax, name in zip(panels, ("alignment", "size"), strict=True):
                ax.plot(ts, data[f"{law}/{name}"][i, 1:], **style)
        for point in (0, -1):
            w, a = data["theory/w"][i, point], data["theory/a"][i, point]
            space.plot(*w, a, "o", color=colour, mec="k", ms=5, zorder=5)
    panels[0].set_ylabel(r"alignment of $w$ with $\beta_*$")
    panels[1].set(ylabel=r"norm of the function $|a w|$", yscale="log")
    for ax in panels:
        ax.set(xscale="log", xlabel="time (learning rate × step)")
    handles = [
        Line2D([], [], color=COLOURS[i], lw=3.5, label=rf"$\delta = {delta:g}$")
        for i, delta in enumerate(data["deltas"])
    ]
    for side, label in zip(SIDES, ("ends with $a > 0$", "$a < 0$"), strict=True):
        handles.append(Line2D([], [], color="0.5", lw=3, ls=side, label=label))
    handles += neuron.law_handles()[1:]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
    return figure
