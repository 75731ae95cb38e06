"""Figure 5: lazy, rich and delayed-rich learning, by architecture."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .._dynamics import ExactSolution, GradientDescent
from .._init import LambdaBalanced
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from ..kernels import ntk_of_representations
from ..measures import kernel_distance
from ..theory import delayed_rich_time
from . import comparison
from .maps import guide
from .record import Data, Difference, Record, difference
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
        f"{settings.learning_rate:g}, {settings.steps} steps). White inputs; weights "
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
    widest = max(n[0] for n in settings.sizes), max(n[2] for n in settings.sizes)
    differences = []
    for i, sizes in enumerate(track(settings.sizes)):
        # All shapes share the program of the widest, since compilation is slow. Other
        # shapes have zero weights and targets at the unused inputs and outputs.
        weights = _within(_starts(settings, sizes, lmda), *widest)
        p = np.asarray(_learn(settings, weights, _task(settings, *widest), ts))
        used = np.r_[: sizes[0], widest[0] : widest[0] + sizes[2]]
        p = p[..., used, :][..., used]
        task = _task(settings, sizes[0], sizes[2])
        for name, values in _measured(p, task, lmda, sizes[1]).items():
            data[f"{i}/{name}"] = np.asarray(values)
        for name, what in QUANTITIES.items():
            pair = (data[f"{i}/{law}/{name}"].T for law in ("exact", "descent"))
            what = f"{NAMES[i]}: {what}"
            differences.append(Difference(what, "descent", difference(*pair), 1e-2))
    return Record(data, differences)


def _task(settings: Settings, in_size: int, out_size: int) -> Task:
    sigma = np.zeros((out_size, in_size))
    np.fill_diagonal(sigma, (*settings.strengths, *[0] * in_size))
    return Task.from_correlation(sigma)


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
def _learn(
    settings: Settings,
    weights: tuple[Float[ArrayLike, "lmdas _ _"], ...],
    task: Task,
    ts: Real[ArrayLike, " times"],
) -> Float[Array, "laws lmdas times both both"]:
    """The matrix QQ^T over time, exact and by gradient descent."""
    law = GradientDescent(settings.learning_rate)

    def of(*weights):
        start = LinearNetwork(weights)
        exact = ExactSolution(start, task).qqt(ts)
        return jnp.stack([exact, learn(start, task, ts, dynamics=law).qqt])

    return jax.vmap(of, out_axes=1)(*weights)


@eqx.filter_jit
def _measured(
    p: Float[ArrayLike, "laws lmdas times both both"],
    task: Task,
    lmda: Real[ArrayLike, " lmdas"],
    hidden_size: int,
) -> dict[str, Float[Array, "..."]]:
    """The NTK's distance and the loss by both laws, and the delayed-rich time."""
    n = task.in_size

    def kernel(p):
        return ntk_of_representations(p[:n, :n], p[n:, n:], task.x)

    def over_time(p):
        distance = jax.vmap(lambda q: kernel_distance(kernel(p[0]), kernel(q)))(p)
        loss = jax.vmap(task.loss)(p[:, n:, :n])
        return distance, loss / loss[0]

    distance, loss = jax.vmap(jax.vmap(over_time))(jnp.asarray(p))
    delayed = jax.vmap(lambda x: delayed_rich_time(task, x, hidden_size)[0])(lmda)
    return {
        "exact/distance": distance[0],
        "exact/loss": loss[0],
        "descent/distance": distance[1],
        "descent/loss": loss[1],
        "delayed": delayed,
    }


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
        j = int(np.abs(data["lmda"] - lmda).argmin())
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
