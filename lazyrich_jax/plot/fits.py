"""Fits: data beside the fitted theory, and what is left between them."""

from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from ..inference import Experiment, Fit
from .style import COLOURS, TIME, axes_or_new, check_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 4.8, 3.3
POINTS = 201  # of a curve


def fit(fit: Fit, *, observable: str | None = None, ax: "Axes | None" = None) -> "Axes":
    """Data as circles, and the fitted theory as lines, over time.

    Entries of a function or another matrix are row by row, each in its own colour.
    Missing data are left out.

    **Arguments:**

    - `fit`: a result of `lazyrich_jax.inference.fit`.
    - `observable`: one of the experiment's; the first by default.
    - `ax`: the matplotlib axes to draw on; a new figure if left out.

    **Returns:** the axes.

    **Raises:** `TypeError` for another type than a fit; `ValueError` for an observable
    that the experiment does not have.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    experiment = lr.inference.Experiment(
        lr.Task.from_correlation(jnp.diag(jnp.array([2.0, 1.0]))),
        jnp.linspace(0, 4, 20),
        noise=lr.inference.Relative(0.02),
    )
    losses = experiment.simulate(lmda=1.0, scale=0.3, key=jax.random.key(0))
    found = lr.inference.fit(experiment, losses, bounds={"lmda": (0, 20)})
    lr.plot.fit(found).set_yscale("log")
    ```
    """
    name, i = _observable(fit, observable)
    check_axes(ax)
    times = np.asarray(fit.experiment.times)
    fine = np.linspace(times[0], times[-1], POINTS)
    values = {k: jnp.asarray(x) for k, x in fit.values.items()}
    dense = jnp.asarray(fine, times.dtype)
    curves = np.asarray(_predicted(fit.experiment, values, dense, i))
    seen = np.asarray(fit.data.weights[i][0]) > 0
    data = np.where(seen, np.asarray(fit.data.values[i][0]), np.nan)
    ax = axes_or_new(ax, SIZE)
    for entry, (circles, curve) in enumerate(
        zip(_entries(data), _entries(curves), strict=True)
    ):
        colour = COLOURS[entry % len(COLOURS)]
        ax.plot(times, circles, "o", color=colour, mfc="w", ms=4)
        ax.plot(fine, curve, color="k" if data.ndim == 1 else colour)
    ax.plot([], [], "o", color="0.4", mfc="w", ms=4, label="data")
    ax.plot([], [], color="k" if data.ndim == 1 else "0.4", label="theory")
    ax.legend(framealpha=0.85, edgecolor="none")
    ax.set(xlabel=_time(fit), ylabel=name)
    return ax


def residuals(
    fit: Fit, *, observable: str | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Residuals in units of the noise, over time, with a band of two units.

    About one of 20 residuals of pure noise lies outside the band, and neighbours have
    no common sign.

    **Arguments, returns, raises:** as `fit`.
    """
    name, _ = _observable(fit, observable)
    check_axes(ax)
    found = fit.residuals if fit.experiment.single else fit.residuals[name]
    ax = axes_or_new(ax, SIZE)
    ax.axhspan(-2, 2, color="0.92", zorder=0)
    ax.axhline(0, color="0.6", lw=1, zorder=1)
    for entry, values in enumerate(_entries(np.asarray(found))):
        colour = COLOURS[entry % len(COLOURS)]
        ax.plot(np.asarray(fit.experiment.times), values, "o", color=colour, ms=3.5)
    ax.set(xlabel=_time(fit), ylabel=f"residual of the {name} / noise")
    return ax


@eqx.filter_jit
def _predicted(
    experiment: Experiment,
    values: dict[str, Array],
    times: Float[Array, " times"],
    i: int,
) -> Float[Array, "times ..."]:
    """The prediction of observable `i` at other times."""
    predicted = eqx.tree_at(lambda e: e.times, experiment, times).predict(**values)
    return predicted if experiment.single else predicted[experiment.observe[i]]


def _observable(found: Fit, observable: str | None) -> tuple[str, int]:
    _checks.instance("fit", found, Fit, "see `lazyrich_jax.inference.fit`")
    names = found.experiment.observe
    name = names[0] if observable is None else observable
    _checks.require(
        name in names,
        f"`observable` must be one of {list(names)}, but it was {name!r}.",
    )
    return name, names.index(name)


def _entries(values: np.ndarray) -> np.ndarray:
    """Curves of the entries, (entries, times)."""
    return values.reshape(len(values), -1).T


def _time(found: Fit) -> str:
    """The name of the axis: times are steps where a rate turns them into times."""
    if "rate" in found.unknown:
        return "time or step"
    return TIME if float(found.experiment.known["rate"]) == 1 else "step"
