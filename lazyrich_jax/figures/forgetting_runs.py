"""Two tasks in a row, learned by random linear and nonlinear networks."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._task import Task
from ..theory import forgetting
from . import nonlinear
from .record import Data, Difference, difference
from .style import COLOURS
from .zero_balanced import padded

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Runs(NamedTuple):
    """The number of networks, the largest layer, and the settings of learning."""

    networks: int
    largest: int
    samples: int
    scale: float
    rate: float
    steps: int
    points: int


def _draw(runs: Runs, seed: int) -> tuple[Task, Task, nonlinear.Weights]:
    """Two tasks and the weights of every run; many sizes share arrays of one shape."""
    largest, count, samples = runs.largest, runs.networks, runs.samples
    keys = jax.random.split(jax.random.key(seed))
    uniform = jax.random.uniform(keys[0], (count, 3))
    rows = 3 * largest + 4 * samples
    normal = jax.random.normal(keys[1], (count, rows, largest))
    units = jnp.arange(largest)

    @jax.jit
    @jax.vmap
    def build(uniform, normal):
        n_in, n_out = 2 + jnp.floor(uniform[:2] * (largest - 1))
        least = jnp.minimum(n_in, n_out)
        hidden = least + jnp.floor(uniform[2] * (largest + 1 - least))
        scale = runs.scale / jnp.sqrt((n_in + hidden) / 2)
        sizes = jnp.stack([n_in, hidden, n_out])
        draws = normal[: 3 * largest].reshape(3, largest, largest)
        network = padded(sizes, scale, draws)

        @jax.vmap
        def task(x, y):
            white = Task(x - jnp.mean(x, axis=0, keepdims=True), y).whitened()
            # Zero inputs and outputs do not affect the others.
            inputs, outputs = (
                jnp.where(units < size, 1.0, 0.0)[None] for size in (n_in, n_out)
            )
            return Task(white.x * inputs, y * outputs / jnp.sqrt(n_out))

        x, y = normal[3 * largest :].reshape(2, 2, samples, largest)
        return task(x, y), network.weights

    tasks, weights = build(uniform, normal)
    first, second = (jax.tree.map(lambda a, i=i: a[:, i], tasks) for i in range(2))
    return first, second, weights


def compute(runs: Runs, seed: int) -> tuple[dict, Difference]:
    """Compute forgetting and imbalance of linear and nonlinear networks."""
    count = runs.networks
    first, second, weights = _draw(runs, seed)
    steps = np.linspace(0, runs.steps, runs.points).round().astype(int)

    @jax.jit
    @jax.vmap
    def analytic(first, second):
        before, after = (t.input_output_correlation for t in (first, second))
        return forgetting(before, after, first)

    data = {
        "runs/steps": np.concatenate([steps, steps[-1] + steps]),
        "runs/analytic": np.asarray(analytic(first, second)),
    }
    for name, activation in nonlinear.ACTIVATIONS.items():

        @jax.vmap
        def learn(weights, task, activation=activation):
            rate = runs.rate
            return nonlinear.train(weights, task, activation, rate, jnp.asarray(steps))

        @jax.vmap
        def loss(weights, task, activation=activation):
            return nonlinear.loss(weights, task, activation)

        one = learn(weights, first)
        middle = tuple(w[:, -1] for w in one)
        two = learn(middle, second)
        end = tuple(w[:, -1] for w in two)
        data[f"runs/{name}/forgetting"] = np.asarray(
            loss(end, first) - loss(middle, first)
        )
        w1, w2 = (np.concatenate(pair, axis=1) for pair in zip(one, two, strict=True))
        balance = np.swapaxes(w2, -1, -2) @ w2 - w1 @ np.swapaxes(w1, -1, -2)
        root = np.sqrt(np.linalg.norm(balance, axis=(-2, -1)))
        data[f"runs/{name}/imbalance"] = np.stack([root.mean(axis=0), root.std(axis=0)])
    value = difference(data["runs/analytic"], data["runs/linear/forgetting"])
    what = f"{count} linear networks: forgetting"
    return data, Difference(what, "descent", value, 0.01)


def draw_scatter(ax: "Axes", data: Data) -> None:
    """Draw numerical against analytic forgetting."""
    analytic = data["runs/analytic"]
    for i, name in enumerate(nonlinear.ACTIVATIONS):
        numerical = data[f"runs/{name}/forgetting"]
        ax.plot(analytic, numerical, "o", color=COLOURS[i], ms=5, alpha=0.8, label=name)
    ends = np.array([0, 1.05 * analytic.max()])
    ax.plot(ends, ends, "k:", lw=1.3)
    ax.set(title="b", xlabel="forgetting, analytic", ylabel="forgetting, numerical")
    ax.legend(frameon=False)


def draw_imbalance(ax: "Axes", data: Data) -> None:
    """Draw the imbalance of the weights over training."""
    steps = data["runs/steps"]
    for i, name in enumerate(nonlinear.ACTIVATIONS):
        mean, deviation = data[f"runs/{name}/imbalance"]
        ax.plot(steps, mean, color=COLOURS[i], lw=2, label=name)
        low, high = mean - deviation, mean + deviation
        ax.fill_between(steps, low, high, color=COLOURS[i], alpha=0.25, lw=0)
    ax.axvline(steps[-1] / 2, color="0.7", lw=0.8)
    label = r"$\|W_2^\top W_2 - W_1 W_1^\top\|_F^{1/2}$"
    ax.set(title="c", xlabel="training step", ylabel=label)
    ax.legend(frameon=False)
