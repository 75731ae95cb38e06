"""Data of an experiment: checked, with weights for missing and repeated entries."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .. import _checks
from .coordinates import Coordinates
from .experiment import Experiment
from .noise import AbstractNoise
from .observables import OBSERVABLES


class Data(eqx.Module):
    """Observations with their weights, each (curves, times, ...)."""

    values: tuple[Array, ...]
    weights: tuple[Array, ...]

    @property
    def curves(self) -> int:
        """The number of data sets."""
        return self.values[0].shape[0]

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of observations of each observable in all data sets."""
        return tuple(int(np.count_nonzero(w)) for w in self.weights)

    @property
    def per_curve(self) -> Int[np.ndarray, " curves"]:
        """The number of observations of each data set."""
        parts = [np.asarray(w).reshape(self.curves, -1) for w in self.weights]
        return np.count_nonzero(np.concatenate(parts, axis=1), axis=1)


class Misfit(eqx.Module):
    """Residuals of coordinates against one of several data sets."""

    experiment: Experiment
    coordinates: Coordinates
    data: Data

    def __init__(self, experiment: Experiment, coordinates: Coordinates, data: Data):
        self.experiment = with_traced_levels(experiment)
        self.coordinates, self.data = coordinates, data

    def __call__(
        self, u: Float[Array, " unknowns"], row: Int[Array, ""]
    ) -> Float[Array, " observations"]:
        """Weighted residuals at `u` of the data set `row`."""
        values = self.coordinates.decode(u, self.experiment.known)
        chosen = jax.tree.map(lambda x: x[row], self.data)
        return self.experiment.residuals(values, chosen.values, chosen.weights)


def with_traced_levels(experiment: Experiment) -> Experiment:
    """The experiment for programs, which don't depend on its levels of noise."""
    dtype = experiment.times.dtype

    def as_array(x):
        return jnp.asarray(x, dtype) if isinstance(x, float) else x

    return jax.tree.map(as_array, experiment)


def checked_data(experiment: Experiment, data: Any, *, curves: bool = False) -> Data:
    """Data of an experiment, or of several with `curves`.

    Masked entries are missing. Of a symmetric observable with symmetric data the upper
    triangle counts.

    **Raises:** `ValueError` or `TypeError` for other names or shapes and for data that
    are not finite or have no likelihood.
    """
    if experiment.single and not isinstance(data, Mapping):
        data = {experiment.observe[0]: data}
    if not isinstance(data, Mapping) or set(data) != set(experiment.observe):
        was = sorted(map(str, data)) if isinstance(data, Mapping) else type(data)
        raise ValueError(
            f"`data` must be a dict with {list(experiment.observe)}, but it was {was}."
        )
    pairs = [
        _observed(experiment, name, data[name], curves) for name in experiment.observe
    ]
    rows = {y.shape[0] for y, _ in pairs}
    _checks.require(
        len(rows) == 1,
        "`data` must have the same number of curves for each observable, but they had "
        f"{sorted(rows)}.",
    )
    dtype = experiment.times.dtype
    return Data(
        tuple(jnp.asarray(y, dtype) for y, _ in pairs),
        tuple(jnp.asarray(w, dtype) for _, w in pairs),
    )


def _observed(
    experiment: Experiment, name: str, given: Any, curves: bool
) -> tuple[np.ndarray, np.ndarray]:
    shown = f'data["{name}"]' if not experiment.single else "data"
    missing = np.ma.getmaskarray(given) if np.ma.isMaskedArray(given) else None
    try:
        y = np.array(np.ma.getdata(given), float)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`{shown}` must be an array of numbers, but it was a "
            f"`{type(given).__name__}`."
        ) from error
    kind = OBSERVABLES[name]
    n_in, _, n_out = experiment.sizes
    own = kind.shape((n_in, n_out), experiment.x.shape[0])
    expected = (experiment.times.size, *own)
    hint = ""
    if y.ndim == len(expected) + 1 and not curves:
        hint = "; for many curves use `lazyrich_jax.inference.fit_curves`"
    _checks.require(
        y.ndim == len(expected) + curves and y.shape[int(curves) :] == expected,
        f"`{shown}` must have the shape {expected}, the times first, "
        f"{'for each curve, ' if curves else ''}but its shape was {y.shape}{hint}.",
    )
    if not curves:
        y, missing = y[None], None if missing is None else missing[None]
    seen = np.ones(y.shape, bool) if missing is None else ~missing
    law = experiment.noise[experiment.observe.index(name)]
    _check_numbers(shown, y, seen, law if name == "loss" else None, curves)
    law.check(shown, y[seen])
    if name == "choices":  # an item's counts are missing together
        seen = np.broadcast_to(seen.all(axis=-1, keepdims=True), seen.shape)
        seen = seen & (y.sum(axis=-1, keepdims=True) > 0)
    y = np.where(seen, y, 0.5)
    weights = seen.astype(float)
    if kind.symmetric:
        weights = _once(y, weights)
    return y, weights


def _check_numbers(
    shown: str,
    y: np.ndarray,
    seen: np.ndarray,
    positive: AbstractNoise | None,
    curves: bool,
) -> None:
    """Refuse numbers that aren't finite, or further below zero than noise can be.

    `positive` is the law of noise of an observable that is never negative.
    """
    bad = seen & ~np.isfinite(y)
    slacks = [0.0] * len(y)
    if positive is not None:
        of_curve = positive.slack  # looked up once: that is slow
        slacks = [of_curve(x[w]) for x, w in zip(y, seen & ~bad, strict=True)]
        bad |= seen & (y < -np.reshape(slacks, (-1, *(1 for _ in y.shape[1:]))))
    if bad.any():
        i = tuple(int(j) for j in np.argwhere(bad)[0])
        what, slack = "finite", slacks[i[0]]
        if positive is not None:
            what += f" and at least {-slack:.3g}" if slack else " and non-negative"
        raise ValueError(
            f"`{shown}` must be {what}, but it was {float(y[i])} at index "
            f"{i if curves else i[1:]}; mark missing values by "
            "`numpy.ma.masked_invalid`."
        )


def _once(y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights of symmetric matrices, in which each pair of entries counts once."""
    other = np.swapaxes(y, -1, -2)
    both = (weights > 0) & (np.swapaxes(weights, -1, -2) > 0)
    size = np.max(np.abs(y), initial=0.0)
    if np.any(both & (np.abs(y - other) > 1e-9 * size)):
        return weights  # two measurements
    upper = np.triu(np.ones(y.shape[-2:]))
    only = (weights > 0) & ~both
    return np.where(only, weights, weights * upper)


def enough_data(experiment: Experiment, data: Data, coordinates: Coordinates) -> None:
    """Refuse data of fewer observations than unknown numbers and levels of noise."""
    levels = sum(law.sd is None for law in experiment.noise)
    count = int(data.per_curve.min())
    need = len(coordinates.labels) + levels
    _checks.require(
        count >= need,
        f"`data` must have at least {need} observations for the unknown "
        f"{list(coordinates.names)}"
        + (" and the noise" if levels else "")
        + ", but it "
        f"had {count}.",
    )
