"""Figure 4: the representations of a semantic hierarchy, from rich to lazy."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Real

from .._dynamics import Exact
from .._init import Gaussian, LambdaBalanced
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from ..measures import task_specificity
from ..theory import Representations, converged_representations
from . import comparison
from .maps import draw_matrix, draw_qqt
from .record import Data, Difference, Record, against_descent, difference
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Representations of a semantic hierarchy"
SOURCE = "Domine et al. 2025, Figure 4; Figures 4.1 to 4.3 and 4.5 of Domine's thesis"
ITEMS = ("canary", "robin", "salmon", "sunfish", "oak", "pine", "rose", "daisy")


class Settings(NamedTuple):
    """All parameters of the figure."""

    levels: int = 3
    small: float = 1e-3
    large: float = 0.42
    lmda: float = 10.0
    spectrum: tuple[float, float] = (1e-2, 100.0)
    lmdas: int = 60
    simulated: int = 10
    learning_rate: float = 0.01
    steps: int = 20_000
    points: int = 200
    seed: int = 2


FULL = Settings()
QUICK = FULL._replace(points=100, simulated=6)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    size = 2**settings.levels
    return (
        f"The hierarchy of {size} items and {size} attributes, with the singular value "
        "decomposition of its correlation and the representations that theory derives "
        "from it at λ = 0. QQᵀ after learning is simulated from small (standard "
        f"deviation {settings.small:g}) and large ({settings.large:g}) Gaussian "
        "weights, and exact from λ-balanced ones (one colour scale, that of λ = 0). "
        "The loss is shown by gradient descent (coloured) and exactly (dotted), and "
        "the task-specific score of the converged representations against λ (lines: "
        f"theory, markers: gradient descent). {size}-{size}-{size} networks, one-hot "
        f"items, learning rate {settings.learning_rate:g}, {settings.steps} steps, "
        f"balanced weights of scale {settings.large:g}. The lazy runs are at ±10, as "
        "labelled in the thesis; its code ran ±100. Its code also exchanges items and "
        "attributes: here, as in its text and in Braun et al. 2022, items are inputs."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Learn from five starts, and compute the task-specific score over balances."""
    task = Task.hierarchy(settings.levels)
    balances = np.array([0.0, settings.lmda, -settings.lmda])
    half = np.geomspace(*settings.spectrum, settings.lmdas // 2)
    spectrum = np.r_[-half[::-1], half]
    every = max(1, settings.lmdas // settings.simulated)
    steps = comparison.steps_to(settings.steps, settings.points)
    ts = steps * settings.learning_rate
    values = _learn(settings, task, ts, balances, spectrum[::every])
    values["theory/specificity"] = _spectrum(task, spectrum)
    rich = converged_representations(task, 0.0, task.in_size)
    values["theory/input"] = rich.input_representation
    values["theory/output"] = rich.output_representation
    u, s, vt = np.linalg.svd(np.asarray(task.y).T)
    data = {name: np.asarray(value) for name, value in values.items()}
    data |= {"y": np.asarray(task.y), "u": u, "s": s, "vt": vt, "steps": steps}
    data |= {"lmda": balances, "spectrum": spectrum, "chosen": spectrum[::every]}
    differences = []
    for i, lmda in enumerate(balances):
        for name in ("loss", "qqt"):
            exact, descent = data[f"exact/{name}"][i], data[f"descent/{name}"][2 + i]
            values = exact, descent, data[f"corrected/{name}"][i]
            what = f"λ = {float(lmda):g}: {'loss' if name == 'loss' else 'final QQᵀ'}"
            differences.append(against_descent(what, *values, bound=2e-2))
    pair = data["theory/specificity"][::every], data["descent/specificity"]
    what = "task-specific scores at the end"
    differences.append(Difference(what, "descent", difference(*pair), 1e-3))
    return Record(data, differences)


# One program for each function: hundreds of small programs take longer to compile.
@eqx.filter_jit
def _learn(
    settings: Settings,
    task: Task,
    ts: Real[ArrayLike, " times"],
    balances: Real[ArrayLike, " lmdas"],
    chosen: Real[ArrayLike, " more"],
) -> dict[str, jax.Array]:
    """Gaussian and balanced starts by gradient descent, the balanced ones exactly."""
    size, key = task.in_size, jax.random.key(settings.seed)

    def balanced(lmda):
        return LambdaBalanced(lmda, settings.large)(size, size, size, key=key)

    starts = [
        Gaussian(std)(size, size, size, key=key)
        for std in (settings.small, settings.large)
    ]
    balances, chosen = jnp.asarray(balances), jnp.asarray(chosen)
    more = jax.vmap(balanced)(jnp.concatenate([balances, chosen]))
    starts = jax.tree.map(lambda a, b, c: jnp.stack([a, b, *c]), *starts, more)
    laws = comparison.descents(settings.learning_rate)

    def learned(starts, law):
        return jax.vmap(lambda start: learn(start, task, ts, dynamics=law))(starts)

    descent = learned(starts, laws["descent"])
    exact, corrected = (
        learned(jax.vmap(balanced)(balances), law)
        for law in (Exact(), laws["corrected"])
    )
    own = len(balances) + 2
    return {
        "descent/loss": descent.loss[:own],
        "descent/qqt": descent.network.qqt[:own, -1],
        "descent/specificity": jax.vmap(lambda n: _scores(n, task))(
            jax.tree.map(lambda w: w[own:, -1], descent.network)
        ),
        "exact/loss": exact.loss,
        "exact/qqt": exact.qqt[:, -1],
        "corrected/loss": corrected.loss,
        "corrected/qqt": corrected.qqt[:, -1],
    }


@eqx.filter_jit
def _spectrum(task: Task, lmdas: Real[ArrayLike, " lmdas"]) -> jax.Array:
    """The scores of the converged representations at every balance."""
    return jax.vmap(
        lambda lmda: _scores(converged_representations(task, lmda, task.in_size), task)
    )(jnp.asarray(lmdas))


def _scores(state: LinearNetwork | Representations, task: Task) -> jax.Array:
    """The task-specific scores of the input and the output representation."""
    sigma = task.input_output_correlation
    return jnp.stack(
        [
            task_specificity(state.input_representation, sigma),
            task_specificity(state.output_representation, sigma.T),
        ]
    )


def draw(data: Data) -> "Figure":
    """Draw the task, the final representations, the loss and the score."""
    figure = new_figure(13.0, 10.0)
    parts = figure.subfigures(3, 1, height_ratios=(1, 1, 1.1), squeeze=False)
    top, middle, bottom = parts[:, 0]
    tree, *panels = top.subplots(1, 7, width_ratios=(1.5, 1, 1, 1, 1, 1, 1))
    _draw_tree(tree, len(data["s"]).bit_length() - 1)
    for ax, (matrix, title, below, left) in zip(
        panels,
        (
            (data["y"].T, r"$\Sigma \propto Y^\top$", "items", "attributes"),
            (data["u"], "$U$", "modes", "attributes"),
            (np.diag(data["s"]), "$S$", "modes", "modes"),
            (data["vt"], r"$V^\top$", "items", "modes"),
            (data["theory/input"], r"$VSV^\top$", "items", "items"),
            (data["theory/output"], r"$USU^\top$", "attributes", "attributes"),
        ),
        strict=True,
    ):
        draw_matrix(ax, matrix, title)
        ax.set(xlabel=below, ylabel=left)
    lmda = data["lmda"]
    names = ("small Gaussian", "large Gaussian")
    names += tuple(rf"$\lambda = {value:g}$" for value in lmda)
    axes = middle.subplots(1, len(names))
    # All maps have the scale of lambda = 0: larger entries saturate.
    maps = [*data["descent/qqt"][:2], *data["exact/qqt"]]
    limit = float(np.abs(maps[2]).max())
    for ax, matrix, title in zip(axes, maps, names, strict=True):
        draw_qqt(ax, matrix, title, limit)
    axes[0].set_ylabel(r"$QQ^\top$ after learning" + "\nattributes       items")
    losses, scores = bottom.subplots(1, 2)
    _draw_losses(losses, data, names)
    _draw_scores(scores, data)
    return figure


def _draw_tree(ax: "Axes", levels: int) -> None:
    ax.axis("off")
    for level in range(levels):
        wide = 2 ** (levels - level)
        for branch in range(2**level):
            x = (branch + 0.5) * wide
            for child in (-wide / 4, wide / 4):
                ax.plot([x, x + child], [-level, -level - 1], color=COLOURS[0], lw=1.5)
    for i, item in enumerate(ITEMS[: 2**levels]):
        ax.text(i + 0.5, -levels - 0.1, item, rotation=90, ha="center", va="top")
    ax.set(ylim=(-levels - 1.6, 0.2))


def _draw_losses(ax: "Axes", data: Data, names: tuple[str, ...]) -> None:
    # A logarithmic axis can't show step 0.
    steps = data["steps"][1:]
    for i, name in enumerate(names):
        ax.plot(steps, data["descent/loss"][i, 1:], color=COLOURS[i], lw=2, label=name)
    ax.plot(steps, data["exact/loss"][:, 1:].T, "k:", lw=1.3)
    ax.plot([], [], "k:", lw=1.3, label="exact solution")
    ax.set(xscale="log", yscale="log", xlabel="training step", ylabel="loss")
    ax.set_ylim(1e-30, 1e2)
    ax.legend(frameon=False, loc="lower left")


def _draw_scores(ax: "Axes", data: Data) -> None:
    for i, name in enumerate((r"$W_1^\top W_1$", r"$W_2 W_2^\top$")):
        colour = COLOURS[i]
        theory = data["theory/specificity"][:, i]
        simulated = data["descent/specificity"][:, i]
        ax.plot(data["spectrum"], theory, color=colour, label=name)
        ax.plot(data["chosen"], simulated, "o", color=colour, mfc="w")
    ax.plot([], [], "o", color="k", mfc="w", label="gradient descent")
    ax.set_xscale("symlog", linthresh=np.abs(data["spectrum"]).min())
    ax.set(xlabel=r"$\lambda$", ylabel="task-specific score")
    ax.legend(frameon=False)
