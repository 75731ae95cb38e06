"""The zero-balanced solution beside gradient descent, and their differences."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._dynamics import ExactSolution, GradientDescent
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from ..kernels import ntk_of_representations
from ..theory import rich_limit
from . import comparison
from .curves import COLUMNS, draw_quantities
from .record import Data, Difference, Record, against_descent, difference
from .style import COLOURS, law_legend, new_figure
from .zero_balanced import SPREAD, padded, zero_balanced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Zero-balanced learning, exact and simulated, and how close the two are"
SOURCE = "Braun et al. 2022, Figure 2"
CURVES = 5  # number of random networks whose losses are drawn


class Settings(NamedTuple):
    """All parameters of the figure."""

    sizes: tuple[int, int, int] = (4, 5, 3)
    samples: int = 10
    teacher: float = 0.25
    scales: tuple[float, ...] = (0.001, 0.15)
    learning_rate: float = 0.05
    steps: int = 10_000
    points: int = 200
    networks: int = 20
    largest: int = 50
    random_scales: tuple[float, float] = (0.01, 0.5)
    rates: tuple[float, float] = (0.05, 0.0005)
    rate_count: int = 7
    duration: float = 10.0
    times: int = 101
    seed: int = 3


FULL = Settings()
QUICK = FULL._replace(points=60, networks=5, largest=8, rates=(0.05, 0.01))
QUICK = QUICK._replace(rate_count=3, times=51)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    sizes = "-".join(map(str, settings.sizes))
    scales = " and ".join(f"{scale:g}" for scale in settings.scales)
    low, high = settings.random_scales
    return (
        "Above: the loss and every entry of the function, the representations and (a "
        f"corner of) the NTK of a {sizes} network from zero-balanced weights of scale "
        f"{scales}, by gradient descent (coloured) and Braun et al.'s closed form "
        f"(dotted). The task has {settings.samples} samples with white inputs and a "
        f"zero-balanced teacher of scale {settings.teacher:g}; learning rate "
        f"{settings.learning_rate:g}. Below left: the mean squared difference of the "
        f"two losses over the time {settings.duration:g} (learning rate × step) "
        f"against the learning rate. It is for {settings.networks} random "
        "zero-balanced networks of different sizes (inputs and outputs, unequal, "
        f"uniform from 2 to {settings.largest}; hidden units at least the smaller of "
        f"them), scales uniform from {low:g} to {high:g} over the root of the largest "
        "size, and random regression with white inputs. The geometric mean and the "
        f"slope of a first-order error are black. Below right: the {CURVES} losses "
        f"that fall most, at the largest rate. Scales are widened by {SPREAD:g}, as in "
        "the source's code. The source runs 50 networks for up to 20000 steps at every "
        "rate. Here all rates cover the same time, that of 20000 steps at 0.0005."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute all quantities for two starts, and descent's error on many networks."""
    data, differences = _two_starts(settings)
    more, others = _accuracy(settings, track)
    return Record(data | more, differences + others)


def _task_and_starts(settings: Settings) -> tuple[Task, list[LinearNetwork]]:
    """The task of the upper panels, and its starts."""

    @jax.jit
    def draw(key):
        teacher_key, task_key, key = jax.random.split(key, 3)
        scales = jnp.array([settings.teacher, *settings.scales])
        keys = jnp.stack([teacher_key, *[key] * len(settings.scales)])
        networks = jax.vmap(
            lambda scale, key: zero_balanced(scale)(*settings.sizes, key=key)
        )(scales, keys)
        teacher, *starts = (
            jax.tree.map(lambda w, i=i: w[i], networks) for i in range(len(scales))
        )
        task = Task.teacher(teacher.function, settings.samples, key=task_key)
        return task, starts

    return draw(jax.random.key(settings.seed))


def _two_starts(settings: Settings) -> tuple[dict, list[Difference]]:
    task, networks = _task_and_starts(settings)
    steps = comparison.steps_to(settings.steps, settings.points)
    rate = settings.learning_rate
    ts = jnp.asarray(steps * rate)
    data = {"steps": steps, "scale": np.array(settings.scales)}
    differences = []

    @jax.jit
    def values(run):
        parts = run.input_representation, run.output_representation
        kernel = jax.vmap(lambda a, b: ntk_of_representations(a, b, task.x))(*parts)
        return {
            "loss": jax.vmap(task.loss)(run.function),
            "function": run.function,
            "input_representation": parts[0],
            "output_representation": parts[1],
            "ntk": kernel,
        }

    for i, (scale, network) in enumerate(zip(settings.scales, networks, strict=True)):
        exact = rich_limit(ts, network.function, task)
        runs = {"exact": values(exact)}
        for law, dynamics in comparison.descents(rate).items():
            run = learn(network, task, ts, dynamics=dynamics)
            # All laws give the same five quantities, from `Representations`.
            parts = run.input_representation, run.output_representation
            runs[law] = values(type(exact)(run.function, *parts))
        for name in runs["exact"]:
            found = {law: np.asarray(one[name]) for law, one in runs.items()}
            data |= {f"{i}/{law}/{name}": value for law, value in found.items()}
            what = f"scale {scale:g}: {name.replace('_', ' ')}"
            differences.append(against_descent(what, *found.values(), bound=0.05))
    return data, differences


def _random_networks(settings: Settings) -> tuple[LinearNetwork, Task]:
    """Networks and tasks of many sizes in arrays of one shape."""
    largest, count = settings.largest, settings.networks
    keys = jax.random.split(jax.random.key(settings.seed))
    uniform = jax.random.uniform(keys[0], (count, 5))
    normal = jax.random.normal(keys[1], (count, 4, largest, largest))
    low, high = settings.random_scales
    units = jnp.arange(largest)

    @jax.jit
    @jax.vmap
    def build(uniform, normal):
        n_in = 2 + jnp.floor(uniform[0] * (largest - 1))
        # Uniform over all sizes other than the number of inputs.
        n_out = 2 + jnp.floor(uniform[1] * (largest - 2))
        n_out = n_out + (n_out >= n_in)
        least, most = jnp.minimum(n_in, n_out), jnp.maximum(n_in, n_out)
        hidden = least + jnp.floor(uniform[2] * (largest + 1 - least))
        samples = 2 * most + jnp.floor(uniform[3] * most)
        scale = (low + (high - low) * uniform[4]) / jnp.sqrt(jnp.maximum(most, hidden))
        network = padded(jnp.stack([n_in, hidden, n_out]), scale, normal[:3])
        there = (units < n_out)[:, None] & (units < n_in)[None]
        # The correlation of white inputs with independent targets of variance 1/out.
        sigma = normal[3] / jnp.sqrt(samples * n_out)
        return network, Task.from_correlation(jnp.where(there, sigma, 0.0))

    return build(uniform, normal)


def _accuracy(settings: Settings, track) -> tuple[dict, list[Difference]]:
    networks, tasks = _random_networks(settings)
    rates = np.geomspace(*settings.rates, settings.rate_count)
    # Every rate takes a whole number of steps.
    rates = settings.duration / np.round(settings.duration / rates)
    wanted = np.linspace(0, settings.duration, settings.times)

    @eqx.filter_jit
    def descend(law, ts):
        def loss(network, task):
            return learn(network, task, ts, dynamics=law, throw=False).loss

        return jax.vmap(loss)(networks, tasks)

    @eqx.filter_jit
    def solve(ts):
        def loss(network, task):
            return ExactSolution(network, task, throw=False).loss(ts)

        return jax.vmap(loss)(networks, tasks)

    errors, first = [], {}
    for rate in track(rates):
        ts = jnp.asarray(np.round(wanted / rate) * rate)
        descent, exact = descend(GradientDescent(rate), ts), solve(ts)
        errors.append(np.mean((np.asarray(descent) - np.asarray(exact)) ** 2, axis=1))
        if not first:
            first = {"ts": ts, "exact/losses": exact, "descent/losses": descent}
    data = {name: np.asarray(value) for name, value in first.items()}
    data |= {"rates": rates, "errors": np.stack(errors, axis=1)}
    exact, descent = (data[f"{law}/losses"].T for law in ("exact", "descent"))
    value = difference(exact, descent)
    what = f"{settings.networks} random networks: losses at rate {rates[0]:g}"
    found = [Difference(what, "descent", value, 0.05)]
    # The root mean square of a first-order error is proportional to the rate.
    slopes = np.polyfit(np.log(rates), np.log(data["errors"]).T / 2, 1)[0]
    data["slopes"] = slopes
    worst = float(np.abs(slopes - 1).max())
    found.append(Difference("order of the error in the rate", "one", worst, 0.05))
    return data, found


def draw(data: Data) -> "Figure":
    """Draw the two starts above, accuracy and losses below."""
    figure = new_figure(13.0, 8.6)
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.15, 1))[:, 0]
    axes = top.subplots(len(data["scale"]), len(COLUMNS), sharex=True)
    draw_quantities(axes, data, [f"scale {scale:g}" for scale in data["scale"]])
    law_legend(top)
    accuracy, losses = bottom.subplots(1, 2)
    _draw_accuracy(accuracy, data)
    falls = data["exact/losses"][:, 0] - data["exact/losses"][:, -1]
    for colour, i in zip(COLOURS[:CURVES], np.argsort(-falls), strict=False):
        for law, style in (
            ("descent", {"color": colour, "lw": 2.5}),
            ("exact", {"color": "k", "ls": ":", "lw": 1.3}),
        ):
            losses.plot(data["ts"], data[f"{law}/losses"][i], **style)
    losses.set(
        title=f"random networks at learning rate {data['rates'][0]:g}",
        xlabel="time (learning rate × step)",
        ylabel="loss above its optimum",
    )
    return figure


def _draw_accuracy(ax: "Axes", data: Data) -> None:
    rates, errors = data["rates"], data["errors"]
    ax.plot(rates, errors.T, "o-", color=COLOURS[0], alpha=0.35, lw=1, ms=4)
    mean = np.exp(np.log(errors).mean(axis=0))
    ax.plot(rates, mean, "ks", ms=6, label="geometric mean")
    slope = mean[0] * (rates / rates[0]) ** 2
    ax.plot(rates, slope, "k:", lw=1.5, label="(learning rate)²: first order")
    ax.set(
        title="accuracy of gradient descent",
        xscale="log",
        yscale="log",
        xlabel="learning rate",
        ylabel="mean squared difference of the loss",
    )
    ax.legend(frameon=False)
