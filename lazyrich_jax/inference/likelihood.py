"""The logarithm of the likelihood, for samplers."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .coordinates import Coordinates, checked_names
from .data import Data, checked_data, with_traced_levels
from .experiment import Experiment

LEVELS = (-40.0, 40.0)  # logarithms of a level of noise


class LogLikelihood(eqx.Module):
    """The logarithm of the likelihood of unknown numbers.

    It is a function of the vector of coordinates, all of them unconstrained, or of a
    dict of the numbers themselves. Both have the same value: a density of coordinates
    needs a prior of coordinates. It works under jit, vmap and grad. Its value is
    -infinity, with a derivative of zero, beyond the range of coordinates, and
    -infinity where the theory has no value.

    **Attributes:**

    - `labels`: a name for each coordinate: those of `lazyrich_jax.inference.fit`, then
      "noise" (for several observables "noise[loss]" and so on) for the logarithm of
      each unknown standard deviation.
    """

    experiment: Experiment
    coordinates: Coordinates
    data: Data
    constant: Float[Array, ""]
    levels: tuple[str, ...] = eqx.field(static=True)  # observables of unknown level
    low: Float[Array, " k"]
    high: Float[Array, " k"]

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each coordinate."""
        return self.coordinates.labels + tuple(map(self._noise_label, self.levels))

    def encode(self, values: Mapping[str, Any]) -> Float[np.ndarray, " k"]:
        """The coordinates of numbers by name; concrete numbers only.

        Levels of noise have the names "noise" or "noise[loss]". Known numbers may be
        missing.
        """
        self._check_names(values)
        known = {name: np.asarray(x) for name, x in self.experiment.known.items()}
        given = {name: np.asarray(x, float) for name, x in values.items()}
        shapes = dict(zip(self.coordinates.names, self.coordinates.shapes, strict=True))
        for name, shape in shapes.items():
            if name != "function" and given[name].ndim == 0:
                given[name] = np.broadcast_to(given[name], shape)
        u = self.coordinates.encode({**known, **given})
        levels = [np.log(given[self._noise_label(x)]).reshape(1) for x in self.levels]
        return np.concatenate([u, *levels])

    def decode(self, u: Float[Array, " k"]) -> dict[str, Array]:
        """The unknown numbers at these coordinates, by name."""
        size = len(self.coordinates.labels)
        complete = self.coordinates.decode(u[:size], self.experiment.known)
        values = {name: complete[name] for name in self.coordinates.names}
        for name, x in zip(self.levels, u[size:], strict=True):
            values[self._noise_label(name)] = jnp.exp(x)
        return values

    def __call__(self, point: Real[ArrayLike, " k"] | Mapping[str, Any]) -> Array:
        """The logarithm of the likelihood, a scalar.

        **Raises:** `ValueError` for a vector of another size and a dict with other
        names.
        """
        if isinstance(point, Mapping):
            self._check_names(point)
            values = {name: self._as_value(name, x) for name, x in point.items()}
            return _of_values(self, values)
        u = _dtypes.as_real("point", point).astype(self.experiment.times.dtype)
        _checks.require(
            u.shape == (len(self.labels),),
            f"`point` must be a vector of {len(self.labels)} coordinates, but its "
            f"shape was {u.shape}; for many points use `jax.vmap`.",
        )
        return _of_coordinates(self, u)

    def _as_value(self, name: str, value: Any) -> Array:
        value = _dtypes.as_real(name, value).astype(self.experiment.times.dtype)
        shapes = dict(zip(self.coordinates.names, self.coordinates.shapes, strict=True))
        shape = shapes.get(name, ())
        if name != "function" and value.ndim == 0:
            value = jnp.broadcast_to(value, shape)
        _checks.require(
            value.shape == shape,
            f"`{name}` must have the shape {shape}, but its shape was {value.shape}.",
        )
        return value

    def _check_names(self, values: Mapping[str, Any]) -> None:
        names = {*self.coordinates.names, *map(self._noise_label, self.levels)}
        _checks.require(
            set(values) == names,
            f"`point` must be a dict with {sorted(names)}, but it had "
            f"{sorted(map(str, values))}.",
        )

    def _noise_label(self, observable: str) -> str:
        return "noise" if self.experiment.single else f"noise[{observable}]"


def log_likelihood(
    experiment: Experiment, data: Any, unknown: Sequence[str] = ("lmda", "scale")
) -> LogLikelihood:
    """The logarithm of the likelihood as a function, for blackjax, numpyro and others.

    **Arguments:** `experiment`, `data`, `unknown` as for `lazyrich_jax.inference.fit`.

    **Returns:** a `LogLikelihood`. Unknown levels of noise are coordinates, too.

    **Raises:** `ValueError` or `TypeError` that name the argument.

    An unknown start function is sampled as it is: its entries are coordinates, and the
    solution is differentiable in them, also where singular values cross. Sampling the
    singular vectors of the start, to marginalise them, fails: few of the sampled frames
    fit, and their weights vary over many orders of magnitude.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(levels=2)
    noise = lr.inference.Relative(0.01)
    experiment = lr.inference.Experiment(task, jnp.linspace(0, 9, 50), noise=noise)
    data = experiment.simulate(lmda=2.0, key=jax.random.key(0))
    log_density = lr.inference.log_likelihood(experiment, data, ("lmda", "rate"))
    point = log_density.encode({"lmda": 2.0, "rate": 1.0})
    print(log_density(point), jax.grad(log_density)(jnp.asarray(point)))
    ```
    """
    _checks.instance("experiment", experiment, Experiment, "see `Experiment`")
    names = checked_names(experiment, unknown)
    checked = checked_data(experiment, data)
    checked = jax.tree.map(lambda x: x[0], checked)
    constant = sum(
        jnp.sum(jnp.where(w > 0, law.constant(y), 0.0))
        for law, y, w in zip(
            experiment.noise, checked.values, checked.weights, strict=True
        )
    )
    pairs = zip(experiment.noise, experiment.observe, strict=True)
    levels = tuple(name for law, name in pairs if law.sd is None)
    coordinates, dtype = Coordinates(experiment, names), experiment.times.dtype
    low, high = coordinates.bounds
    low = np.append(low, [LEVELS[0]] * len(levels))
    high = np.append(high, [LEVELS[1]] * len(levels))
    return LogLikelihood(
        with_traced_levels(experiment),
        coordinates,
        checked,
        jnp.asarray(constant),
        levels,
        jnp.asarray(low, dtype),
        jnp.asarray(high, dtype),
    )


@eqx.filter_jit
def _of_coordinates(of: LogLikelihood, u: Float[Array, " k"]) -> Array:
    low, high = of.low.astype(u.dtype), of.high.astype(u.dtype)
    inside = jnp.all((u >= low) & (u <= high))
    # Derivatives beyond the range would be NaN at the point itself.
    safe = jnp.where(inside, u, jnp.clip(jnp.nan_to_num(u), low, high))
    value = _value(of, of.decode(safe))
    return jnp.where(inside, value, -jnp.inf)


@eqx.filter_jit
def _of_values(of: LogLikelihood, values: dict[str, Array]) -> Array:
    return _value(of, values)


def _value(of: LogLikelihood, values: dict[str, Array]) -> Array:
    numbers = {name: values[name] for name in of.coordinates.names}
    predicted = of.experiment.predict(**numbers)
    if of.experiment.single:
        predicted = {of.experiment.observe[0]: predicted}
    total = of.constant
    for law, name, y, w in zip(
        of.experiment.noise,
        of.experiment.observe,
        of.data.values,
        of.data.weights,
        strict=True,
    ):
        deviance = jnp.sum(jnp.where(w > 0, law.deviance(y, predicted[name]), 0.0))
        if name in of.levels:
            sd = values[of._noise_label(name)]
            total = total - deviance / (2 * sd**2) - jnp.sum(w) * jnp.log(sd)
        else:
            sd = jnp.asarray(law.sd, deviance.dtype)
            total = total - deviance / 2 - jnp.sum(w) * jnp.log(sd)
    return jnp.where(jnp.isfinite(total), total, -jnp.inf)
