r"""Changes of parts of $QQ^\top$, and their transposes.

In: problems, frames and times of many networks, with changes (networks, numbers,
vectors) or weights (networks, times, rows, columns, vectors). Out: the changes of a
part (networks, times, rows, columns, vectors), or the gradients of its weighted sums
(networks, numbers, vectors). `numbers.flat` gives the order of the numbers.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..batching.blocks import batched
from ..batching.linear import mapped_to_times, more_vectors, summed_over_times
from ..batching.primitive import Operation
from ..frame import Frame
from .changes import change_of_part
from .constants import GradientConstants
from .gradient import prepared, stacked
from .lanes import contracted
from .numbers import Numbers, count_of_numbers
from .slope_by_p import of_part
from .slopes import slopes_by_numbers
from .solution import Solution, evaluate_solution, slope_of_loss
from .values import of_part as in_units
from .values import shape_of


def by_time(
    frame: Frame, ts: Float[Array, " times"], part: str
) -> Float[Array, "times rows columns"]:
    r"""The slope of a part of $QQ^\top$ by time.

    `part` is "qqt" (all of it), "inputs", "outputs" or "function".
    """
    return _by_time[part](stacked(frame), ts[None])[0]


def change_at(
    frame: Frame,
    t: Float[Array, ""],
    numbers: Float[Array, " numbers"],
    dt: Float[Array, ""],
    part: str,
) -> Float[Array, "rows columns"]:
    """The change of a part at one time, with JAX's derivatives."""
    x = GradientConstants(frame)
    a = evaluate_solution(x, t)
    change = change_of_part(part, x, a, Numbers(numbers, x.sizes))
    return change + _by_time_of(part, x, t, a) * dt


def _slope_by_time(
    part: str, x: GradientConstants, t: Float[Array, "..."]
) -> Float[Array, "rows columns ..."]:
    return _by_time_of(part, x, t, evaluate_solution(x, t))


def _by_time_of(
    part: str, x: GradientConstants, t: Float[Array, "..."], a: Solution
) -> Float[Array, "rows columns ..."]:
    """Q descends the loss: the slope of q by time is minus the loss's gradient."""
    by_q = slope_of_loss(x, a, t).times(x, a.q)

    def sides(rows: Array) -> tuple[Array, Array]:
        inputs, outputs = in_units(part, x.base, lambda: x.base.by_kind(rows))
        if part == "qqt":
            inputs = outputs = [jnp.concatenate([*inputs, *outputs])]
        return (outputs or inputs)[0], (inputs or outputs)[0]

    (rows, columns), (by_rows, by_columns) = sides(a.q), sides(by_q)
    return -contracted(by_rows, columns) - contracted(rows, by_columns)


def _pushed(
    part: str, x: GradientConstants, t: Float[Array, "..."]
) -> Callable[[Array], Array]:
    """The change of a part at one time, of a vector of numbers."""
    a = evaluate_solution(x, t)
    return lambda numbers: change_of_part(part, x, a, Numbers(numbers, x.sizes))


def _pulled(
    part: str, x: GradientConstants, t: Float[Array, "..."]
) -> Callable[[Array], Array]:
    """The gradient of a weighted sum at one time, of the weights."""
    a = evaluate_solution(x, t)

    def pulled(weights: Float[Array, "rows columns ..."]) -> Array:
        slope = of_part(x.base, part, weights)
        return jnp.concatenate(slopes_by_numbers(x, t, a, slope))

    return pulled


def _jvps(part: str, on_cpu: bool, *args: Any) -> Array:
    x, ts, v = prepared(*args)
    one = functools.partial(_pushed, part)
    return mapped_to_times(one, shape_of(part, x.base), on_cpu, x, ts, v)


def _vjps(part: str, on_cpu: bool, *args: Any) -> Array:
    x, ts, w = prepared(*args)
    one, count = functools.partial(_pulled, part), count_of_numbers(args[1])
    return summed_over_times(one, count, on_cpu, x, ts, w)


def _operations(part: str) -> tuple[Operation, Operation]:
    """The changes of a part, and their transpose."""

    def operation(name: str, shape: Callable, function: Callable) -> Operation:
        of_part = functools.partial(function, part)
        on_cpu, elsewhere = (functools.partial(of_part, here) for here in (True, False))
        name = f"lazyrich_{part}_{name}"
        return Operation(name, shape, on_cpu, elsewhere, more_vectors)

    return (
        operation(
            "jvp",
            lambda problem, frame, ts, v: (
                ts.shape[1],
                *shape_of(part, frame),
                v.shape[-1],
            ),
            _jvps,
        ),
        operation(
            "vjp",
            lambda problem, frame, ts, w: (count_of_numbers(frame), w.shape[-1]),
            _vjps,
        ),
    )


_by_time = {
    part: batched(
        f"lazyrich_{part}_by_time",
        functools.partial(_slope_by_time, part),
        lambda x, part=part: shape_of(part, x.base),
    )
    for part in ("qqt", "inputs", "outputs", "function")
}
operations = {part: _operations(part) for part in _by_time}
