"""Which observable tells rich from lazy learning, and when."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._dynamics import AbstractDynamics, Exact, ExactSolution, GradientFlow
from .._init import balanced_network
from .._learn import learn
from .._task import Task
from ..kernels import ntk_of_representations
from ..theory import time_to_reach
from .record import Data, Difference, Record, difference
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Which observable tells rich from lazy, and when"
SOURCE = "This library: docs/inference.md, Identified numbers"

OBSERVED = {
    "output": "output representation",
    "input": "input representation",
    "ntk": "tangent kernel",
    "function": "function",
    "loss": "loss",
    "log loss": "loss, relative noise",
}
SYMMETRIC = "output", "input", "ntk"


class Settings(NamedTuple):
    """All parameters of the figure."""

    strengths: tuple[float, ...] = (2.0, 1.0)
    scale: float = 0.1
    shown: tuple[float, float] = (0.05, 8.0)  # balances: rich, lazy
    range: tuple[float, float] = (1e-3, 30.0)  # of balances
    balances: int = 41
    noise: float = 0.05
    enough: float = 0.5  # standard deviation that tells balances apart
    longest: float = 1.5  # observed, in learning times
    points: int = 151
    some: int = 5  # every how many of the points have a circle
    step: float = 1e-3  # of differences of simulations, in logarithms
    seed: int = 0


FULL = Settings()
QUICK = FULL._replace(balances=15, points=76)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    size = len(settings.strengths)
    strengths = ", ".join(f"{s:g}" for s in settings.strengths)
    rich, lazy = settings.shown
    return (
        f"Fisher information about the balance of a {size}-{size}-{size} network "
        "with a large output layer. It learns a task of singular values "
        f"{strengths} from an aligned function of size scale² = "
        f"{settings.scale**2:g}. Every observable has noise of "
        f"{100 * settings.noise:g} percent of its largest entry, or of its own value "
        "(loss, relative noise). Times are in units of the time at which the "
        "slower mode reaches 90 percent. Left and middle, top: information about "
        f"ln λ from one observation, for a rich (λ = {rich:g}) and a lazy (λ = "
        f"{lazy:g}) network, by the exact solution (lines) and by differences of "
        f"simulations of gradient flow at ln λ ± {settings.step:g} (circles). "
        "Bottom: the standard deviation of ln λ from the observations so far, "
        f"{settings.points} until the right end, with a scale that is known within "
        "a factor of e. The output representation and the tangent kernel of a "
        "lazy network determine its balance at the start. Function and loss "
        "contain nothing about it then, and most of it while the function is "
        "learned. Right, top: the deviation at the end, over balances. Small "
        "balances are seen in representations. Function, kernel and loss don't "
        "tell them from another scale. Bottom: the time at which the deviation "
        f"falls to {settings.enough:g} (dashed in the other panels)."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute the information by exact derivatives and by differences of flows."""
    task, function = _setting(settings)
    ts = np.linspace(0, settings.longest, settings.points)
    some = np.arange(ts.size)[:: settings.some]
    balances = np.geomspace(*settings.range, settings.balances)
    every = np.r_[settings.shown, balances]
    learned = np.array(
        [
            time_to_reach(0.9, settings.strengths[-1], settings.scale**2, x)
            for x in every
        ]
    )
    scale = np.array(settings.scale)
    values, slopes = _derivatives(
        task, function, every, learned[:, None] * ts, scale, 1e-5, Exact()
    )
    _, flows = _derivatives(
        task,
        function,
        every[:2],
        learned[:2, None] * ts[some],
        scale,
        settings.step,
        GradientFlow(),
    )
    noise = {
        name: settings.noise * np.abs(x).reshape(len(x), -1).max(axis=1)
        for name, x in values.items()
    }
    noise["log loss"] = np.full(every.size, settings.noise)
    matrices = {k: _information(k, x, noise[k]) for k, x in slopes.items()}
    data = {
        "ts": ts,
        "some": some,
        "shown": np.array(settings.shown),
        "learned": learned[:2],
        "balances": balances,
        "enough": np.array(settings.enough),
    }
    differences = []
    for i, label in enumerate(track([f"λ = {x:g}" for x in settings.shown])):
        for name, x in slopes.items():
            exact, found = np.asarray(x)[i], np.asarray(flows[name])[i]
            data[f"{i}/information/{name}"] = matrices[name][i, :, 0, 0]
            data[f"{i}/flow/{name}"] = _information(
                name, found[None], noise[name][i, None]
            )[0, :, 0, 0]
            data[f"{i}/sd/{name}"] = _sd(matrices[name])[i]
            if name != "log loss":  # follows from the loss
                value = difference(exact[some], found)
                what = f"{label}: derivatives of the {OBSERVED[name]}"
                differences.append(Difference(what, "flows", value, 1e-5))
    for name, x in matrices.items():
        sd = _sd(x[2:])
        data[f"sd/{name}"] = sd[:, -1]
        told = sd <= settings.enough
        when = np.where(told.any(axis=1), ts[told.argmax(axis=1)], np.inf)
        data[f"when/{name}"] = when
    return Record(data, differences)


def _setting(settings: Settings) -> tuple[Task, Float[Array, "out in"]]:
    """The task, and the function at the start in units of scale**2."""
    key1, key2 = jax.random.split(jax.random.key(settings.seed))
    s = jnp.array(settings.strengths)
    u, v = (jax.random.orthogonal(key, s.size) for key in (key1, key2))
    return Task.from_correlation((u * s[None]) @ v.T), u @ v.T


@eqx.filter_jit
def _derivatives(
    task: Task,
    function: Float[Array, "out in"],
    lmda: Float[np.ndarray, " n"],
    ts: Float[np.ndarray, "n times"],
    scale: Float[np.ndarray, ""],
    step: float,
    law: AbstractDynamics,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Observables, (n, times, ...), and their derivatives, (n, times, ..., 2).

    They are central differences by log(lmda) and log(scale).
    """
    shifts = step * jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])

    def run(point, ts):
        lmda, scale = jnp.exp(point)
        start = balanced_network(scale**2 * function, lmda, throw=False)
        if isinstance(law, Exact):
            qqt = ExactSolution(start, task, throw=False).qqt(ts)
        else:
            qqt = learn(start, task, ts, dynamics=law, throw=False).qqt
        return _observables(qqt, task)

    def one(lmda, ts):
        point = jnp.log(jnp.stack([lmda, jnp.asarray(scale)]))
        found = jax.vmap(run, (0, None))(point[None] + shifts, ts)
        slopes = jax.tree.map(
            lambda x: jnp.moveaxis(x[:2] - x[2:], 0, -1) / (2 * step), found
        )
        return jax.tree.map(lambda x: jnp.mean(x, axis=0), found), slopes

    return jax.vmap(one)(jnp.asarray(lmda), jnp.asarray(ts))


def _observables(
    qqt: Float[Array, "times both both"], task: Task
) -> dict[str, Float[Array, "times ..."]]:
    n = task.in_size
    inputs, outputs, function = qqt[:, :n, :n], qqt[:, n:, n:], qqt[:, n:, :n]
    loss = jax.vmap(task.loss)(function)
    kernel = jax.vmap(ntk_of_representations, (0, 0, None))
    return {
        "output": outputs,
        "input": inputs,
        "ntk": kernel(inputs, outputs, task.x),
        "function": function,
        "loss": loss,
        "log loss": jnp.log(loss),
    }


def _information(name: str, slopes: Array, noise: np.ndarray) -> np.ndarray:
    """The Fisher information of one observation at each time, (n, times, 2, 2)."""
    j = np.asarray(slopes)
    if name in SYMMETRIC:  # each entry once
        j = j * np.triu(np.ones(j.shape[-3:-1]))[..., None]
    j = j.reshape(*j.shape[:2], -1, 2) / noise[:, None, None, None]
    return np.einsum("ntki,ntkj->ntij", j, j)


def _sd(information: np.ndarray) -> np.ndarray:
    """The standard deviation of log(lmda) from all observations so far, (n, times).

    The scale is known within a factor of e. The deviation is infinite before anything
    is known.
    """
    (a, b), (_, d) = np.moveaxis(np.cumsum(information, axis=1), (2, 3), (0, 1))
    left = a - b**2 / (d + 1)
    with np.errstate(divide="ignore"):
        return np.where(left > 1e-9, 1 / np.sqrt(np.abs(left)), np.inf)


def draw(data: Data) -> "Figure":
    """Draw information and deviation over time and over balances."""
    figure = new_figure(12.0, 6.8)
    axes = figure.subplots(2, 3)
    for i, (ax, lmda) in enumerate(zip(axes[0], data["shown"], strict=False)):
        kind = "rich" if i == 0 else "lazy"
        ax.set_title(rf"{kind}, $\lambda = {lmda:g}$")
        _draw_information(ax, data, i)
        _draw_deviation(axes[1, i], data, i)
    _draw_balances(axes[0, 2], axes[1, 2], data)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    return figure


def _draw_information(ax: "Axes", data: Data, i: int) -> None:
    for j, (name, label) in enumerate(OBSERVED.items()):
        line = data[f"{i}/information/{name}"]
        ax.plot(data["ts"], line, label=label, **_style(j))
        circles = data[f"{i}/flow/{name}"]
        ax.plot(
            data["ts"][data["some"]], circles, "o", color=COLOURS[j], mfc="w", ms=3.5
        )
    ax.set(yscale="log", ylim=(1e-2, 3e4), xlim=data["ts"][[0, -1]])
    ax.set(xlabel="time / learning time")
    if i == 0:
        ax.set_ylabel(r"information about $\ln\lambda$")


def _draw_deviation(ax: "Axes", data: Data, i: int) -> None:
    for j, name in enumerate(OBSERVED):
        ax.plot(data["ts"], data[f"{i}/sd/{name}"], **_style(j))
    ax.axhline(float(data["enough"]), color="0.5", ls="--", lw=1)
    ax.set(yscale="log", ylim=(2e-3, 5), xlim=data["ts"][[0, -1]])
    ax.set(xlabel="time / learning time")
    if i == 0:
        ax.set_ylabel(r"deviation of $\ln\lambda$ so far")


def _draw_balances(top: "Axes", bottom: "Axes", data: Data) -> None:
    balances = data["balances"]
    for j, name in enumerate(OBSERVED):
        top.plot(balances, data[f"sd/{name}"], **_style(j))
        when = data[f"when/{name}"]
        bottom.plot(balances, when, "o-", color=COLOURS[j], ms=2.5, lw=1.2)
    top.axhline(float(data["enough"]), color="0.5", ls="--", lw=1)
    top.set(title="all balances", yscale="log", ylim=(2e-3, 30))
    top.set_ylabel(r"deviation of $\ln\lambda$ at the end")
    bottom.set(ylabel="time to tell / learning time", ylim=(-0.05, 1.5))
    for ax in (top, bottom):
        ax.set(xscale="log", xlabel=r"balance $\lambda$", xlim=balances[[0, -1]])
        for lmda in data["shown"]:
            ax.axvline(lmda, color="0.8", lw=1, zorder=0)


def _style(j: int) -> dict:
    return {"color": COLOURS[j], "lw": 2.2 - 0.2 * j}
