"""Figure 5: lazy, rich and delayed-rich learning, by architecture."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .._dynamics import AbstractDynamics, Exact
from .._init import LambdaBalanced
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from ..kernels import ntk_of_representations
from ..measures import kernel_distance
from ..theory import delayed_rich_time
from . import comparison
from .maps import guide
from .record import Data, Difference, Record, against_descent, difference
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

TITLE = "Architecture and balance: lazy, rich and delayed-rich learning"
SOURCE = "Domine et al. 2025, Figure 5"
NAMES = ("square", "funnel", "inverted funnel")
QUANTITIES = {"distance": "distance of the NTK", "loss": "loss / its start"}
LAZY, DELAYED = "-", (0, (4, 2))  # line styles of their times
SHOWN = 1, (-10.0, 0.1, 10.0)  # the shape whose curves are on the right


class Settings(NamedTuple):
    """All parameters of the figure."""

    sizes: tuple[tuple[int, int, int], ...] = ((2, 2, 2), (3, 2, 2), (2, 2, 3))
    strengths: tuple[float, ...] = (2.0, 1.5)
    scale: float = 0.1
    decades: tuple[int, int] = (-3, 2)
    lmdas_per_decade: int = 8
    learning_rate: float = 5e-4
    steps: int = 400_000
    points: int = 150
    seed: int = 2


FULL = Settings()
QUICK = FULL._replace(lmdas_per_decade=3, learning_rate=1e-3, steps=100_000, points=60)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    strengths = " and ".join(f"{s:g}" for s in settings.strengths)
    sizes = ", ".join(
        f"{name} {'-'.join(map(str, size))}"
        for name, size in zip(NAMES, settings.sizes, strict=True)
    )
    return (
        "The distance of the NTK from its start (above), and the loss relative to its "
        f"start (below), exact, over λ and time for networks of three shapes: {sizes}. "
        "If λ favours a layer that is wider than the hidden one, the loss first falls "
        "at the lazy rate, in the time 1/|λ|, as far as that layer's few directions "
        "can fit the targets. The directions turn to the task only later, after the "
        "predicted time 1/(κ - |λ|/2), κ² = s² + λ²/4: the delayed-rich regime. Solid: "
        "the lazy time 1/|λ|; dashed: the delayed-rich time of the strongest mode. "
        f"Both are drawn where |λ| exceeds the singular values, {strengths}. Right: "
        f"the {NAMES[SHOWN[0]]}'s curves at three λ. The differences are over all "
        "cells of the maps, against gradient descent (learning rate "
        f"{settings.learning_rate:g}, {settings.steps} steps). At the curves the "
        "solution corrected for finite steps is compared too. White inputs; weights "
        f"of scale {settings.scale:g}. The seed avoids saddles, whose delays would "
        "show as narrow spikes at small λ. The published summary gives no parameters: "
        "these are this library's."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute the maps of every shape, exactly and by gradient descent."""
    low, high = settings.decades
    half = 10.0 ** np.linspace(low, high, (high - low) * settings.lmdas_per_decade + 1)
    lmda = np.r_[-half[::-1], half]
    ts = comparison.steps_to(settings.steps, settings.points) * settings.learning_rate
    data = {"lmda": lmda, "ts": ts, "strengths": np.array(settings.strengths)}
    laws = {"exact": Exact(), **comparison.descents(settings.learning_rate)}
    differences = []
    for i, sizes in enumerate(track(settings.sizes)):
        exact, descent = (
            _measures(settings, sizes, lmda, ts, laws[law])
            for law in ("exact", "descent")
        )
        data[f"{i}/delayed"] = np.asarray(
            _delayed(_task(settings, sizes), lmda, sizes[1])
        )
        for name, what in QUANTITIES.items():
            data[f"{i}/exact/{name}"] = exact[name]
            data[f"{i}/descent/{name}"] = descent[name]
            value = difference(exact[name].T, descent[name].T)
            what = f"{NAMES[i]}: {what}"
            differences.append(Difference(what, "descent", value, 1e-2))
    # The corrected solution is integrated, in many steps where |λ| is large.
    i, shown = SHOWN
    rows = [_nearest(lmda, x) for x in shown]
    corrected = _measures(
        settings, settings.sizes[i], lmda[rows], ts, laws["corrected"]
    )
    for name, what in QUANTITIES.items():
        data[f"shown/corrected/{name}"] = corrected[name]
        both = (data[f"{i}/{law}/{name}"][rows] for law in ("exact", "descent"))
        values = (x.T for x in (*both, corrected[name]))
        what = f"{NAMES[i]}, curves: {what}"
        differences.append(against_descent(what, *values, bound=1e-2))
    return Record(data, differences)


def _nearest(lmda: np.ndarray, value: float) -> int:
    return int(np.abs(lmda - value).argmin())


def _task(settings: Settings, sizes: tuple[int, ...]) -> Task:
    sigma = np.zeros((sizes[-1], sizes[0]))
    np.fill_diagonal(sigma, (*settings.strengths, *[0] * sizes[0]))
    return Task.from_correlation(sigma)


def _measures(
    settings: Settings,
    sizes: tuple[int, int, int],
    lmda: Real[ArrayLike, " lmdas"],
    ts: Real[ArrayLike, " times"],
    law: AbstractDynamics,
) -> dict[str, np.ndarray]:
    """The NTK's distance and the relative loss of one shape, for every balance.

    All shapes share the program of the widest, since compilation is slow. Other shapes
    have zero weights and targets at the unused inputs and outputs.
    """
    widest = tuple(np.max(settings.sizes, axis=0).tolist())
    weights = _within(_starts(settings, sizes, lmda), widest[0], widest[2])
    p = np.asarray(_learned(weights, _task(settings, widest), ts, law))
    used = np.r_[: sizes[0], widest[0] : widest[0] + sizes[2]]
    measured = _measured(p[..., used, :][..., used], _task(settings, sizes))
    return {name: np.asarray(value) for name, value in measured.items()}


@eqx.filter_jit
def _starts(
    settings: Settings, sizes: tuple[int, int, int], lmda: Real[ArrayLike, " lmdas"]
) -> tuple[Float[Array, "lmdas _ _"], ...]:
    """The weights of one shape for every balance."""
    key = jax.random.key(settings.seed)

    def start(lmda):
        return LambdaBalanced(lmda, settings.scale)(*sizes, key=key).weights

    return jax.vmap(start)(jnp.asarray(lmda))


def _within(
    weights: tuple[Float[ArrayLike, "lmdas _ _"], ...], in_size: int, out_size: int
) -> tuple[np.ndarray, ...]:
    """The weights, padded with further inputs and outputs that aren't connected."""
    w1, w2 = (np.asarray(w) for w in weights)
    return (
        np.pad(w1, ((0, 0), (0, 0), (0, in_size - w1.shape[2]))),
        np.pad(w2, ((0, 0), (0, out_size - w2.shape[1]), (0, 0))),
    )


@eqx.filter_jit
def _learned(
    weights: tuple[Float[ArrayLike, "lmdas _ _"], ...],
    task: Task,
    ts: Real[ArrayLike, " times"],
    law: AbstractDynamics,
) -> Float[Array, "lmdas times both both"]:
    """The matrix QQ^T over time."""

    def of(*weights):
        return learn(LinearNetwork(weights), task, ts, dynamics=law).qqt

    return jax.vmap(of)(*weights)


@eqx.filter_jit
def _measured(
    p: Float[ArrayLike, "lmdas times both both"], task: Task
) -> dict[str, Float[Array, "lmdas times"]]:
    """The NTK's distance and the relative loss."""
    n = task.in_size

    def kernel(p):
        return ntk_of_representations(p[:n, :n], p[n:, n:], task.x)

    def over_time(p):
        distance = jax.vmap(lambda q: kernel_distance(kernel(p[0]), kernel(q)))(p)
        loss = jax.vmap(task.loss)(p[:, n:, :n])
        return {"distance": distance, "loss": loss / loss[0]}

    return jax.vmap(over_time)(jnp.asarray(p))


@eqx.filter_jit
def _delayed(
    task: Task, lmda: Real[ArrayLike, " lmdas"], hidden_size: int
) -> Float[Array, " lmdas"]:
    """The delayed-rich time of the strongest mode."""
    return jax.vmap(lambda x: delayed_rich_time(task, x, hidden_size)[0])(
        jnp.asarray(lmda)
    )


def draw(data: Data) -> "Figure":
    """Draw a column for every shape, and the curves of one shape on the right."""
    figure = new_figure(13.0, 6.5)
    axes = figure.subplots(2, len(NAMES) + 1, width_ratios=(1, 1, 1, 1.2))
    for row, (quantity, label) in enumerate(QUANTITIES.items()):
        maps = [_draw_map(ax, data, i, quantity) for i, ax in enumerate(axes[row, :-1])]
        for i, ax in enumerate(axes[row, :-1]):
            ax.set_title(NAMES[i] if row == 0 else "")
            ax.set_xlabel(r"balance $\lambda$" if row else "")
            ax.tick_params(labelbottom=row == 1, labelleft=i == 0)
        axes[row, 0].set_ylabel("time (learning rate × step)")
        figure.colorbar(maps[-1], ax=axes[row, -2], label=label)
        _draw_curves(axes[row, -1], data, quantity)
    axes[0, -1].set_title(NAMES[SHOWN[0]])
    axes[0, -1].tick_params(labelbottom=False)
    axes[1, -1].set_xlabel("time (learning rate × step)")
    _add_legend(figure)
    return figure


def _draw_map(ax: "Axes", data: Data, i: int, quantity: str) -> "QuadMesh":
    # A logarithmic axis can't show time 0.
    lmda, ts = data["lmda"], data["ts"][1:]
    distance = quantity == "distance"
    # All shapes share one scale.
    top = max(data[f"{j}/exact/{quantity}"].max() for j in range(len(NAMES)))
    mesh = ax.pcolormesh(
        lmda,
        ts,
        data[f"{i}/exact/{quantity}"][:, 1:].T,
        cmap="viridis" if distance else "cividis",
        vmin=0,
        vmax=top,
        shading="nearest",
        rasterized=True,
    )
    delayed, lazy = data[f"{i}/delayed"], np.abs(lmda) >= data["strengths"].max()
    for side in (lazy & (lmda < 0), lazy & (lmda > 0)):
        ax.plot(lmda[side], 1 / np.abs(lmda[side]), **guide(LAZY))
        if np.any(delayed[side] > 0):
            ax.plot(lmda[side], delayed[side], **guide(DELAYED))
    ax.set_xscale("symlog", linthresh=np.abs(lmda).min())
    ax.set_xticks([-100, -0.1, 0.1, 100])
    ax.set(yscale="log", ylim=(ts[0], ts[-1]))
    return mesh


def _draw_curves(ax: "Axes", data: Data, quantity: str) -> None:
    i, shown = SHOWN
    ts = data["ts"][1:]
    for colour, lmda in zip(COLOURS, shown, strict=False):
        j = _nearest(data["lmda"], lmda)
        label = rf"$\lambda = {data['lmda'][j]:.3g}$"
        curve = data[f"{i}/descent/{quantity}"][j, 1:]
        ax.plot(ts, curve, color=colour, lw=2.5, label=label)
        ax.plot(ts, data[f"{i}/exact/{quantity}"][j, 1:], "k:", lw=1.3)
    ax.set_xscale("log")
    if quantity == "distance":
        ax.legend(frameon=False)


def _add_legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], label=r"lazy time $1/|\lambda|$", **guide(LAZY)),
        Line2D([], [], label="delayed-rich time", **guide(DELAYED)),
        Line2D([], [], color=COLOURS[0], lw=2.5, label="gradient descent"),
        Line2D([], [], color="k", ls=":", lw=1.3, label="exact solution"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
