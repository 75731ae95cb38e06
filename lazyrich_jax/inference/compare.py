"""Which model describes data: balanced, wide, shallow or lazy."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from scipy import stats

from .. import _checks
from .coordinates import Coordinates, checked_names
from .data import Data, Misfit, checked_data, enough_data, with_traced_levels
from .estimate import Estimate, best_of_each, estimate
from .experiment import MODELS, Experiment
from .identified import rank
from .observables import OBSERVABLES
from .search import limits

EQUAL = 2.0  # differences of AIC, and standard errors of a score, that tell nothing


class Nested(NamedTuple):
    """A test of a model against a larger one that contains it.

    **Attributes:**

    - `simple`, `larger`: the models.
    - `ratio`: twice the difference of the log-likelihoods.
    - `p_value`: the chance of so large a ratio if the simple model is right.
    - `boundary`: whether the simple model is a limit of the larger one. The chance is
      then half that of chi squared.
    """

    simple: str
    larger: str
    ratio: float
    p_value: float
    boundary: bool


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Fits of several models to the same data. `print(comparison)` explains them.

    **Attributes:** dicts by model, but for `tests`, `best`, `equal` and `notes`.

    - `fits`: the most likely values.
    - `log_likelihood`: its largest value, with the constants of all densities.
    - `parameters`, `identified`: how many numbers are unknown (with levels of noise),
      and how many independent combinations of them the data determine.
    - `aic`: Akaike's criterion, 2 `identified` - 2 `log_likelihood`.
    - `score`: the log-likelihood of each time, predicted from the other folds, (times,)
      each; empty unless compared by cross-validation.
    - `tests`: likelihood ratios of nested models.
    - `best`: the model of the least AIC, or of the largest sum of scores.
    - `equal`: models that the data don't tell from the best: AIC differs by less than
      2, or the score by less than two standard errors.
    - `notes`: why models are equal, in words.
    """

    observe: tuple[str, ...]
    fits: dict[str, Estimate]
    log_likelihood: dict[str, float]
    parameters: dict[str, int]
    identified: dict[str, int]
    aic: dict[str, float]
    score: dict[str, np.ndarray]
    tests: tuple[Nested, ...]
    best: str
    equal: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def recommendation(self) -> str:
        """What the data say, in words."""
        if not self.equal:
            return f"The data tell {self.best} from the other models."
        others = " and ".join(self.equal)
        if self.score:
            differences = [
                float(np.sum(self.score[self.best] - self.score[x])) for x in self.equal
            ]
            what = "the scores differ"
        else:
            differences = [self.aic[x] - self.aic[self.best] for x in self.equal]
            what = "AIC differs"
        shown = " and ".join(f"{abs(x):.1f}" for x in differences)
        text = f"The data do not tell {self.best} from {others}: {what} by {shown}."
        simplest = min((self.best, *self.equal), key=lambda x: self.parameters[x])
        if self.parameters[simplest] < max(self.parameters[x] for x in self.equal):
            text += f" The simplest is {simplest}."
        return text

    def __str__(self) -> str:
        """A table, tests of nested models, and a recommendation."""
        head = "log-likelihood  parameters  identified  AIC - least"
        least = min(self.aic.values())
        lines = [
            f"Models of {' and '.join(self.observe)}",
            f"{'':<9} {head}" + ("       score" if self.score else ""),
        ]
        for model in self.fits:
            line = (
                f"{model:<9} {self.log_likelihood[model]:14.2f}  "
                f"{self.parameters[model]:10d}  {self.identified[model]:10d}  "
                f"{self.aic[model] - least:11.2f}"
            )
            if self.score:
                line += f"  {np.sum(self.score[model]):10.2f}"
            lines.append(line)
        for test in self.tests:
            kind = "a limit of" if test.boundary else "contained in"
            lines.append(
                f"{test.simple}, {kind} {test.larger}: likelihood ratio "
                f"{test.ratio:.3g}, p = {test.p_value:.2g}"
            )
        for model, fit in self.fits.items():
            if not fit.success:
                lines.append(f"The fit of {model} has not converged.")
        return "\n".join([*lines, *self.notes, self.recommendation])


def compare(
    experiment: Experiment,
    data: Any,
    models: Sequence[str] = ("balanced", "wide", "shallow", "lazy"),
    unknown: Sequence[str] = ("lmda", "scale"),
    *,
    by: Literal["likelihood", "cross-validation"] = "likelihood",
    folds: int = 5,
    starts: int = 32,
    bounds: Mapping[str, Any] | None = None,
    key: PRNGKeyArray | None = None,
) -> Comparison:
    """Fit several models to the same data, and say which of them the data tell apart.

    **Arguments:**

    - `experiment`: what was trained and seen; its model is replaced by each of
      `models`. Known numbers stay. Models without layers need observables of the
      function.
    - `data`, `starts`, `bounds`: as for `lazyrich_jax.inference.fit`.
    - `unknown`: names of parameters of any model; each model takes its own. In place of
      an unknown `lmda` the lazy limit has an unknown `rate`, and the wide class an
      unknown `mu`, with `lmda = 0` where only the function is seen.
    - `by`: the log-likelihood with Akaike's criterion, or the log-likelihood of times
      that are held out, every fifth one together; with a `key` they are drawn.
    - `folds`: how often times are held out, 5 by default.

    **Returns:** a `Comparison`.

    **Raises:** `ValueError` or `TypeError` that name the argument, before anything is
    compiled.

    A shallow network and the lazy limit learn the same function, at a rate of their
    own, unless fewer hidden units than inputs and outputs limit the latter. Both are
    then limits of balanced and wide networks of large balances.
    """
    _checks.instance("experiment", experiment, Experiment, "see `Experiment`")
    plans = _plans(experiment, models, unknown, bounds)
    checked = checked_data(experiment, data)
    for variant, coordinates, _ in plans.values():
        enough_data(variant, checked, coordinates)
    _checks.require(
        by in ("likelihood", "cross-validation"),
        f'`by` must be "likelihood" or "cross-validation", but it was {by!r}.',
    )
    _checks.size("starts", starts)
    times = experiment.times.size
    folds = _checks.size("folds", folds, least=2)
    _checks.require(
        folds <= times,
        f"`folds` must be at most the number of times, {times}, but it was {folds}.",
    )
    seed = 0 if key is None else int(jax.random.randint(key, (), 0, 2**31 - 1))
    fold = np.arange(times) % folds
    if key is not None:
        fold = np.asarray(jax.random.permutation(key, jnp.asarray(fold)))
    fits, scores = {}, {}
    for name, (variant, coordinates, box) in plans.items():
        fits[name] = estimate(variant, checked, coordinates, box, starts, seed)
        if by == "cross-validation":
            scores[name] = _score(fits[name], checked, fold, starts, seed)
    return _compared(experiment, plans, fits, scores)


class _Plan(NamedTuple):
    experiment: Experiment
    coordinates: Coordinates
    box: tuple[np.ndarray, np.ndarray]


def _plans(
    experiment: Experiment, models: Any, unknown: Any, bounds: Any
) -> dict[str, _Plan]:
    models = (models,) if isinstance(models, str) else tuple(models)
    _checks.require(
        len(models) > 0
        and set(models) <= set(MODELS)
        and len(set(models)) == len(models),
        f"`models` must be different names of {list(MODELS)}, at least one, but it was "
        f"{models}.",
    )
    unknown = (unknown,) if isinstance(unknown, str) else tuple(unknown)
    variants = {model: _variant(experiment, model) for model in models}
    allowed = {name for x in variants.values() for name in x.parameters}
    for name in unknown:
        _checks.require(
            name in allowed,
            f"`unknown` must be names of {sorted(allowed)}, but it had {name!r}.",
        )
    plans, seen = {}, set()
    for model, variant in variants.items():
        names = checked_names(variant, _own(variant, unknown))
        coordinates = Coordinates(variant, names)
        own = {k: v for k, v in (bounds or {}).items() if k in names}
        if "lmda" in own:
            unit = float(experiment.known["scale"]) ** 2
            coordinates = coordinates.anchored(unit)
        seen |= set(names)
        plans[model] = _Plan(variant, coordinates, limits(variant, coordinates, own))
    for name in bounds or {}:
        _checks.require(
            name in seen,
            f"`bounds` must name unknown parameters, {sorted(seen)}, but it named "
            f"{name!r}.",
        )
    return plans


def _own(variant: Experiment, unknown: tuple[str, ...]) -> tuple[str, ...]:
    """The unknown parameters of one model."""
    names = [name for name in unknown if name in variant.parameters]
    if "lmda" in unknown:
        if variant.model == "lazy" and "rate" not in names:
            names.append("rate")
        if variant.model == "wide" and "mu" not in names:
            names.append("mu")
            if not _sees_layers(variant):
                names.remove("lmda")
    return tuple(names)


def _sees_layers(experiment: Experiment) -> bool:
    return any(OBSERVABLES[name].layers for name in experiment.observe)


def _variant(experiment: Experiment, model: str) -> Experiment:
    """The experiment with another model of the network."""
    if model == experiment.model:
        return experiment
    n_in, hidden, n_out = experiment.sizes
    if model == "wide" and hidden < n_in + n_out:
        hidden = n_in + n_out
    elif experiment.model == "wide":
        hidden = min(hidden, n_in, n_out)
    known = dict(experiment.known)
    start: Any = "aligned"
    if experiment.start == "function":
        start = known.pop("function")
        start = start if np.all(np.isfinite(start)) else "any"
    else:
        strengths = np.asarray(known["strengths"])
        missing = min(n_in, hidden, n_out) - len(strengths)
        known["strengths"] = jnp.asarray(np.pad(strengths, (0, max(missing, 0))))
    if model == "wide":
        known["lmda"] = jnp.zeros_like(known["lmda"])
    elif model != "balanced":
        known.pop("weight_decay", None)
    if model != "wide":
        known.pop("mu", None)
    return Experiment(
        experiment.task,
        experiment.times,
        observe=experiment.observe[0] if experiment.single else experiment.observe,
        noise=experiment.noise,
        hidden_size=hidden,
        start=start,
        model=model,  # pyright: ignore[reportArgumentType]
        x=experiment.x,
        slope=experiment.slope,
        **known,
    )


@eqx.filter_jit
def _deviances(
    experiment: Experiment, values: dict[str, Array], data: Data
) -> list[Array]:
    """Deviances at one set of values per row, (rows, times, ...) of each observable."""

    def one(numbers):
        predicted = experiment.predict(**numbers)
        if experiment.single:
            predicted = {experiment.observe[0]: predicted}
        return [
            law.deviance(y[0], predicted[name])
            for law, name, y in zip(
                experiment.noise, experiment.observe, data.values, strict=True
            )
        ]

    return jax.vmap(one)(values)


class _Terms(NamedTuple):
    """What the log-likelihood of one observable is made of."""

    sd: float | None
    constant: np.ndarray  # (times, ...)
    deviance: np.ndarray  # (rows, times, ...)
    weight: np.ndarray  # (times, ...), 0 or 1

    def level(self, chosen: np.ndarray, share: float) -> np.ndarray:
        """The level of noise of each row, from weights `chosen`, (rows, times, ...)."""
        if self.sd is not None:
            return np.full(len(chosen), float(self.sd))
        axes = tuple(range(1, chosen.ndim))
        total = np.sum(np.where(chosen > 0, self.deviance, 0.0), axis=axes)
        count = np.sum(chosen, axis=axes) * share
        return np.sqrt(np.maximum(total / np.maximum(count, 1e-9), 1e-300))

    def log_likelihood(self, sd: np.ndarray) -> np.ndarray:
        """(rows, times)."""
        sd = sd.reshape(-1, *(1 for _ in self.weight.shape))
        unit = 1.0 if self.sd is not None else sd  # already in units of a given one
        value = self.constant - self.deviance / (2 * unit**2) - np.log(sd)
        value = np.where(self.weight > 0, value, 0.0)
        return value.reshape(*value.shape[:2], -1).sum(axis=-1)


def _terms(
    experiment: Experiment, values: Mapping[str, np.ndarray], data: Data
) -> list[_Terms]:
    """Terms of one set of values per row, with `data` of one row."""
    dtype = experiment.times.dtype
    numbers = {name: jnp.asarray(x, dtype) for name, x in values.items()}
    deviances = _deviances(with_traced_levels(experiment), numbers, data)
    return [
        _Terms(
            law.sd,
            np.asarray(law.constant(y[0])),
            np.asarray(d),
            np.asarray(w[0] > 0, float),
        )
        for law, y, w, d in zip(
            experiment.noise, data.values, data.weights, deviances, strict=True
        )
    ]


def _score(
    fit: Estimate, data: Data, fold: np.ndarray, starts: int, seed: int
) -> np.ndarray:
    """The log-likelihood of each time, predicted from the other folds, (times,)."""
    folds = int(fold.max()) + 1
    training = fold[None] != np.arange(folds)[:, None]  # (folds, times)

    def rows(x: Array) -> Array:
        return jnp.broadcast_to(x, (folds, *x.shape[1:]))

    def trained(w: Array) -> Array:
        mask = training.reshape(folds, -1, *(1 for _ in w.shape[2:]))
        return rows(w) * jnp.asarray(mask, w.dtype)

    # Weights of the fit: several observables keep their relative levels.
    several = Data(
        tuple(map(rows, fit.data.values)), tuple(map(trained, fit.data.weights))
    )
    misfit = Misfit(fit.experiment, fit.coordinates, several)
    best = best_of_each(misfit, starts, fit.bounds, seed)
    terms = _terms(fit.experiment, best.values, data)
    count = sum(np.asarray(w > 0).sum() for w in several.weights) / folds
    share = max(1 - len(fit.labels) / count, 1 / count)
    total = np.zeros((folds, len(fold)))
    for term in terms:
        mask = training.reshape(folds, -1, *(1 for _ in term.weight.shape[1:]))
        total += term.log_likelihood(term.level(mask * term.weight[None], share))
    return total[fold, np.arange(len(fold))]


def _compared(
    experiment: Experiment,
    plans: Mapping[str, _Plan],
    fits: dict[str, Estimate],
    scores: dict[str, np.ndarray],
) -> Comparison:
    levels = sum(law.sd is None for law in experiment.noise)
    likelihood, identified = {}, {}
    for model, fit in fits.items():
        values = {name: x[None] for name, x in fit.values.items()}
        likelihood[model] = 0.0
        for term in _terms(fit.experiment, values, fit.data):
            sd = term.level(term.weight[None], 1.0)
            likelihood[model] += float(term.log_likelihood(sd).sum())
        identified[model] = rank(fit.hessian) + levels
    aic = {model: 2 * identified[model] - 2 * likelihood[model] for model in fits}
    if scores:
        best = min(
            scores,
            key=lambda x: (round(-float(np.sum(scores[x])), 1), len(fits[x].labels)),
        )
        equal = [
            model
            for model, x in scores.items()
            if model != best and not _differ(scores[best], x)
        ]
    else:
        best = min(
            aic, key=lambda model: (round(aic[model], 1), len(fits[model].labels))
        )
        equal = [x for x in aic if x != best and aic[x] - aic[best] < EQUAL]
    return Comparison(
        observe=experiment.observe,
        fits=fits,
        log_likelihood=likelihood,
        parameters={model: len(fit.labels) + levels for model, fit in fits.items()},
        identified=identified,
        aic=aic,
        score=scores,
        tests=_tests(plans, likelihood),
        best=best,
        equal=tuple(equal),
        notes=_notes(plans, fits),
    )


def _differ(best: np.ndarray, other: np.ndarray) -> bool:
    difference = best - other
    error = np.std(difference, ddof=1) * np.sqrt(len(difference))
    return bool(np.sum(difference) > EQUAL * error)


def _tests(
    plans: Mapping[str, _Plan], likelihood: Mapping[str, float]
) -> tuple[Nested, ...]:
    """Tests of all pairs of models of which one contains the other."""
    tests = []
    for simple, larger in (
        ("lazy", "balanced"),
        ("shallow", "balanced"),
        ("lazy", "wide"),
        ("shallow", "wide"),
        ("shallow", "lazy"),
    ):
        if not {simple, larger} <= set(plans):
            continue
        inner, outer = plans[simple], plans[larger]
        limit = larger != "lazy"
        free = {*outer.coordinates.names}
        own = {"lmda", "mu"} & free if limit else {"rate"} & free
        # Products of a large balance and the rate are the simple model's rate.
        nested = bool(own) and "rate" in free
        nested &= (
            set(inner.coordinates.names) | own == free
            if limit
            else (
                set(inner.coordinates.names) | {"rate"} == free
                and "rate" not in inner.coordinates.names
            )
        )
        if simple == "shallow" or larger == "wide":
            nested &= _lazy_is_shallow(inner.experiment)
        if not nested:
            continue
        ratio = max(0.0, 2 * (likelihood[larger] - likelihood[simple]))
        chance = float(stats.chi2.sf(ratio, 1))
        if limit and ratio > 1e-6:
            chance /= 2
        tests.append(Nested(simple, larger, ratio, chance, limit))
    return tuple(tests)


def _lazy_is_shallow(experiment: Experiment) -> bool:
    """Whether the lazy limit of these sizes learns the whole task."""
    n_in, hidden, n_out = experiment.sizes
    return hidden in (n_in, n_out) or experiment.model == "wide"


def _notes(plans: Mapping[str, _Plan], fits: Mapping[str, Estimate]) -> tuple[str, ...]:
    """Why some models are the same."""
    notes = []
    any_plan = next(iter(plans.values())).experiment
    if {"balanced", "wide"} <= set(plans) and not _sees_layers(any_plan):
        n_in, hidden, n_out = plans["balanced"].experiment.sizes
        fit = fits["balanced"]
        lmda = float({**fit.experiment.known, **fit.values}["lmda"])
        if any_plan.start == "aligned":
            why = "a start aligned with the task"
        elif hidden == n_out and lmda >= 0:
            why = "as many hidden units as outputs and a positive balance"
        elif hidden == n_in and lmda <= 0:
            why = "as many hidden units as inputs and a negative balance"
        else:
            why = ""
        if why:
            notes.append(
                f"Balanced and wide networks learn the same functions with {why}."
            )
    if {"shallow", "lazy"} <= set(plans):
        shallow, lazy = plans["shallow"], plans["lazy"]
        rates = ["rate" in x.coordinates.names for x in (shallow, lazy)]
        if all(rates) and _lazy_is_shallow(lazy.experiment):
            notes.append(
                "The lazy limit and a shallow network learn the same functions."
            )
    return tuple(notes)
