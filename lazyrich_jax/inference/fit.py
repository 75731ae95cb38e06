"""Maximum likelihood of unknown numbers, and what the data say about them."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy import stats

from .. import _checks
from .coordinates import Coordinates
from .data import Data, Misfit, checked_data
from .experiment import Experiment
from .least_squares import Members, begin, minimise
from .search import limits, search

RANDOM = 3.84  # change of the deviance that noise makes in 5 % of all cases
ROUNDS = 20  # of levels of noise, at most


@dataclasses.dataclass(frozen=True)
class Fit:
    """The best values of unknown numbers. `print(fit)` explains it.

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

    @property
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


def fit(
    experiment: Experiment,
    data: Any,
    unknown: Sequence[str] = ("lmda", "scale"),
    *,
    starts: int = 32,
    bounds: Mapping[str, Any] | None = None,
    key: PRNGKeyArray | None = None,
) -> Fit:
    """Fit unknown numbers of an experiment to data by maximum likelihood.

    Damped least squares runs from many starts at once. The numbers, their ranges and
    the law of noise are those of `Experiment`; a level of noise that is not given is
    estimated.

    **Arguments:**

    - `experiment`: what was trained and seen.
    - `data`: an array as `experiment.predict()` returns it, or a dict of arrays, one
      for each observable. Mask missing values (`numpy.ma`).
    - `unknown`: names of parameters of the experiment.
    - `starts`: the number of starts, the best of four times as many candidates.
    - `bounds`: ranges (low, high) of unknown parameters, for example
      `{"lmda": (0, 50)}`.
    - `key`: draws the candidates; by default they are always the same.

    **Returns:** a `Fit`.

    **Raises:** `ValueError` or `TypeError` that name the argument, before anything is
    compiled; `RuntimeError` if the theory has no value at any start. A warning names
    what the observables cannot determine.
    """
    _checks.instance("experiment", experiment, Experiment, "see `Experiment`")
    names = checked_names(experiment, unknown)
    checked = checked_data(experiment, data)
    starts = _checks.size("starts", starts)
    coordinates = Coordinates(experiment, names)
    bounds = dict(bounds or {})
    if "lmda" in bounds:
        coordinates = coordinates.anchored(float(experiment.known["scale"]) ** 2)
    box = limits(experiment, coordinates, bounds)
    _enough(experiment, checked, coordinates)
    for text in ambiguities(experiment, names, box, coordinates):
        warnings.warn(text, stacklevel=2)
    seed = 0 if key is None else int(jax.random.randint(key, (), 0, 2**31 - 1))
    checked, members = _by_level_of_noise(
        Misfit(experiment, coordinates, checked), starts, box, seed
    )
    return _result(experiment, checked, coordinates, members, box, starts)


def checked_names(experiment: Experiment, unknown: Any) -> tuple[str, ...]:
    """Names of unknown parameters, in the experiment's order.

    **Raises:** `ValueError` for other names, none, and redundant ones.
    """
    names = (unknown,) if isinstance(unknown, str) else tuple(unknown)
    for name in names:
        _checks.require(
            name in experiment.parameters,
            f"`unknown` must be names of {list(experiment.parameters)}, but it had "
            f"{name!r}.",
        )
    _checks.require(
        len(names) > 0 and len(set(names)) == len(names),
        f"`unknown` must be different names, at least one, but it was {names}.",
    )
    start = "strengths" if experiment.start == "aligned" else "function"
    _checks.require(
        not {"scale", start} <= set(names),
        f"`unknown` must not have \"scale\" beside {start!r}, which contains it, but it "
        f"was {names}.",
    )
    missing = [n for n, x in experiment.known.items() if not np.all(np.isfinite(x))]
    for name in missing:
        _checks.require(
            name in names,
            f"`unknown` must have {name!r}, of which the experiment knows nothing, but "
            f"it was {names}.",
        )
    if "task_strengths" in names and "task_strengths" not in experiment.known:
        pass  # their singular vectors are the task's
    return tuple(name for name in experiment.parameters if name in names)


def _enough(experiment: Experiment, data: Data, coordinates: Coordinates) -> None:
    levels = sum(law.sd is None for law in experiment.noise)
    count = sum(data.counts)
    need = len(coordinates.labels) + levels
    _checks.require(
        count >= need,
        f"`data` must have at least {need} observations for the unknown "
        f"{list(coordinates.names)}" + (" and the noise" if levels else "") + ", but it "
        f"had {count}.",
    )


def ambiguities(
    experiment: Experiment,
    names: tuple[str, ...],
    box: tuple[np.ndarray, np.ndarray],
    coordinates: Coordinates,
) -> list[str]:
    """What no data of these observables determine, in words."""
    from .observables import OBSERVABLES

    if "lmda" not in names or any(OBSERVABLES[x].layers for x in experiment.observe):
        return []
    observed = " and ".join(experiment.observe)
    texts = []
    if experiment.model == "wide":
        if "mu" in names:
            texts.append(
                f"`unknown` must not have both lmda and mu to be identified: the "
                f"{observed} of a wide network depend on lmda**2 / 4 + mu**2 alone."
            )
    i = coordinates.labels.index("lmda")
    both_signs = coordinates.sign == 0 and box[0][i] < 0 < box[1][i]
    n_in, hidden, n_out = experiment.sizes
    even = experiment.start == "aligned" or n_in == hidden == n_out
    if both_signs and (even or experiment.model == "wide"):
        why = (
            "with a start aligned with the task"
            if experiment.start == "aligned"
            else "with as many inputs, hidden units and outputs"
        )
        texts.append(
            f"The sign of lmda is not identified: {why} the {observed} of lmda and "
            "-lmda are equal. A representation tells them apart; "
            '`bounds={"lmda": (0, inf)}` chooses one.'
        )
    if "function" in names and set(experiment.observe) == {"loss"}:
        texts.append(
            "lmda is hardly identified by a loss with an unknown start function; the "
            "function's trajectory identifies it."
        )
    return texts


def _least(data: Data) -> float:
    """A cost that is rounding."""
    eps = float(jnp.finfo(data.values[0].dtype).eps)
    return max(1e-300, 1e2 * eps**2 * sum(data.counts))


def _by_level_of_noise(
    misfit: Misfit, starts: int, box: tuple[np.ndarray, np.ndarray], seed: int
) -> tuple[Data, Members]:
    """The best members, with data weighted by estimated levels of noise."""
    data, laws = misfit.data, misfit.experiment.noise
    several = len(laws) > 1 and any(law.sd is None for law in laws)
    if several:
        data = _weighted(data, [_spread(x, w) for x, w in _pairs(data)], laws)
    unit = eqx.tree_at(lambda m: m.data, misfit, data)
    members = search(unit, starts, box, _least(data), seed=seed)
    members = _mirrored(unit, members, box, data)
    if not several:
        return data, members
    before = np.inf
    for _ in range(ROUNDS):
        best = members.u[np.argmin(members.cost)]
        levels = _levels(misfit, best)
        data = _weighted(misfit.data, levels, laws)
        unit = eqx.tree_at(lambda m: m.data, misfit, data)
        members = begin(members.u)
        members = minimise(unit, members, box, _least(data))
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


def _mirrored(
    misfit: Misfit, members: Members, box: tuple[np.ndarray, np.ndarray], data: Data
) -> Members:
    """The members, and the best one's mirror image in the sign of the balance."""
    coordinates = misfit.coordinates
    if "lmda" not in coordinates.labels or coordinates.sign:
        return members
    u = members.u[np.argmin(members.cost)].copy()
    u[coordinates.labels.index("lmda")] *= -1
    u = np.clip(u, *box).astype(u.dtype)
    more = minimise(misfit, begin(u[None]), box, _least(data))
    return Members(
        *(np.concatenate([x, y]) for x, y in zip(members, more, strict=True))
    )


def _result(
    experiment: Experiment,
    data: Data,
    coordinates: Coordinates,
    members: Members,
    box: tuple[np.ndarray, np.ndarray],
    starts: int,
) -> Fit:
    if not np.isfinite(members.cost).any():
        raise RuntimeError(
            "The theory had no value at any start: `bounds` must allow feasible "
            "networks, but they allowed none that was tried."
        )
    order = np.argsort(np.where(np.isfinite(members.cost), members.cost, np.inf))
    best = order[0]
    size = len(coordinates.labels)
    deviance = 2 * float(members.cost[best])
    known = all(law.sd is not None for law in experiment.noise)
    freedom = max(sum(data.counts) - size, 1)
    variance = 1.0 if known else max(deviance / freedom, _floor(data))
    near = [
        i
        for i in order
        if 2 * (members.cost[i] - members.cost[best]) <= RANDOM * variance
    ]
    optima = [members.u[best]]
    for i in near:
        if members.done[i] and all(
            _apart(members.u[i], u, members.hessian[best] / variance) for u in optima
        ):
            optima.append(members.u[i])
    values = [_values(experiment, coordinates, u) for u in optima]
    hessian = members.hessian[best] / variance
    return Fit(
        experiment=experiment,
        data=data,
        unknown=coordinates.names,
        values=values[0],
        alternatives=tuple(values[1:]),
        covariance=_covariance(hessian),
        deviance=deviance,
        noise=_noise(experiment, data, members.u[best], coordinates),
        reached=min(len(near), starts),
        starts=starts,
        success=bool(members.done[best]),
        coordinates=coordinates,
        optima=np.array(optima),
        hessian=hessian,
        bounds=box,
    )


def _floor(data: Data) -> float:
    eps = float(jnp.finfo(data.values[0].dtype).eps)
    size = [np.max(np.abs(x * (w > 0)) * w) for x, w in _pairs(data)]
    return (64 * eps * max(size)) ** 2


def _apart(u: np.ndarray, v: np.ndarray, hessian: np.ndarray) -> bool:
    """Whether the quadratic form would distinguish two optima."""
    d = u - v
    return bool(d @ hessian @ d > 25)


def _values(experiment, coordinates, u) -> dict[str, np.ndarray]:
    complete = coordinates.decode(jnp.asarray(u), experiment.known)
    return {name: np.asarray(complete[name]) for name in coordinates.names}


def _covariance(hessian: np.ndarray) -> np.ndarray:
    """The inverse of the information, infinite along directions without any."""
    size = np.sqrt(np.maximum(np.diag(hessian), np.finfo(float).tiny))
    scaled = hessian / np.outer(size, size)
    s, vectors = np.linalg.eigh(scaled)
    blind = s <= 1e-13
    kept = vectors[:, ~blind] / size[:, None]
    covariance = (kept / s[~blind]) @ kept.T
    if blind.any():
        loose = np.any(np.abs(vectors[:, blind]) > 1e-6, axis=1)
        covariance[np.outer(loose, loose)] = np.inf
    return covariance


def _noise(experiment, data: Data, u: np.ndarray, coordinates) -> dict[str, float]:
    plain = Data(data.values, tuple((w > 0).astype(w.dtype) for w in data.weights))
    levels = _levels(Misfit(experiment, coordinates, plain), u)
    size = len(coordinates.labels)
    count = sum(data.counts)
    correction = np.sqrt(count / max(count - size, 1))
    return {
        name: level * correction if law.sd is None else float(law.sd)
        for name, level, law in zip(
            experiment.observe, levels, experiment.noise, strict=True
        )
    }
