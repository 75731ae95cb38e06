"""How rich the training of linear and nonlinear networks is, by their reports."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import measures, richness
from .._dynamics import ExactSolution
from .._init import LambdaBalanced
from .._linalg import dot
from .._network import LinearNetwork
from .._task import Task
from ..kernels import ntk
from . import nonlinear
from .record import Data, Difference, Record, difference
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "The richness of linear, ReLU and tanh networks"
SOURCE = "This library: docs/richness.md"
MARKERS = "o", "s", "^"
NUMBERS = {
    "kernel_distance": "kernel distance",
    "linearisation_gap": "linearisation gap",
    "hidden_change": "1 - CKA of the hidden units",
    "dynamical_richness": "$D_{LR}$ at the end",
}
# All that the figure does not draw.
LEFT_OUT = (
    "loss",
    "weight_movement",
    "target_alignment",
    "sharpness",
    "movement",
    "update_rank",
    "effective_rank",
    "gradient_alignment",
    "lmda",
    "residual",
    "drift",
)


class Settings(NamedTuple):
    """All parameters of the figure."""

    size: int = 5
    samples: int = 50
    lmdas: tuple[float, ...] = (-10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10)
    scale: float = 0.3
    learning_rate: float = 2e-3
    time: float = 20.0
    trials: int = 5
    seed: int = 0


FULL = Settings()
QUICK = FULL._replace(lmdas=(-10, -1, 0, 1, 10), learning_rate=4e-3, trials=2)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    n = settings.size
    steps = round(settings.time / settings.learning_rate)
    return (
        f"Numbers of reports (`lazyrich_jax.richness.report`) on {n}-{n}-{n} networks "
        "with three activations, over the balance λ of their start (scale "
        f"{settings.scale:g}): mean and standard deviation of {settings.trials} "
        f"trials. They learn a random linear teacher from {settings.samples} samples "
        f"with white inputs, by {steps} steps of gradient descent at learning rate "
        f"{settings.learning_rate:g}. Dotted: the linear network, by the exact "
        "solution and the flow's own weights. The linear network is lazy at large |λ| "
        "of either sign: its kernel keeps its direction, and its linearisation "
        "predicts what it learns. From the same weights with a larger upper layer "
        "(λ > 0) the ReLU network is richest, by both numbers. The tanh network is "
        "nearly lazy there and less so at λ < 0, where its units saturate. The hidden "
        "units change with growing λ in all three, under a constant kernel too. "
        "D_LR (0 rich, 1 lazy) is 0 for the linear network of the most negative λ, "
        "which learns lazily: it looks at the end alone, and this teacher has full "
        "rank. No number alone tells lazy from rich."
    )


def linear(weights: nonlinear.Weights, sample: Array) -> Array:
    """The outputs of a linear network for one sample."""
    return _outputs("linear", weights, sample)


def relu(weights: nonlinear.Weights, sample: Array) -> Array:
    """The outputs of a ReLU network for one sample."""
    return _outputs("ReLU", weights, sample)


def tanh(weights: nonlinear.Weights, sample: Array) -> Array:
    """The outputs of a tanh network for one sample."""
    return _outputs("tanh", weights, sample)


# Functions of the module: reports on all networks of a kind share their programs.
MODELS = {"linear": linear, "ReLU": relu, "tanh": tanh}


def _outputs(kind: str, weights: nonlinear.Weights, sample: Array) -> Array:
    w1, w2 = weights
    return dot(w2, nonlinear.ACTIVATIONS[kind](dot(w1, sample)))


def compute(settings: Settings, track=iter) -> Record:
    """Train all networks, and report on them; `track` wraps the loop over kinds."""
    tasks, starts = _drawn(settings)
    last = settings.time
    data = {"lmda": np.array(settings.lmdas, float)}
    for name, values in _by_theory(tasks, starts, last).items():
        data[f"theory/{name}"] = np.asarray(values)
    for kind in track(MODELS):
        ends = _trained(kind, tasks, starts, settings.learning_rate, last)
        for name, values in _reported(kind, tasks, starts, ends).items():
            data[f"{kind}/{name}"] = values
    differences = [
        Difference(f"linear: {text}", "descent", value, 2e-3)
        for name, text in NUMBERS.items()
        for value in [difference(data[f"theory/{name}"].T, data[f"linear/{name}"].T)]
    ]
    return Record(data, differences)


@eqx.filter_jit
def _drawn(settings: Settings) -> tuple[Task, nonlinear.Weights]:
    """Tasks and weights, both with axes trial, balance."""
    n = settings.size

    def of(key, lmda):
        teacher_key, task_key, key = jax.random.split(key, 3)
        start = LambdaBalanced(lmda, settings.scale)(n, n, n, key=key)
        teacher = jax.random.normal(teacher_key, (n, n)) / n**0.5
        # A determinant of the other sign would leave a mode unlearned at λ = 0.
        sign = jnp.sign(jnp.linalg.det(teacher) * jnp.linalg.det(start.function))
        w1, w2 = start.weights
        return Task.teacher(sign * teacher, settings.samples, key=task_key), (w1, w2)

    lmdas = jnp.array(settings.lmdas, float)
    keys = jax.random.split(jax.random.key(settings.seed), settings.trials)
    # One after the other: decompositions of a batch take longer to compile.
    return jax.lax.map(lambda k: jax.lax.map(lambda lmda: of(k, lmda), lmdas), keys)


@eqx.filter_jit
def _trained(
    kind: str, tasks: Task, starts: nonlinear.Weights, rate: float, last: float
) -> nonlinear.Weights:
    """The weights at the end of descent."""
    steps = jnp.array([round(last / rate)])

    def of(weights, task):
        activation = nonlinear.ACTIVATIONS[kind]
        after = nonlinear.train(weights, task, activation, rate, steps)
        return jax.tree.map(lambda w: w[0], after)

    return jax.vmap(jax.vmap(of))(starts, tasks)


@eqx.filter_jit
def _by_theory(
    tasks: Task, starts: nonlinear.Weights, last: float
) -> dict[str, Float[Array, "trials lmdas"]]:
    """The numbers of linear networks, by closed forms of the flow's weights."""

    def of(pair):
        task, (w1, w2) = pair
        start = LinearNetwork((w1, w2))
        solution = ExactSolution(start, task, throw=False)
        end = solution.flow_network(last)
        v1, v2 = end.weights
        missed = dot(v2 - w2, v1 - w1)  # of second order in the change
        gap = jnp.linalg.norm(missed) / jnp.linalg.norm(end.function - start.function)
        hidden = [dot(task.x, w.T) for w in (w1, v1)]
        kernels = (ntk(network, task.x) for network in (start, end))
        outputs = dot(hidden[1], v2.T)
        return {
            "kernel_distance": measures.kernel_distance(*kernels),
            "linearisation_gap": gap,
            "hidden_change": 1 - measures.feature_alignment(*hidden),
            "dynamical_richness": measures.dynamical_richness(hidden[1], outputs),
        }

    # One after the other: a batch of weights of the flow takes longer to compile.
    return jax.lax.map(lambda trial: jax.lax.map(of, trial), (tasks, starts))


def _reported(
    kind: str, tasks: Task, starts: nonlinear.Weights, ends: nonlinear.Weights
) -> dict[str, Float[np.ndarray, "trials lmdas"]]:
    """The numbers of all reports."""
    shape = starts[0].shape[:2]
    found = {name: np.zeros(shape) for name in NUMBERS}
    for at in np.ndindex(shape):
        start, end = (tuple(w[at] for w in pair) for pair in (starts, ends))
        report = richness.report(
            start, end, tasks.x[at], apply=MODELS[kind], leave_out=LEFT_OUT
        )
        for name in ("kernel_distance", "linearisation_gap"):
            found[name][at] = report[name]
        found["hidden_change"][at] = 1 - report["feature_alignment"][0]
        found["dynamical_richness"][at] = report["dynamical_richness"][1]
    return found


def draw(data: Data) -> "Figure":
    """Draw a panel for every number."""
    figure = new_figure(12.0, 3.4)
    axes = figure.subplots(1, len(NUMBERS), sharex=True)
    lmda = data["lmda"]
    for ax, (name, title) in zip(axes, NUMBERS.items(), strict=True):
        for i, kind in enumerate(MODELS):
            values = data[f"{kind}/{name}"]
            style = {"color": COLOURS[i], "marker": MARKERS[i], "ms": 5, "lw": 1.3}
            mean, spread = values.mean(axis=0), values.std(axis=0)
            ax.errorbar(lmda, mean, spread, label=kind, capsize=2, **style)
        theory = data[f"theory/{name}"].mean(axis=0)
        ax.plot(lmda, theory, "k:", lw=1.6, zorder=5, label="linear: exact solution")
        ax.set_xscale("symlog", linthresh=1)
        ax.set(title=title, xlabel=r"balance $\lambda$ of the start")
        ax.set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure
