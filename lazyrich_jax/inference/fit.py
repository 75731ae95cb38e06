"""Fit the theory to data, and say what the data determine."""

import dataclasses
import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import PRNGKeyArray

from .. import _checks
from .ambiguity import ambiguities
from .arguments import seed_of
from .compare import Comparison, compare
from .coordinates import Coordinates, checked_names
from .data import Data, Misfit, checked_data, enough_data
from .estimate import Estimate, best_of_each, estimate
from .experiment import Experiment
from .intervals import intervals
from .ranges import limits
from .words import quality, unordered

if TYPE_CHECKING:
    import xarray


CLASSES = ("balanced", "wide")
LEVEL = 0.95  # of intervals


@dataclasses.dataclass(frozen=True, repr=False)
class Fit(Estimate):
    """A fit of unknown numbers to data. `print(fit)` explains it.

    **Attributes:** as listed in `lazyrich_jax.inference.Estimate`, and

    - `comparison`: of the classes, if the model was unknown. The fit is of the best
      one, `experiment.model`.
    """

    comparison: Comparison | None = None

    def intervals(
        self, level: float = LEVEL, names: Sequence[str] | None = None
    ) -> dict[str, list[tuple[float, float]]]:
        """Profile-likelihood intervals; see `lazyrich_jax.inference.intervals`."""
        if level == LEVEL and names is None:
            return {label: list(pieces) for label, pieces in self._intervals.items()}
        return intervals(self, level, names)

    @functools.cached_property
    def _intervals(self) -> dict[str, list[tuple[float, float]]]:
        """Those of all numbers, found once: they take many further fits."""
        return intervals(self, LEVEL)

    def __str__(self) -> str:
        """The estimates with intervals, and how well and surely they fit."""
        return "\n".join(_lines(self))

    def __repr__(self) -> str:
        """The estimates alone: intervals take further fits."""
        values = (
            f"{name}={np.array2string(x, precision=4, separator=', ')}"
            for name, x in self.values.items()
        )
        model = [] if self.comparison is None else [f"model={self.comparison.best!r}"]
        return f"Fit({', '.join([*model, *values])})"


def _lines(fit: Fit) -> list[str]:
    lines = [
        f"Fit of {', '.join(fit.unknown)} to {' and '.join(fit.experiment.observe)}, "
        f"{fit.observations} observations"
    ]
    width = max(len(label) for label in fit.labels)
    ends = fit.intervals()
    values = np.concatenate([np.ravel(fit.values[name]) for name in fit.unknown])
    for label, value in zip(fit.labels, values, strict=True):
        shown = " or ".join(f"{low:.4g} to {high:.4g}" for low, high in ends[label])
        lines.append(f"  {label:<{width}} {value:10.4g}   95 %: {shown}")
    lines += unordered(fit)
    for other in fit.alternatives:
        texts = [
            f"{name} = {np.array2string(x, precision=4)}" for name, x in other.items()
        ]
        lines.append(f"  As good: {', '.join(texts)}")
    if fit.comparison is not None:
        lines += _classes(fit.comparison)
    lines += quality(fit)
    return lines


def _classes(comparison: Comparison) -> list[str]:
    """Which class of networks the fit is of, and whether the data say so."""
    likelihoods = ", ".join(
        f"{x:.2f} ({model})" for model, x in comparison.log_likelihood.items()
    )
    return [
        f"Model {comparison.best}. Log-likelihoods: {likelihoods}.",
        *comparison.notes,
        comparison.recommendation,
    ]


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
    - `unknown`: names of parameters of the experiment. With "model" beside "lmda" the
      width class is unknown too: balanced and wide networks are fitted
      (`lazyrich_jax.inference.compare`), and the better one is returned.
    - `starts`: the number of starts, the best of four times as many candidates.
    - `bounds`: ranges (low, high) of unknown parameters, for example
      `{"lmda": (0, 50)}`.
    - `key`: draws the candidates; by default they are always the same.

    **Returns:** a `Fit`.

    **Raises:** `ValueError` or `TypeError` that name the argument, before anything is
    compiled; `RuntimeError` if the theory has no value at any start. A warning names
    what the observables cannot determine.
    """
    if "model" in ((unknown,) if isinstance(unknown, str) else unknown):
        return _with_model(experiment, data, unknown, starts, bounds, key)
    coordinates, box, seed = _prepared(experiment, unknown, starts, bounds, key)
    checked = checked_data(experiment, data)
    _check_counts(experiment, checked, coordinates, box)
    found = estimate(experiment, checked, coordinates, box, starts, seed)
    return _fit_of(found)


def _fit_of(found: Estimate, comparison: Comparison | None = None) -> Fit:
    fields = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
    return Fit(**fields, comparison=comparison)


def _with_model(
    experiment: Experiment,
    data: Any,
    unknown: Any,
    starts: int,
    bounds: Mapping[str, Any] | None,
    key: PRNGKeyArray | None,
) -> Fit:
    """The better fit of a balanced and a wide network."""
    _checks.instance("experiment", experiment, Experiment, "see `Experiment`")
    names = (unknown,) if isinstance(unknown, str) else tuple(unknown)
    _checks.require(
        experiment.model in CLASSES,
        f'`experiment` must have a model of {list(CLASSES)} where "model" is unknown, '
        f"but it was {experiment.model!r}; `lazyrich_jax.inference.compare` compares "
        "others.",
    )
    _checks.require(
        names.count("model") == 1 and "lmda" in names,
        '`unknown` must have "lmda" beside one "model", since the classes have no '
        f"balance in common, but it was {names}.",
    )
    rest = tuple(name for name in names if name != "model")
    found = compare(
        experiment, data, CLASSES, rest, starts=starts, bounds=bounds, key=key
    )
    best = _fit_of(found.fits[found.best], found)
    _warn(best.experiment, best.coordinates, best.bounds)
    return best


def fit_curves(
    experiment: Experiment,
    curves: Any,
    unknown: Sequence[str] = ("lmda", "scale"),
    *,
    starts: int = 4,
    bounds: Mapping[str, Any] | None = None,
    key: PRNGKeyArray | None = None,
) -> "xarray.Dataset":
    """Fit each of many data sets of one experiment, in one program.

    **Arguments:** as `fit`; `curves` have a leading axis, one data set each. `starts`
    members of each curve go to their ends: the best of four times as many candidates,
    after a race of three steps. A member that comes near a better one stops, and counts
    as this one does. If the level of noise is given and few curves have a deviance that
    it does not explain, these begin again from other candidates, up to four times.

    **Returns:** an `xarray.Dataset` over `curve` with the estimates by name,
    `deviance`, `reached` (how many starts found it; 0 if only the search along the
    valley found it), `success` and, over `coordinate` twice, `covariance` (as
    `Fit.covariance`).

    **Raises:** as `fit`; `ValueError` for several observables unless every level of
    noise is given.
    """
    import xarray

    coordinates, box, seed = _prepared(experiment, unknown, starts, bounds, key)
    data = checked_data(experiment, curves, curves=True)
    known = all(law.sd is not None for law in experiment.noise)
    _checks.require(
        known or len(experiment.observe) == 1,
        "`experiment` must have given levels of noise to fit many curves of several "
        "observables, but one was unknown.",
    )
    _check_counts(experiment, data, coordinates, box)
    best = best_of_each(Misfit(experiment, coordinates, data), starts, box, seed)
    shapes = dict(zip(coordinates.names, coordinates.shapes, strict=True))
    fields = {
        name: (("curve", *(f"{name}_{i}" for i in range(len(shapes[name])))), x)
        for name, x in best.values.items()
    }
    fields |= {
        "deviance": ("curve", best.deviance),
        "reached": ("curve", best.reached),
        "success": ("curve", best.success),
        "covariance": (("curve", "coordinate", "other"), best.covariance),
    }
    labels = list(coordinates.labels)
    return xarray.Dataset(fields, {"coordinate": labels, "other": labels})


def _prepared(
    experiment: Experiment,
    unknown: Any,
    starts: Any,
    bounds: Mapping[str, Any] | None,
    key: PRNGKeyArray | None,
) -> tuple[Coordinates, tuple[np.ndarray, np.ndarray], int]:
    """Coordinates, their box and a seed, checked."""
    _checks.instance("experiment", experiment, Experiment, "see `Experiment`")
    names = checked_names(experiment, unknown)
    _checks.size("starts", starts)
    coordinates = Coordinates(experiment, names)
    bounds = dict(bounds or {})
    if "lmda" in bounds:
        coordinates = coordinates.anchored(float(experiment.known["scale"]) ** 2)
    box = limits(experiment, coordinates, bounds)
    seed = seed_of(key)
    return coordinates, box, seed


def _check_counts(
    experiment: Experiment,
    data: Data,
    coordinates: Coordinates,
    box: tuple[np.ndarray, np.ndarray],
) -> None:
    """Refuse too few data; warn of what these observables cannot determine."""
    enough_data(experiment, data, coordinates)
    _warn(experiment, coordinates, box)


def _warn(
    experiment: Experiment,
    coordinates: Coordinates,
    box: tuple[np.ndarray, np.ndarray],
) -> None:
    for text in ambiguities(experiment, coordinates.names, box, coordinates):
        warnings.warn(text, stacklevel=4)
