"""Fisher information: what an experiment can say before there are data."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks, _dtypes
from .._feasible import feasible_lmda
from .._xla import outermost
from .coordinates import Coordinates, checked_names
from .data import with_traced_levels
from .differences import linearised, spacing
from .experiment import Experiment
from .fisher_information import FisherInformation
from .noise import Relative
from .observables import OBSERVABLES

POSITIVE = ("scale", "rate", "mu")
NON_NEGATIVE = ("strengths", "task_strengths", "weight_decay")  # positive if unknown
SMALL, LARGE = 32, 512  # points in one call


def fisher(
    experiment: Experiment,
    unknown: Sequence[str] = ("lmda", "scale"),
    **values: Any,
) -> FisherInformation:
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

    **Returns:** a `FisherInformation`.

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
    size = SMALL if count <= 4 * SMALL else LARGE
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
    return FisherInformation(
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


@outermost
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
