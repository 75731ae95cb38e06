"""Which model describes data: balanced, wide, shallow or lazy."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from scipy import stats

from .. import _checks
from .arguments import seed_of
from .data import checked_data, enough_data
from .estimate import Estimate, estimate
from .experiment import Experiment
from .held_out import held_out_score, terms_of
from .identified import rank
from .variants import Plan, lazy_is_shallow, notes_on, plans_of

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
    plans = plans_of(experiment, models, unknown, bounds)
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
    seed = seed_of(key)
    fold = np.arange(times) % folds
    if key is not None:
        fold = np.asarray(jax.random.permutation(key, jnp.asarray(fold)))
    fits, scores = {}, {}
    for name, (variant, coordinates, box) in plans.items():
        fits[name] = estimate(variant, checked, coordinates, box, starts, seed)
        if by == "cross-validation":
            scores[name] = held_out_score(fits[name], checked, fold, starts, seed)
    return _compared(experiment, plans, fits, scores)


def _compared(
    experiment: Experiment,
    plans: Mapping[str, Plan],
    fits: dict[str, Estimate],
    scores: dict[str, np.ndarray],
) -> Comparison:
    levels = sum(law.sd is None for law in experiment.noise)
    likelihood, identified = {}, {}
    for model, fit in fits.items():
        values = {name: x[None] for name, x in fit.values.items()}
        likelihood[model] = 0.0
        for term in terms_of(fit.experiment, values, fit.data):
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
        notes=notes_on(plans, _balance(fits)),
    )


def _balance(fits: Mapping[str, Estimate]) -> float:
    """That of the fitted balanced network; NaN without one."""
    if "balanced" not in fits:
        return float("nan")
    fit = fits["balanced"]
    return float({**fit.experiment.known, **fit.values}["lmda"])


def _differ(best: np.ndarray, other: np.ndarray) -> bool:
    difference = best - other
    error = np.std(difference, ddof=1) * np.sqrt(len(difference))
    return bool(np.sum(difference) > EQUAL * error)


def _tests(
    plans: Mapping[str, Plan], likelihood: Mapping[str, float]
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
            nested &= lazy_is_shallow(inner.experiment)
        if not nested:
            continue
        ratio = max(0.0, 2 * (likelihood[larger] - likelihood[simple]))
        chance = float(stats.chi2.sf(ratio, 1))
        if limit and ratio > 1e-6:
            chance /= 2
        tests.append(Nested(simple, larger, ratio, chance, limit))
    return tuple(tests)
