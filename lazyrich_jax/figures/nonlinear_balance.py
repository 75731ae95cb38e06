"""The balance of linear and nonlinear networks over two tasks."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._init import LambdaBalanced
from .._task import Task
from ..measures import balance
from . import nonlinear
from .record import Data, Difference, Record
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "The balance of linear, ReLU and tanh networks"
SOURCE = "Figure 4.8 of Domine's thesis"
STAGES = ("start", "task 1", "task 2")
MARKERS = ("o", "s", "^")
# The part of the balance matrix that gradient flow conserves, by theory.
CONSERVED = {"linear": "whole", "ReLU": "diagonal", "tanh": None}


class Settings(NamedTuple):
    """All parameters of the figure."""

    size: int = 10
    samples: int = 20
    lmdas: tuple[float, ...] = (-10.0, 0.1, 10.0)
    learning_rate: float = 1e-3
    steps: int = 10_000
    trials: int = 40
    seed: int = 1


FULL = Settings()
QUICK = FULL._replace(steps=2000, trials=10)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    size = settings.size
    return (
        f"The fitted balance λ* of {size}-{size}-{size} networks (above), and the "
        "residual of the matrix B = W₂ᵀW₂ - W₁W₁ᵀ besides λ*I (below), at the start "
        f"and after each of two random regression tasks ({settings.samples} samples, "
        f"white inputs; {settings.steps} steps each of gradient descent at learning "
        f"rate {settings.learning_rate:g}): mean and standard deviation of "
        f"{settings.trials} trials. Dotted: the quantities that gradient flow "
        "conserves by theory. In linear networks it conserves all of B, in ReLU "
        "networks the diagonal of B and therefore λ*, in tanh networks nothing. The "
        "source draws another size between 3 and 19 for every trial; this figure has "
        "one. Its text has 50 trials of 2000 steps, its code 40 of 10000."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Learn two tasks in a row by every kind of network; `track` wraps their loop."""
    start, tasks = _draw(settings, jax.random.key(settings.seed))
    data = {"lmda": np.array(settings.lmdas)}
    differences = []
    for name in track(nonlinear.ACTIVATIONS):
        stages, lmda, residual = _learn(settings, name, start, tasks)
        data[f"{name}/lmda"] = np.asarray(lmda)
        data[f"{name}/residual"] = np.asarray(residual)
        differences += _differences(name, settings, stages)
    return Record(data, differences)


@eqx.filter_jit
def _learn(
    settings: Settings, name: str, start: nonlinear.Weights, tasks: Task
) -> tuple[nonlinear.Weights, Array, Array]:
    """The weights at every stage, the fitted balance and the residual.

    Axes: stage, trial, balance.
    """
    activation, rate = nonlinear.ACTIVATIONS[name], settings.learning_rate
    steps = jnp.array([settings.steps])

    def learn(weights, task):
        after = nonlinear.train(weights, task, activation, rate, steps)
        return jax.tree.map(lambda w: w[0], after)

    def then(weights, task):
        weights = jax.vmap(jax.vmap(learn, in_axes=(0, None)))(weights, task)
        return weights, weights

    _, after = jax.lax.scan(then, start, tasks)
    stages = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, after)
    return stages, *jax.vmap(jax.vmap(jax.vmap(balance)))(*stages)


@eqx.filter_jit
def _draw(settings: Settings, key: Array) -> tuple[nonlinear.Weights, Task]:
    """Weights, with axes trial, balance; tasks, with axes task, trial."""
    size, (weights_key, tasks_key) = settings.size, jax.random.split(key)

    def weights(key, lmda):
        w1, w2 = LambdaBalanced(lmda)(size, size, size, key=key).weights
        return w1, w2

    def task(key):
        return Task.random_regression(size, size, settings.samples, key=key)

    lmdas = jnp.array(settings.lmdas)
    of_every_balance = jax.vmap(jax.vmap(weights, in_axes=(None, 0)), in_axes=(0, None))
    start = of_every_balance(jax.random.split(weights_key, settings.trials), lmdas)
    keys = jax.random.split(tasks_key, (2, settings.trials))
    return start, jax.vmap(jax.vmap(task))(keys)


def _differences(
    name: str, settings: Settings, stages: nonlinear.Weights
) -> list[Difference]:
    """The change of the conserved balance over the squared weights of a unit."""
    part = CONSERVED[name]
    if part is None:
        return []
    w1, w2 = (np.asarray(w) for w in stages)
    matrix = w2.mT @ w2 - w1 @ w1.mT
    moved = matrix - matrix[:1]
    if part == "diagonal":
        moved = np.diagonal(moved, axis1=-2, axis2=-1)[..., None]
    distance = np.linalg.norm(moved, axis=(-2, -1)).max(axis=(0, 1))
    squares = np.sum(w1[0] ** 2, axis=(-2, -1)) + np.sum(w2[0] ** 2, axis=(-2, -1))
    size = squares.mean(axis=0) / settings.size
    what = f"{name}: {part} balance matrix" if part == "whole" else f"{name}: {part}"
    return [
        # Each step changes it by the square of the learning rate.
        Difference(f"{what}, λ = {lmda:g}", "its start", float(value), 2e-2)
        for lmda, value in zip(settings.lmdas, distance / size, strict=True)
    ]


def draw(data: Data) -> "Figure":
    """Draw a column for every balance, with the fit above and the residual below."""
    figure = new_figure(11.0, 5.6)
    lmda = data["lmda"]
    axes = figure.subplots(2, len(lmda), sharex=True, squeeze=False)
    stages = np.arange(len(STAGES))
    for column, (fits, residuals) in enumerate(axes.T):
        for i, name in enumerate(CONSERVED):
            # Points are side by side, so that error bars don't overlap.
            x = stages + 0.1 * (i - 1)
            style = {"color": COLOURS[i], "marker": MARKERS[i], "capsize": 3, "lw": 1.5}
            for ax, what in ((fits, "lmda"), (residuals, "residual")):
                values = data[f"{name}/{what}"][:, :, column]
                mean, spread = values.mean(axis=1), values.std(axis=1)
                ax.errorbar(x, mean, spread, label=name, **style)
        fits.axhline(lmda[column], color="k", ls=":", lw=1.4, zorder=5)
        residuals.axhline(0, color="k", ls=":", lw=1.4, zorder=5)
        fits.set_title(rf"$\lambda = {lmda[column]:g}$ at the start")
        residuals.set_xticks(stages, STAGES)
    axes[0, 0].set_ylabel(r"fitted balance $\lambda^*$")
    axes[1, 0].set_ylabel(r"$\|B - \lambda^* I\|_F$")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    line = axes[0, 0].lines[-1]
    figure.legend(
        handles=[*handles, line],
        labels=[*labels, "conserved by gradient flow: theory"],
        loc="outside lower center",
        ncols=4,
        frameon=False,
    )
    return figure
