"""The most likely values of unknown numbers."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from .coordinates import Coordinates
from .data import Data, Misfit
from .experiment import Experiment
from .identified import covariance
from .levels import by_level_of_noise, estimated_levels, least_cost, rounding
from .members import Members, best_places
from .search import search

RANDOM = 3.84  # change of the deviance that noise makes in 5 % of all cases


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The most likely values of unknown numbers, and how they were found.

    **Attributes:**

    - `values`: the estimates by name.
    - `alternatives`: other values that fit as well, for example with the other sign of
      the balance.
    - `covariance`: (unknowns, unknowns), of the coordinates `labels`: asinh(lmda /
      scale**2), logarithms of positive numbers, entries of a function. It is infinite
      along combinations that the data don't determine.
    - `deviance`: the sum of squared residuals.
    - `noise`: the standard deviation of each observable, given or estimated.
    - `reached`, `starts`: how many starts found the best or an alternative, of how
      many.
    - `success`: whether the best start has converged.
    """

    experiment: Experiment
    data: Data
    unknown: tuple[str, ...]
    values: dict[str, np.ndarray]
    alternatives: tuple[dict[str, np.ndarray], ...]
    covariance: np.ndarray
    deviance: float
    noise: dict[str, float]
    reached: int
    starts: int
    success: bool
    coordinates: Coordinates
    optima: np.ndarray  # (1 + alternatives, unknowns)
    hessian: np.ndarray
    bounds: tuple[np.ndarray, np.ndarray]

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each coordinate."""
        return self.coordinates.labels

    @property
    def observations(self) -> int:
        """The number of observations."""
        return sum(self.data.counts)

    @property
    def freedom(self) -> int:
        """Observations less unknowns."""
        return self.observations - len(self.labels)

    @property
    def known_noise(self) -> bool:
        """Whether every level of noise was given."""
        return all(law.sd is not None for law in self.experiment.noise)

    @property
    def p_value(self) -> float:
        """The chance of so large a deviance; NaN where a level of noise is unknown."""
        if not self.known_noise:
            return float("nan")
        return float(stats.chi2.sf(self.deviance, self.freedom))

    @property
    def misfit(self) -> Misfit:
        """The residuals as a function of coordinates."""
        return Misfit(self.experiment, self.coordinates, self.data)

    @functools.cached_property
    def residuals(self) -> Any:
        """Residuals in units of the noise, as the data; missing ones are NaN."""
        values = {k: jnp.asarray(v) for k, v in self.values.items()}
        predicted = self.experiment.predict(**values)
        if self.experiment.single:
            predicted = {self.experiment.observe[0]: predicted}
        result = {}
        for law, name, y, w in zip(
            self.experiment.noise,
            self.experiment.observe,
            self.data.values,
            self.data.weights,
            strict=True,
        ):
            r = np.asarray(law.residual(y[0], predicted[name]))
            unit = self.noise[name] if law.sd is None else 1.0
            result[name] = np.where(np.asarray(w[0]) > 0, r / unit, np.nan)
        return result[self.experiment.observe[0]] if self.experiment.single else result

    @property
    def correlation(self) -> float:
        """The correlation of residuals at neighbouring times; near 0 for pure noise."""
        residuals = self.residuals
        if self.experiment.single:
            residuals = {self.experiment.observe[0]: residuals}
        pairs = squares = 0.0
        for r in residuals.values():
            r = r.reshape(len(r), -1)
            both = np.isfinite(r[1:]) & np.isfinite(r[:-1])
            pairs += float(np.sum(np.where(both, r[1:] * r[:-1], 0.0)))
            squares += float(np.sum(np.where(both, (r[1:] ** 2 + r[:-1] ** 2) / 2, 0)))
        return pairs / squares if squares > 0 else 0.0


class Best(NamedTuple):
    """The best of each curve, curves first."""

    values: dict[str, np.ndarray]
    deviance: np.ndarray
    reached: np.ndarray
    success: np.ndarray
    covariance: np.ndarray


def best_of_each(
    misfit: Misfit, starts: int, box: tuple[np.ndarray, np.ndarray], seed: int
) -> Best:
    """The maximum of the likelihood of each data set, from `starts` starts each."""
    experiment, coordinates, data = misfit.experiment, misfit.coordinates, misfit.data
    members = search(misfit, starts, box, least_cost(data), seed=seed)
    cost = np.where(np.isfinite(members.cost), members.cost, np.inf)
    cost = cost.reshape(data.curves, -1)
    best = Members(*(x[best_places(members, data.curves)] for x in members))
    least = cost.min(axis=1)
    known = all(law.sd is not None for law in experiment.noise)
    freedom = np.maximum(data.per_curve - len(coordinates.labels), 1)
    variance = np.ones(data.curves) if known else 2 * least / freedom
    variance = np.maximum(variance, rounding(data))
    decode = jax.vmap(lambda u: coordinates.decode(u, experiment.known))
    values = decode(jnp.asarray(best.u))
    return Best(
        {name: np.asarray(values[name]) for name in coordinates.names},
        2 * least,
        np.sum(
            cost[:, :starts] <= least[:, None] + RANDOM * variance[:, None] / 2, axis=1
        ),
        np.asarray(best.done) & np.isfinite(least),
        covariance(best.hessian / variance[:, None, None]),
    )


def estimate(
    experiment: Experiment,
    data: Data,
    coordinates: Coordinates,
    box: tuple[np.ndarray, np.ndarray],
    starts: int,
    seed: int,
) -> Estimate:
    """The maximum of the likelihood within a box of coordinates, from many starts.

    **Raises:** `RuntimeError` if the theory has no value at any start.
    """
    misfit = Misfit(experiment, coordinates, data)
    weighted, members = by_level_of_noise(misfit, starts, box, seed)
    return _result(experiment, weighted, coordinates, members, box, starts)


def _result(
    experiment: Experiment,
    data: Data,
    coordinates: Coordinates,
    members: Members,
    box: tuple[np.ndarray, np.ndarray],
    starts: int,
) -> Estimate:
    if not np.isfinite(members.cost).any():
        raise RuntimeError(
            "The theory had no value at any start: `bounds` must allow feasible "
            "networks, but they allowed none that was tried."
        )
    order = _by_cost(members, coordinates, data).tolist()
    best = order[0]
    size = len(coordinates.labels)
    deviance = 2 * float(members.cost[best])
    known = all(law.sd is not None for law in experiment.noise)
    freedom = max(sum(data.counts) - size, 1)
    variance = 1.0 if known else max(deviance / freedom, rounding(data))
    near = [
        i
        for i in order
        if 2 * (members.cost[i] - members.cost[best]) <= RANDOM * variance
    ]
    optima = [best]
    for i in near:
        if members.done[i] and all(_apart(members, i, j, variance) for j in optima):
            optima.append(i)
    values = _values(experiment, coordinates, members.u[np.array(optima)])
    hessian = members.hessian[best] / variance
    return Estimate(
        experiment=experiment,
        data=data,
        unknown=coordinates.names,
        values=values[0],
        alternatives=tuple(values[1:]),
        covariance=covariance(hessian),
        deviance=deviance,
        noise=estimated_levels(
            Misfit(experiment, coordinates, data), members.u[best], deviance
        ),
        reached=min(len(near), starts),
        starts=starts,
        success=bool(members.done[best]),
        coordinates=coordinates,
        optima=members.u[np.array(optima)],
        hessian=hessian,
        bounds=box,
    )


def _by_cost(members: Members, coordinates: Coordinates, data: Data) -> np.ndarray:
    """Members by their cost; of equal ones a positive balance is first."""
    cost = np.where(np.isfinite(members.cost), members.cost, np.inf)
    order = np.argsort(cost, kind="stable")
    if "lmda" in coordinates.labels and not coordinates.sign:
        lmda = members.u[order, coordinates.labels.index("lmda")]
        slack = 1e-8 * cost[order[0]] + 1e2 * least_cost(data)
        equal = cost[order] <= cost[order[0]] + slack
        order = order[np.lexsort((np.arange(len(order)), ~(equal & (lmda > 0))))]
    return order


def _apart(members: Members, i: int, j: int, variance: float) -> bool:
    """Whether the quadratic forms at two optima both tell them apart."""
    d = members.u[i] - members.u[j]
    return all(d @ members.hessian[k] @ d > 25 * variance for k in (i, j))


def _values(
    experiment: Experiment, coordinates: Coordinates, us: np.ndarray
) -> list[dict[str, np.ndarray]]:
    decode = jax.vmap(lambda u: coordinates.decode(u, experiment.known))
    complete = decode(jnp.asarray(us))
    values = {name: np.asarray(complete[name]) for name in coordinates.names}
    return [
        {name: np.asarray(x[i]) for name, x in values.items()} for i in range(len(us))
    ]
