"""The number of steps that learning takes, against the balance."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Real

from .._dynamics import Exact
from .._init import LambdaBalanced
from .._learn import learn
from .._task import Task
from ..measures import convergence_time
from . import comparison
from .record import Data, Difference, Record, against_descent, difference
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Steps to convergence, and the law of 1/|λ|"
SOURCE = "Figure 4.4 of Domine's thesis"


class Settings(NamedTuple):
    """All parameters of the figure."""

    levels: int = 3
    scale: float = 1.0
    spectrum: tuple[float, float] = (1.0, 100.0)
    lmdas: int = 30
    threshold: float = 1e-3
    learning_rate: float = 0.01
    steps: int = 5000
    points: int = 2000
    seed: int = 2


FULL = Settings()
QUICK = FULL._replace(lmdas=10, points=500)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    size = 2**settings.levels
    return (
        "The number of gradient descent steps until the loss is below "
        f"{settings.threshold:g}, against λ: exact (line) and simulated (markers). "
        f"{size}-{size}-{size} networks learn the hierarchy of {size} items from one "
        f"random function (weights of scale {settings.scale:g}; learning rate "
        f"{settings.learning_rate:g}). Dashed: the law of the lazy limit, "
        "ln(L₀/threshold) / (2 c |λ| learning rate) steps for inputs of variance c and "
        "a loss that starts at L₀. (Steps that aren't small against 1 / (c |λ|) make "
        "descent faster.) The thesis fits an exponential to the same points; the "
        f"theory tends to this power law. There are {settings.lmdas} values of either "
        f"sign from {settings.spectrum[0]:g} to {settings.spectrum[1]:g}; the thesis "
        "stops at 20."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute exact and simulated times for balances of both signs."""
    half = np.geomspace(*settings.spectrum, settings.lmdas)
    lmda = np.r_[-half[::-1], half]
    rate = settings.learning_rate
    steps = np.geomspace(1, settings.steps, settings.points).round()
    steps = np.unique(np.r_[0, steps])
    exact, descent, corrected, start = (
        np.asarray(x) for x in _times(settings, jnp.asarray(lmda), steps * rate)
    )
    variance = 1 / 2**settings.levels
    law = np.log(start / settings.threshold) / (2 * variance * np.abs(lmda))
    data = {
        "lmda": lmda,
        "exact": exact / rate,
        "descent": descent / rate,
        "corrected": corrected / rate,
        "law": law / rate,
    }
    ends = np.array([0, -1])
    ones = np.ones_like(lmda)
    differences = [
        # Ratios give every balance equal weight: steps differ by orders of magnitude.
        against_descent("steps", exact / descent, ones, corrected / descent, 0.1),
        Difference(
            "steps at the largest |λ|",
            "the law of 1/|λ|",
            difference((exact / law)[ends], ones[ends]),
            2e-2,
        ),
    ]
    return Record(data, differences)


@eqx.filter_jit
def _times(
    settings: Settings, lmda: Real[ArrayLike, " lmdas"], ts: Real[ArrayLike, " times"]
) -> tuple[jax.Array, ...]:
    """Times to reach the threshold by every law, and the exact loss at the start."""
    task = Task.hierarchy(settings.levels)
    size, key = task.in_size, jax.random.key(settings.seed)

    def of(lmda):
        start = LambdaBalanced(lmda, settings.scale)(size, size, size, key=key)
        laws = Exact(), *comparison.descents(settings.learning_rate).values()
        losses = [learn(start, task, ts, dynamics=law).loss for law in laws]
        times = [convergence_time(ts, loss, settings.threshold) for loss in losses]
        return *times, losses[0][0]

    return jax.vmap(of)(jnp.asarray(lmda))


def draw(data: Data) -> "Figure":
    """Draw steps against lambda, on either side of zero."""
    figure = new_figure(7.0, 4.2)
    axes = figure.subplots(1, 2, sharey=True)
    lmda = data["lmda"]
    for ax, side in zip(axes, (lmda < 0, lmda > 0), strict=True):
        ax.plot(
            lmda[side], data["law"][side], "--", color="0.5", label=r"$1/|\lambda|$"
        )
        ax.plot(lmda[side], data["exact"][side], color=COLOURS[0], label="exact")
        ax.plot(
            lmda[side],
            data["descent"][side],
            "o",
            color=COLOURS[1],
            mfc="none",
            label="gradient descent",
        )
        ax.set(xlabel=r"$\lambda$", yscale="log")
    axes[0].set_xscale("symlog", linthresh=np.abs(lmda).min())
    axes[1].set_xscale("log")
    axes[0].set_xlim(lmda.min() * 1.2, lmda[lmda < 0].max() * 0.8)
    axes[0].set_ylabel("training steps to convergence")
    axes[1].legend(frameon=False)
    return figure
