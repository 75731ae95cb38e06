"""One neuron's weights over time: Kunin et al., appendix, figure 8."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._linalg import dot
from .._task import Task
from ..theory import SingleNeuron
from . import neuron
from .record import Data, Record
from .style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "One neuron: weights over time for every balance"
SOURCE = "Kunin et al. 2024, appendix, Figure 8"
COLUMNS = {
    "nu": r"$\nu = \beta_*\cdot w / a$",
    "a": "$a$",
    "w1": "$w_1$",
    "w2": "$w_2$",
}


class Settings(NamedTuple):
    """All parameters of the figure."""

    target: tuple[float, float] = (0.5, 0.5)
    functions: tuple[tuple[float, float], ...] = ((0.0, -1.0), (0.5, -0.5), (0.5, 0.5))
    deltas: tuple[float, ...] = (-2.0, -1.0, -0.2, 0.02, 0.2, 1.0, 2.0)
    last: float = 10.0
    points: int = 300


FULL = Settings()
QUICK = FULL._replace(points=120)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    deltas = ", ".join(f"{d:g}" for d in settings.deltas)
    starts = "; ".join(f"({a:g}, {b:g})" for a, b in settings.functions)
    return (
        "The weights of a single neuron, and ν, which obeys a separate equation, over "
        f"time from three directions of β ({starts}; normalised; a row each) at "
        f"balances {deltas}: integrated gradient flow (coloured) and theory (dotted). "
        f"β* = ({settings.target[0]:g}, {settings.target[1]:g}), white inputs."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute all flows, by theory and by simulation."""
    ts = neuron.times(settings.last, settings.points)
    data = {
        name: np.asarray(value)
        for name, value in _learn(settings, jnp.asarray(ts)).items()
    }
    data |= {"ts": ts, "deltas": np.array(settings.deltas)}
    data["rows"] = np.array(len(settings.functions))
    return Record(data, neuron.differences(data, ("w", "a", "function"), 1e-7))


@eqx.filter_jit
def _learn(settings: Settings, ts: Float[Array, " times"]) -> dict[str, Array]:
    target, deltas = jnp.array(settings.target), jnp.array(settings.deltas)
    functions = jnp.array(settings.functions)
    functions /= jnp.linalg.norm(functions, axis=1, keepdims=True)
    starts = jax.vmap(lambda function: neuron.starts(function, deltas))(functions)
    starts = SingleNeuron(starts.w.reshape(-1, 2), starts.a.reshape(-1))
    out = {}
    for law, flow in (
        ("theory", neuron.solve(starts, target, ts)),
        ("flow", neuron.simulate(starts, Task.from_correlation(target[None]), ts)),
    ):
        more = {"nu": dot(flow.w, target) / flow.a}
        more |= {"w1": flow.w[..., 0], "w2": flow.w[..., 1]}
        out |= neuron.arrays(law, flow, **more)
    return out


def draw(data: Data) -> "Figure":
    """Draw a row for every start and a column for every quantity."""
    rows, deltas = int(data["rows"]), data["deltas"]
    figure = new_figure(12.0, 7.0)
    axes = figure.subplots(rows, len(COLUMNS), sharex=True)
    colours = neuron.delta_colours(deltas)
    for row in range(rows):
        for ax, name in zip(axes[row], COLUMNS, strict=True):
            for i, colour in enumerate(colours):
                k = row * len(deltas) + i
                label = rf"$\delta = {deltas[i]:g}$"
                flow = data[f"flow/{name}"][k]
                ax.plot(data["ts"], flow, color=colour, lw=3, label=label)
                ax.plot(data["ts"], data[f"theory/{name}"][k], **neuron.THEORY)
    for ax, title in zip(axes[0], COLUMNS.values(), strict=True):
        ax.set_title(title)
    # nu has poles where a passes zero.
    axes[0, 0].set_ylim(-3, 3)
    for ax in axes[-1]:
        ax.set_xlabel("time (learning rate × step)")
    axes[0, -1].legend(
        frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1)
    )
    figure.legend(
        handles=neuron.law_handles(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    return figure
