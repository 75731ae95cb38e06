"""The profile likelihood of one number, as a curve."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Real

from .. import _checks, _dtypes
from .coordinates import Coordinates, checked_names
from .data import Misfit, checked_data, enough_data
from .estimate import Estimate, estimate
from .experiment import Experiment
from .least_squares import minimise
from .members import begin, lowest
from .ranges import candidates, limits

DRAWN = 4  # further starts at each value
ROUNDS = 2  # in which a value's neighbours start it again


@dataclasses.dataclass(frozen=True)
class Profile:
    """The largest likelihood at given values of one number.

    **Attributes:**

    - `label`: the number's name.
    - `values`: (values,), where it was held.
    - `log_likelihood`: (values,), the largest one there, less that of the best fit.
    - `others`: the most likely values of the other unknown numbers, (values, ...) each.
    - `fit`: the best fit, in which the number is free.
    """

    label: str
    values: np.ndarray
    log_likelihood: np.ndarray
    others: dict[str, np.ndarray]
    fit: Estimate


def profile(
    experiment: Experiment,
    data: Any,
    name: str,
    values: Real[ArrayLike, " values"] | Sequence[float],
    unknown: Sequence[str] = ("lmda", "scale"),
    *,
    starts: int = 32,
) -> Profile:
    """The profile likelihood of one number: the others are fitted at each value.

    A flat curve shows a number that the data don't determine, two peaks two solutions.
    Where it is above -1.92, the values are in the interval of 95 %
    (`lazyrich_jax.inference.intervals` finds its ends).

    **Arguments:**

    - `experiment`, `data`, `unknown`, `starts`: as for `lazyrich_jax.inference.fit`.
    - `name`: an unknown number, or an entry: "strengths[0]".
    - `values`: where to hold it, in its own units.

    **Returns:** a `Profile`. Of several observables with unknown levels of noise the
    levels of the best fit are used throughout.

    **Raises:** `ValueError` or `TypeError` that name the argument, before anything is
    compiled.
    """
    _checks.instance("experiment", experiment, Experiment, "see `Experiment`")
    coordinates = Coordinates(experiment, checked_names(experiment, unknown))
    # A value of the balance is one value of its coordinate, whatever the scale.
    coordinates = coordinates.anchored(float(experiment.known["scale"]) ** 2)
    checked = checked_data(experiment, data)
    enough_data(experiment, checked, coordinates)
    _checks.size("starts", starts)
    _checks.require(
        name in coordinates.labels,
        f"`name` must be one of {list(coordinates.labels)}, but it was {name!r}.",
    )
    values = np.asarray(_dtypes.as_real("values", values), float)
    _checks.require(
        values.ndim == 1 and values.size > 0,
        f"`values` must be a vector, not empty, but its shape was {values.shape}.",
    )
    column = coordinates.labels.index(name)
    held = _held(coordinates, name, values)
    box = limits(experiment, coordinates, {})
    fit = estimate(experiment, checked, coordinates, box, starts, 0)
    cost, u = _curve(fit, column, held)
    decoded = [coordinates.decode(jnp.asarray(x), experiment.known) for x in u]
    return Profile(
        name,
        values,
        _rise(fit, cost),
        {
            other: np.array([x[other] for x in decoded])
            for other in coordinates.names
            if other != name
        },
        fit,
    )


def _held(
    coordinates: Coordinates, name: str, values: np.ndarray
) -> Float[np.ndarray, " values"]:
    """The coordinate of each value of a number."""
    kind = name.split("[")[0]
    sign = coordinates.sign if kind == "lmda" else kind not in ("lmda", "function")
    word = {1: "positive", -1: "negative", 0: "finite"}[int(sign)]
    good = np.isfinite(values) & ((sign * values > 0) if sign else True)
    _checks.require(
        bool(np.all(good)),
        f"`values` must be {word} for {name!r}, but they were {values}.",
    )
    if kind == "function":
        return values
    unit = float(coordinates.anchor) if kind in ("lmda", "mu") else 1.0
    return np.log(sign * values / unit) if sign else np.arcsinh(values / unit)


def _curve(
    fit: Estimate, column: int, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The least cost at each value, and its coordinates."""
    misfit = Misfit(fit.experiment, fit.coordinates, fit.data)
    free = np.ones(len(fit.labels))
    free[column] = 0
    drawn = candidates(fit.experiment, fit.coordinates, fit.bounds, DRAWN, 0)
    starts = np.concatenate([fit.optima, drawn])
    points = np.repeat(starts[:, None], len(held), axis=1)  # (starts, values, unknowns)
    cost, u = np.full(len(held), np.inf), points[0]
    for _ in range(1 + ROUNDS):
        points[..., column] = held
        flat = points.reshape(-1, len(free)).astype(fit.optima.dtype)
        found = minimise(misfit, begin(flat, free=free), fit.bounds, 0.0)
        found = lowest(found, len(points))
        u = np.where((found.cost < cost)[:, None], found.u, u)
        cost = np.fmin(cost, found.cost)
        points = np.stack([np.roll(u, 1, axis=0), np.roll(u, -1, axis=0)])
    return cost, u


def _rise(fit: Estimate, cost: np.ndarray) -> np.ndarray:
    """The log-likelihood less that of the fit."""
    least = fit.deviance / 2
    if fit.known_noise or len(fit.experiment.observe) > 1:
        return least - cost
    return -fit.observations / 2 * np.log(cost / least)
