"""Unknown levels of noise: estimated with the numbers, in turns."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .data import Data, Misfit
from .least_squares import minimise
from .members import Members, begin
from .search import mirrored, search

ROUNDS = 20  # of levels of noise, at most


def least_cost(data: Data) -> float:
    """A cost that is rounding."""
    eps = float(jnp.finfo(data.values[0].dtype).eps)
    return max(1e-300, 1e2 * eps**2 * sum(data.counts))


def by_level_of_noise(
    misfit: Misfit, starts: int, box: tuple[np.ndarray, np.ndarray], seed: int
) -> tuple[Data, Members]:
    """The best members, with data weighted by estimated levels of noise."""
    data, laws = misfit.data, misfit.experiment.noise
    several = len(laws) > 1 and any(law.sd is None for law in laws)
    if several:
        data = _weighted(data, [_spread(x, w) for x, w in _pairs(data)], laws)
    unit = eqx.tree_at(lambda m: m.data, misfit, data)
    members = search(unit, starts, box, least_cost(data), seed=seed)
    members = mirrored(unit, members, box, least_cost(data))
    if not several:
        return data, members
    before = np.inf
    for _ in range(ROUNDS):
        best = members.u[np.argmin(members.cost)]
        levels = _levels(misfit, best)
        data = _weighted(misfit.data, levels, laws)
        unit = eqx.tree_at(lambda m: m.data, misfit, data)
        members = begin(members.u)
        members = minimise(unit, members, box, least_cost(data))
        now = float(sum(np.log(levels)))
        if abs(now - before) < 1e-6:
            break
        before = now
    return data, members


def _pairs(data: Data):
    return [
        (np.asarray(x), np.asarray(w))
        for x, w in zip(data.values, data.weights, strict=True)
    ]


def _spread(y: np.ndarray, w: np.ndarray) -> float:
    seen = y[w > 0]
    return float(np.std(seen)) or float(np.max(np.abs(seen), initial=0.0)) or 1.0


def _weighted(data: Data, levels: Sequence[float], laws) -> Data:
    weights = tuple(
        w if law.sd is not None else w / jnp.asarray(level, w.dtype)
        for w, level, law in zip(data.weights, levels, laws, strict=True)
    )
    return Data(data.values, weights)


def _levels(misfit: Misfit, u: np.ndarray) -> list[float]:
    """The root mean square of each observable's residuals."""
    r = np.asarray(misfit(jnp.asarray(u), jnp.zeros((), jnp.int32)))
    levels, at = [], 0
    for y, w in _pairs(misfit.data):
        part = r[at : at + w[0].size]
        at += w[0].size
        floor = 1e-12 * _spread(y, w)
        levels.append(max(float(np.sqrt(np.sum(part**2) / np.count_nonzero(w))), floor))
    return levels


def rounding(data: Data) -> float:
    """The variance of residuals that is rounding."""
    eps = float(jnp.finfo(data.values[0].dtype).eps)
    size = [np.max(np.abs(x * (w > 0)) * w) for x, w in _pairs(data)]
    return (64 * eps * max(size)) ** 2


def estimated_levels(
    misfit: Misfit, u: np.ndarray, deviance: float
) -> dict[str, float]:
    """The level of noise of each observable at the estimate `u`, unbiased."""
    experiment, data = misfit.experiment, misfit.data
    count, size = sum(data.counts), len(misfit.coordinates.labels)
    correction = np.sqrt(count / max(count - size, 1))
    laws = experiment.noise
    if len(laws) == 1:
        ((y, w),) = _pairs(data)
        levels = [max(np.sqrt(deviance / count), 1e-12 * _spread(y, w))]
    elif any(law.sd is None for law in laws):
        ones = tuple((w > 0).astype(w.dtype) for w in data.weights)
        plain = eqx.tree_at(lambda m: m.data, misfit, Data(data.values, ones))
        levels = _levels(plain, u)
    else:
        levels = [0.0 for _ in laws]
    return {
        name: float(level * correction) if law.sd is None else float(law.sd)
        for name, level, law in zip(experiment.observe, levels, laws, strict=True)
    }
