"""Figure 6: reversal, transfer and fine-tuning, from rich to lazy."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from .. import applications
from .._dynamics import AbstractDynamics, Exact
from .._init import LambdaBalanced
from .._task import Task
from . import comparison
from .record import Data, Difference, Record, against_descent, difference
from .style import COLOURS, law_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Reversal, transfer and fine-tuning against the balance"
SOURCE = "Domine et al. 2025, Figure 6 and section 5"
LAWS = "exact", "descent"


class Settings(NamedTuple):
    """All parameters of the figure."""

    levels: int = 2
    scale: float = 0.3
    spectrum: tuple[float, float] = (0.1, 30.0)
    lmdas: int = 16
    attribute_levels: int = 3
    attribute_lmdas: tuple[float, ...] = (20.0, 0.0, -20.0)
    shared: tuple[float, ...] = (0.0, 0.25, 0.5)
    rank: int = 1
    change: float = 0.5
    tolerance: float = 1e-2
    learning_rate: float = 0.02
    duration: float = 100.0
    last: float = 300.0
    points: int = 300
    # Half of all draws are at a saddle for lambda = 0. These are not.
    seed: int = 2
    attribute_seed: int = 2


FULL = Settings()
QUICK = FULL._replace(lmdas=8, points=100)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    size, items = 2**settings.levels, 2**settings.attribute_levels
    return (
        f"A {size}-{size}-{size} network learns a hierarchy of {size} items (singular "
        "values separated), and then a second task. Top left and middle: the same task "
        "with all signs reversed (loss, and time until the loss above its optimum has "
        f"fallen to {settings.tolerance:g} of its value, beside the times of aligned "
        "modes and of a one-layer network). Bottom left: a task with the same singular "
        "values that shares a fraction of the singular vectors. Bottom middle and "
        f"right: a correlation changed by a matrix of rank {settings.rank} and "
        f"{settings.change:g} of its norm, learned by a network that was pretrained at "
        "λ = 0 and rebalanced to λ without changing the function (time, distance of "
        "the NTK, growth of the first task's loss). Top right: "
        f"{items}-{items}-{items} networks that know the hierarchy of {items} items "
        "learn a new attribute of the first item alone, with a separate readout. Black "
        "dotted lines, lines with markers and bars: exact, after "
        f"{settings.duration:g} ({settings.last:g} before the attribute) units of "
        "learning rate × step of the first task; coloured lines and markers: gradient "
        f"descent at learning rate {settings.learning_rate:g}. The sources give no "
        "parameters for these panels: all are this library's."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute every application, exactly and by gradient descent."""
    task = Task.hierarchy(settings.levels, separate=True)
    size = task.in_size
    keys = jax.random.split(jax.random.key(settings.seed), 3)
    network = LambdaBalanced(0.0, settings.scale)(size, size, size, key=keys[0])
    lmda = np.geomspace(*settings.spectrum, settings.lmdas)
    rate = settings.learning_rate
    steps = np.geomspace(1, settings.last / rate, settings.points).round()
    ts = np.unique(np.r_[0, steps]) * rate
    options: dict[str, Any] = {"duration": settings.duration, "ts": ts}
    options["tolerance"] = settings.tolerance
    laws: dict[str, AbstractDynamics] = {
        "exact": Exact(),
        **comparison.descents(rate),
    }
    changed = applications.low_rank_change(
        task, settings.rank, settings.change, key=keys[1]
    )
    data: dict[str, Any] = {"ts": ts, "lmda": lmda}
    data["shared"] = np.array(settings.shared)
    data["attribute_lmda"] = np.array(settings.attribute_lmdas)
    for law in track(laws):
        options["dynamics"] = laws[law]
        found = applications.reversal(network, task, lmda, **options)
        data[f"{law}/reversal"] = found.after.loss
        data[f"{law}/reversal_time"] = found.time
        if law == "exact":
            data["predicted_time"] = found.predicted_time
            data["shallow_time"] = found.shallow_time
            data["shallow"] = found.shallow_loss
        tuned = applications.finetune(network, task, changed, lmda, **options)
        for name in ("time", "kernel_distance", "forgetting"):
            data[f"{law}/finetune_{name}"] = getattr(tuned, name)
        times = []
        for shared in settings.shared:
            second = applications.related_task(task, shared, key=keys[2])
            learned = applications.transfer(network, task, second, lmda, **options)
            times.append(np.asarray(learned.time))
        data[f"{law}/transfer_time"] = np.stack(times)
    data |= _attribute(settings, laws)
    data = {name: np.asarray(value) for name, value in data.items()}
    return Record(data, _differences(data))


def _attribute(settings: Settings, laws: Mapping[str, AbstractDynamics]) -> dict:
    """The generalisation of a new attribute from one item to the others."""
    task = Task.hierarchy(settings.attribute_levels)
    size, key = task.in_size, jax.random.key(settings.attribute_seed)
    network = LambdaBalanced(0.0, settings.scale)(size, size, size, key=key)
    ts = np.array([0.0, settings.duration, settings.last])
    out = {}
    for law, dynamics in laws.items():
        new = applications.new_attribute(
            network,
            task,
            0,
            np.array(settings.attribute_lmdas),
            duration=settings.last,
            ts=ts,
            dynamics=dynamics,
        )
        out[f"{law}/attribute"] = new.generalisation[:, -1]
        out[f"{law}/attribute_predicted"] = new.predicted
    return out


def _differences(data: Data) -> list[Difference]:
    names = {
        "reversal": "loss after reversal",
        "reversal_time": "time to reverse",
        "transfer_time": "time to transfer",
        "finetune_time": "time to fine-tune",
        "finetune_kernel_distance": "kernel distance of fine-tuning",
        "finetune_forgetting": "forgetting by fine-tuning",
        "attribute": "generalisation of an attribute",
    }
    found = {
        name: [data[f"{law}/{name}"] for law in comparison.COMPARED] for name in names
    }
    # After complete learning, steps of any size end alike: nothing is to be corrected.
    exact, descent, _ = found.pop("finetune_forgetting")
    what = names["finetune_forgetting"]
    return [
        *(
            against_descent(names[x], *values, bound=5e-2)
            for x, values in found.items()
        ),
        Difference(what, "descent", difference(exact, descent), 5e-2),
    ]


def draw(data: Data) -> "Figure":
    """Draw reversal and a new attribute above, transfer and fine-tuning below."""
    figure = new_figure(13.0, 7.5)
    axes = figure.subplots(2, 3)
    _draw_reversal(axes[0, 0], data)
    lmda = data["lmda"]
    _draw_times(axes[0, 1], lmda, data, "reversal_time", [(COLOURS[0], "two layers")])
    predicted, shallow = data["predicted_time"], float(data["shallow_time"])
    axes[0, 1].plot(lmda, predicted, "--", color="0.5", label="aligned modes")
    axes[0, 1].axhline(shallow, color=COLOURS[1], label="one layer")
    axes[0, 1].set(title="reversal", ylabel="time to reverse")
    axes[0, 1].legend(frameon=False)
    _draw_attribute(axes[0, 2], data)
    shades = [
        (colour, f"{fraction:g} shared")
        for colour, fraction in zip(COLOURS, data["shared"], strict=False)
    ]
    _draw_times(axes[1, 0], lmda, data, "transfer_time", shades)
    axes[1, 0].set(title="transfer to a related task", ylabel="time to learn it")
    _draw_times(axes[1, 1], lmda, data, "finetune_time", [(COLOURS[0], "fine-tuning")])
    axes[1, 1].set(title="fine-tuning", ylabel="time to fine-tune")
    ax = axes[1, 2]
    for colour, name, label in (
        (COLOURS[2], "kernel_distance", "kernel distance"),
        (COLOURS[5], "forgetting", "forgetting"),
    ):
        ax.plot(lmda, data[f"exact/finetune_{name}"], color=colour, label=label)
        simulated = data[f"descent/finetune_{name}"]
        ax.plot(lmda, simulated, "o", color=colour, mfc="w")
    ax.set(title="fine-tuning", xscale="log", xlabel=r"$\lambda$")
    ax.legend(frameon=False)
    law_legend(figure)
    return figure


def _draw_reversal(ax: "Axes", data: Data) -> None:
    from matplotlib import colormaps

    # A logarithmic axis can't show time 0.
    ts = data["ts"][1:]
    lmda = data["lmda"]
    chosen = np.linspace(0, len(lmda) - 1, 4).astype(int)
    for i in chosen:
        colour = colormaps["viridis"](0.9 * i / (len(lmda) - 1))
        label = rf"$\lambda = {lmda[i]:.3g}$"
        simulated = data["descent/reversal"][i, 1:]
        ax.plot(ts, simulated, color=colour, lw=2, label=label)
        ax.plot(ts, data["exact/reversal"][i, 1:], "k:", lw=1.3)
    ax.plot(ts, data["shallow"][1:], color=COLOURS[1], label="one layer")
    ax.set(title="reversal", xscale="log", xlabel="time since the reversal")
    ax.set_ylabel("loss")
    ax.legend(frameon=False)


def _draw_times(
    ax: "Axes", lmda: np.ndarray, data: Data, name: str, lines: list[tuple[str, str]]
) -> None:
    """Draw exact times as lines and gradient descent's as markers."""
    exact, descent = (np.atleast_2d(data[f"{law}/{name}"]) for law in LAWS)
    for (colour, label), line, marks in zip(lines, exact, descent, strict=True):
        ax.plot(lmda, line, color=colour, label=label)
        ax.plot(lmda, marks, "o", color=colour, mfc="w")
    ax.set(xscale="log", yscale="log", xlabel=r"$\lambda$")
    ax.legend(frameon=False)


def _draw_attribute(ax: "Axes", data: Data) -> None:
    lmdas = data["attribute_lmda"]
    items = np.arange(data["exact/attribute"].shape[1])
    width = 0.8 / len(lmdas)
    for i, lmda in enumerate(lmdas):
        place = items + (i - (len(lmdas) - 1) / 2) * width
        values = data["exact/attribute"][i]
        ax.bar(place, values, width, color=COLOURS[i], label=rf"$\lambda = {lmda:g}$")
        ax.plot(place, data["descent/attribute"][i], "o", color="w", mec="k", ms=4)
    ax.axhline(0, color="k", lw=0.8)
    ax.set(title="a new attribute of item 1", xlabel="item", xticks=items)
    ax.set_xticklabels([str(i + 1) for i in items])
    ax.set_ylabel("value of the attribute")
    ax.legend(frameon=False)
