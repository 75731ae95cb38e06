"""The numbers of a report on layers and on pairs of them."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .. import measures
from .._layers import Layer
from .._linalg import dot
from .balance import PairBalance, balances_of
from .collected import Collected, without_rounding
from .layers import activations
from .probes import gradient_products
from .question import Question
from .reported import PAIRS


def add_layers(
    collected: Collected, question: Question, found: Sequence[Sequence[Layer]]
) -> None:
    """Features and gradients of each layer."""
    z0, z1 = (
        list(activations(model, question.x, apply=question.apply).values())
        for model in question.states
    )
    pairs = list(zip(z0, z1, strict=True))
    flat = [[z.reshape(z.shape[0], -1) for z in without_rounding(p)] for p in pairs]
    flips = [measures.activation_flips(*pair) for pair in pairs[:-1]]
    collected.add(
        feature_alignment=[measures.feature_alignment(*pair) for pair in flat],
        feature_change=[measures.feature_change(*pair) for pair in flat],
        activation_flips=[*flips, np.nan],  # outputs have no activation
    )
    if collected.wants("gradient_alignment"):
        columns = [
            [_gradient_alignment(layer, g) for layer, g in zip(of, grams, strict=True)]
            for of, grams in zip(
                found,
                (gradient_products(f, question.x) for f in question.functions),
                strict=True,
            )
        ]
        collected.add(gradient_alignment=np.array(columns).T)


def _gradient_alignment(layer: Layer, gram: Array | None) -> float:
    """The neural feature alignment of a layer; NaN without its gradients."""
    if gram is None:
        return np.nan
    weight = layer.weight
    agop = dot(weight.T, gram, weight)
    return float(measures.neural_feature_alignment(weight, (agop + agop.T) / 2))


def add_weights(
    collected: Collected,
    parameters: Sequence[PyTree],
    found: Sequence[Sequence[Layer]],
) -> None:
    """Movement and ranks of the weights."""
    weights = [
        [layer.weight.reshape(layer.weight.shape[0], -1) for layer in of]
        for of in found
    ]
    pairs = list(zip(*weights, strict=True))
    collected.add(
        weight_movement=measures.weight_movement(*parameters),
        movement=[measures.weight_movement(*pair) for pair in pairs],
        update_rank=[measures.update_rank(*pair) for pair in pairs],
        effective_rank=[[measures.effective_rank(w) for w in pair] for pair in pairs],
    )


def add_pairs(
    collected: Collected, found: Sequence[Sequence[Layer]], channels: str | None
) -> tuple[str, ...]:
    """Balances, and their drift. Returns the names of the pairs."""
    try:
        (before, left_out), (after, _) = (balances_of(of, channels) for of in found)
    except ValueError as error:  # no two layers are a pair
        collected.leave_out(PAIRS, str(error))
        return ()
    for names, why in left_out.items():
        collected.leave_out([" -> ".join(names)], why)
    if not before:
        collected.leave_out(PAIRS, "no other pair is there")
        return ()
    pairs = list(zip(before, after, strict=True))
    collected.add(
        lmda=[[pair.lmda for pair in both] for both in pairs],
        residual=[[pair.residual for pair in both] for both in pairs],
        drift=[_drift(*both) for both in pairs],
    )
    return tuple(
        " -> ".join(pair.names) + ("" if pair.head is None else f", head {pair.head}")
        for pair in before
    )


def _drift(before: PairBalance, after: PairBalance) -> float:
    """The change of a balance matrix, over the squared weights of the start."""
    total = sum(float(jnp.sum(w * w)) for w in before.pair.weights)
    change = float(jnp.linalg.norm(after.matrix - before.matrix))
    return change / total if total > 0 else np.nan
