"""Log-likelihoods of observables: of fitted times, and of held-out ones."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._xla import outermost
from .data import Data, Misfit, with_traced_levels
from .estimate import Estimate, best_of_each
from .experiment import Experiment


@outermost
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


class Terms(NamedTuple):
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


def terms_of(
    experiment: Experiment, values: Mapping[str, np.ndarray], data: Data
) -> list[Terms]:
    """Terms of one set of values per row, with `data` of one row."""
    dtype = experiment.times.dtype
    numbers = {name: jnp.asarray(x, dtype) for name, x in values.items()}
    deviances = _deviances(with_traced_levels(experiment), numbers, data)
    return [
        Terms(
            law.sd,
            np.asarray(law.constant(y[0])),
            np.asarray(d),
            np.asarray(w[0] > 0, float),
        )
        for law, y, w, d in zip(
            experiment.noise, data.values, data.weights, deviances, strict=True
        )
    ]


def held_out_score(
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
    terms = terms_of(fit.experiment, best.values, data)
    count = sum(np.asarray(w > 0).sum() for w in several.weights) / folds
    share = max(1 - len(fit.labels) / count, 1 / count)
    total = np.zeros((folds, len(fold)))
    for term in terms:
        mask = training.reshape(folds, -1, *(1 for _ in term.weight.shape[1:]))
        total += term.log_likelihood(term.level(mask * term.weight[None], share))
    return total[fold, np.arange(len(fold))]
