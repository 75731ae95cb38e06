"""The weights of a linear network.

In: matrices, or another model with dense layers. Out: the matrices from the input on,
each (out, in), checked. Bad ones are refused, with the messages of `LinearNetwork`.
"""

from collections.abc import Sequence

from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from . import _checks, _dtypes
from ._layers import layers_of_tree


def chained(
    weights: Sequence[Real[ArrayLike, "_ _"]],
) -> tuple[Float[Array, "_ _"], ...]:
    """Matrices whose sizes chain, in one dtype."""
    _checks.require(
        len(weights) > 0, "`weights` must hold at least one matrix, but was empty."
    )
    matrices = {f"weights[{i}]": w for i, w in enumerate(weights)}
    found = _dtypes.promoted(
        **{name: _checks.as_matrix(name, w) for name, w in matrices.items()}
    )
    for i in range(len(weights) - 1):
        below, above = found[i].shape, found[i + 1].shape
        _checks.require(
            below[0] == above[1],
            f"`weights` must chain, the columns of `weights[{i + 1}]` being as "
            f"many as the rows of `weights[{i}]`, but their shapes were {above} "
            f"and {below}; each matrix is (out, in), from the input on.",
        )
    return found


def require_two_layers(name: str, weights: Sequence[Array]) -> None:
    """Refuse a property or a method, `name`, of another depth than two."""
    _checks.require(
        len(weights) == 2,
        f"`{name}` must be asked of a network of two layers, but this one had "
        f"{len(weights)}.",
    )


def of_dense_layers(model: PyTree, layout: str | None) -> list[Float[Array, "_ _"]]:
    """The weights of a model of dense layers alone, without biases."""
    _checks.one("model", model)
    layers, others = layers_of_tree(model, layout)
    _checks.require(
        len(layers) > 0, "`model` must have dense layers, but none was found."
    )
    for layer in layers:
        _checks.require(
            layer.kind == "dense",
            "`model` must have dense layers alone, but the kind of "
            f"`{layer.name}` was {layer.kind}.",
        )
        if layer.bias is not None:
            others = others | {f"{layer.name}.bias": layer.bias}
    for name, values in others.items():
        known = _checks.known(values)
        _checks.require(
            known is not None and not bool(known.any()),
            "`model` must have biases and other parameters of zero, as a linear "
            f"network has none, but those of `{name}` were "
            f"{'traced' if known is None else 'not all zero'}.",
        )
    return [layer.weight for layer in layers]
