"""Thin QR decompositions of K for many networks at many times.

In: the rows of K by kinds. Out: orthonormal columns of the same span, and inv(R) if it
is asked for. `orthonormal_matrix` takes one matrix (large matrices are mapped over),
`orthonormal` many, with networks and times on the last axes.
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


@jax.custom_jvp
def orthonormal_matrix(
    above: tuple[Float[Array, "_ columns"], ...], diagonal: Float[Array, " columns"]
) -> tuple[tuple[Float[Array, "_ columns"], ...], Float[Array, "columns columns"]]:
    """`above` times inv(R), and inv(R), for K = [above; diagonal] = (orthonormal) R.

    R comes from the Cholesky decomposition of K'K. This loses digits where the columns
    of K are far from orthogonal. In echelon form they hardly ever are; where they are,
    R comes from reflections, which keep the digits of every row.
    """
    n = diagonal.size
    if n <= sizes.QR_COLUMNS:
        return _by_reflections(above, diagonal)
    gram = sum((dot(x.T, x) for x in above), jnp.diag(diagonal * diagonal))
    squares = jnp.diagonal(gram)
    scale = jax.lax.rsqrt(squares)
    inverse = inverse_factor(gram * scale[:, None] * scale[None])
    is_fine = square_norm(inverse) < 10 * n  # n if they are orthogonal
    smallest = jnp.finfo(gram.dtype).tiny / jnp.finfo(gram.dtype).eps
    is_fine &= jnp.all(squares > smallest)  # smaller squares lack digits
    inverse = scale[:, None] * inverse

    def again(state: tuple[Array, Any]) -> tuple[Array, Any]:
        # XLA moves arithmetic that is the same in every pass out of a loop: it would
        # always be done. The loop's state, false here, hides that it is the same.
        rows = tuple(jnp.where(state[0], 0.0, x) for x in (*above, diagonal))
        return jnp.array(True), _by_reflections(rows[:-1], rows[-1])

    # A loop, not a condition: `jax.vmap` of a condition would do both for all matrices.
    first = is_fine, (tuple(dot(x, inverse) for x in above), inverse)
    return jax.lax.while_loop(lambda state: ~state[0], again, first)[1]


def _by_reflections(
    above: tuple[Float[Array, "_ columns"], ...], diagonal: Float[Array, " columns"]
) -> tuple[tuple[Float[Array, "_ columns"], ...], Float[Array, "columns columns"]]:
    k = jnp.concatenate([*above, jnp.diag(diagonal)])
    size = jnp.max(jnp.abs(k), axis=0)[None]
    r = triangle(k / size) * size
    return (
        tuple(over(x, r) for x in above),
        over(jnp.eye(diagonal.size, dtype=r.dtype), r),
    )


@orthonormal_matrix.defjvp
def _orthonormal_matrix_jvp(primals: Any, tangents: Any) -> Any:
    """Reflections have derivatives of both modes."""
    return jax.jvp(_by_reflections, primals, tangents)


def orthonormal(
    entries: Callable[[], tuple[Array, ...]],
    unit: Array,
    counts: tuple[int, int, int],
) -> tuple[Array, ...]:
    """K with orthonormal columns of the same span, from the last column on.

    Modified Gram-Schmidt works on vectors of lanes. Rows of the identity in `unit`
    become rows of inv(R). Column c of K is zero above its pivot row, which is row c or
    a later one, and above entry c of the start. K is ordered so that column c is zero
    from row `ends[c]` on.
    """
    m, r, n = counts
    both, more = min(m, n), len(unit)

    def ordered():
        grow, rest, fall, start = entries()
        pairs = jnp.stack([grow[:both][::-1], start[:both][::-1]], axis=1)
        pairs = pairs.reshape(2 * both, *pairs.shape[2:])
        others = grow[both:], start[both:][::-1]
        return jnp.concatenate([unit, fall, rest, *others, pairs])

    def by_kind(k):
        inverse, k = k[:more], k[more:]
        fall, rest, k = k[:m], k[m : m + r], k[m + r :]
        single, pairs = k[: m + n - 2 * both], k[m + n - 2 * both :]
        grow, start = pairs[::2][::-1], pairs[1::2][::-1]
        if n > m:
            start = jnp.concatenate([start, single[::-1]])
        elif m > n:
            grow = jnp.concatenate([grow, single])
        return grow, rest, fall, start, inverse

    k = kept(ordered)
    ends = [more + m + r + n - c + max(m - c, 0) for c in range(n)]
    if n > sizes.QR_COLUMNS:
        columns = _in_groups(k, more, ends)
        return kept(lambda: by_kind(columns))
    units = []
    for end in reversed(ends):
        k, column = _without_last(k, more, end)
        units.insert(0, column)

    return kept(lambda: by_kind(jnp.stack(units, axis=1)))


def _in_groups(
    left: Float[Array, "rows columns ..."], first: int, ends: list[int]
) -> Float[Array, "rows columns ..."]:
    """`_without_last` of all columns.

    A loop runs over the columns of each group. This takes slightly more arithmetic than
    written-out columns and compiles far faster.
    """
    done: list[Array] = []
    for start in reversed(range(0, left.shape[1], sizes.QR_COLUMNS)):
        end = ends[start]

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
    return jnp.concatenate(done, axis=1)


def _without_last(
    k: Float[Array, "rows columns ..."], first: int, end: int
) -> tuple[Float[Array, "rows fewer ..."], Float[Array, "rows ..."]]:
    """Earlier columns without their part along the last, and the last as a unit vector.

    The last column is zero from row `end` on. Rows before `first` undergo the same
    operations, and don't count in products.
    """
    last = k.shape[1] - 1

    def normalised():
        column = k[:, last]
        return column * inverse_root(total(x * x for x in column[first:end]))[None]

    unit = kept(normalised)
    if last == 0:
        return k, unit
    rows = range(first, end)
    along = kept(lambda: total(unit[i][None] * k[i, :last] for i in rows))

    def others():
        left = k[:end, :last] - unit[:end, None] * along[None]
        return jnp.concatenate([left, k[end:, :last]])

    return kept(others), unit
