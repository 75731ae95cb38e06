"""Optima of a fit in coordinates with a constant unit of balances.

In these coordinates a fixed balance is a fixed coordinate, whatever the scale.
"""

import math
from typing import NamedTuple

import equinox as eqx
import numpy as np

from .coordinates import FARTHEST
from .data import Misfit
from .estimate import Estimate
from .least_squares import minimise
from .members import begin


class Anchored(NamedTuple):
    """A fit in coordinates with a constant unit of balances."""

    fit: Estimate
    misfit: Misfit
    optima: np.ndarray
    slopes: np.ndarray  # (unknowns, unknowns): conditional means, row per fixed one
    sd: np.ndarray
    cost: float
    rises: np.ndarray  # of each optimum above the best
    bounds: tuple[np.ndarray, np.ndarray]


def anchored(fit: Estimate) -> Anchored:
    """The optima of a fit."""
    own = unit(fit)
    coordinates = fit.coordinates.anchored(own)
    misfit = eqx.tree_at(lambda m: m.coordinates, fit.misfit, coordinates)
    optima = np.array(
        [
            coordinates.encode({**fit.experiment.known, **values})
            for values in (fit.values, *fit.alternatives)
        ]
    )
    return _about(fit, misfit, optima, _bounds(fit, own))


def _about(
    fit: Estimate,
    misfit: Misfit,
    optima: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
) -> Anchored:
    """Optima with the quadratic form at the first one."""
    members = begin(optima.astype(fit.optima.dtype))
    state = minimise(misfit, members, bounds, 0.0, steps=1)
    least = float(state.cost.min())
    variance = 1.0
    if not fit.known_noise:
        variance = max(2 * least / max(fit.freedom, 1), 1e-300)
    hessian = state.hessian[0] / variance
    size = np.sqrt(np.diag(hessian))
    size = np.maximum(size, 1e-8 * (np.max(size) or 1.0))  # without information
    scaled = hessian / np.outer(size, size) + 1e-13 * np.eye(len(size))
    covariance = np.linalg.inv(scaled) / np.outer(size, size)
    sd = np.sqrt(np.diag(covariance))
    slopes = covariance / np.diag(covariance)[:, None]
    rises = np.asarray(state.cost, float) - least
    return Anchored(fit, misfit, optima, slopes, sd, least, rises, bounds)


def restarted(a: Anchored, u: np.ndarray, rise: float) -> Anchored:
    """Optima about a better point, with those of the former that fit as well."""
    points = np.concatenate([u[None], a.optima]).astype(a.fit.optima.dtype)
    members = minimise(a.misfit, begin(points), a.bounds, 0.0)
    optima = [members.u[0].astype(float)]
    for x, cost in zip(members.u[1:].astype(float), members.cost[1:], strict=True):
        apart = all(np.max(np.abs(x - y)) > 1e-2 for y in optima)
        if apart and cost <= members.cost[0] + rise:
            optima.append(x)
    return _about(a.fit, a.misfit, np.array(optima), a.bounds)


def unit(fit: Estimate) -> float:
    """A unit of balances: `scale**2`, unless it puts the balance beyond the range.

    A larger unit would hide the lazy branch below it, where only a product is known.
    """
    values = {**fit.experiment.known, **fit.values}
    least = abs(float(values["lmda"])) / math.sinh(FARTHEST - 1)
    return max(float(values["scale"]) ** 2, least)


def _bounds(fit: Estimate, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """The fit's bounds, in coordinates with this unit of balances."""
    low, high = (x.copy() for x in fit.bounds)
    former, sign = float(fit.coordinates.anchor), fit.coordinates.sign
    if "lmda" in fit.labels and not np.isnan(former):
        i = fit.labels.index("lmda")
        farthest = fit.coordinates.bounds[1][i]
        for x in (low, high):
            if abs(x[i]) < farthest:
                ratio = former / unit
                x[i] = (
                    x[i] + math.log(ratio)
                    if sign
                    else np.arcsinh(ratio * np.sinh(x[i]))
                )
    return low, high


def natural(
    a: Anchored, coordinate: int, segment: tuple[float, float]
) -> tuple[float, float]:
    """An interval of a coordinate in natural units."""
    name = a.fit.labels[coordinate].split("[")[0]
    unit, sign = float(a.misfit.coordinates.anchor), a.misfit.coordinates.sign
    ends = np.array(segment)
    if name == "lmda" and sign == 0:
        ends = unit * np.sinh(ends)
    elif name != "function":
        with np.errstate(over="ignore"):
            ends = np.exp(ends) * (unit if name in ("lmda", "mu") else 1.0)
        ends = np.sort(ends * (sign if name == "lmda" else 1))
    return float(ends[0]), float(ends[1])
