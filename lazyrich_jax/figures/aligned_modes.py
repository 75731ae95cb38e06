"""Modes of either sign of networks aligned with their task."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .._learn import learn
from .._linalg import split_singular_values
from .._network import LinearNetwork
from .._task import Task
from ..measures import mode_strengths
from ..theory import aligned_modes, time_to_reach
from . import comparison
from .record import Data, Record, against_descent
from .style import COLOURS, law_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Modes of aligned networks, one of them with the opposite sign"
SOURCE = "Figure 3.2 of Domine's thesis"


class Settings(NamedTuple):
    """All parameters of the figure."""

    strengths: tuple[float, ...] = (1.5, 0.65, 0.6)
    starts: tuple[float, ...] = (-4.9, 3.1, 1.9)
    lmdas: tuple[float, ...] = (0.5, -5.0, 0.0)
    learning_rate: float = 0.01
    steps: int = 1000
    points: int = 300
    fraction: float = 0.9
    seed: int = 0


FULL = Settings()
QUICK = FULL._replace(points=100)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    modes = ", ".join(f"{s:g}" for s in settings.strengths)
    starts = ", ".join(f"{a:g}" for a in settings.starts)
    return (
        "The strengths of the modes of a network whose singular vectors are the task's "
        f"(singular values {modes}), from starts at {starts}, for λ-balanced weights: "
        f"gradient descent (coloured; learning rate {settings.learning_rate:g}, "
        f"{settings.steps} steps) and theory (dotted). The mode that starts with the "
        "opposite sign passes zero, except at λ = 0, where it ends at the saddle at "
        f"zero. Marks show the time at which theory reaches {settings.fraction:g} of "
        "the strength. The modes don't depend on the sign of λ. The thesis shows λ = "
        "0.5 without sizes, rate or task; the values here are read off its figure."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute the modes by theory and by gradient descent, for every balance."""
    steps = comparison.steps_to(settings.steps, settings.points)
    ts = steps * settings.learning_rate
    lmdas = np.array(settings.lmdas)
    s, a0 = np.array(settings.strengths), np.array(settings.starts)
    theory, descent, corrected, reached = (
        np.asarray(x) for x in _modes(settings, s, a0, lmdas, ts)
    )
    data = {
        "ts": ts,
        "lmda": lmdas,
        "strengths": s,
        "theory": theory,
        "descent": descent,
        "corrected": corrected,
        "fraction": np.array(settings.fraction),
        "reached": reached,
    }
    differences = [
        against_descent(f"λ = {lmda:g}: modes", *modes, bound=3e-2)
        for lmda, *modes in zip(lmdas, theory, descent, corrected, strict=True)
    ]
    return Record(data, differences)


@eqx.filter_jit
def _modes(
    settings: Settings,
    s: Real[ArrayLike, " modes"],
    a0: Real[ArrayLike, " modes"],
    lmdas: Real[ArrayLike, " lmdas"],
    ts: Real[ArrayLike, " times"],
) -> tuple[Float[Array, "..."], ...]:
    """Theory, descent, its corrected theory, and the times to reach most of a mode."""
    s, a0 = jnp.asarray(s), jnp.asarray(a0)
    keys = jax.random.split(jax.random.key(settings.seed), 3)
    u, v, r = (jax.random.orthogonal(key, s.size) for key in keys)
    task = Task.from_correlation((u * s[None]) @ v.T)
    laws = comparison.descents(settings.learning_rate)

    def of(lmda):
        first, second = split_singular_values(jnp.abs(a0), lmda)
        w1, w2 = (r * first[None]) @ v.T, (u * (jnp.sign(a0) * second)[None]) @ r.T
        network, sigma = LinearNetwork((w1, w2)), task.input_output_correlation
        runs = [learn(network, task, ts, dynamics=law) for law in laws.values()]
        over_time = jax.vmap(lambda w: mode_strengths(w, sigma))
        modes = [over_time(run.function) for run in runs]
        reached = time_to_reach(settings.fraction, s, a0, lmda)
        return aligned_modes(ts, s, a0, lmda), *modes, reached

    return jax.vmap(of)(jnp.asarray(lmdas))


def draw(data: Data) -> "Figure":
    """Draw a panel for every balance."""
    figure = new_figure(11.0, 3.8)
    lmda = data["lmda"]
    ts = data["ts"]
    axes = figure.subplots(1, len(lmda), sharey=True)
    for i, ax in enumerate(axes):
        for mode, s in enumerate(data["strengths"]):
            colour = COLOURS[mode]
            ax.axhline(s, color=colour, lw=0.7, alpha=0.7)
            ax.plot(ts, data["descent"][i, :, mode], color=colour, lw=2)
            reached = data["reached"][i, mode]
            if 0 < reached <= ts[-1]:
                ax.plot(
                    reached, data["fraction"] * s, "v", color=colour, mec="k", zorder=3
                )
        ax.plot(ts, data["theory"][i], "k:", lw=1.3)
        ax.set_title(rf"$\lambda = {lmda[i]:g}$")
        # The axis is linear up to the first step, to show the start.
        ax.set_xscale("symlog", linthresh=ts[1], linscale=0.5)
        ax.set_xlim(0, ts[-1])
        ax.set_xlabel("time (learning rate × step)")
    axes[0].set_ylabel("mode strength")
    law_legend(figure)
    return figure
