"""Descents from minima of gradient flow, at learning rates near the largest stable one.

In: `Descents`, a task, and `data` with "span" (balances), "stable" (their largest
stable rates), "rates", "factors" and "shown". Out: where each descent ends, added to
`data`, and its panels. docs/beyond.md, section 3.
"""

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
from ..theory import final_sharpness, largest_stable_step
from .record import Data, Difference, difference
from .style import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Descents(NamedTuple):
    """The parameters of the descents."""

    strengths: tuple[float, ...]  # of the task
    near: tuple[float, float, int]  # rates over the largest stable one
    shown: float  # the balance of those whose losses are shown
    noise: float  # in the weights at the minimum
    steps: int
    converged: float  # the loss from which a descent has converged
    seed: int


def compute(descents: Descents, task: Task, data: dict) -> list[Difference]:
    """Where descent goes from the minimum of the flow, at many learning rates."""
    lmda, rates = np.meshgrid(data["span"], data["rates"])
    near = np.linspace(*descents.near)
    close = near[:, None] * data["stable"]
    factors = data["factors"]
    shown = np.full(len(factors), descents.shown)
    s = jnp.array(descents.strengths)
    stable = np.asarray(largest_stable_step(s, descents.shown))
    # All descents are one program.
    lmdas = np.concatenate([lmda.ravel(), np.resize(data["span"], close.size), shown])
    rates = np.concatenate([rates.ravel(), close.ravel(), factors * stable])
    steps = np.r_[np.arange(0, 401, 2), descents.steps]
    sharp, loss = (
        np.asarray(x)
        for x in _leaving(descents, task, jnp.asarray(lmdas), jnp.asarray(rates), steps)
    )
    converged = loss[:, -1] < descents.converged
    relative = np.where(converged, sharp / np.asarray(final_sharpness(s, lmdas)), -1)
    cuts = np.cumsum([lmda.size, close.size])
    data["map"] = relative[: cuts[0]].reshape(lmda.shape)
    stays = np.abs(relative[cuts[0] : cuts[1]].reshape(close.shape) - 1) < 1e-3
    first = np.argmin(stays, axis=0)  # the first that leaves
    edge = (near[first] + near[first - 1]) / 2 * data["stable"]
    data["edge"] = edge
    data["steps"], data["losses"] = steps[:-1], loss[cuts[1] :, :-1]
    ones = np.ones_like(edge)
    value = difference(edge / data["stable"], ones)
    what = f"largest stable rate, at {len(edge)} values of λ"
    differences = [Difference(what, "descent", value, 1e-2)]
    growth = 2 * np.log(factors * 2 - 1)  # a step's, of the loss
    data["growth"] = growth
    window = slice(10, 20)  # after slower modes, before any leaves
    for factor, predicted, loss in zip(factors, growth, data["losses"], strict=True):
        logs = np.log(loss[window])
        slope = np.polyfit(data["steps"][window], logs, 1)[0]
        what = f"growth of the loss at {factor:g} of the largest stable rate"
        value = abs(slope - predicted)
        differences.append(Difference(what, "descent", value, 1e-2))
    return differences


@eqx.filter_jit
def _leaving(
    descents: Descents,
    task: Task,
    lmdas: Float[Array, " descents"],
    rates: Float[Array, " descents"],
    steps: np.ndarray,
) -> tuple[Float[Array, " descents"], Float[Array, "descents times"]]:
    """The sharpness at the end, and the losses, of descents from a noisy minimum."""
    sizes = (len(descents.strengths),) * 3
    key = jax.random.key(descents.seed + 2)

    def of(lmda, rate):
        start = LambdaBalanced(lmda, 1.0)(*sizes, key=key)
        minimum = ExactSolution(start, task, throw=False).network(jnp.inf)
        noise = [
            descents.noise * jax.random.normal(k, w.shape, w.dtype)
            for k, w in zip(jax.random.split(key), minimum.weights, strict=True)
        ]
        noisy = [w + n for w, n in zip(minimum.weights, noise, strict=True)]
        law = GradientDescent(rate)
        run = learn(
            LinearNetwork(tuple(noisy)), task, steps * rate, dynamics=law, throw=False
        )
        # At a minimum the sharpness is the sum of the representations' largest.
        ends = run.input_representation[-1], run.output_representation[-1]
        ends = (jnp.where(jnp.isfinite(x), x, 0.0) for x in ends)
        first, second = (jnp.linalg.eigvalsh(x)[-1] for x in ends)
        return first + second, run.loss

    return jax.vmap(of)(lmdas, rates)


def draw_losses(ax: "Axes", data: Data) -> None:
    """Draw the losses of some descents, with the predicted decay and growth."""
    steps, first = data["steps"], 10
    for i, (factor, losses) in enumerate(
        zip(data["factors"], data["losses"], strict=True)
    ):
        label = f"{factor:g} of the largest stable rate"
        ax.plot(steps, losses, color=COLOURS[i], label=label)
        line = losses[first] * np.exp(data["growth"][i] * (steps - steps[first]))
        shown = line < 1e-2
        ax.plot(steps[shown], line[shown], "k:", lw=1.3)
    ax.set(yscale="log", xlabel="training step", ylabel="loss", ylim=(1e-20, 1))
    ax.set_title(rf"descent from the minimum, $\lambda = {data['shown']:g}$")
    ax.legend(frameon=False, loc="lower right")


def draw_map(ax: "Axes", data: Data) -> None:
    """Draw the sharpness where each descent ends, over balances and rates."""
    span, rates = data["span"], data["rates"]
    values = np.where(data["map"] < 0, np.nan, data["map"])
    ax.set_facecolor("0.75")
    mesh = ax.pcolormesh(
        span, rates, values, shading="nearest", rasterized=True, vmin=0, vmax=1
    )
    ax.plot(span, data["stable"], "w", lw=1.5)
    ax.plot(span, data["edge"], "o", color="k", mfc="w", ms=4)
    ax.axhline(1 / data["strengths"].max(), color="w", ls="--", lw=1.2)
    ax.set(xlabel=r"balance $\lambda$", ylabel="learning rate")
    ax.set_title("where descent from the minimum ends")
    bar = ax.figure.colorbar(mesh, ax=ax)
    bar.set_label("sharpness, relative to the minimum of the flow")
