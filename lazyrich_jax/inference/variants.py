"""The models that describe one experiment, each with its unknown numbers."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import _checks
from .coordinates import Coordinates, checked_names
from .experiment import Experiment
from .learner import MODELS
from .observables import OBSERVABLES
from .ranges import limits


class Plan(NamedTuple):
    """One model of an experiment, with its coordinates and their box."""

    experiment: Experiment
    coordinates: Coordinates
    box: tuple[np.ndarray, np.ndarray]


def plans_of(
    experiment: Experiment, models: Any, unknown: Any, bounds: Any
) -> dict[str, Plan]:
    """A plan for each model; `unknown` and `bounds` have names of any of them.

    **Raises:** `ValueError` for other models and names.
    """
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
        plans[model] = Plan(variant, coordinates, limits(variant, coordinates, own))
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
    _checks.require(
        not experiment.steps,
        "`experiment` must be one without `steps` to be compared with the model "
        f"{model!r}, but `steps` was true.",
    )
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
        **known,  # pyright: ignore[reportArgumentType]
    )


def lazy_is_shallow(experiment: Experiment) -> bool:
    """Whether the lazy limit of these sizes learns the whole task."""
    n_in, hidden, n_out = experiment.sizes
    return hidden in (n_in, n_out) or experiment.model == "wide"


def notes_on(plans: Mapping[str, Plan], lmda: float) -> tuple[str, ...]:
    """Why some models are the same, with a balance `lmda` of the balanced one."""
    notes = []
    any_plan = next(iter(plans.values())).experiment
    if {"balanced", "wide"} <= set(plans) and not _sees_layers(any_plan):
        n_in, hidden, n_out = plans["balanced"].experiment.sizes
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
        if all(rates) and lazy_is_shallow(lazy.experiment):
            notes.append(
                "The lazy limit and a shallow network learn the same functions."
            )
    return tuple(notes)
