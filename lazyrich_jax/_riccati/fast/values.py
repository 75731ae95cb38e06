r"""Values of the solution: the loss, parts of $QQ^\top$, and Q.

In: `Constants` and times. Out: arrays (networks, times, ...). The formulas are those of
reference/solution.py, without quantities that are not asked for. A function here works
on one matrix, or on many with networks and times on the last axes. `kept` marks results
that are used more than once: they are computed once.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._linalg import square_norm
from ..._xla import kept
from ..batching.blocks import batched, long_total, of_one
from ..frame import Frame
from .constants import Constants
from .lanes import contracted, crossed, same
from .solved import Solved, at_time, solve


def excess(frame: Frame, ts: Float[Array, " times"]) -> Float[Array, " times"]:
    r"""$|W_2 W_1 - \Sigma|^2 / 2$, without cancellation near zero."""
    return losses(_stacked(frame), ts[None])[0]


def product(
    frame: Frame, ts: Float[Array, " times"], part: str
) -> Float[Array, "times rows columns"]:
    r"""A `part` of $QQ^\top$ in the basis of the units.

    `part` is "qqt" (all of it), "inputs", "outputs" or "function".
    """
    return products[part](_stacked(frame), ts[None])[0]


def factor(frame: Frame, ts: Float[Array, " times"]) -> Float[Array, "times n columns"]:
    r"""$Q$ by units and the frame's columns; `@ frame.basis` gives the hidden units."""
    return _factors(_stacked(frame), ts[None])[0]


def _stacked(frame: Frame) -> Constants:
    return jax.tree.map(lambda x: x[None], Constants(frame))


def _excess(x: Constants, t: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$|W_2 W_1 - \Sigma|^2 / 2$, without cancellation near zero."""
    m = x.sizes[0]
    solved = solve(x, t, kept(lambda: at_time(x, t)))
    wide = x.right.shape[0] > x.left.shape[0]
    slow = _overlap(x, solved, t)

    def sides():
        grow, rest, fall = solved.q(x)
        # `at` has each mode's row of the inputs (of the outputs if inputs are left
        # over). `near` has its distance from the limit once it is late: all terms are
        # small.
        late = x.settles & _is_late(x, solved, t)
        mine, theirs = (x.cos, -x.sin) if wide else (x.sin, x.cos)
        falls, grows = theirs[:, None] * fall, mine[:, None] * grow
        distant = falls + (solved.at.decay * solved.at.decay)[:, None] * grows
        distant -= (2 * x.kappa * mine)[:, None] * slow
        near = jnp.where(late[:, None], distant, falls + grows)
        at = falls + grows
        # The rows of the other side. Only pivot rows have a limit.
        mine, theirs = (x.sin, x.cos) if wide else (x.cos, -x.sin)
        grows = jnp.concatenate([mine[:, None] * grow, rest])
        falls = jnp.concatenate([theirs[:, None] * fall, jnp.zeros_like(rest)])
        is_pivot = x.is_pivot[: len(grows), None]
        limited = jnp.where(is_pivot, grows, 0.0)
        free = jnp.where(is_pivot, falls, falls + grows)
        return late, at, near, limited, free

    late, at, near, limited, free = kept(sides)

    def errors():
        found = contracted(limited, near) + contracted(free, at)
        lost = 0.0 if x.falls is None else x.falls.lost
        missing = jnp.where(same(m, t), jnp.where(late, lost, x.s)[None], 0.0)
        return jnp.concatenate([found[:m] - missing, found[m:]])

    error = kept(errors)
    if t.ndim == 0:
        return square_norm(error) / 2
    error = error.reshape(-1, *t.shape)
    return long_total(lambda i: error[i] * error[i], len(error)) / 2


def _overlap(
    x: Constants, solved: Solved, t: Float[Array, "..."]
) -> Float[Array, "modes columns ..."]:
    """Overlap of K's non-pivot rows with their expression in the pivot rows.

    It is `others.T @ above[:, mode]` in `reference.solution`, for every mode.
    """
    m, r, n = x.sizes
    grow_echelon, rest_echelon, fall_echelon = x.by_kind(x.mode_echelon)
    fall = kept(lambda: solved.fall * solved.at.fall_root[:, None])
    falling = kept(lambda: crossed(fall_echelon, fall))

    def with_start():
        start = crossed(x.mode_inverse, solved.start)
        return (falling + start) * solved.at.decay[:, None]

    found = kept(with_start)
    if r > 0:
        lag = jnp.exp(x.mode_lags[m] * t[None]) * solved.at.rest_root[None]
        found += crossed(rest_echelon, solved.rest) * lag[:, None]
    if n < m:
        lag = jnp.exp(x.mode_lags[:m] * t[None, None]) * solved.at.root[:, None]
        found += crossed(grow_echelon * lag, solved.grow)
    return kept(lambda: found)


def _is_late(
    x: Constants, solved: Solved, t: Float[Array, "..."]
) -> Bool[Array, "modes ..."]:
    """Whether a mode is nearer to its limit than to its start, by a bound.

    The bound is on the mode's column of `above` in `reference.solution`.
    """
    m, r, _ = x.sizes
    gain, fall_gain = solved.at.largest_gains
    start, fall, rest, grow = x.square_sums
    bound = solved.at.decay * solved.at.decay * (start + fall_gain[None] * fall)
    if r > 0:
        bound += (
            jnp.exp(x.mode_lags[m] * t[None]) * solved.at.rest_root[None]
        ) ** 2 * rest
    bound += jnp.exp(2 * x.next_lags * t[None]) * gain[None] * grow
    return 2 * x.kappa * bound < 1


def _product(
    part: str, x: Constants, t: Float[Array, "..."]
) -> Float[Array, "rows columns ..."]:
    """A part of Q Q^T in the basis of the units."""
    inputs, outputs = of_part(part, x, solve_rows(x, t))
    if part == "qqt":
        both = kept(lambda: jnp.concatenate([*inputs, *outputs]))
        return kept(lambda: contracted(both, both))
    return kept(lambda: contracted((outputs or inputs)[0], (inputs or outputs)[0]))


def _factor(x: Constants, t: Float[Array, "..."]) -> Float[Array, "rows columns ..."]:
    """Q by units and the frame's columns."""
    inputs, outputs = of_part("qqt", x, solve_rows(x, t))
    return kept(lambda: jnp.concatenate([*inputs, *outputs]))


Rows = Callable[[], tuple[Array, Array, Array]]  # that grow, are left over, and decay


def solve_rows(x: Constants, t: Float[Array, "..."]) -> Rows:
    """The rows of q."""
    solved = solve(x, t, kept(lambda: at_time(x, t)))
    return lambda: solved.q(x)


def of_part(part: str, x: Constants, rows: Rows) -> tuple[list[Array], list[Array]]:
    """`rows` by the input units and by the output units of a part of Q Q^T.

    An empty list stands for units that are not in it.
    """

    def in_units(side, basis):
        found = kept(lambda: on_side(side, x, rows()))
        return kept(lambda: contracted(basis, found.swapaxes(0, 1)))

    return (
        [in_units("inputs", x.right)] if part != "outputs" else [],
        [in_units("outputs", x.left)] if part != "inputs" else [],
    )


def on_side(
    side: str, x: Constants, rows: tuple[Array, Array, Array]
) -> Float[Array, "units columns ..."]:
    """Rows that grow, are left over and decay, by singular vectors of a side.

    `side` is "inputs" or "outputs".
    """
    grow, rest, fall = rows
    if side == "inputs":
        found, units = x.sin[:, None] * grow + x.cos[:, None] * fall, len(x.right)
    else:
        found, units = x.cos[:, None] * grow - x.sin[:, None] * fall, len(x.left)
    return jnp.concatenate([found, rest]) if units > len(found) else found


def shape_of(part: str, x: Constants | Frame) -> tuple[int, int]:
    """The shape of a part of Q Q^T."""
    n_in, n_out = x.right.shape[-1], x.left.shape[-1]
    count = {"inputs": n_in, "outputs": n_out, "qqt": n_in + n_out}
    return (n_out, n_in) if part == "function" else (count[part], count[part])


losses = batched("lazyrich_excess", _excess, lambda x: ())
_factors = batched(
    "lazyrich_factor",
    _factor,
    lambda x: (x.right.shape[-1] + x.left.shape[-1], of_one(x).sizes[2]),
)
products = {
    part: batched(
        f"lazyrich_{part}",
        functools.partial(_product, part),
        functools.partial(shape_of, part),
    )
    for part in ("qqt", "inputs", "outputs", "function")
}
