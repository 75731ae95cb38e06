r"""Changes of parts of $QQ^\top$, and their transposes.

In: problems, frames and times of many networks, with changes (networks, numbers) or
weights (networks, times, rows, columns). Out: the changes of a part (networks, times,
rows, columns), or the gradient of its weighted sum (networks, numbers). The numbers are
those of `gradient.flat`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..batching.blocks import batched
from ..batching.linear import mapped_to_times, summed_over_times
from ..batching.primitive import Operation
from ..frame import Frame
from .constants import GradientConstants
from .cotangents import evaluate_solution, slope_of_loss
from .gradient import count_of_numbers, prepared, stacked
from .lanes import contracted
from .slope_by_p import of_part
from .slopes import slopes_by_numbers
from .values import of_part as in_units
from .values import shape_of


def by_time(
    frame: Frame, ts: Float[Array, " times"], part: str
) -> Float[Array, "times rows columns"]:
    r"""The slope of a part of $QQ^\top$ by time.

    `part` is "qqt" (all of it), "inputs", "outputs" or "function".
    """
    return _by_time[part](stacked(frame), ts[None])[0]


def _slope_by_time(
    part: str, x: GradientConstants, t: Float[Array, "..."]
) -> Float[Array, "rows columns ..."]:
    """Q descends the loss: the slope of q by time is minus the loss's gradient."""
    m, r, _ = x.sizes
    a = evaluate_solution(x, t)
    by_q = slope_of_loss(x, a, t).times(x, a.q)

    def sides(rows: Array) -> tuple[Array, Array]:
        split = rows[:m], rows[m : m + r], rows[m + r :]
        inputs, outputs = in_units(part, x.base, lambda: split)
        if part == "qqt":
            inputs = outputs = [jnp.concatenate([*inputs, *outputs])]
        return (outputs or inputs)[0], (inputs or outputs)[0]

    (rows, columns), (by_rows, by_columns) = sides(a.q), sides(by_q)
    return -contracted(by_rows, columns) - contracted(rows, by_columns)


def _pulled(
    part: str,
    x: GradientConstants,
    t: Float[Array, "..."],
    weights: Float[Array, "rows columns ..."],
) -> Float[Array, "numbers ..."]:
    """The gradient of a weighted sum at one time."""
    return jnp.concatenate(_linear_map(part, x, t)(weights))


def _pushed(
    part: str,
    shape: tuple[int, int],
    x: GradientConstants,
    t: Float[Array, "..."],
    numbers: Float[Array, "numbers ..."],
) -> Float[Array, "rows columns ..."]:
    """The change of a part at one time: the transpose of `_pulled`."""
    zero = jnp.zeros((*shape, *t.shape), t.dtype)
    found, transpose = jax.vjp(_linear_map(part, x, t), zero)
    ends = np.cumsum([len(numbers) for numbers in found])[:-1]
    numbers = jnp.broadcast_to(numbers, (len(numbers), *t.shape))
    return transpose(jnp.split(numbers, ends))[0]


def _linear_map(
    part: str, x: GradientConstants, t: Float[Array, "..."]
) -> Callable[[Array], list[Array]]:
    a = evaluate_solution(x, t)
    return lambda w: slopes_by_numbers(x, t, a, of_part(x.base, part, w))


def _jvps(part: str, on_cpu: bool, *args: Any) -> Array:
    x, ts, v = prepared(*args)
    shape = shape_of(part, x.base)
    one = functools.partial(_pushed, part, shape)
    return mapped_to_times(one, shape, on_cpu, x, ts, v)


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
        return Operation(name, shape, on_cpu, elsewhere, lambda *_: None)

    return (
        operation(
            "jvp",
            lambda problem, frame, ts, v: (ts.shape[1], *shape_of(part, frame)),
            _jvps,
        ),
        operation(
            "vjp", lambda problem, frame, ts, w: (count_of_numbers(frame),), _vjps
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
