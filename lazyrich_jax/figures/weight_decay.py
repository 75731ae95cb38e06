"""Lazy learning first, and rich learning later, under weight decay."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._dynamics import ExactSolution, GradientDescent
from .._init import LambdaBalanced
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from ..measures import kernel_alignment
from ..theory import crossover_time, decayed_balance, soft_thresholded_limit
from .record import Data, Difference, Record, difference
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "From lazy to rich by weight decay"
SOURCE = "This library: docs/beyond.md, section 1"

QUANTITIES = "loss", "alignment", "balance", "strengths"


class Settings(NamedTuple):
    """All parameters of the figure."""

    strengths: tuple[float, ...] = (2.0, 1.0, 0.5, 0.25)
    lmda: float = -12.0
    scale: float = 0.1
    decays: tuple[float, ...] = (0.0, 0.005, 0.02, 0.08)
    shown: int = 2  # of the decays, in the panel of the function
    learning_rate: float = 4e-3
    times: tuple[float, float] = (0.02, 1000.0)
    points: int = 30
    seed: int = 0


FULL = Settings()
QUICK = FULL._replace(learning_rate=1e-2, points=20)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    size = len(settings.strengths)
    strengths = ", ".join(f"{s:g}" for s in settings.strengths)
    decays = ", ".join(f"{x:g}" for x in settings.decays)
    return (
        f"A λ-balanced {size}-{size}-{size} network with λ = {settings.lmda:g} learns "
        f"a task with white inputs and singular values {strengths}, with weight decays "
        f"of {decays}: exact solution (lines), and gradient descent with learning "
        f"rate {settings.learning_rate:g} (circles). Top left: the loss, relative to "
        "the start. It is learned at the rate |λ|, before the decay matters. Then the "
        "decay costs little. Top right: alignment of the input representation with "
        "its end under a tiny decay, which is that of rich learning. Without decay it "
        "stays that of lazy learning. Diamonds: the crossover times of the strongest "
        "and the weakest mode, ln(|λ|/2s) over twice the decay. Bottom left: the "
        "balance, which falls at twice the decay (lines: theory), and 2s of every mode "
        "(dashed). Learning is lazy above. Bottom right: the singular values of the "
        f"function at decay {settings.decays[settings.shown]:g}: each falls short of "
        "the task's by a part of the decay, and by all of it after its own crossover "
        "time (dashed)."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute the course of learning for every decay, by theory and by descent."""
    task, start = _setting(settings)
    s, decays = jnp.array(settings.strengths), jnp.array(settings.decays)
    ts = np.geomspace(*settings.times, 300)
    rate = settings.learning_rate
    some = np.geomspace(*settings.times, settings.points)
    some = np.unique(np.maximum(np.round(some / rate), 1)) * rate
    goal = soft_thresholded_limit(task, 1e-6 * settings.strengths[-1], s.size)
    goal = goal.input_representation
    names = [f"decay {x:g}" for x in settings.decays]
    data = {
        "strengths": np.asarray(s),
        "decays": np.asarray(decays),
        "lmda": np.array(settings.lmda),
        "shown": np.array(settings.shown),
        "loss_at_start": np.asarray(task.loss(start.function)),
        "ts": ts,
        "some": some,
        "balance": np.stack([_balance(ts, settings.lmda, x) for x in decays]),
        "crossover": np.stack(
            [crossover_time(s, settings.lmda, x) for x in settings.decays]
        ),
    }
    exact = _learned(start, task, np.r_[ts, some], decays, goal, None)
    descent = _learned(start, task, some, decays, goal, rate)
    differences = []
    for i, name in enumerate(track(names)):
        predicted = _balance(some, settings.lmda, decays[i])
        for kind in QUANTITIES:
            found, here = np.asarray(exact[kind])[i], np.asarray(descent[kind])[i]
            data[f"{i}/exact/{kind}"] = found[: ts.size]
            data[f"{i}/descent/{kind}"] = here
            found = predicted if kind == "balance" else found[ts.size :]
            # Of order one in the step, over the time in which a quantity moves.
            fast = kind in ("loss", "strengths")
            bound = rate * (abs(settings.lmda) / 2 if fast else 0.1)
            what = f"{name}: {kind}"
            value = difference(found, here)
            if kind == "loss":  # relative to the start
                value = float(np.max(np.abs(found - here)) / data["loss_at_start"])
            differences.append(Difference(what, "descent", value, bound))
    # The largest decay has the furthest end.
    thresholded = np.maximum(data["strengths"] - settings.decays[-1], 0)
    value = difference(
        thresholded[None], data[f"{len(decays) - 1}/descent/strengths"][-1:]
    )
    what = f"{names[-1]}: singular values at the end, thresholded"
    differences.append(Difference(what, "descent", value, 1e-4))
    return Record(data, differences)


def _setting(settings: Settings) -> tuple[Task, LinearNetwork]:
    key1, key2, key3 = jax.random.split(jax.random.key(settings.seed), 3)
    s = jnp.array(settings.strengths)
    u, v = (jax.random.orthogonal(key, s.size) for key in (key1, key2))
    task = Task.from_correlation((u * s[None]) @ v.T)
    draw = LambdaBalanced(settings.lmda, settings.scale)
    return task, draw(s.size, s.size, s.size, key=key3)


def _balance(ts: np.ndarray, lmda: float, decay: Float[Array, ""]) -> np.ndarray:
    return np.asarray(decayed_balance(ts, lmda, decay))


@eqx.filter_jit
def _learned(
    start: LinearNetwork,
    task: Task,
    ts: np.ndarray,
    decays: Float[Array, " decays"],
    goal: Float[Array, "in in"],
    rate: float | None,
) -> dict[str, Float[Array, "decays ..."]]:
    """The quantities at `ts` for every decay, by descent or exactly."""

    def of(decay):
        if rate is None:
            run = ExactSolution(start, task, weight_decay=decay, throw=False)
            parts = run.input_representation(ts), run.output_representation(ts)
            return _quantities(run.loss(ts), run.function(ts), *parts, goal)
        law = GradientDescent(rate, weight_decay=decay)
        run = learn(start, task, ts, dynamics=law, throw=False)
        parts = run.input_representation, run.output_representation
        return _quantities(run.loss, run.function, *parts, goal)

    return jax.vmap(of)(decays)


def _quantities(
    loss: Float[Array, " times"],
    function: Float[Array, "times out in"],
    inputs: Float[Array, "times in in"],
    outputs: Float[Array, "times out out"],
    goal: Float[Array, "in in"],
) -> dict[str, Array]:
    of_out, of_in = (jnp.trace(x, axis1=1, axis2=2) for x in (outputs, inputs))
    return {
        "loss": loss,
        "alignment": jax.vmap(kernel_alignment, (0, None))(inputs, goal),
        "balance": (of_out - of_in) / goal.shape[0],
        "strengths": jnp.linalg.svd(function, compute_uv=False),
    }


def draw(data: Data) -> "Figure":
    """Draw loss, alignment, balance and singular values over time."""
    figure = new_figure(10.0, 7.2)
    axes = figure.subplots(2, 2, sharex=True)
    _draw_loss(axes[0, 0], data)
    _draw_alignment(axes[0, 1], data)
    _draw_balance(axes[1, 0], data)
    _draw_strengths(axes[1, 1], data)
    for ax in axes[1]:
        ax.set_xlabel("time (learning rate × step)")
    axes[0, 0].set(xscale="log", xlim=data["ts"][[0, -1]])
    return figure


def _draw_course(ax: "Axes", data: Data, kind: str, unit: float = 1.0) -> None:
    """Lines of the exact solution and circles of descent, for every decay."""
    for i, decay in enumerate(data["decays"]):
        line, circles = (data[f"{i}/{law}/{kind}"] for law in ("exact", "descent"))
        label = rf"$\gamma = {decay:g}$"
        ax.plot(data["ts"], line / unit, color=COLOURS[i], label=label)
        ax.plot(data["some"], circles / unit, "o", **_circles(i))


def _circles(i: int) -> dict:
    return {"color": COLOURS[i], "mfc": "w", "ms": 4.0}


def _draw_loss(ax: "Axes", data: Data) -> None:
    _draw_course(ax, data, "loss", float(data["loss_at_start"]))
    ax.set(yscale="log", ylim=(1e-8, 2), ylabel="loss, relative to the start")
    ax.set_title("the loss is learned first")
    ax.legend(frameon=False, loc="upper right")


def _draw_alignment(ax: "Axes", data: Data) -> None:
    _draw_course(ax, data, "alignment")
    for i, times in enumerate(data["crossover"]):
        ends = times[[0, -1]]
        if np.all(np.isfinite(ends)):
            values = np.interp(ends, data["ts"], data[f"{i}/exact/alignment"])
            ax.plot(ends, values, "D", color=COLOURS[i], mec="k", ms=6, zorder=4)
    ax.set(ylabel="alignment of the input representation")
    ax.set_title("the representation becomes the task's later")


def _draw_balance(ax: "Axes", data: Data) -> None:
    for i, decay in enumerate(data["decays"]):
        line, circles = data["balance"][i], data[f"{i}/descent/balance"]
        label = rf"$\gamma = {decay:g}$"
        ax.plot(data["ts"], np.abs(line), color=COLOURS[i], label=label)
        ax.plot(data["some"], np.abs(circles), "o", **_circles(i))
        for s, time in zip(data["strengths"], data["crossover"][i], strict=True):
            if np.isfinite(time):
                ax.plot(time, 2 * s, "D", color=COLOURS[i], mec="k", ms=5, zorder=4)
    for s in data["strengths"]:
        ax.axhline(2 * s, color="0.5", ls="--", lw=1)
        ax.annotate(
            f"$2s$, $s = {s:g}$",
            (data["ts"][0] * 1.2, 2 * s),
            va="bottom",
            color="0.35",
            fontsize="small",
        )
    ax.set(yscale="log", ylabel=r"balance $|\lambda(t)|$", ylim=(1e-2, 30))
    ax.set_title("as the balance decays")


def _draw_strengths(ax: "Axes", data: Data) -> None:
    i = int(data["shown"])
    decay = data["decays"][i]
    for j, s in enumerate(data["strengths"]):
        line, circles = (
            (s - data[f"{i}/{law}/strengths"][:, j]) / decay
            for law in ("exact", "descent")
        )
        ax.plot(data["ts"], line, color=COLOURS[j], label=f"$s = {s:g}$")
        ax.plot(data["some"], circles, "o", **_circles(j))
        time = data["crossover"][i, j]
        ax.axvline(time, color=COLOURS[j], ls="--", lw=1)
    ax.axhline(1, color="0.5", lw=1)
    ax.set(ylim=(0, 1.25), ylabel=r"(task's $-$ learned singular value) / $\gamma$")
    ax.set_title(rf"every mode in its turn, $\gamma = {decay:g}$")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.3, 0.79))
