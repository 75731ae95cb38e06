"""Representations of a semantic hierarchy from three starts."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._init import Gaussian
from .._learn import learn
from .._task import Task
from ..theory import converged_representations, rich_limit
from . import comparison
from .maps import draw_matrix, draw_qqt
from .record import Data, Difference, Record, against_descent, difference
from .style import COLOURS, new_figure
from .zero_balanced import SPREAD, zero_balanced

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Representations of a hierarchy from small, large and balanced weights"
SOURCE = "Braun et al. 2022, Figure 3"
STARTS = ("small Gaussian", "large Gaussian", "zero-balanced")


class Settings(NamedTuple):
    """All parameters of the figure."""

    levels: int = 3
    hidden: int = 14
    small: float = 1e-4
    large: float = 0.42
    balanced: float = 0.44
    learning_rate: float = 0.05
    steps: int = 2000
    points: int = 150
    seed: int = 3


FULL = Settings()
QUICK = FULL._replace(points=80)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    size = 2**settings.levels
    return (
        f"Above: the singular value decomposition of the hierarchy of {size} items and "
        "attributes, and the representations that theory derives from it for "
        f"zero-balanced weights. Below: QQᵀ after {settings.steps} steps of gradient "
        f"descent from small (standard deviation {settings.small:g}) and large "
        f"({settings.large:g}) Gaussian weights and from zero-balanced ones of scale "
        f"{settings.balanced:g} (widened by {SPREAD:g}, as in the source's code), on "
        "one colour scale; and the loss, with the closed form (dotted) for "
        "zero-balanced weights. Small and balanced weights end with the "
        "representations of the theory, large Gaussian ones don't. "
        f"{size}-{settings.hidden}-{size} networks, one-hot items, learning rate "
        f"{settings.learning_rate:g}. As in the source's code the i-th attribute is "
        "larger by 0.1/i, so that no singular values are equal. Zero-balanced learning "
        "conserves the sign of the function's determinant: only half of all seeds can "
        "learn the hierarchy, and the seed here is one of them."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute the three starts by gradient descent, and the theory's predictions."""
    task = Task.hierarchy(settings.levels, separate=True)
    size = task.in_size
    key = jax.random.key(settings.seed)
    initialisers = (
        Gaussian(settings.small),
        Gaussian(settings.large),
        zero_balanced(settings.balanced),
    )
    starts = [draw(size, settings.hidden, size, key=key) for draw in initialisers]
    steps = comparison.steps_to(settings.steps, settings.points)
    ts = jnp.asarray(steps * settings.learning_rate)
    laws = comparison.descents(settings.learning_rate)

    @eqx.filter_jit
    def descend(network, law):
        run = learn(network, task, ts, dynamics=law)
        return run.loss, run.function, run.qqt[-1]

    stacked = jax.tree.map(lambda *w: jnp.stack(w), *starts)
    loss, function, qqt = (
        np.asarray(x)
        for x in jax.vmap(lambda start: descend(start, laws["descent"]))(stacked)
    )
    corrected = [np.asarray(x) for x in descend(starts[-1], laws["corrected"])]
    exact = rich_limit(ts, starts[-1].function, task)
    exact_loss = np.asarray(jax.vmap(task.loss)(exact.function))
    end = converged_representations(task, 0.0, settings.hidden)
    u, s, vt = np.linalg.svd(np.asarray(end.function))
    signs = np.sign(u[np.abs(u).argmax(axis=0), np.arange(size)])
    data = {
        "steps": steps,
        "u": u * signs,
        "s": np.diag(s),
        "vt": vt * signs[:, None],
        "input_representation": np.asarray(end.input_representation),
        "output_representation": np.asarray(end.output_representation),
        "descent/qqt": qqt,
        "descent/loss": loss,
        "exact/loss": exact_loss,
    }
    theory = np.block(
        [
            [data["input_representation"], np.asarray(end.function).T],
            [np.asarray(end.function), data["output_representation"]],
        ]
    )
    comparisons = (
        ("loss", exact_loss, loss[-1], corrected[0], 2e-2),
        ("function", exact.function, function[-1], corrected[1], 2e-2),
        ("final QQᵀ", theory[None], qqt[-1:], corrected[2][None], 1e-2),
    )
    differences = [
        against_descent(f"zero-balanced: {what}", a, b, c, bound)
        for what, a, b, c, bound in comparisons
    ]
    value = difference(theory[None], qqt[:1])
    what = "small Gaussian: final QQᵀ"
    differences.append(Difference(what, "descent", value, 1e-4))
    return Record(data, differences)


def draw(data: Data) -> "Figure":
    """Draw the decomposition of the task, the representations and the loss."""
    figure = new_figure(12.5, 6.0)
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.15))[:, 0]
    panels = (
        ("u", "$U$", "modes", "attributes"),
        ("s", "$S$", "modes", "modes"),
        ("vt", r"$V^\top$", "items", "modes"),
        ("input_representation", r"$VSV^\top$", "items", "items"),
        ("output_representation", r"$USU^\top$", "attributes", "attributes"),
    )
    axes = top.subplots(1, len(panels))
    for ax, (name, title, below, left) in zip(axes, panels, strict=True):
        draw_matrix(ax, data[name], title)
        ax.set(xlabel=below, ylabel=left)
    *maps, losses = bottom.subplots(
        1, len(STARTS) + 1, width_ratios=(1,) * len(STARTS) + (1.5,)
    )
    limit = float(np.abs(data["descent/qqt"]).max())
    for ax, matrix, name in zip(maps, data["descent/qqt"], STARTS, strict=True):
        draw_qqt(ax, matrix, name, limit)
    maps[0].set_ylabel(r"$QQ^\top$ after learning" + "\nattributes       items")
    # A logarithmic axis can't show step 0.
    steps = data["steps"][1:]
    for colour, name, loss in zip(COLOURS, STARTS, data["descent/loss"], strict=False):
        losses.plot(steps, loss[1:], color=colour, lw=2.5, label=name)
    losses.plot(steps, data["exact/loss"][1:], "k:", lw=1.3, label="closed form")
    losses.set(xscale="log", xlabel="training step", ylabel="loss")
    losses.legend(frameon=False, loc="upper right")
    return figure
