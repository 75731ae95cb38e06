"""The layers of a model and their pre-activations."""

import dataclasses
import warnings
from collections.abc import Callable, Collection
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, PyTree

from .. import _checks
from .._layers import Layer, attention_of_tree, layers_of_tree
from .._network import LinearNetwork
from .chunks import mapped
from .model import Function, function_of
from .parameters import parameters_of
from .traced import Found, found_in

Apply = Callable[[Any, Array], Any]


def layers(
    model: PyTree,
    x: Any = None,
    *,
    apply: Apply | None = None,
    layout: str | None = None,
) -> tuple[Layer, ...]:
    r"""The dense layers, convolutions and attention projections of a model.

    Given samples `x`, the layers are found in the computation of the outputs: they are
    its products of a parameter with something that depends on the sample, in their
    order. The products say which axes of a weight are inputs, whatever the framework
    or its names are. A weight is the parameter itself, also where it is divided by a
    constant, as in the neural-tangent parametrisation.

    Without `x` the layers are found in the tree: Equinox modules by their type, Flax
    parameters by the name `kernel`, PyTorch's by the name `weight`. Then their order is
    the tree's. It is only known from numbers in the names of a dict, which JAX sorts
    (`Dense_2` comes before `Dense_10`).

    **Arguments:**

    - `model`: a tree of parameters: an Equinox module, a dict of Flax parameters, any
      other tree, or a dict of NumPy arrays such as PyTorch's state dicts.
    - `x`: samples, along the first axis. (One of them is enough.)
    - `apply`: maps the model and one sample to outputs. Without it the model is called.
    - `layout`: `"out_in"` or `"in_out"`, for plain matrices without `x`.

    **Returns:** a `Layer` for each product. A parameter that is used twice is in two
    layers; the name of the second ends in `:2`. Embeddings looked up by tokens, norms
    and other entrywise products are no layers.

    **Raises:** `ValueError` if there is no layer, for plain matrices with neither `x`
    nor `layout`, and for a `layout` that is not the framework's own. Bad models and
    samples are refused. Weights used inside of loops (`jax.lax.scan`), computed from
    parameters, or different for parts of the sample are left out, with a warning that
    names them.

    ```python
    import equinox as eqx
    import jax
    import lazyrich_jax as lr

    model = eqx.nn.MLP(4, 3, 8, 1, key=jax.random.key(0))
    for layer in lr.richness.layers(model):
        print(layer.name, layer.kind, layer.weight.shape)
    ```
    """
    found, why = layers_in(model, x, apply, layout)
    _checks.require(len(found) > 0, why)
    return found


def layers_in(
    model: PyTree, x: Any, apply: Apply | None, layout: str | None
) -> tuple[tuple[Layer, ...], str]:
    """As `layers`, without an error if there are none; and the words for that case."""
    _checks.one("model", model)
    if x is None:
        if layout is None and isinstance(model, LinearNetwork):
            layout = "out_in"
        _checks.require(
            apply is None, "`apply` must be given with samples `x`, but `x` was None."
        )
        parameters_of("model", model)
        found, others = layers_of_tree(model, layout)
        return found, _none([name for name in others if others[name].ndim > 1])
    _checks.require(
        layout is None,
        "`layout` must be None if `x` is given, which tells the layout, but it was "
        f"{layout!r}.",
    )
    function, samples = function_of("model", model, x, apply)
    seen = _of_one(function, samples[0])
    _warn(seen.left_out, 4)
    return _with_attention(seen.layers, model), _none(seen.left_out)


def activations(
    model: PyTree, x: Any, *, apply: Apply | None = None
) -> dict[str, Array]:
    r"""The pre-activations of all layers, bias included, for every sample.

    They are the values of $Wh + b$ inside of the model, found as by
    `lazyrich_jax.richness.layers`, for any framework. The bias is a parameter with an
    entry per output that is added to the product. A constant factor of either counts.

    **Arguments:** as those of `layers`.

    **Returns:** a dict from names of layers, in forward order, to arrays (samples,
    ..., out). The last axis has the units in the order of the rows of the weight. The
    axes between are positions, such as those of images or of a sequence.

    **Raises:** as `layers`.

    ```python
    import equinox as eqx
    import jax
    import lazyrich_jax as lr

    model = eqx.nn.MLP(4, 3, 8, 1, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (20, 4))
    for name, values in lr.richness.activations(model, x).items():
        print(name, values.shape)
    ```
    """
    function, samples = function_of("model", model, x, apply)
    seen = _of_one(function, samples[0])
    _warn(seen.left_out, 3)
    _checks.require(len(seen.layers) > 0, _none(seen.left_out))
    values = mapped(_of_all, function, samples)
    return {layer.name: values[layer.name] for layer in seen.layers}  # in this order


@eqx.filter_jit
def _of_one(function: Function, sample: Array) -> Found:
    return eqx.tree_at(lambda found: found.activations, found_in(function, sample), {})


@eqx.filter_jit
def _of_all(function: Function, x: Array) -> dict[str, Array]:
    return jax.vmap(lambda sample: found_in(function, sample).activations)(x)


def _with_attention(found: tuple[Layer, ...], model: PyTree) -> tuple[Layer, ...]:
    """The layers, those of the attention of Equinox and Flax as the tree has them."""
    try:
        known = attention_of_tree(model)
    except ValueError:  # weights in another layout than their names say
        return found
    return tuple(
        dataclasses.replace(known[layer.name], after=layer.after, into=layer.into)
        if layer.name in known
        else layer
        for layer in found
    )


def _warn(left_out: dict[str, str], level: int) -> None:
    if left_out:
        text = ", ".join(f"`{name}` ({why})" for name, why in left_out.items())
        warnings.warn(f"Some weights are left out: {text}.", stacklevel=level)


def _none(left_out: Collection[str]) -> str:
    besides = f" besides {', '.join(left_out)}" if left_out else ""
    return f"`model` must have a product with a weight, but it had none{besides}."
