"""Figure 3: from sigmoidal to exponential learning."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .._dynamics import ExactSolution, GradientDescent
from .._init import Aligned, LambdaBalanced
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from ..kernels import ntk
from ..measures import kernel_distance, mode_strengths
from ..theory import aligned_modes, exponential_modes, sigmoidal_modes
from . import comparison
from .record import Data, Difference, Record, difference
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Modes from sigmoidal to exponential, loss and kernel distance"
SOURCE = "Domine et al. 2025, Figure 3"


class Settings(NamedTuple):
    """Every parameter."""

    strengths: tuple[float, ...] = (4.0, 2.0, 1.0)
    scale: float = 0.03
    kernel_scale: float = 0.3
    lmdas: tuple[float, ...] = (0.0, 0.3, 3.0, 30.0)
    spectrum: tuple[float, float] = (1e-3, 1e3)
    dense: int = 80
    simulated: int = 8
    learning_rate: float = 1e-3
    steps: int = 10_000
    points: int = 150
    seed: int = 0


FULL = Settings()
QUICK = FULL._replace(dense=40, simulated=4, points=80)


def caption(settings: Settings) -> str:
    """What is seen, and its parameters."""
    strengths = ", ".join(f"{s:g}" for s in settings.strengths)
    size = len(settings.strengths)
    return (
        f"Aligned modes of a {size}-{size}-{size} network (white inputs, singular "
        f"values {strengths}) for λ from 0, where they are sigmoidal and learned one "
        "after another, to a large λ, where all are exponentials of one rate: gradient "
        f"descent (coloured; learning rate {settings.learning_rate:g}) and theory "
        "(dotted); in the first and last panel the limits λ → 0 and |λ| → ∞ (dashed). "
        "Below: the loss of the same runs, and the distance of the NTK from the start "
        f"to the end of learning over {2 * settings.dense} values of λ (line: exact; "
        f"markers: gradient descent of {settings.steps} steps), from weights that "
        f"aren't aligned, of scale {settings.kernel_scale:g}; the aligned ones are of "
        "scale "
        f"{settings.scale:g}. The parameters are this library's; the published "
        "summary gives none."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Modes and losses for some balances, kernel distances for many."""
    steps = comparison.steps_to(settings.steps, settings.points)
    ts = steps * settings.learning_rate
    half = np.geomspace(*settings.spectrum, settings.dense)
    spectrum = np.r_[-half[::-1], half]
    # Of the spectrum, those at which descent is stable and done after its steps.
    fit = np.abs(spectrum) * settings.learning_rate < 0.1
    chosen = np.flatnonzero(fit)[:: max(1, fit.sum() // settings.simulated)]
    lmdas = np.array(settings.lmdas)
    data = {
        name: np.asarray(value)
        for name, value in _learn(settings, lmdas, spectrum[chosen], ts).items()
    }
    data["exact/distance"] = np.asarray(_distances(settings, spectrum))
    data |= {"ts": ts, "lmda": lmdas, "spectrum": spectrum, "chosen": spectrum[chosen]}
    data["strengths"] = np.array(settings.strengths)
    differences = []
    for i, lmda in enumerate(lmdas):
        for name in ("modes", "loss"):
            pair = data[f"exact/{name}"][i], data[f"descent/{name}"][i]
            what = f"λ = {lmda:g}: {name}"
            differences.append(Difference(what, "descent", difference(*pair), 2e-2))
    pair = data["exact/distance"][chosen], data["descent/distance"]
    differences.append(
        Difference("kernel distance", "descent", difference(*pair), 1e-2)
    )
    for i, name in ((0, "sigmoidal"), (-1, "exponential")):
        value = difference(data[name], data["exact/modes"][i])
        bound = 1e-12 if name == "sigmoidal" else 2e-2
        what = f"λ = {lmdas[i]:g}: modes"
        differences.append(Difference(what, f"{name} limit", value, bound))
    return Record(data, differences)


def _task(settings: Settings) -> Task:
    size = len(settings.strengths)
    keys = jax.random.split(jax.random.key(settings.seed), 3)
    u, v = (jax.random.orthogonal(key, size) for key in keys[:2])
    return Task.from_correlation((u * jnp.array(settings.strengths)[None]) @ v.T)


def _aligned(settings: Settings, task: Task, lmda: Array) -> LinearNetwork:
    size, key = task.in_size, jax.random.key(settings.seed)
    return Aligned(task, lmda, settings.scale)(size, size, size, key=key)


def _unaligned(settings: Settings, task: Task, lmda: Array) -> LinearNetwork:
    size, key = task.in_size, jax.random.key(settings.seed)
    return LambdaBalanced(lmda, settings.kernel_scale)(size, size, size, key=key)


@eqx.filter_jit
def _learn(
    settings: Settings,
    lmdas: Real[ArrayLike, " lmdas"],
    chosen: Real[ArrayLike, " more"],
    ts: Real[ArrayLike, " times"],
) -> dict[str, Array]:
    """Gradient descent for all of them; for the first, theory beside it."""
    task = _task(settings)
    sigma = task.input_output_correlation
    law = GradientDescent(settings.learning_rate)
    lmdas = jnp.asarray(lmdas)

    def descend(start):
        run = learn(start, task, ts, dynamics=law)
        modes = jax.vmap(lambda w: mode_strengths(w, sigma))(run.function)
        last = jax.tree.map(lambda w: w[-1], run.network)
        distance = kernel_distance(ntk(start, task.x), ntk(last, task.x))
        return modes, run.loss, distance

    starts = (
        jax.vmap(lambda lmda, draw=draw: draw(settings, task, lmda))(values)
        for draw, values in ((_aligned, lmdas), (_unaligned, jnp.asarray(chosen)))
    )
    starts = jax.tree.map(lambda *w: jnp.concatenate(w), *starts)
    modes, loss, distance = jax.vmap(descend)(starts)
    s = jnp.array(settings.strengths)
    # One draw: the strengths at the start don't depend on lambda.
    a0 = mode_strengths(_aligned(settings, task, lmdas[0]).function, sigma)
    exact = jax.vmap(lambda lmda: aligned_modes(ts, s, a0, lmda))(lmdas)
    count = lmdas.size
    return {
        "descent/modes": modes[:count],
        "descent/loss": loss[:count],
        "descent/distance": distance[count:],
        "exact/modes": exact,
        "exact/loss": jnp.sum((exact - s[None, None]) ** 2, axis=-1) / 2,
        "sigmoidal": sigmoidal_modes(ts, s, a0),
        "exponential": exponential_modes(ts, s, a0, lmdas[-1]),
    }


@eqx.filter_jit
def _distances(
    settings: Settings, lmdas: Real[ArrayLike, " lmdas"]
) -> Float[Array, " lmdas"]:
    """The exact distance of the NTK from the start to the end of learning."""
    task = _task(settings)

    def distance(lmda):
        solution = ExactSolution(_unaligned(settings, task, lmda), task)
        return kernel_distance(*solution.ntk(jnp.array([0.0, jnp.inf]), task.x))

    return jax.vmap(distance)(jnp.asarray(lmdas))


def draw(data: Data) -> "Figure":
    """Modes above; loss and kernel distance below."""
    figure = new_figure(12.0, 6.5)
    count = len(data["lmda"])
    above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
    axes = above.subplots(1, count, sharey=True)
    # Time 0 has no place on a logarithmic axis.
    ts = data["ts"][1:]
    for i, ax in enumerate(axes):
        for mode, s in enumerate(data["strengths"]):
            ax.axhline(s, color=COLOURS[mode], lw=0.7, alpha=0.7)
            curve = data["descent/modes"][i, 1:, mode]
            ax.plot(ts, curve, color=COLOURS[mode], lw=2.5)
        limit = {0: "sigmoidal", count - 1: "exponential"}.get(i)
        if limit:
            ax.plot(ts, data[limit][1:], "--", color="0.4", lw=1.2)
            ax.plot([], [], "--", color="0.4", lw=1.2, label=f"{limit} limit")
        ax.plot(ts, data["exact/modes"][i, 1:], "k:", lw=1.3)
        ax.plot([], [], color=COLOURS[0], lw=2.5, label="gradient descent")
        ax.plot([], [], "k:", lw=1.3, label="theory")
        ax.set(title=rf"$\lambda = {data['lmda'][i]:g}$", xscale="log")
        ax.set_xlabel("time (learning rate × step)")
    axes[0].set_ylabel("mode strength")
    for ax in (axes[0], axes[-1]):
        ax.legend(frameon=False, fontsize=8)
    losses, distances = below.subplots(1, 2)
    _draw_losses(losses, data)
    _draw_distances(distances, data)
    return figure


def _draw_losses(ax: "Axes", data: Data) -> None:
    from matplotlib import colormaps

    ts, count = data["ts"][1:], len(data["lmda"])
    for i, lmda in enumerate(data["lmda"]):
        colour = colormaps["viridis"](0.9 * i / max(1, count - 1))
        curve = data["descent/loss"][i, 1:]
        ax.plot(ts, curve, color=colour, lw=2.5, label=rf"$\lambda = {lmda:g}$")
        ax.plot(ts, data["exact/loss"][i, 1:], "k:", lw=1.3)
    ax.set(xscale="log", xlabel="time (learning rate × step)", ylabel="loss")
    ax.legend(frameon=False)


def _draw_distances(ax: "Axes", data: Data) -> None:
    spectrum = data["spectrum"]
    ax.plot(spectrum, data["exact/distance"], color="k", label="exact")
    ax.plot(
        data["chosen"],
        data["descent/distance"],
        "o",
        color=COLOURS[1],
        label="gradient descent",
    )
    ax.set_xscale("symlog", linthresh=np.abs(spectrum).min())
    ax.set_xticks([-1e3, -10, -0.1, 0, 0.1, 10, 1e3])
    ax.set(xlabel=r"$\lambda$", ylabel="distance of the NTK\nfrom start to end")
    ax.legend(frameon=False)
