"""The best coordinates of data sets: many starts, from wide ranges."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from .ambiguity import ordered
from .coordinates import Coordinates
from .data import Misfit
from .experiment import Experiment
from .least_squares import GROUP, LARGE, STEPS, Members, begin, minimise

SCREENED = 4  # candidates for each start
BANK = 512  # candidates of many curves, predicted once for all
APART = 1.0  # distance of two starts
PATIENCE = 32  # steps after which only the best of those not converged go on
CHUNK = 128  # of them at once


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


def search(
    misfit: Misfit,
    starts: int,
    bounds: tuple[np.ndarray, np.ndarray],
    least: float,
    *,
    seed: int = 0,
) -> Members:
    """Minimise from the best `starts` of many candidates, for each curve.

    The result has the members of each curve together, `starts` of them. Modes that can
    be exchanged are ordered.
    """
    experiment, coordinates = misfit.experiment, misfit.coordinates
    curves = misfit.data.curves
    many = curves > 1
    count = (
        max(BANK, -(-SCREENED * starts // CHUNK) * CHUNK) if many else SCREENED * starts
    )
    points = candidates(experiment, coordinates, bounds, count, seed)
    points = points.astype(experiment.times.dtype)
    if not many:  # by the program of the steps, which must be compiled anyhow
        members = minimise(misfit, begin(points), bounds, least, steps=1)
        chosen = _best(members.cost, points, coordinates, starts)
        members = Members(*(x[chosen] for x in members))
        members = minimise(misfit, members, bounds, least, steps=PATIENCE)
        late = np.argsort(np.where(members.done, np.inf, members.cost))[:GROUP]
        more = Members(*(x[late] for x in members))
        more = minimise(misfit, more, bounds, least, steps=STEPS - PATIENCE)
        for whole, new in zip(members, more, strict=True):
            whole[late] = new
        return ordered(experiment, coordinates, members)
    costs = _costs(misfit, points)
    chosen = [_best(cost, points, coordinates, starts) for cost in costs]
    rows = np.repeat(np.arange(curves), starts)
    members = begin(points[np.concatenate(chosen)], rows)
    members = minimise(misfit, members, bounds, least, batch=LARGE)
    return ordered(experiment, coordinates, members)


def mirrored(
    misfit: Misfit,
    members: Members,
    box: tuple[np.ndarray, np.ndarray],
    least: float,
) -> Members:
    """The members, and the best one's mirror image in the sign of the balance."""
    coordinates = misfit.coordinates
    if "lmda" not in coordinates.labels or coordinates.sign:
        return members
    u = members.u[np.argmin(members.cost)].copy()
    u[coordinates.labels.index("lmda")] *= -1
    u = np.clip(u, *box).astype(u.dtype)
    more = minimise(misfit, begin(u[None]), box, least)
    return Members(
        *(np.concatenate([x, y]) for x, y in zip(members, more, strict=True))
    )


def _costs(misfit: Misfit, points: np.ndarray) -> np.ndarray:
    """Half the sum of squares of each curve at each point, (curves, points)."""
    predicted = [
        _predicted(misfit, jnp.asarray(part))
        for part in np.split(points, len(points) // CHUNK)
    ]
    predicted = jax.tree.map(lambda *x: jnp.concatenate(x), *predicted)
    return np.asarray(_compared(misfit, predicted))


@eqx.filter_jit
def _predicted(misfit: Misfit, points: Float[Array, "points unknowns"]):
    known = misfit.experiment.known

    def at(u):
        return misfit.experiment.predicted(misfit.coordinates.decode(u, known))

    return jax.vmap(at)(points)


@eqx.filter_jit
def _compared(misfit: Misfit, predicted) -> Float[Array, "curves points"]:
    def of_curve(data):
        def cost(predicted):
            r = misfit.experiment.compared(predicted, data.values, data.weights)
            return jnp.sum(r**2) / 2

        return jax.vmap(cost)(predicted)

    return jax.lax.map(of_curve, misfit.data)


def _best(
    cost: np.ndarray, points: np.ndarray, coordinates: Coordinates, starts: int
) -> list[int]:
    """The candidates of least cost that are apart, as many of either sign of lmda."""
    order = np.argsort(np.where(np.isfinite(cost), cost, np.inf), kind="stable")
    if "lmda" not in coordinates.labels or coordinates.sign:
        return _spread(order, points, starts)
    sign = points[order, coordinates.labels.index("lmda")] > 0
    first = _spread(order[sign], points, starts - starts // 2)
    second = _spread(order[~sign], points, starts - len(first))
    taken = {*first, *second}
    rest = [i for i in order.tolist() if i not in taken]
    return first + second + rest[: starts - len(taken)]


def _spread(order: np.ndarray, points: np.ndarray, count: int) -> list[int]:
    """The first `count` that are `APART` from each other, then the first others."""
    chosen: list[int] = []
    near: list[int] = []
    for i in order.tolist():
        if len(chosen) == count:
            break
        gaps = np.linalg.norm(points[chosen] - points[i], axis=1)
        (near if np.any(gaps < APART) else chosen).append(i)
    return (chosen + near)[:count]
