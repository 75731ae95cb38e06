"""Origins of the values in a program: the parameters and layers they come from."""

from dataclasses import dataclass, replace

import jax
import jax.extend
from jaxtyping import Array

# Equations that move entries, or scale them if all else is one constant.
MOVES = {"reshape", "transpose", "squeeze", "expand_dims", "broadcast_in_dim", "slice"}
MOVES |= {"dynamic_slice", "split", "rev", "copy", "copy_p", "convert_element_type"}
SCALES = {"mul", "div"}


@dataclass(frozen=True)
class Origin:
    """How a value depends on the parameters and on the sample.

    `parameters` are their places among the leaves. `raw` are the entries of a single
    parameter, moved but not scaled. `layer` is the number of the layer whose product,
    moved, is the value. Both are still to be multiplied by `scale`. `near` are the
    layers that the value is computed from, with no other layer between.
    """

    parameters: frozenset[int] = frozenset()
    raw: Array | None = None
    of_sample: bool = False
    layer: int | None = None
    scale: Array | None = None
    near: frozenset[int] = frozenset()

    @property
    def is_constant(self) -> bool:
        """Whether the value depends on neither."""
        return not self.parameters and not self.of_sample


CONSTANT = Origin()
Value = tuple[Array, Origin]


def bind(equation: jax.extend.core.JaxprEqn, values: list[Array]) -> list[Array]:
    """The results of an equation for these values."""
    functions, settings = (), equation.primitive.get_bind_params(equation.params)
    if isinstance(settings, tuple):  # older JAX has functions apart
        functions, settings = settings
    results = equation.primitive.bind(*functions, *values, **settings)
    return list(results) if equation.primitive.multiple_results else [results]


def of_parameters(
    equation: jax.extend.core.JaxprEqn,
    results: list[Array],
    inputs: list[Value],
    parameters: frozenset[int],
) -> list[Value]:
    """Results that depend on no sample, with the raw entries of a moved parameter."""
    name = equation.primitive.name
    origins = [origin for _, origin in inputs if not origin.is_constant]
    found = [Origin(parameters)] * len(results)
    if len(origins) == 1 and origins[0].raw is not None:
        raw = origins[0].raw
        if name in MOVES:
            others = [value for value, origin in inputs if origin.is_constant]
            moved = bind(equation, [raw, *others])
            if moved[0].size > raw.size:  # copies, such as of a bias
                moved = [raw]
            found = [replace(origins[0], raw=part) for part in moved]
        elif name in SCALES:
            found = [scaled(name, inputs) or found[0]]
    return list(zip(results, found, strict=True))


def scaled(name: str, inputs: list[Value]) -> Origin | None:
    """The origin of a value times or over one constant; `None` for other products."""
    (first, of_first), (second, of_second) = inputs
    if of_first.is_constant and name == "mul":
        first, of_first, second, of_second = second, of_second, first, of_first
    if not of_second.is_constant or second.size != 1:
        return None
    factor = second.reshape(()) if name == "mul" else 1 / second.reshape(())
    scale = factor if of_first.scale is None else of_first.scale * factor
    return replace(of_first, scale=scale)


def times(value: Array, origin: Origin) -> Array:
    """The value, times its scale."""
    return value if origin.scale is None else value * origin.scale
