"""Fisher information: what an experiment can say before there are data."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks, _dtypes
from .._feasible import feasible_lmda
from .coordinates import Coordinates, checked_names
from .data import with_traced_levels
from .experiment import Experiment
from .identified import Identified, covariance, deviations, identified
from .least_squares import batch_size, linearised, spacing
from .noise import Relative
from .observables import OBSERVABLES

POSITIVE = ("scale", "rate", "mu")
NON_NEGATIVE = ("strengths", "task_strengths", "weight_decay")  # positive if unknown
NOMINAL = 0.01  # noise that words are about where its level is unknown


@dataclasses.dataclass(frozen=True)
class Information:
    """Fisher information at one or many points. `print(information)` explains one.

    Coordinates are those of `lazyrich_jax.inference.fit`: asinh(lmda / scale**2),
    logarithms of positive numbers, entries of a function. The leading axes of all
    arrays are those of the points.

    **Attributes:**

    - `labels`: a name for each of the k coordinates.
    - `matrix`: (..., k, k). With an unknown level of noise it is in units of
      1 / level**2, and standard deviations are in units of the level. NaN where the
      theory has no value.
    - `per_time`: (..., times, k, k), the share of each time.
    """

    experiment: Experiment
    coordinates: Coordinates
    u: Float[np.ndarray, "*points k"]
    matrix: Float[np.ndarray, "*points k k"]
    per_time: Float[np.ndarray, "*points times k k"]
    error: Float[np.ndarray, "*points k"]  # of the root of the matrix's diagonal
    largest: Float[np.ndarray, "*points"]  # prediction

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each coordinate."""
        return self.coordinates.labels

    @property
    def level(self) -> float | None:
        """None if the levels of noise are known, else the one that `identified` takes.

        It is one percent, of the largest prediction where noise is additive.
        """
        if all(law.sd is not None for law in self.experiment.noise):
            return None
        (law,), (name,) = self.experiment.noise, self.experiment.observe
        relative = isinstance(law, Relative) or name == "log excess"
        return NOMINAL * (1.0 if relative else float(np.max(self.largest)))

    @cached_property
    def covariance(self) -> Float[np.ndarray, "*points k k"]:
        """The inverse of the matrix, infinite along directions without information."""
        return covariance(self.matrix, self.error)

    @cached_property
    def sd(self) -> dict[str, np.ndarray]:
        """The least standard deviation of each coordinate by its label.

        The other unknown numbers are unknown. No unbiased estimate has a smaller one.
        """
        return self._by_label(deviations(self.matrix, self.error))

    @cached_property
    def sd_until(self) -> dict[str, np.ndarray]:
        """`sd` from the observations up to each time, (..., times)."""
        so_far = np.cumsum(self.per_time, axis=-3)
        return self._by_label(deviations(so_far, self.error[..., None, :]))

    @property
    def identified(self) -> Identified:
        """What the experiment determines, alone and in combinations (one point only).

        A coordinate is identified if its standard deviation is at most 1: a positive
        number is then known within a factor of e. With an unknown level of noise the
        noise is that of `level`.
        """
        _checks.require(
            self.matrix.ndim == 2,
            "`values` must be one point to say in words what is identified, but there "
            f"were points of shape {self.matrix.shape[:-2]}.",
        )
        unit = 1.0 if self.level is None else self.level
        return identified(
            self.matrix / unit**2, self.coordinates, self.u, self.error / unit
        )

    def knowing(self, *names: str) -> "Information":
        """The information if these unknown numbers were known.

        **Raises:** `ValueError` for names that are not unknown, and for all names.
        """
        own = self.coordinates.names
        rest = tuple(name for name in own if name not in names)
        _checks.require(
            set(names) <= set(own) and len(rest) > 0,
            f"`names` must be some of the unknown {list(own)}, not all, but they were "
            f"{list(names)}.",
        )
        kept = [i for i, x in enumerate(self.labels) if x.split("[")[0] in rest]
        return dataclasses.replace(
            self,
            coordinates=Coordinates(self.experiment, rest),
            u=self.u[..., kept],
            matrix=self.matrix[..., kept, :][..., kept],
            per_time=self.per_time[..., kept, :][..., kept],
            error=self.error[..., kept],
        )

    def _by_label(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {label: rows[..., i] for i, label in enumerate(self.labels)}

    def __str__(self) -> str:
        """What is identified, and when."""
        observed = " and ".join(self.experiment.observe)
        names = ", ".join(self.coordinates.names)
        lines = [f"Fisher information of {observed} on {names}"]
        if self.matrix.ndim > 2:
            lines.append(f"at {np.prod(self.matrix.shape[:-2])} points")
            for label, sd in self.sd.items():
                low, high = np.nanmin(sd), np.nanmax(sd)
                lines.append(f"sd of {label}: {low:.2g} to {high:.2g}")
            return "\n".join(lines)
        if self.level is not None:
            lines[0] += f" (noise of unknown level: words are for {self.level:.2g})"
        lines.append(str(self.identified))
        times = np.asarray(self.experiment.times)
        for label, sd in self.sd_until.items():
            if np.isfinite(sd[-1]):
                i = int(np.argmax(sd <= 2 * sd[-1]))
                lines.append(
                    f"The sd of {label} is within a factor of 2 at time {times[i]:.3g}."
                )
        return "\n".join(lines)


def fisher(
    experiment: Experiment,
    unknown: Sequence[str] = ("lmda", "scale"),
    **values: Any,
) -> Information:
    """Fisher information on unknown numbers, at one point or at many.

    It is the expected one: that of counts is taken with the predicted chances, of one
    choice per time and item unless the law of noise says how many.

    **Arguments:**

    - `experiment`: what is trained and seen. Of several observables each needs a level
      of noise.
    - `unknown`: names of parameters of the experiment.
    - `values`: the point, in place of known numbers. Leading axes, which broadcast, are
      points: 10,000 of them are worked on in batches. `strengths` and `task_strengths`
      end with (modes,), `function` with (out, in); the others are scalars.

    **Returns:** an `Information`.

    **Raises:** `ValueError` or `TypeError` that name the argument, before anything is
    compiled.

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(levels=2)
    noise = lr.inference.Additive(0.01)
    experiment = lr.inference.Experiment(task, jnp.linspace(0, 9, 50), noise=noise)
    lmda = jnp.linspace(0.1, 10, 100)
    information = lr.inference.fisher(experiment, lmda=lmda, scale=0.3)
    print(information.sd["lmda"].shape)  # (100,)
    ```
    """
    _checks.instance("experiment", experiment, Experiment, "see `Experiment`")
    names = checked_names(experiment, unknown, values)
    _levels_known(experiment)
    coordinates = Coordinates(experiment, names)
    complete, lead = _points(experiment, names, values)
    u = coordinates.encode(complete)
    count = u.shape[0]
    size = batch_size(count)
    traced = with_traced_levels(experiment)
    dtype = experiment.times.dtype
    parts = []
    for start in range(0, count, size):
        index = np.minimum(np.arange(start, start + size), count - 1)
        some = {k: jnp.asarray(x[index], dtype) for k, x in complete.items()}
        part = _batch(traced, coordinates, some, jnp.asarray(u[index], dtype))
        parts.append(jax.tree.map(lambda x: np.asarray(x, float), part))
    per_time, error, largest = (
        np.concatenate(x)[:count] for x in zip(*parts, strict=True)
    )

    def shaped(x):
        return x.reshape((*lead, *x.shape[1:]))

    matrix = shaped(per_time.sum(axis=1))
    return Information(
        experiment,
        coordinates,
        shaped(u),
        matrix,
        shaped(per_time),
        shaped(error),
        shaped(largest),
    )


def _levels_known(experiment: Experiment) -> None:
    for law, name in zip(experiment.noise, experiment.observe, strict=True):
        _checks.require(
            experiment.single or len(experiment.noise) == 1 or law.sd is not None,
            "`noise` must have an `sd` for each of several observables, but that of "
            f"the {name} was unknown: their shares of information depend on it.",
        )


def _points(
    experiment: Experiment, names: Sequence[str], values: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
    """Complete numbers, (points, ...) each, and the leading axes."""
    n_in, _, n_out = experiment.sizes
    shapes = {
        "strengths": (min(experiment.sizes),),
        "function": (n_out, n_in),
        "task_strengths": (min(n_in, n_out),),
    }
    given = {k: np.asarray(x, float) for k, x in experiment.known.items()}
    for name, value in values.items():
        _checks.require(
            name in experiment.parameters,
            f"`values` must be numbers of {list(experiment.parameters)}, but they had "
            f"{name!r}.",
        )
        array = np.asarray(_dtypes.as_real(name, value), float)
        own = shapes.get(name, ())
        if name != "function" and array.ndim == 0:
            array = np.broadcast_to(array, own)
        _checks.require(
            array.shape[array.ndim - len(own) :] == own,
            f"`{name}` must have the shape {own} after the axes of points, but its "
            f"shape was {array.shape}.",
        )
        _checks.finite(name, jnp.asarray(array))
        if name in POSITIVE or name in NON_NEGATIVE:
            zero = name in NON_NEGATIVE and name not in names
            _checks.positive(name, jnp.asarray(array), zero=zero)
        given[name] = array
    for name in names:
        _checks.require(
            name in given and bool(np.all(np.isfinite(given[name]))),
            f"`{name}` must have a value where it is unknown, but it had none; pass "
            f"`{name}=...`.",
        )
    if experiment.model == "balanced":
        for extreme in (np.min(given["lmda"]), np.max(given["lmda"])):
            feasible_lmda(jnp.asarray(extreme), experiment.sizes)
    leads = [x.shape[: x.ndim - len(shapes.get(k, ()))] for k, x in given.items()]
    try:
        lead = np.broadcast_shapes(*leads)
    except ValueError as error:
        raise ValueError(
            "`values` must have leading axes that broadcast, but they were "
            f"{dict(zip(given, leads, strict=True))}."
        ) from error
    return {
        name: np.broadcast_to(x, (*lead, *shapes.get(name, ()))).reshape(
            -1, *shapes.get(name, ())
        )
        for name, x in given.items()
    }, lead


@eqx.filter_jit
def _batch(
    experiment: Experiment,
    coordinates: Coordinates,
    values: dict[str, Array],
    u: Float[Array, "points k"],
):
    """Information by time, its error, and the largest prediction, at each point."""
    names = [name for name in experiment.parameters if name in values]

    def one(known, u):
        def standardised(u):
            complete = coordinates.decode(u, known)
            predicted = experiment.predict(**{k: complete[k] for k in names})
            if experiment.single:
                predicted = {experiment.observe[0]: predicted}
            return _standardised(experiment, predicted).ravel()

        r, jacobian = linearised(standardised, u)
        jacobian = jacobian.reshape(experiment.times.size, -1, u.size)
        r = r.reshape(experiment.times.size, -1)
        size = jnp.sqrt(jnp.sum((jnp.abs(r) + _unit(experiment, r)) ** 2))
        error = 16 * jnp.finfo(u.dtype).eps * size / spacing(u)
        per_time = jnp.einsum("tmi,tmj->tij", jacobian, jacobian)
        return per_time, error, jnp.max(jnp.abs(r))

    return jax.vmap(one)(values, u)


def _standardised(
    experiment: Experiment, predicted: Mapping[str, Array]
) -> Float[Array, "times observations"]:
    """Predictions whose data have independent noise of one."""
    parts = []
    for law, name in zip(experiment.noise, experiment.observe, strict=True):
        value = predicted[name]
        z = law.standardised(value)
        if OBSERVABLES[name].symmetric:
            z = jnp.where(jnp.triu(jnp.ones(z.shape[-2:], bool))[None], z, 0.0)
        parts.append(z.reshape(experiment.times.size, -1))
    return jnp.concatenate(parts, axis=-1)


def _unit(experiment: Experiment, r: Float[Array, "times observations"]):
    """What a relative error of one of a prediction changes beside its own size."""
    units = [
        jnp.ones((), r.dtype) / (1.0 if law.sd is None else law.sd)
        for law, name in zip(experiment.noise, experiment.observe, strict=True)
        if isinstance(law, Relative) or name == "log excess"
    ]
    return sum(units, jnp.zeros((), r.dtype))
