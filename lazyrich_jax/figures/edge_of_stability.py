"""The sharpness of the loss, how learning raises it, and the steps it allows."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Real

from .. import measures
from .._dynamics import AbstractDynamics
from .._init import Aligned, LambdaBalanced
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from ..theory import aligned_modes, final_sharpness, largest_stable_step, sharpness
from . import comparison, leaving_minima
from .record import Data, Difference, Record, against_descent
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Progressive sharpening and the edge of stability"
SOURCE = "This library: docs/beyond.md, section 3; Cohen et al. 2021"


class Settings(NamedTuple):
    """All parameters of the figure."""

    strengths: tuple[float, ...] = (1.0, 0.6, 0.3)
    start: float = 1e-3
    lmdas: tuple[float, ...] = (0.0, 0.5, 2.0, -6.0)
    learning_rate: float = 4e-3
    last: float = 60.0
    points: int = 24
    span: tuple[float, int] = (6.0, 25)
    rates: tuple[float, float, int] = (0.2, 1.15, 58)
    factors: tuple[float, ...] = (0.97, 1.03, 1.1)
    near: tuple[float, float, int] = (0.9, 1.1, 41)
    shown: float = 2.0
    noise: float = 1e-6
    steps: int = 2000
    converged: float = 1e-8
    seed: int = 0


FULL = Settings()
QUICK = FULL._replace(span=(6.0, 13), rates=(0.2, 1.15, 20), points=12)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    size = len(settings.strengths)
    strengths = ", ".join(f"{s:g}" for s in settings.strengths)
    factors = ", ".join(f"{x:g}" for x in settings.factors)
    return (
        "The largest eigenvalue of the loss's Hessian, the sharpness, of λ-balanced "
        f"{size}-{size}-{size} networks on a task with white inputs and singular "
        f"values {strengths}. Top left: along learning of aligned networks with modes "
        f"of {settings.start:g} at the start, relative to the end: theory (lines), and "
        "Lanczos iterations on the weights of gradient descent with learning rate "
        f"{settings.learning_rate:g} (circles). It doubles at λ = 0, and stays where "
        "|λ| is large. Top right: at the start, from the modes' theory, and at the "
        "end, for gradient descent from unaligned random weights (circles) and theory, "
        "√(λ² + 4s²) with the largest singular value s (line). Bottom left: the loss "
        f"of descent from the minimum of gradient flow at λ = {settings.shown:g}, with "
        f"{settings.noise:g} of noise in the weights, with {factors} of the largest "
        "stable learning rate. Dotted: the predicted rates of decay and growth. Above "
        "one, descent leaves for a flatter minimum. Bottom right: the sharpness after "
        f"{settings.steps} such steps, relative to the minimum of the flow. The white "
        "line is the largest stable learning rate, 2/√(λ² + 4s²). Circles are the "
        "measured ones, between the last rate at which descent stays and the first at "
        "which it leaves. No minimum is stable above the dashed line, 1/s. Grey: a "
        f"loss above {settings.converged:g} after these steps."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute the sharpness along learning, its ends, and the outcomes of descent."""
    task = _task(settings)
    largest, count = settings.span
    span = np.linspace(-largest, largest, count)
    data = {
        "strengths": np.array(settings.strengths),
        "lmdas": np.array(settings.lmdas),
        "span": span,
        "rates": np.linspace(*settings.rates),
        "factors": np.array(settings.factors),
        "shown": np.array(settings.shown),
    }
    descents = leaving_minima.Descents(
        *(getattr(settings, name) for name in leaving_minima.Descents._fields)
    )
    differences = [
        *_learning(settings, task, data, track),
        *_ends(settings, task, data, track),
        *leaving_minima.compute(descents, task, data),
    ]
    return Record(data, differences)


def _task(settings: Settings) -> Task:
    key1, key2 = jax.random.split(jax.random.key(settings.seed))
    s = jnp.array(settings.strengths)
    u, v = (jax.random.orthogonal(key, s.size) for key in (key1, key2))
    return Task.from_correlation((u * s[None]) @ v.T)


def _sizes(settings: Settings) -> tuple[int, int, int]:
    size = len(settings.strengths)
    return size, size, size


def _measured(networks: LinearNetwork, task: Task) -> np.ndarray:
    """The sharpness of each of many networks, on their weights."""
    count = len(networks.weights[0])
    each = (jax.tree.map(lambda w, i=i: w[i], networks) for i in range(count))
    return np.array([measures.sharpness(network, task) for network in each])


def _learning(settings: Settings, task: Task, data: dict, track) -> list[Difference]:
    """The sharpness along learning, by theory and of the weights of descent."""
    sizes, s = _sizes(settings), jnp.array(settings.strengths)
    ts = np.geomspace(settings.last / 1000, settings.last, 200)
    rate, last = settings.learning_rate, settings.last
    some = np.geomspace(last / 1000, last, settings.points)
    some = np.unique(np.round(some / rate)) * rate
    data["ts"], data["measured_ts"] = ts, some
    differences = []
    theory, measured = [], []
    for lmda in track(settings.lmdas):
        start = Aligned(task, lmda, strengths=settings.start)
        start = start(*sizes, key=jax.random.key(settings.seed))
        descent, corrected = (
            _measured(_learned(start, task, jnp.asarray(some), law), task)
            for law in comparison.descents(jnp.asarray(rate)).values()
        )
        measured.append(descent)
        modes = (aligned_modes(x, s, settings.start, lmda) for x in (ts, some))
        line, at_points = (np.asarray(sharpness(s, a, lmda, sizes)) for a in modes)
        theory.append(line)
        what = f"λ = {lmda:g}: sharpness along learning"
        values = at_points, descent, corrected
        differences.append(against_descent(what, *values, bound=1e-2))
    data["theory"], data["measured"] = np.stack(theory), np.stack(measured)
    return differences


def _ends(settings: Settings, task: Task, data: dict, track) -> list[Difference]:
    """The sharpness at the start and the end of learning, for every balance."""
    sizes, s, span = _sizes(settings), jnp.array(settings.strengths), data["span"]
    small = jnp.full(s.size, settings.start)
    start = [np.asarray(sharpness(s, small, lmda, sizes)) for lmda in span]
    data["start"] = np.stack(start)
    data["end"] = np.asarray(final_sharpness(s, span))
    data["stable"] = np.asarray(largest_stable_step(s, span))
    key = jax.random.key(settings.seed + 1)
    draws = eqx.filter_vmap(lambda x: LambdaBalanced(x, 0.3)(*sizes, key=key))
    # Small steps keep the balance; they are proportional to the fastest time scale.
    rates = jnp.asarray(0.02 * data["stable"])
    run = eqx.filter_vmap(_learned, in_axes=(eqx.if_array(0), None, None, 0))
    last, starts = jnp.array([6 * settings.last]), draws(jnp.asarray(span))
    laws = eqx.filter_vmap(comparison.descents)(rates)
    ends = [run(starts, task, last, law) for law in laws.values()]
    descent, corrected = (
        _measured(jax.tree.map(lambda w: w[:, 0], end), task) for end in ends
    )
    data["measured_end"] = descent
    what = f"sharpness at the end, at {len(span)} values of λ"
    values = data["end"], descent, corrected
    return [against_descent(what, *values, bound=1e-2)]


@eqx.filter_jit
def _learned(
    start: LinearNetwork,
    task: Task,
    ts: Real[Array, " times"],
    law: AbstractDynamics,
) -> LinearNetwork:
    """The networks at `ts`."""
    return learn(start, task, ts, dynamics=law, throw=False).network


def draw(data: Data) -> "Figure":
    """Draw sharpness along learning and at its ends, and the outcomes of descent."""
    figure = new_figure(10.0, 7.4)
    axes = figure.subplots(2, 2)
    _draw_learning(axes[0, 0], data)
    _draw_ends(axes[0, 1], data)
    leaving_minima.draw_losses(axes[1, 0], data)
    leaving_minima.draw_map(axes[1, 1], data)
    return figure


def _draw_learning(ax: "Axes", data: Data) -> None:
    for i, lmda in enumerate(data["lmdas"]):
        end = np.hypot(lmda, 2 * data["strengths"].max())
        label = rf"$\lambda = {lmda:g}$"
        ax.plot(data["ts"], data["theory"][i] / end, color=COLOURS[i], label=label)
        circles = {"color": COLOURS[i], "mfc": "w", "ms": 4.5}
        ax.plot(data["measured_ts"], data["measured"][i] / end, "o", **circles)
    ax.set(xscale="log", xlabel="time (learning rate × step)")
    ax.set(ylabel="sharpness, relative to the end", title="progressive sharpening")
    ax.legend(frameon=False)


def _draw_ends(ax: "Axes", data: Data) -> None:
    span = data["span"]
    ax.fill_between(span, data["start"], data["end"], color=COLOURS[0], alpha=0.15)
    ax.plot(span, data["start"], "--", color=COLOURS[0], label="start")
    ax.plot(span, data["end"], color=COLOURS[0], label="end")
    circles = {"color": COLOURS[1], "mfc": "w", "ms": 4.5}
    label = "end of gradient descent"
    ax.plot(span, data["measured_end"], "o", label=label, **circles)
    ax.set(xlabel=r"balance $\lambda$", ylabel="sharpness", ylim=(0, None))
    ax.set_title("learning sharpens rich networks")
    ax.legend(frameon=False, loc="upper center")
