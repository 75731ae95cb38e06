"""The error of gradient descent against learning rate and balance."""

from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from .._dynamics import Exact, GradientDescent, NearlyExact
from .._init import LambdaBalanced
from .._learn import learn
from .._task import Task
from .record import Data, Difference, Record
from .style import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "The error of gradient descent against learning rate and balance"
SOURCE = "Domine et al. 2025, appendix; Figures 3.4 to 3.6 of Domine's thesis"


class Settings(NamedTuple):
    """All parameters of the figure."""

    sizes: tuple[int, ...] = (5, 10, 15, 20)
    points: int = 20
    trials: int = 20
    steps: int = 200
    rates: tuple[float, float] = (1e-4, 1e-2)
    lmda: float = 3.0
    lmdas: tuple[float, float] = (0.01, 100.0)
    rate: float = 1e-4
    large: tuple[float, float] = (50.0, 200.0)
    product: float = 0.01
    fixed: float = 0.2
    halvings: int = 5
    recorded: int = 20
    seed: int = 0


FULL = Settings()
QUICK = FULL._replace(sizes=(5,), points=6, trials=4)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    sizes = ", ".join(map(str, settings.sizes))
    return (
        "The deviation (L_exact - L_descent) / L_descent, averaged over "
        f"{settings.recorded} times in {settings.steps} steps, of square networks of "
        f"{sizes} units a layer (mean and standard deviation of {settings.trials} "
        "trials; random regression with two samples per unit; weights of scale 1). It "
        f"is shown against the learning rate at λ = {settings.lmda:g}, against λ at "
        f"learning rate {settings.rate:g}, and against λ at a learning rate of "
        f"{settings.product:g}/λ. The number of steps is fixed: a larger rate also "
        "covers a longer time. On the right all rates cover the same time, "
        f"{settings.fixed:g}, and the deviation is of first order in the rate (dashed: "
        "proportional to it). Corrected for finite steps to first order, the solution "
        "deviates to second order (dotted). Code and text of the source differ (20 "
        "trials and a largest size of 20, against 40 and 25). The values here are the "
        "code's, which draws size 3 in place of 15 in the second panel. The last panel "
        "is added."
    )


def compute(settings: Settings, track=iter) -> Record:
    """Compute the three panels for every size."""
    count = settings.points
    rates = np.geomspace(*settings.rates, count)
    lmdas = np.geomspace(*settings.lmdas, count)
    large = np.geomspace(*settings.large, count)
    # Every recorded time is a step at each of these rates.
    halved = settings.fixed / settings.recorded / 2.0 ** np.arange(settings.halvings)
    # Per panel: the variable, lambda, the learning rate and the last time.
    panels = {
        "rate": (rates, 0 * rates + settings.lmda, rates, settings.steps * rates),
        "lmda": (
            lmdas,
            lmdas,
            0 * lmdas + settings.rate,
            0 * lmdas + settings.steps * settings.rate,
        ),
        "product": (
            large,
            large,
            settings.product / large,
            settings.steps * settings.product / large,
        ),
        "order": (
            halved,
            0 * halved + settings.lmda,
            halved,
            0 * halved + settings.fixed,
        ),
    }
    # All panels at once: one program for every size.
    points = [
        jnp.concatenate([jnp.asarray(panel[k]) for panel in panels.values()])
        for k in (1, 2, 3)
    ]
    cuts = np.cumsum([len(panel[0]) for panel in panels.values()])[:-1]
    data = {f"{name}/x": panel[0] for name, panel in panels.items()}
    data["sizes"] = np.array(settings.sizes)
    differences = []
    for size in track(settings.sizes):
        found = np.asarray(_deviations(settings, size, False, *points))
        for name, part in zip(panels, np.split(found, cuts, axis=1), strict=True):
            data[f"{name}/{size}"] = part
        mean = np.abs(data[f"order/{size}"].mean(axis=0))
        last = [x[-settings.halvings :] for x in points]
        corrected = np.asarray(_deviations(settings, size, True, *last))
        data[f"corrected/{size}"] = corrected
        # The slope at the two smallest rates: higher orders matter at larger ones.
        order, second = (
            np.log2(x[-2] / x[-1]) for x in (mean, np.abs(corrected.mean(axis=0)))
        )
        what = f"{size} units: order in the learning rate"
        differences.append(Difference(what, "first order", abs(order - 1), 0.05))
        what = f"{size} units, corrected: order in the learning rate"
        differences.append(Difference(what, "second order", abs(second - 2), 0.1))
        what = f"{size} units: largest deviation at one time"
        largest = [float(np.abs(x).max()) for x in (data[f"order/{size}"], corrected)]
        differences.append(Difference(what, "descent", largest[0], 0.5, largest[1]))
        largest = float(np.abs(data[f"lmda/{size}"]).max())
        what = f"{size} units: largest deviation over λ"
        differences.append(Difference(what, "descent", largest, 2e-2))
    return Record(data, differences)


@eqx.filter_jit
def _deviations(
    settings: Settings,
    size: int,
    corrected: bool,
    lmdas: Real[Array, " points"],
    rates: Real[Array, " points"],
    lasts: Real[Array, " points"],
) -> Float[Array, "trials points"]:
    """The mean relative deviation of the loss, for every trial and point."""
    parts = np.linspace(0, 1, settings.recorded + 1)

    def of(key, lmda, rate, last):
        task_key, key = jax.random.split(key)
        task = Task.random_regression(size, size, 2 * size, key=task_key)
        start = LambdaBalanced(lmda)(size, size, size, key=key)
        ts = parts * last
        law = NearlyExact(learning_rate=rate, tolerance=1.0) if corrected else Exact()
        exact = learn(start, task, ts, dynamics=law).loss
        descent = learn(start, task, ts, dynamics=GradientDescent(rate)).loss
        return jnp.mean((exact - descent) / descent)

    keys = jax.random.split(jax.random.key(settings.seed), settings.trials)
    over_points = jax.vmap(of, in_axes=(None, 0, 0, 0))
    over_trials = jax.vmap(over_points, in_axes=(0, None, None, None))
    return over_trials(keys, lmdas, rates, lasts)


def draw(data: Data) -> "Figure":
    """Draw a panel for every variable and a line for every size."""
    figure = new_figure(14.0, 3.8)
    axes = figure.subplots(1, 4)
    panels = (
        ("rate", "learning rate"),
        ("lmda", r"$\lambda$"),
        ("product", r"$\lambda$, at a learning rate $\propto 1/\lambda$"),
        ("order", "learning rate, at one time"),
    )
    for ax, (name, label) in zip(axes, panels, strict=True):
        x = data[f"{name}/x"]
        for i, size in enumerate(data["sizes"]):
            values = data[f"{name}/{size}"]
            mean, spread = values.mean(axis=0), values.std(axis=0)
            colour = COLOURS[i]
            ax.plot(x, mean, color=colour, label=f"{size} units")
            ax.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.25)
            if name == "order":
                ax.plot(x, mean[-1] * x / x[-1], "--", color="k", lw=0.8)
                corrected = np.abs(data[f"corrected/{size}"].mean(axis=0))
                ax.plot(x, corrected, ":", color=colour)
        ax.set(xscale="log", xlabel=label)
    axes[0].set_yscale("log")
    axes[-1].set_yscale("log")
    axes[-1].plot([], [], "--", color="k", lw=0.8, label=r"$\propto$ learning rate")
    axes[-1].plot([], [], ":", color="k", label="corrected for finite steps")
    axes[-1].legend(frameon=False)
    axes[0].set_ylabel("mean relative deviation of the loss")
    axes[0].legend(frameon=False)
    return figure
