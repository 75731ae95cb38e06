"""Ranges of coordinates: those that a user's bounds allow, and those of starts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _checks
from .coordinates import Coordinates
from .experiment import Experiment


def limits(
    experiment: Experiment, coordinates: Coordinates, bounds: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest coordinates that `bounds` in natural units allow.

    **Raises:** `ValueError` for names that are not unknown and ranges without inside.
    """
    low, high = coordinates.bounds
    at = 0
    for name, shape in zip(coordinates.names, coordinates.shapes, strict=True):
        count = int(np.prod(shape))
        if name in bounds:
            first, last = _ends(coordinates, name, bounds[name])
            here = slice(at, at + count)
            low[here], high[here] = np.clip((first, last), low[at], high[at])
        at += count
    for name in bounds:
        _checks.require(
            name in coordinates.names,
            f"`bounds` must name unknown parameters, {list(coordinates.names)}, but it "
            f"named {name!r}.",
        )
    return low, high


def _ends(coordinates: Coordinates, name: str, ends: Any) -> tuple[float, float]:
    """A range in natural units as one of coordinates."""
    try:
        first, last = (float(x) for x in ends)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`bounds[{name!r}]` must be a pair (low, high), but it was {ends!r}."
        ) from error
    _checks.require(
        first < last,
        f"`bounds[{name!r}]` must rise, but it was {(first, last)}.",
    )
    if name == "function":
        return first, last
    if name == "lmda":
        unit = float(coordinates.anchor) * (coordinates.sign or 1)
        first, last = sorted((first / unit, last / unit))
        if not coordinates.sign:
            return float(np.arcsinh(first)), float(np.arcsinh(last))
    _checks.require(
        last > 0,
        f"`bounds[{name!r}]` must allow feasible numbers, but it was {ends!r}.",
    )
    with np.errstate(divide="ignore"):
        return float(np.log(max(first, 0.0))), float(np.log(last))


def candidates(
    experiment: Experiment,
    coordinates: Coordinates,
    bounds: tuple[np.ndarray, np.ndarray],
    count: int,
    seed: int,
) -> np.ndarray:
    """Coordinates of `count` starts, spread over what an experiment can tell apart."""
    sigma = np.asarray(experiment.task.input_output_correlation, float)
    variance = float(experiment.task.input_variance)
    strength = np.linalg.norm(sigma, 2) / variance or 1.0
    times = np.asarray(experiment.times, float)
    positive = times[times > 0]
    span = float(positive[-1]) if positive.size else 1.0
    known = {name: np.asarray(x, float) for name, x in experiment.known.items()}
    size = float(known["scale"])
    middle = {
        "lmda": (0.0, 7.0),
        "mu": (0.0, 5.0),
        "scale": (np.log(size), 4.0),
        # Unit strengths are learned within the times observed.
        "rate": (np.log(5.0 / (span * variance * strength)), 4.0),
        "strengths": (0.0, 4.0),
        "task_strengths": (np.log(strength), 3.0),
        "weight_decay": (np.log(0.1 * variance * strength), 5.0),
        "function": (0.0, strength / size**2),
    }
    ends = []
    for name, shape in zip(coordinates.names, coordinates.shapes, strict=True):
        centre, width = middle[name]
        ends += [(centre - width, centre + width)] * int(np.prod(shape))
    low, high = np.array(ends).T
    lowest, highest = bounds
    # A range outside the bounds gives way to them.
    low, high = np.maximum(low, lowest), np.minimum(high, highest)
    outside = low >= high
    low = np.where(outside, np.maximum(lowest, -7.0), low)
    high = np.where(outside, np.minimum(highest, 7.0), high)
    inside = high > low
    low, high = np.where(inside, low, lowest), np.where(inside, high, highest)
    return np.random.default_rng(seed).uniform(low, high, (count, len(ends)))
