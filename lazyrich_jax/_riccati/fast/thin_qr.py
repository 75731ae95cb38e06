"""K with orthonormal columns, of many networks at many times.

In: the rows of K by kinds. Out: orthonormal columns of the same span, and inv(R) where
it is asked for. Matrices of more than `sizes.LANE_COLUMNS` columns have their axes
last; smaller ones first, with networks and times last.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._linalg import dot, square_norm
from ..._triangular import inverse_factor, over, triangle
from ..._xla import inverse_root, kept, sizes
from ..batching.blocks import total


def orthonormal_matrix(
    above: tuple[Float[Array, "_ columns"], ...], diagonal: Float[Array, " columns"]
) -> tuple[tuple[Float[Array, "_ columns"], ...], Float[Array, "columns columns"]]:
    """For K of rows `above` and a diagonal matrix, K = (orthonormal) R: `above` times
    inv(R), and inv(R) itself.

    By the Cholesky decomposition of the columns' products, which loses digits where
    these are far from orthogonal: an echelon form's hardly ever are. Where they are, by
    reflections, which keep the digits of every row.
    """
    n = diagonal.size

    def by_reflections(k: Array) -> tuple[tuple[Array, ...], Array]:
        size = jnp.max(jnp.abs(k), axis=0)[None]
        r = triangle(k / size) * size
        return tuple(over(x, r) for x in above), over(jnp.eye(n, dtype=r.dtype), r)

    k = jnp.concatenate([*above, jnp.diag(diagonal)])
    if n <= sizes.QR_COLUMNS:
        return by_reflections(k)
    gram = sum((dot(x.T, x) for x in above), jnp.diag(diagonal * diagonal))
    squares = jnp.diagonal(gram)
    scale = jax.lax.rsqrt(squares)
    inverse = inverse_factor(gram * scale[:, None] * scale[None])
    is_fine = square_norm(inverse) < 10 * n  # n if they are orthogonal
    smallest = jnp.finfo(k.dtype).tiny / jnp.finfo(k.dtype).eps
    is_fine &= jnp.all(squares > smallest)  # and have all their digits
    inverse = scale[:, None] * inverse

    def again(state: tuple[Array, Any]) -> tuple[Array, Any]:
        # XLA takes arithmetic that is the same in every pass out of a loop, and would
        # always do it: the loop's own state, false here, hides that it is.
        return jnp.array(True), by_reflections(jnp.where(state[0], 0.0, k))

    # Not a condition: of many matrices at once that would do both for all.
    first = is_fine, (tuple(dot(x, inverse) for x in above), inverse)
    return jax.lax.while_loop(lambda state: ~state[0], again, first)[1]


def orthonormal(
    entries: Callable[[], tuple[Array, ...]],
    unit: Array,
    counts: tuple[int, int, int],
) -> tuple[Array, ...]:
    """K with orthonormal columns of the same span, the last one first.

    Rows of `unit` become those of inv(R).

    By modified Gram-Schmidt, a vector of lanes at a time. A column has no entries above
    its pivot row, which isn't above the row of its own number, nor in the start above
    that; K is ordered so that column c is zero from row `rows[c]` on.
    """
    m, r, n = counts
    both = min(m, n)

    def ordered():
        grow, rest, fall, start = entries()
        pairs = jnp.stack([grow[:both][::-1], start[:both][::-1]], axis=1)
        pairs = pairs.reshape(2 * both, *pairs.shape[2:])
        return jnp.concatenate([fall, rest, grow[both:], start[both:][::-1], pairs])

    def by_kind(k, inverse):
        fall, rest, k = k[:m], k[m : m + r], k[m + r :]
        single, pairs = k[: m + n - 2 * both], k[m + n - 2 * both :]
        grow, start = pairs[::2][::-1], pairs[1::2][::-1]
        if n > m:
            start = jnp.concatenate([start, single[::-1]])
        elif m > n:
            grow = jnp.concatenate([grow, single])
        return grow, rest, fall, start, inverse

    k = kept(ordered)
    rows = [m + r + n - c + max(m - c, 0) for c in range(n)]
    if n > sizes.QR_COLUMNS:
        columns, inverse = _in_groups(k, unit, rows)
        return kept(lambda: by_kind(columns, inverse))
    units = []
    inverse = []
    for late in reversed(range(n)):
        k, unit, column, inverted = _without_last(k, unit, rows[late])
        padding = [(0, rows[0] - rows[late]), *[(0, 0)] * (column.ndim - 1)]
        units.insert(0, jnp.pad(column, padding))
        inverse.insert(0, inverted)

    return kept(lambda: by_kind(jnp.stack(units, axis=1), jnp.stack(inverse, axis=1)))


def _in_groups(
    k: Float[Array, "rows columns ..."],
    more: Float[Array, "more columns ..."],
    rows: list[int],
) -> tuple[Float[Array, "rows columns ..."], Float[Array, "more columns ..."]]:
    """Orthonormal columns of `k`, and what becomes of those of `more` with them.

    By a loop over the columns of each group: a bit more arithmetic than with all
    columns written out, and far less to compile.
    """
    first = more.shape[0]
    left = jnp.concatenate([more, k])
    done: list[Array] = []
    for start in reversed(range(0, k.shape[1], sizes.QR_COLUMNS)):
        end = first + rows[start]

        def visit(i, left, end=end):
            j = left.shape[1] - 1 - i
            column = jax.lax.dynamic_index_in_dim(left, j, 1, keepdims=False)[:end]
            scale = inverse_root(total(x * x for x in column[first:]))
            column = kept(lambda: column * scale[None])
            along = kept(
                lambda: total(column[i][None] * left[i] for i in range(first, end))
            )
            before = jnp.arange(left.shape[1]) < j
            before = before.reshape(-1, *[1] * (along.ndim - 1))
            along = kept(lambda: jnp.where(before, along, 0.0))
            others = left[:end] - column[:, None] * along[None]
            left = left.at[:end].set(others)
            return left.at[:end, j].set(column)

        left = jax.lax.fori_loop(0, left.shape[1] - start, visit, left)
        done.insert(0, left[:, start:])
        left = left[:, :start]
    found = jnp.concatenate(done, axis=1)
    return found[first:], found[:first]


def _without_last(
    k: Float[Array, "rows columns ..."],
    more: Float[Array, "more columns ..."],
    rows: int,
) -> tuple[
    Float[Array, "rows fewer ..."],
    Float[Array, "more fewer ..."],
    Float[Array, "some ..."],
    Float[Array, "more ..."],
]:
    """The others without their part along the last column, and it as a unit vector.

    Only the first `rows` are not zero in it. What is done to the columns of `k` is done
    to those of `more`.
    """
    last = k.shape[1] - 1

    def normalised():
        column = k[:rows, last]
        scale = inverse_root(total(x * x for x in column))[None]
        return column * scale, more[:, last] * scale

    unit, other = kept(normalised)
    if last == 0:
        return k, more, unit, other
    along = kept(lambda: total(unit[i][None] * k[i, :last] for i in range(rows)))

    def others():
        left = k[:rows, :last] - unit[:, None] * along[None]
        rest = more[:, :last] - other[:, None] * along[None]
        return jnp.concatenate([left, k[rows:, :last]]), rest

    return *kept(others), unit, other
