"""What a computation takes, before it is compiled: operations and memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, Shaped

from .model import Function
from .programs import inner


class Cost(NamedTuple):
    """The floating-point operations and the bytes of all results of a computation.

    The bytes are an upper bound of the memory: XLA frees and fuses results.
    """

    operations: float
    bytes: float

    def __add__(self, other: tuple) -> "Cost":
        """The cost of both computations."""
        return Cost(self.operations + other[0], self.bytes + other[1])


def cost_of(function: Callable[..., Any], *arguments: Any) -> Cost:
    """The cost of a function that returns arrays; nothing is computed."""
    arrays, rest = eqx.partition(arguments, eqx.is_array)
    trace = jax.make_jaxpr(lambda arrays: function(*eqx.combine(arrays, rest)))
    return _cost(trace(arrays).jaxpr)


def costs_of_samples(
    function: Callable[[Any], Any], samples: PyTree[Shaped[Array, "samples ..."]]
) -> tuple[Cost, Cost]:
    """What a function of samples costs once, and for each of them."""
    one, two = (
        cost_of(function, jax.tree.map(lambda a, n=n: a[np.zeros(n, int)], samples))
        for n in (1, 2)
    )
    each = Cost(two.operations - one.operations, two.bytes - one.bytes)
    return Cost(one.operations - each.operations, one.bytes - each.bytes), each


def _cost(program: jax.extend.core.Jaxpr) -> Cost:
    total = Cost(0.0, 0.0)
    for equation in program.eqns:
        inside = [_cost(body.jaxpr) for body in inner(equation)]
        repeats = equation.params.get("length", 1)  # of a scan
        for part in inside:
            total += Cost(repeats * part.operations, repeats * part.bytes)
        results: list[Any] = [variable.aval for variable in equation.outvars]
        sizes = [float(np.prod(result.shape)) for result in results]
        terms = 0.0 if inside else _terms(equation)
        total += Cost(
            terms * sum(sizes),
            sum(
                n * np.dtype(r.dtype).itemsize
                for n, r in zip(sizes, results, strict=True)
                if not jnp.issubdtype(r.dtype, jax.dtypes.extended)
            ),
        )
    return total


def _terms(equation: jax.extend.core.JaxprEqn) -> float:
    """The operations per entry of an equation's result."""
    name, params = equation.primitive.name, equation.params
    shapes: list[Any] = [getattr(v.aval, "shape", ()) for v in equation.invars]
    if name == "dot_general":
        (summed, _), _ = params["dimension_numbers"]
        return 2.0 * float(np.prod([shapes[0][i] for i in summed]))
    if name == "conv_general_dilated":
        outputs = shapes[1][params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * float(np.prod(shapes[1])) / outputs
    return 1.0


def parameter_count(function: Function) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(function.parameters))


def most_samples(memory: float, fixed: float, each: float, samples: int) -> int:
    """How many samples fit into memory at a time; zero if none does."""
    room = (memory - fixed) / each
    return int(min(max(room, 0.0), samples))
