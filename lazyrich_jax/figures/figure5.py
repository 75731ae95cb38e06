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
from .._task import Task
from ..kernels import ntk, ntk_of_representations
from ..measures import kernel_distance
from ..theory import delayed_rich_time
from . import comparison
from .record import Data, Difference, Record, difference
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Architecture and balance: lazy, rich and delayed-rich learning"
SOURCE = "Domine et al. 2025, Figure 5"
NAMES = ("square", "funnel", "inverted funnel")


class Settings(NamedTuple):
    """Every parameter."""

    sizes: tuple[tuple[int, int, int], ...] = ((2, 2, 2), (4, 2, 2), (2, 2, 4))
    strengths: tuple[float, ...] = (2.0, 1.5)
    scale: float = 0.1
    spectrum: tuple[float, float] = (1e-2, 1e2)
    lmdas: int = 30
    times: tuple[float, float, int] = (1e-3, 1e3, 120)
    checked: tuple[float, ...] = (-20.0, 0.1, 20.0)
    learning_rate: float = 2e-3
    steps: int = 20_000
    seed: int = 0


FULL = Settings()
QUICK = FULL._replace(lmdas=12, times=(1e-3, 1e3, 60))


def caption(settings: Settings) -> str:
    """What is seen, and its parameters."""
    strengths = " and ".join(f"{s:g}" for s in settings.strengths)
    sizes = ", ".join(
        f"{name} {'-'.join(map(str, size))}"
        for name, size in zip(NAMES, settings.sizes, strict=True)
    )
    return (
        "The distance of the NTK from its start (above), and the loss relative to its "
        f"start (below), exact, over λ and time for networks of three shapes: {sizes}. "
        "Where λ favours a layer that is wider than the hidden one, the loss falls at "
        "the lazy pace 1/|λ| to what that layer's few directions can fit, and only "
        "later, after the predicted time 1/(κ - |λ|/2), κ² = s² + λ²/4, do they turn "
        "to the task: the delayed-rich regime. Solid: the lazy time 1/|λ|; dashed: the "
        "predicted delayed time of the strongest mode. Right: the NTK's distance at "
        "three λ, gradient descent (coloured; learning rate "
        f"{settings.learning_rate:g}, {settings.steps} steps) and exact (dotted). "
        f"White inputs; singular values {strengths}; weights of scale "
        f"{settings.scale:g}. The published summary gives no parameters: these are "
        "this library's."
    )


def compute(settings: Settings, track=iter) -> Record:
    """The maps of every shape, and gradient descent at some balances."""
    half = np.geomspace(*settings.spectrum, settings.lmdas)
    lmda = np.r_[-half[::-1], half]
    ts = np.r_[0, np.geomspace(*settings.times)]
    steps = comparison.steps_to(settings.steps, settings.times[2])
    checked = np.array(settings.checked)
    data = {
        "lmda": lmda,
        "ts": ts,
        "checked": checked,
        "steps_ts": steps * settings.learning_rate,
    }
    differences = []
    for i, sizes in enumerate(track(settings.sizes)):
        found = _learn(settings, sizes, lmda, ts, checked, data["steps_ts"])
        data |= {f"{i}/{name}": np.asarray(value) for name, value in found.items()}
        for name in ("distance", "loss"):
            pair = data[f"{i}/checked/{name}"], data[f"{i}/descent/{name}"]
            what = f"{NAMES[i]}: {'kernel ' if name == 'distance' else ''}{name}"
            value = difference(*(x.T for x in pair))
            differences.append(Difference(what, "descent", value, 5e-2))
    return Record(data, differences)


@eqx.filter_jit
def _learn(
    settings: Settings,
    sizes: tuple[int, int, int],
    lmda: Real[ArrayLike, " lmdas"],
    ts: Real[ArrayLike, " times"],
    checked: Real[ArrayLike, " checked"],
    steps_ts: Real[ArrayLike, " steps"],
) -> dict[str, Array]:
    """Distance and loss of one shape: over all balances, and simulated at some."""
    task = _task(settings, sizes)
    key = jax.random.key(settings.seed)

    def start(lmda):
        return LambdaBalanced(lmda, settings.scale)(*sizes, key=key)

    def exact(lmda, ts):
        # All from one matrix: two quantities would take twice as long to compile.
        p = ExactSolution(start(lmda), task).qqt(ts)
        n = sizes[0]
        kernels = jax.vmap(
            lambda p: ntk_of_representations(p[:n, :n], p[n:, n:], task.x)
        )(p)
        k0 = ntk(start(lmda), task.x)
        return _distances(k0, kernels), jax.vmap(task.loss)(p[:, n:, :n])

    def descend(lmda):
        law = GradientDescent(settings.learning_rate)
        run = learn(start(lmda), task, steps_ts, dynamics=law)
        k0 = ntk(start(lmda), task.x)
        return _distances(k0, jax.vmap(lambda n: ntk(n, task.x))(run.network)), run.loss

    lmda, checked = jnp.asarray(lmda), jnp.asarray(checked)
    # One program for both: times are an argument.
    both = jnp.concatenate([jnp.asarray(ts), jnp.asarray(steps_ts)])
    distance, loss = jax.vmap(exact, in_axes=(0, None))(
        jnp.concatenate([lmda, checked]), both
    )
    count, times = lmda.size, jnp.asarray(ts).size
    simulated = jax.vmap(descend)(checked)
    delayed = jax.vmap(lambda x: delayed_rich_time(task, x, sizes[1])[0])(lmda)
    return {
        "distance": distance[:count, :times],
        "loss": loss[:count, :times] / loss[:count, :1],
        "delayed": delayed,
        "checked/distance": distance[count:, times:],
        "checked/loss": loss[count:, times:],
        "descent/distance": simulated[0],
        "descent/loss": simulated[1],
    }


def _distances(
    k0: Float[Array, "n n"], ks: Float[Array, "times n n"]
) -> Float[Array, " times"]:
    return jax.vmap(lambda k: kernel_distance(k0, k))(ks)


def _task(settings: Settings, sizes: tuple[int, int, int]) -> Task:
    keys = jax.random.split(jax.random.key(settings.seed + 1))
    s = jnp.array(settings.strengths)
    u, v = (
        jax.random.orthogonal(key, n)[:, : s.size]
        for key, n in zip(keys, (sizes[2], sizes[0]), strict=True)
    )
    return Task.from_correlation((u * s[None]) @ v.T)


def draw(data: Data) -> "Figure":
    """A column for every shape, and simulations on the right."""
    figure = new_figure(13.0, 6.5)
    axes = figure.subplots(2, len(NAMES) + 1, width_ratios=(1, 1, 1, 1.1))
    for i, name in enumerate(NAMES):
        for row, quantity in enumerate(("distance", "loss")):
            ax = axes[row, i]
            mesh = _draw_map(ax, data, i, quantity)
            if row == 0:
                ax.set_title(name)
                ax.tick_params(labelbottom=False)
            else:
                ax.set_xlabel(r"$\lambda$")
            if i == 0:
                ax.set_ylabel("time")
            else:
                ax.tick_params(labelleft=False)
            if i == len(NAMES) - 1:
                label = ("distance of the NTK", "loss / its start")[row]
                figure.colorbar(mesh, ax=ax, label=label)
    for row, i in enumerate((1, 2)):
        _draw_checks(axes[row, -1], data, i)
    return figure


def _draw_map(ax: "Axes", data: Data, i: int, quantity: str):
    lmda, ts = data["lmda"], data["ts"][1:]
    values = data[f"{i}/{quantity}"][:, 1:]
    # One scale for all shapes.
    top = max(data[f"{j}/distance"].max() for j in range(len(NAMES)))
    mesh = ax.pcolormesh(
        lmda,
        ts,
        values.T,
        cmap="viridis" if quantity == "distance" else "cividis",
        vmin=0,
        vmax=top if quantity == "distance" else 1,
        shading="nearest",
    )
    mesh.set_rasterized(True)
    delayed = np.where(data[f"{i}/delayed"] > 0, data[f"{i}/delayed"], np.nan)
    for side in (lmda < 0, lmda > 0):
        ax.plot(lmda[side], 1 / np.abs(lmda[side]), color="w", lw=1.5)
        ax.plot(lmda[side], delayed[side], "--", color="w", lw=1.5)
    ax.set_xscale("symlog", linthresh=np.abs(lmda).min())
    ax.set_xticks([-100, -1, 0, 1, 100])
    ax.set(yscale="log", ylim=(ts[0], ts[-1]))
    return mesh


def _draw_checks(ax: "Axes", data: Data, i: int) -> None:
    ts = data["steps_ts"][1:]
    for j, lmda in enumerate(data["checked"]):
        curve = data[f"{i}/descent/distance"][j, 1:]
        ax.plot(ts, curve, color=COLOURS[j], lw=2.5, label=rf"$\lambda = {lmda:g}$")
        ax.plot(ts, data[f"{i}/checked/distance"][j, 1:], "k:", lw=1.3)
    ax.set(title=NAMES[i], xscale="log", ylabel="distance of the NTK")
    ax.set_xlabel("time (learning rate × step)")
    ax.legend(frameon=False)
