"""The numbers of a report on outputs, kernels, curvature and last features."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .. import _checks, measures
from .._layers import Layer
from .collected import Collected, without_rounding
from .kernels import kernel_products
from .linearised import linearised
from .probes import last_features
from .question import Question
from .sharpness import LOSSES, sharpness

COLLAPSE = "nc1", "nc2_norms", "nc2_angles", "nc3", "nc4"
OF_LAST_LAYER = "dynamical_richness", *COLLAPSE


def add_outputs(collected: Collected, question: Question) -> int:
    """Losses and the gap of linearisation. Returns the number of outputs."""
    f0, f1 = (
        _checks.finite(f"{name}(x)", function.outputs(question.x))
        for name, function in zip(("start", "end"), question.functions, strict=True)
    )
    targets = question.targets
    if targets is None:
        why = "it needs targets `y`"
        collected.leave_out(("loss", "target_alignment", "sharpness"), why)
    else:
        of_sample = jax.vmap(LOSSES[targets.loss])
        values = targets.values
        if targets.loss == "mse":
            values = values.astype(f0.dtype)
        collected.add(loss=[jnp.mean(of_sample(f, values)) for f in (f0, f1)])
    if collected.wants("linearisation_gap"):
        line = linearised(*question.states, question.x, apply=question.apply)
        collected.add(linearisation_gap=measures.linearisation_gap(f0, f1, line))
    return f0.shape[1]


def add_kernels(
    collected: Collected, question: Question, method: str, directions: int
) -> None:
    """Numbers of the tangent kernels."""
    names = {
        "kernel_distance": ("kernel_distance",),
        "rich_lazy_index": ("rich_lazy_index",),
        "kernel_dimension": ("start_participation_ratio", "end_participation_ratio"),
        "target_alignment": ("start_target_alignment", "end_target_alignment"),
    }
    if not collected.wants(*names):
        return
    products = kernel_products(
        *question.states,
        question.x,
        y=None if question.targets is None else question.targets.matrix,
        apply=question.apply,
        method=method,
        key=question.key if method == "sketch" else None,
        directions=directions,
        memory=question.memory,
    )
    for name, parts in names.items():
        if not collected.wants(name):
            continue
        values = [getattr(products, part) for part in parts]
        collected.add(**{name: values if len(values) > 1 else values[0]})
        if products.replicates is not None:
            collected.errors[name] = max(map(products.standard_error, parts))


def add_curvature(collected: Collected, question: Question) -> None:
    """The sharpness of the loss at the start and the end."""
    if question.targets is None or not collected.wants("sharpness"):
        return
    y, loss = question.targets.values, question.targets.loss
    options: Any = {"apply": question.apply, "loss": loss, "memory": question.memory}
    collected.add(
        sharpness=[
            sharpness(model, question.x, y, **options) for model in question.states
        ]
    )


def add_last_features(
    collected: Collected, question: Question, found: Sequence[Sequence[Layer]]
) -> None:
    """Dynamical richness, and neural collapse of classes."""
    labels = None if question.targets is None else question.targets.labels
    if labels is None:
        collected.leave_out(COLLAPSE, "it needs classes, whole numbers `y`")
    if not collected.wants(*OF_LAST_LAYER):
        return
    features = [last_features(f, question.x) for f in question.functions]
    outputs = [f.outputs(question.x) for f in question.functions]
    pairs = zip(features, without_rounding(outputs), strict=True)
    collected.add(dynamical_richness=[measures.dynamical_richness(*p) for p in pairs])
    if labels is None or not collected.wants(*COLLAPSE):
        return
    values = []
    for of_state, of_layers in zip(features, found, strict=True):
        last = of_layers[-1]
        fits = last.weight.shape == (outputs[0].shape[1], of_state.shape[1])
        weight, bias = (last.weight, last.bias) if fits else (None, None)
        options: Any = {"classes": outputs[0].shape[1]}
        values.append(
            measures.neural_collapse(of_state, labels, weight, bias, **options)
        )
        if not fits:
            why = "the last layer's weight does not map these features to the outputs"
            collected.leave_out(("nc3", "nc4"), why)
    for name in COLLAPSE:
        if collected.wants(name):
            collected.add(**{name: [getattr(value, name) for value in values]})
