"""Figure 3: from sigmoidal to exponential learning."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Int, Real

from .._dynamics import ExactSolution
from .._init import Aligned, LambdaBalanced
from .._learn import learn
from .._task import Task
from ..kernels import ntk
from ..measures import kernel_distance, mode_strengths
from ..theory import aligned_modes, exponential_modes, sigmoidal_modes
from . import comparison
from .record import Data, Difference, Record, against_descent, difference
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

TITLE = "Modes from sigmoidal to exponential, loss and kernel distance"
SOURCE = "Domine et al. 2025, Figure 3"
# Styles of curves that aren't simulated.
THEORY = {"color": "k", "ls": ":", "lw": 1.3}
SIGMOIDAL = {"color": "0.45", "ls": "--", "lw": 1}
EXPONENTIAL = {"color": "0.45", "ls": "-.", "lw": 1}


class Settings(NamedTuple):
    """All parameters of the figure."""

    strengths: tuple[float, ...] = (4.0, 2.0, 1.0)
    scale: float = 0.03
    kernel_scale: float = 0.3
    lmdas: tuple[float, ...] = (0.0, 0.3, 3.0, 30.0)
    spectrum: tuple[float, float] = (1e-3, 1e3)
    dense: int = 80
    simulated: tuple[float, ...] = (-30.0, -3.0, -0.3, -0.03, 0.03, 0.3, 3.0, 30.0)
    learning_rate: float = 1e-3
    steps: int = 10_000
    points: int = 150
    seed: int = 0


FULL = Settings()
QUICK = FULL._replace(dense=40, points=80)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    strengths = ", ".join(f"{s:g}" for s in settings.strengths)
    size = len(settings.strengths)
    return (
        f"Aligned modes of a {size}-{size}-{size} network (white inputs, singular "
        f"values {strengths}) for λ from 0, where they are sigmoidal and learned one "
        "after another, to a large λ, where all are exponentials of one rate: gradient "
        f"descent (coloured; learning rate {settings.learning_rate:g}) and theory "
        "(dotted), beside its limits λ → 0 (dashed) and |λ| → ∞ (dash-dotted). Below: "
        "the loss of the same runs, and the distance of the NTK from the start to the "
        f"end of learning over λ (line: exact; markers: {settings.steps} steps of "
        "gradient descent). The weights of the NTK panel aren't aligned and have the "
        f"scale {settings.kernel_scale:g}; the aligned ones have the scale "
        f"{settings.scale:g}. The parameters are this library's; the published summary "
        "gives none."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute modes and losses for some balances, and kernel distances for many."""
    ts = comparison.steps_to(settings.steps, settings.points) * settings.learning_rate
    half = np.geomspace(*settings.spectrum, settings.dense)
    lmdas, simulated = np.array(settings.lmdas), np.array(settings.simulated)
    spectrum = np.union1d(np.r_[-half, half], simulated)
    chosen = np.searchsorted(spectrum, simulated)
    found = _learn(settings, lmdas, spectrum, chosen, ts)
    data = {name: np.asarray(value) for name, value in found.items()}
    data |= {"ts": ts, "lmda": lmdas, "spectrum": spectrum, "simulated": simulated}
    data["strengths"] = np.array(settings.strengths)
    differences = []

    def compare(what, against, a, b, bound):
        differences.append(Difference(what, against, difference(a, b), bound))

    for i, lmda in enumerate(lmdas):
        for name in ("modes", "loss"):
            values = (data[f"{law}/{name}"][i] for law in comparison.COMPARED)
            what = f"λ = {lmda:g}: {name}"
            differences.append(against_descent(what, *values, bound=1e-2))
    exact, *others = (data[f"{law}/distance"] for law in comparison.COMPARED)
    found = against_descent("kernel distance", exact[chosen], *others, bound=2e-3)
    differences.append(found)
    first, last = (data["exact/modes"][i] for i in (0, -1))
    what = "λ = {:g}: modes"
    limit = data["sigmoidal"]
    compare(what.format(lmdas[0]), "sigmoidal limit", first, limit, 1e-12)
    limit = data["exponential"][-1]
    compare(what.format(lmdas[-1]), "exponential limit", last, limit, 1e-2)
    return Record(data, differences)


@eqx.filter_jit
def _learn(
    settings: Settings,
    lmdas: Real[ArrayLike, " lmdas"],
    spectrum: Real[ArrayLike, " more"],
    chosen: Int[ArrayLike, " simulated"],
    ts: Real[ArrayLike, " times"],
) -> dict[str, Array]:
    """Aligned modes at `lmdas`, kernel distances over the spectrum, and simulations."""
    s = jnp.array(settings.strengths)
    # The task's directions don't matter: the weights' directions are random.
    task = Task.from_correlation(jnp.diag(s))
    sigma = task.input_output_correlation
    laws = comparison.descents(settings.learning_rate)
    lmdas = jnp.asarray(lmdas)

    def start(initialiser):
        sizes, key = 3 * (s.size,), jax.random.key(settings.seed)
        return initialiser(*sizes, key=key)

    def aligned(lmda):
        return start(Aligned(task, lmda, settings.scale))

    def unaligned(lmda):
        return start(LambdaBalanced(lmda, settings.kernel_scale))

    def distance(start):
        solution = ExactSolution(start, task)
        return kernel_distance(*solution.ntk(jnp.array([0.0, jnp.inf]), task.x))

    def descend(start, law):
        run = learn(start, task, ts, dynamics=law)
        modes = jax.vmap(lambda w: mode_strengths(w, sigma))(run.function)
        last = jax.tree.map(lambda w: w[-1], run.network)
        change = kernel_distance(ntk(start, task.x), ntk(last, task.x))
        return modes, run.loss, change

    first, others = jax.vmap(aligned)(lmdas), jax.vmap(unaligned)(jnp.asarray(spectrum))
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b[chosen]]), first, others)
    count, simulated = lmdas.size, {}
    for name, law in laws.items():
        modes, loss, change = jax.vmap(lambda x, law=law: descend(x, law))(both)
        simulated |= {f"{name}/modes": modes[:count], f"{name}/loss": loss[:count]}
        simulated[f"{name}/distance"] = change[count:]
    # One draw: the strengths at the start don't depend on lambda.
    a0 = simulated["descent/modes"][0, 0]
    exact = jax.vmap(lambda lmda: aligned_modes(ts, s, a0, lmda))(lmdas)
    return {
        **simulated,
        "exact/modes": exact,
        "exact/loss": jnp.sum((exact - s[None, None]) ** 2, axis=-1) / 2,
        "exact/distance": jax.vmap(distance)(others),
        "sigmoidal": sigmoidal_modes(ts, s, a0),
        "exponential": jax.vmap(lambda x: exponential_modes(ts, s, a0, x))(lmdas),
    }


def draw(data: Data) -> "Figure":
    """Draw modes above, loss and kernel distance below."""
    figure = new_figure(12.0, 6.8)
    above, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
    axes = above.subplots(1, len(data["lmda"]), sharey=True)
    # A logarithmic axis can't show time 0.
    ts = data["ts"][1:]
    for i, ax in enumerate(axes):
        for mode, colour in enumerate(COLOURS[: len(data["strengths"])]):
            curve = data["descent/modes"][i, 1:, mode]
            ax.plot(ts, curve, color=colour, lw=2.5)
        ax.plot(ts, data["sigmoidal"][1:], **SIGMOIDAL)
        if data["lmda"][i] != 0:  # nothing is learned in that limit here
            ax.plot(ts, data["exponential"][i, 1:], **EXPONENTIAL)
        ax.plot(ts, data["exact/modes"][i, 1:], **THEORY)
        ax.set(title=rf"$\lambda = {data['lmda'][i]:g}$", xscale="log")
        ax.set_xlabel("time (learning rate × step)")
    axes[0].set_ylabel("mode strength")
    _add_legend(above)
    losses, distances = below.subplots(1, 2)
    _draw_losses(losses, data)
    _draw_distances(distances, data)
    return figure


def _add_legend(figure: "SubFigure") -> None:
    from matplotlib.lines import Line2D

    styles = {
        "gradient descent": {"color": COLOURS[0], "lw": 2.5},
        "theory": THEORY,
        r"sigmoidal limit $\lambda \to 0$": SIGMOIDAL,
        r"exponential limit $|\lambda| \to \infty$": EXPONENTIAL,
    }
    handles = [Line2D([], [], label=label, **style) for label, style in styles.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def _draw_losses(ax: "Axes", data: Data) -> None:
    from matplotlib import colormaps

    ts, count = data["ts"][1:], len(data["lmda"])
    for i, lmda in enumerate(data["lmda"]):
        colour = colormaps["viridis"](0.9 * i / max(1, count - 1))
        curve = data["descent/loss"][i, 1:]
        ax.plot(ts, curve, color=colour, lw=2.5, label=rf"$\lambda = {lmda:g}$")
        ax.plot(ts, data["exact/loss"][i, 1:], **THEORY)
    ax.set(xscale="log", xlabel="time (learning rate × step)", ylabel="loss")
    ax.legend(frameon=False)


def _draw_distances(ax: "Axes", data: Data) -> None:
    spectrum = data["spectrum"]
    ax.plot(spectrum, data["exact/distance"], color="k", label="exact")
    ax.plot(
        data["simulated"],
        data["descent/distance"],
        "o",
        color=COLOURS[1],
        label="gradient descent",
    )
    ax.set_xscale("symlog", linthresh=np.abs(spectrum).min())
    ax.set_xticks([-1e3, -10, -0.1, 0, 0.1, 10, 1e3])
    ax.set(xlabel=r"$\lambda$", ylabel="distance of the NTK\nfrom start to end")
    ax.legend(frameon=False)
