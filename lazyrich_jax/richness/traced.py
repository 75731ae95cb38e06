"""The layers of a model, found in the computation of its outputs."""

import collections
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import equinox as eqx
import jax
import jax.extend
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._layers import Layer
from .._paths import layer_name
from .model import Function, program_of
from .origins import (
    CONSTANT,
    MOVES,
    SCALES,
    Origin,
    Value,
    bind,
    of_parameters,
    scaled,
    times,
)
from .programs import inner

# Equations whose program is a part of the computation.
CALLS = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"}
CUSTOM = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
LOOPS = {"scan", "while", "cond"}


class Found(eqx.Module):
    """The layers of a computation, their pre-activations and what was left out."""

    layers: tuple[Layer, ...]
    activations: dict[str, Array]
    left_out: dict[str, str] = eqx.field(static=True)


@dataclass
class Product:
    """A layer during the search; its value (..., out) becomes the pre-activation.

    The weight multiplies `operand`. The axes of `result`, as the model has it, are
    those of the layer's outputs first if `out_first`, last otherwise.
    """

    parameter: int
    weight: Array
    kind: str
    value: Array
    operand: Array
    result: Array
    out_first: bool
    near: frozenset[int]
    groups: int
    bias: Array | None = None


def found_in(function: Function, sample: Array) -> Found:
    """The layers in the outputs of a model for one sample, in forward order."""
    return searched(function, sample)[0].found()


def searched(
    function: Function, sample: Array, taps: Sequence[Array | None] = ()
) -> tuple["Search", Float[Array, " outputs"]]:
    """The search for layers in a model's outputs, and the outputs, as a vector.

    It evaluates the model's program with the origin of every value beside it. `taps`,
    one for each layer, are added to the layers' results.
    """
    leaves = jax.tree_util.tree_leaves_with_path(function.parameters)
    names = [layer_name(path) for path, _ in leaves]
    ranks = [leaf.ndim for _, leaf in leaves]
    program, _ = program_of("model", function, sample)
    inputs: list[Value] = [
        (leaf, Origin(frozenset([i]), leaf)) for i, (_, leaf) in enumerate(leaves)
    ]
    search = Search(names, ranks, taps)
    run = search.run(program, [*inputs, (sample, Origin(of_sample=True))])
    ((outputs, origin),) = run
    search.last = origin.near
    return search, outputs.ravel()


@dataclass
class Search:
    """The evaluation of a program, and the products found so far."""

    names: list[str]  # of the parameters
    ranks: list[int]  # the numbers of their axes
    taps: Sequence[Array | None] = ()
    products: list[Product] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    last: frozenset[int] = frozenset()  # the layers next to the outputs

    def run(
        self, program: jax.extend.core.ClosedJaxpr, inputs: list[Value]
    ) -> list[Value]:
        """The outputs of a program."""
        jaxpr = program.jaxpr
        values = dict(zip(jaxpr.invars, inputs, strict=True))
        for variable, constant in zip(jaxpr.constvars, program.consts, strict=True):
            values[variable] = constant, CONSTANT

        def read(variable: Any) -> Value:
            if isinstance(variable, jax.extend.core.Literal):
                like: Any = variable.aval
                return jnp.asarray(variable.val, like.dtype), CONSTANT
            return values[variable]

        for equation in jaxpr.eqns:
            results = self.step(equation, [read(v) for v in equation.invars])
            values.update(zip(equation.outvars, results, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def step(
        self, equation: jax.extend.core.JaxprEqn, inputs: list[Value]
    ) -> list[Value]:
        """The outputs of an equation."""
        name = equation.primitive.name
        origins = [origin for _, origin in inputs]
        parameters = frozenset().union(*(origin.parameters for origin in origins))
        if name in CALLS or (name in CUSTOM and parameters):
            (inside,) = inner(equation)
            return self.run(inside, inputs)
        results = bind(equation, [value for value, _ in inputs])
        if not any(origin.of_sample for origin in origins):
            return of_parameters(equation, results, inputs, parameters)
        if name in LOOPS:
            self.leave_out(parameters, f"inside `{name}`")
        near = frozenset().union(*(origin.near for origin in origins))
        origin = Origin(of_sample=True, near=near)
        if name in ("dot_general", "conv_general_dilated"):
            layer = self.product(equation, results[0], inputs)
            tap = self.taps[layer] if layer is not None and self.taps else None
            if tap is not None:
                results = [results[0] + tap]
            if layer is not None:
                origin = replace(origin, layer=layer, near=frozenset([layer]))
        elif name == "add":
            self.sum(results[0], inputs)
        elif name in MOVES and not any(origin.of_sample for origin in origins[1:]):
            origin = origins[0]
        elif name in SCALES:
            origin = scaled(name, inputs) or origin
        return [(result, origin) for result in results]

    def product(
        self,
        equation: jax.extend.core.JaxprEqn,
        result: Array,
        inputs: list[Value],
    ) -> int | None:
        """The number of the layer with this product, if it is one with a weight."""
        side = 0 if inputs[0][1].parameters else 1
        (values, weight), (_, other) = inputs[side], inputs[1 - side]
        if not weight.parameters or weight.of_sample or not other.of_sample:
            return None
        kind, pair = "dense", None
        if weight.raw is None or weight.raw.shape != values.shape:
            why = "computed from parameters"
        elif equation.primitive.name == "dot_general":
            why = "another weight for each part of a sample"
            pair = _dense(equation, side, weight.raw, result)
        else:
            kind, why = "convolution", "convolved by a sample"
            (parameter,) = weight.parameters
            if self.ranks[parameter] > weight.raw.ndim:
                why = "another weight for each part of a sample"  # by `jax.vmap`
            elif side == 1:
                pair = _convolution(equation, weight.raw, result)
        if pair is None:
            self.leave_out(weight.parameters, why)
            return None
        (parameter,) = weight.parameters
        self.products.append(
            Product(
                parameter,
                weight=pair[0],
                kind=kind,
                value=pair[1],
                operand=inputs[1 - side][0],
                result=result,
                out_first=side == 0,
                near=other.near,
                groups=equation.params.get("feature_group_count", 1),
            )
        )
        return len(self.products) - 1

    def sum(self, result: Array, inputs: list[Value]) -> None:
        """Complete the layer whose product and bias are added."""
        for (value, of_layer), (_, of_bias) in (inputs, inputs[::-1]):
            if of_layer.layer is None or of_bias.raw is None:
                continue
            product = self.products[of_layer.layer]
            fits = of_bias.raw.size == product.weight.shape[0]
            if product.bias is None and fits and result.shape == value.shape:
                product.bias = of_bias.raw.ravel()
                product.value = times(product.value, of_layer) + jnp.broadcast_to(
                    times(product.bias, of_bias), product.value.shape
                )

    def leave_out(self, parameters: frozenset[int], why: str) -> None:
        """Remember parameters whose products are no layers."""
        for parameter in sorted(parameters):
            self.left_out.setdefault(self.names[parameter], why)

    def found(self) -> Found:
        """All that was found, with a name for each layer."""
        names, uses = [], collections.Counter()
        for product in self.products:
            name = self.names[product.parameter]
            uses[name] += 1
            names.append(name if uses[name] == 1 else f"{name}:{uses[name]}")
        layers, activations = [], {}
        for i, (name, product) in enumerate(zip(names, self.products, strict=True)):
            after = tuple(names[j] for j in sorted(product.near))
            into = [n for n, p in zip(names, self.products, strict=True) if i in p.near]
            into += [""] if i in self.last else []
            own = product.weight, product.bias, product.kind
            layers.append(Layer(name, *own, 0, after, tuple(into), product.groups))
            activations[name] = product.value
        return Found(tuple(layers), activations, self.left_out)


def _dense(
    equation: jax.extend.core.JaxprEqn, side: int, weight: Array, result: Array
) -> tuple[Array, Array] | None:
    """The weight of `dot_general` as (out, in), and the result as (..., out)."""
    contracted, batched = (axes[side] for axes in equation.params["dimension_numbers"])
    if batched:
        return None
    ins = sorted(contracted)
    outs = [axis for axis in range(weight.ndim) if axis not in ins]
    count, rows = len(outs), math.prod(weight.shape[axis] for axis in outs)
    matrix = weight.transpose(*outs, *ins).reshape(rows, -1)
    if side == 0:  # the axes of the first operand come first
        result = jnp.moveaxis(result, range(count), range(-count, 0))
    return matrix, result.reshape(*result.shape[: result.ndim - count], rows)


def _convolution(
    equation: jax.extend.core.JaxprEqn, weight: Array, result: Array
) -> tuple[Array, Array]:
    """The weight as (out, in, *window), and the result for one sample as (..., out)."""
    numbers = equation.params["dimension_numbers"]
    samples, channels, *positions = numbers.out_spec
    last = result.transpose(samples, *positions, channels)
    return weight.transpose(numbers.rhs_spec), last[0] if last.shape[0] == 1 else last
