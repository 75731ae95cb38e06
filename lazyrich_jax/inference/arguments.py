"""Arguments of an experiment, checked."""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from .. import _checks, _dtypes
from .._network import LinearNetwork
from .._task import Task
from .noise import AbstractNoise, Additive, Counts
from .observables import OBSERVABLES


def one_of(name: str, value: Any, allowed: Collection[str]) -> None:
    """Refuse a value that is not one of the names allowed."""
    if not isinstance(value, str) or value not in allowed:
        listed = ", ".join(repr(x) for x in allowed)
        name = name if " " in name else f"`{name}`"
        raise ValueError(f"{name} must be one of {listed}, but it was {value!r}.")


def observed(observe: Any, model: str) -> tuple[tuple[str, ...], bool]:
    """The names of the observables, and whether one was given by its name alone."""
    single = isinstance(observe, str)
    names = (observe,) if single else tuple(observe)
    _checks.require(
        len(names) > 0 and len(set(names)) == len(names),
        f"`observe` must be different names, at least one, but it was {observe!r}.",
    )
    for name in names:
        one_of("observe", name, OBSERVABLES)
        _checks.require(
            model in ("balanced", "wide") or not OBSERVABLES[name].layers,
            f"`observe` must depend on the function alone in the {model} model, but it "
            f"was {name!r}.",
        )
    return names, single


def laws(noise: Any, observe: tuple[str, ...]) -> tuple[AbstractNoise, ...]:
    """One law of noise for each observable."""
    if noise is None:
        given = tuple(Counts() if x == "choices" else Additive() for x in observe)
    else:
        given = (noise,) * len(observe) if isinstance(noise, AbstractNoise) else noise
        given = tuple(given)
    _checks.require(
        len(given) == len(observe),
        f"`noise` must be one law for each of the {len(observe)} observables, but there"
        f" were {len(given)}.",
    )
    for law, name in zip(given, observe, strict=True):
        _checks.instance("noise", law, AbstractNoise, "for example `Additive(0.01)`")
        if isinstance(law, Counts):
            right = {"choices": law.trials is None, "accuracy": law.trials is not None}
            _checks.require(
                right.get(name, False),
                '`noise` must be `Counts()` for "choices" or `Counts(trials)` for '
                f'"accuracy" only, but it was {law} for {name!r}.',
            )
    return given


def task_of_sizes(
    sizes: Any, hidden_size: int | None, observe: tuple[str, ...]
) -> tuple[Task, int]:
    """A task of these sizes, whose strengths stand for unknown ones."""
    if not isinstance(sizes, tuple | list) or len(sizes) != 3:
        _checks.instance("task", sizes, Task, "or give sizes (in, hidden, out)")
    n_in, hidden, n_out = (_checks.size("task", n) for n in sizes)
    _checks.require(
        hidden_size is None,
        "`hidden_size` must not be given beside sizes, but it was.",
    )
    for name in observe:
        _checks.require(
            not OBSERVABLES[name].frames,
            f"`task` must be a `Task` to observe {name!r}, which depends on its "
            f"singular vectors, but it was the sizes {tuple(sizes)}.",
        )
    diagonal = np.eye(n_out, n_in) * (1.0 + np.arange(n_in, 0, -1.0))
    return Task.from_correlation(diagonal.astype(jnp.result_type(float))), hidden


def start_function(start: Any, n_out: int, n_in: int) -> Array:
    """The start function; NaN for "any"."""
    if isinstance(start, str):
        one_of("start", start, ("aligned", "any"))
        return jnp.full((n_out, n_in), jnp.nan)
    if isinstance(start, LinearNetwork):
        raise TypeError(
            "`start` must be a function (out, in): pass `network.function`."
        )
    function = _checks.as_matrix("start", start)
    _checks.require(
        function.shape == (n_out, n_in),
        f"`start` must fit the task, {(n_out, n_in)}, but its shape was "
        f"{function.shape}.",
    )
    return function


def per_mode(name: str, value: Any, modes: int) -> Array:
    """One non-negative number for each mode."""
    array = _checks.positive(name, _dtypes.as_real(name, value), zero=True)
    _checks.require(
        array.shape in ((), (modes,)),
        f"`{name}` must be one number or one for each of the {modes} modes, but its "
        f"shape was {array.shape}.",
    )
    return jnp.broadcast_to(array, (modes,))


def as_times(value: Any) -> Array:
    """Finite times in order."""
    times = _dtypes.as_real("times", value)
    _checks.require(
        times.ndim == 1 and times.size > 0,
        f"`times` must be a vector, not empty, but its shape was {times.shape}.",
    )
    values = _checks.known(times)
    if values is not None:
        fault = _checks.times_fault(values, ordered=True, infinite=False)
        _checks.require(fault is None, (fault or "").replace("`ts", "`times"))
    return times


def check_known(given: Mapping[str, Array]) -> None:
    """Refuse known numbers that no network has."""
    for name in ("scale", "rate", "mu"):
        if name in given:
            _checks.positive(name, given[name])
    _checks.finite("lmda", given["lmda"])
    _checks.positive("weight_decay", given["weight_decay"], zero=True)


def seed_of(key: PRNGKeyArray | None) -> int:
    """A seed of candidates; without a key always the same."""
    if key is None:
        return 0
    _checks.random_key(key)
    return int(jax.random.randint(key, (), 0, 2**31 - 1))
