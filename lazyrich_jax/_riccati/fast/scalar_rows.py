"""The columns of K of few units, in scalar arithmetic.

In: `ScalarConstants` and times. Out: decaying exponentials of time, and sparse
orthonormal columns (theory.md, section 2). Every scalar is an array over
networks and times.

Rows are named by kind: "grow" and "fall" are a mode's rows, "rest" a left-over row. The
growing rows are triangular in the columns of `ScalarConstants`. Modified Gram-Schmidt
from the last column on finds K = (orthonormal) R and keeps the zeros.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._linalg import gain_of_decay
from ..._xla import inverse_root, once
from .constants import ScalarConstants

Scalar = Float[Array, "..."]  # for one network at one time, or for many
Column = dict[tuple[str, int], Scalar]  # entries by row, without the zeros


class Exponentials(NamedTuple):
    """Exponentials of time, at most one."""

    decay: Sequence[Scalar]  # of every mode and the left-over rows that grow
    ratio: Sequence[Sequence[Scalar]]  # of growing rows; row m are the left-over ones
    rest_up: Scalar
    # Roots of the gains of rows by kind, and the rows' factors from K to q.
    grow: Sequence[Scalar]
    fall: Sequence[Scalar]
    rest: Scalar
    grow_factor: Sequence[Scalar]
    fall_factor: Sequence[Scalar]
    rest_factor: Scalar


def exponentials(x: ScalarConstants, t: Scalar) -> Exponentials:
    """Exponentials as products: e^{-kappa t}, and ratios of growing rows."""
    m, r, _ = x.sizes
    modes = range(m)
    step = [once(jnp.exp(-x.steps[i] * t)) for i in modes]
    rest_decay = once(jnp.exp(-jnp.abs(x.rate) * t)) if r else jnp.ones_like(t)
    rest_up = jnp.where(x.rate > 0, rest_decay, 1.0)
    rest_down = jnp.where(x.rate < 0, rest_decay, 1.0)
    ratio: list[list[Scalar]] = [[jnp.ones_like(t)] * m for _ in range(m + 1)]
    for i in range(1, m + 1):
        for j in range(i):
            ratio[i][j] = ratio[i - 1][j] * step[i - 1] if j < i - 1 else step[j]
    decay = [ratio[m][j] * rest_up for j in modes]
    mode = [_of_mode(x, i, decay[i], t) for i in modes]
    grow, fall, grow_factor, fall_factor = zip(*mode, strict=True)
    rest_gain = gain_of_decay(jnp.abs(x.rate), rest_decay, t)
    inverse = once(inverse_root(rest_gain))
    return Exponentials(
        decay,
        ratio,
        rest_up,
        grow,
        fall,
        rest_gain * inverse,
        grow_factor,
        fall_factor,
        rest_down * inverse,
    )


def _of_mode(
    x: ScalarConstants, i: int, decay: Scalar, t: Scalar
) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """The roots of the gains of a mode's rows, and the rows' factors from K to q.

    The row that grows comes before the one that falls.
    """

    def roots(rate: Scalar, decay: Scalar) -> tuple[Scalar, Scalar]:
        gain = gain_of_decay(rate, decay, t)
        inverse = once(inverse_root(gain))
        return gain * inverse, inverse

    if x.falls is None:
        root, inverse = roots(x.kappa[i], decay)
        return root, root, inverse, decay * inverse
    sunk, fallen = (
        once(jnp.exp(-rate[i] * t)) for rate in (x.falls.sink, x.falls.fall)
    )
    root, inverse = roots(x.kappa[i] + x.falls.sink[i], decay * sunk)
    fall_root, fall_inverse = roots(x.falls.fall[i], fallen)
    return root, fall_root, sunk * inverse, fallen * fall_inverse


def orthonormal_columns(x: ScalarConstants, e: Exponentials) -> list[Column]:
    """Columns of the span of K.

    Their rows are those that grow, left-over ones, those that decay, and the start.
    """
    m, r, n = x.sizes
    bottleneck = n < m
    one = jnp.ones_like(e.rest)
    k: list[Column] = []
    for j in range(n):
        shrink = jnp.where(x.of_rest[j], e.rest_up, 1.0)
        lag = dict.fromkeys(range(m + 1), one)
        if not bottleneck and j < m:
            shrink = jnp.where(x.is_pivot[j], e.decay[j], shrink)
            lag = {i: e.ratio[i][j] for i in range(j, m)}
            lag[m] = jnp.where(x.is_pivot[j], e.ratio[m][j], 1.0)
        for mode in range(j, m) if bottleneck else ():
            is_own = x.of_modes[j, mode]
            shrink = jnp.where(is_own, e.decay[mode], shrink)
            for i in range(mode + 1, m + 1):
                lag[i] = jnp.where(is_own, e.ratio[i][mode], lag[i])
        column = {("start", j): shrink}
        for i in range(j, m):
            column["grow", i] = x.lower[i, j] * e.grow[i] * lag[i]
        for i in range(r):
            column["rest", i] = x.lower[m + i, j] * e.rest * lag[m]
        for i in range(m):
            column["fall", i] = x.lower[m + r + i, j] * e.fall[i] * shrink
        k.append(column)
    _orthonormalise(k)
    return k


def _orthonormalise(k: list[Column]) -> None:
    """Replace sparse columns by orthonormal ones of the same span, from the last on."""
    for late in range(len(k) - 1, -1, -1):
        unit = k[late]
        scale = once(inverse_root(dot(unit, unit)))
        for row in unit:
            unit[row] = unit[row] * scale
        for early in range(late):
            column = k[early]
            along = dot(unit, column)
            for row in unit:
                part = unit[row] * along
                column[row] = column[row] - part if row in column else -part


def dot(a: dict, b: dict) -> Scalar:
    """The sum of products over the entries that `a` and `b` share."""
    terms = [value * b[key] for key, value in a.items() if key in b]
    return sum(terms[1:], terms[0])
