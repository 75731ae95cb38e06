"""Slopes of the loss, and their products with vectors.

In: problems, frames, times and vectors of many networks. Out: slopes times changes,
(networks, times, vectors), or the transpose times weights, (networks, numbers,
vectors). The matrix of all slopes would be many times as large as these products: it
is made and multiplied block by block.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..batching.blocks import batched, long_total, of_one
from ..batching.linear import more_vectors
from ..batching.primitive import Operation, for_each
from ..batching.products import matrix_times_vectors, vectors_times_matrix
from ..frame import Frame, Problem
from ..rates import settled
from .constants import GradientConstants
from .numbers import count_of_numbers, length
from .slope_by_p import SlopeByP
from .slopes import slopes_by_numbers
from .solution import Solution, evaluate_solution, slope_of_loss


def slopes(frame: Frame, ts: Float[Array, " times"]) -> Float[Array, "times numbers"]:
    r"""Slopes of $|W_2 W_1 - \Sigma|^2 / 2$ by the numbers of `numbers.flat`."""
    return _slopes_at_times(stacked(frame), ts[None])[0]


def slope_by_time(frame: Frame, ts: Float[Array, " times"]) -> Float[Array, " times"]:
    """The loss's slope by time: minus its squared gradient by Q, as Q descends it."""
    return _slope_by_time(stacked(frame), ts[None])[0]


def slopes_at(
    frame: Frame, t: Float[Array, ""]
) -> tuple[Float[Array, " numbers"], Float[Array, ""]]:
    """`slopes` and `slope_by_time` at one time, with JAX's derivatives."""
    x = GradientConstants(frame)
    a = evaluate_solution(x, t)
    slope = slope_of_loss(x, a, t)
    numbers = jnp.concatenate(slopes_by_numbers(x, t, a, slope))
    return numbers, _by_time_of(x, t, a, slope)


def stacked(frame: Frame) -> GradientConstants:
    return jax.tree.map(lambda x: x[None], GradientConstants(frame))


def _of_loss(
    x: GradientConstants, t: Float[Array, "..."]
) -> list[Float[Array, "numbers ..."]]:
    solution = evaluate_solution(x, t)
    return slopes_by_numbers(x, t, solution, slope_of_loss(x, solution, t))


def _together(
    x: GradientConstants, t: Float[Array, "..."]
) -> Float[Array, "numbers ..."]:
    return jnp.concatenate(_of_loss(x, t))


def _by_time(x: GradientConstants, t: Float[Array, "..."]) -> Float[Array, "..."]:
    solution = evaluate_solution(x, t)
    return _by_time_of(x, t, solution, slope_of_loss(x, solution, t))


def _by_time_of(
    x: GradientConstants, t: Float[Array, "..."], a: Solution, slope: SlopeByP
) -> Float[Array, "..."]:
    by_q = slope.times(x, a.q).reshape(-1, *t.shape)
    return -long_total(lambda i: by_q[i] * by_q[i], len(by_q))


_slopes_at_times = batched(
    "lazyrich_slopes", _together, lambda x: (length(*of_one(x).sizes),)
)
_slope_by_time = batched("lazyrich_slope_by_time", _by_time, lambda x: ())


# Products of many networks' `slopes` with vectors, the last argument.
# differentiable.py gives them derivatives by the problem.


def _jvps(with_time: bool, on_cpu: bool, *args: Any) -> Array:
    x, ts, v = prepared(*args)
    numbers = length(*of_one(x).sizes)
    found = matrix_times_vectors(_of_loss, on_cpu, x, ts, v[:, :numbers])
    if with_time:
        found += _slope_by_time(x, ts)[..., None] * v[:, numbers:]
    return found


def _vjps(with_time: bool, on_cpu: bool, *args: Any) -> Array:
    x, ts, v = prepared(*args)
    numbers = length(*of_one(x).sizes)
    found = vectors_times_matrix(_of_loss, numbers, on_cpu, x, ts, v)
    if with_time:
        by_time = _slope_by_time(x, ts)[..., None] * v
        found = jnp.concatenate([found, by_time], axis=1)
    return found


def prepared(
    problem: Problem, frame: Frame, ts: Array, v: Array
) -> tuple[GradientConstants, Array, Array]:
    _, frame, ts, v = for_each((problem, frame, ts, v))
    x = jax.vmap(GradientConstants)(frame)
    return x, jax.vmap(settled)(frame, ts), v


def _operation(name: str, length: Callable, product: Callable) -> Operation:
    return Operation(
        name,
        lambda *args: (length(*args), args[-1].shape[2]),
        functools.partial(product, True),
        functools.partial(product, False),
        more_vectors,
    )


def _operations(with_time: bool) -> tuple[Operation, Operation]:
    ending = "_with_time" if with_time else ""
    return (
        _operation(
            f"lazyrich_jvp{ending}",
            lambda problem, frame, ts, v: ts.shape[1],
            functools.partial(_jvps, with_time),
        ),
        _operation(
            f"lazyrich_vjp{ending}",
            lambda problem, frame, ts, v: (
                count_of_numbers(frame) + with_time * ts.shape[1]
            ),
            functools.partial(_vjps, with_time),
        ),
    )


# Pairs of products, without and with changes of the times. The first of a pair is
# `slopes @ changes` with changes (networks, numbers, vectors), the second `slopes.T @
# weights` with weights (networks, times, vectors). Numbers of the times come last.
operations = {with_time: _operations(with_time) for with_time in (False, True)}
