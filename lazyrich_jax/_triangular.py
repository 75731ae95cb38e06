"""Triangular factors and solves of one matrix; `jax.vmap` maps them over many.

They do without LAPACK. Its batched calls can wait for each other for ever on machines
with few cores, and its threads compete with XLA's.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._linalg import dot, square_norm
from ._xla import sizes, varying_like


@jax.custom_jvp
def triangle(x: Float[Array, "rows columns"]) -> Float[Array, "columns columns"]:
    """The lower triangular L of `x = QL`, positive on its diagonal, Q orthonormal.

    `x` must have `rows >= columns`. Each Householder reflection maps a column onto the
    row in which it is largest. This keeps the digits of small rows and of small
    products of columns (Powell and Reid 1969; Cox and Higham 1998).
    """
    count = x.shape[1]
    # The last column is reflected first. Columns are stored as rows: contiguous.
    x = x[:, ::-1].mT
    free, pivots = (
        jnp.ones(x.shape[1], bool),
        jnp.zeros(count + -count % sizes.TRIANGLE_COLUMNS, int),
    )
    if count <= sizes.TRIANGLE_COLUMNS:

        def visit(i: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
            x, free, pivots = state
            x, _, pivot = _reflect(i, x, free)
            return x, free.at[pivot].set(False), pivots.at[i].set(pivot)

        steps = count
    else:
        x, visit = (
            jnp.pad(x, ((0, -count % sizes.TRIANGLE_COLUMNS), (0, 0))),
            _reflect_block,
        )
        steps = x.shape[0] // sizes.TRIANGLE_COLUMNS
    start = x, *varying_like((free, pivots), x)
    x, _, pivots = jax.lax.fori_loop(0, steps, visit, start)
    r = jnp.tril(x[:count, pivots[:count]]).mT
    r = jnp.where(jnp.diagonal(r) < 0, -1.0, 1.0)[:, None] * r
    return r[::-1, ::-1]


def _reflect_block(i: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
    """Reflect the columns of block i to zero in the free rows, and all later columns.

    The product of the block's reflections is I - V' T V.
    """
    columns, free, pivots = state
    start = i * sizes.TRIANGLE_COLUMNS
    block = jax.lax.dynamic_slice_in_dim(columns, start, sizes.TRIANGLE_COLUMNS)

    def visit(j: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        block, free, pivots, vs, ts = state
        block, v, pivot = _reflect(j, block, free)
        t = jnp.where(
            jnp.arange(sizes.TRIANGLE_COLUMNS) == j, 1.0, -dot(ts, dot(vs, v))
        )
        free = free.at[pivot].set(False)
        pivots = pivots.at[start + j].set(pivot)
        return block, free, pivots, vs.at[j].set(v), ts.at[:, j].set(t)

    none = (
        jnp.zeros_like(block),
        jnp.zeros((sizes.TRIANGLE_COLUMNS, sizes.TRIANGLE_COLUMNS), block.dtype),
    )
    none = varying_like(none, block)
    found = jax.lax.fori_loop(
        0, sizes.TRIANGLE_COLUMNS, visit, (block, free, pivots, *none)
    )
    block, free, pivots, vs, ts = found
    is_later = jnp.arange(columns.shape[0])[:, None] >= start + sizes.TRIANGLE_COLUMNS
    columns -= jnp.where(is_later, dot(columns, vs.mT, ts, vs), 0.0)
    columns = jax.lax.dynamic_update_slice_in_dim(columns, block, start, 0)
    return columns, free, pivots


def _reflect(
    j: Array, columns: Float[Array, "columns rows"], free: Bool[Array, " rows"]
) -> tuple[Float[Array, "columns rows"], Float[Array, " rows"], Int[Array, ""]]:
    """Reflect column j, by I - v v', to zero in all free rows but one: its pivot.

    Returns the columns, v and the pivot's row.
    """
    v = jnp.where(free, columns[j], 0.0)
    pivot = jnp.argmax(jnp.where(free, jnp.abs(v), -1.0))
    norm = jnp.sqrt(square_norm(v))
    is_pivot = jnp.arange(columns.shape[1]) == pivot
    v = v + jnp.where(is_pivot, jnp.where(v < 0, -norm, norm), 0.0)
    square = square_norm(v)
    v = v * jnp.sqrt(2 / jnp.where(square == 0, 1.0, square))
    return columns - dot(columns, v)[:, None] * v[None], v, pivot


@triangle.defjvp
def _triangle_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    low = triangle(x)
    # JAX before 0.5 transposes a loop only where it finds the linear part itself.
    units, moved = jax.jvp(lambda x: over(x, low), (x,), (dx,))
    half = dot(units.mT, moved)
    lower = jnp.tril(half + half.mT, -1)
    diagonal = jnp.diag(jnp.diagonal(half))
    return low, dot(lower + diagonal, low)


@jax.custom_jvp
def orthonormal(
    x: Float[Array, "rows columns"],
) -> tuple[Float[Array, "rows columns"], Float[Array, "columns columns"]]:
    """Q and R of `x = QR`: Q has orthonormal columns, R is upper triangular.

    `x` must have `rows >= columns`, of any rank. The reflections are those of
    `triangle`, from the first column on. Derivatives exist at full rank.
    """
    count = x.shape[1]
    size = jnp.max(jnp.abs(x), axis=0)
    size = jnp.where(size == 0, 1.0, size)
    columns = (x / size[None]).mT  # their squares don't underflow

    def visit(j: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        columns, free, pivots, vs = state
        columns, v, pivot = _reflect(j, columns, free)
        free, pivots = free.at[pivot].set(False), pivots.at[j].set(pivot)
        return columns, free, pivots, vs.at[j].set(v)

    none = jnp.ones(len(x), bool), jnp.zeros(count, int), jnp.zeros_like(columns)
    start = columns, *varying_like(none, columns)
    columns, _, pivots, vs = jax.lax.fori_loop(0, count, visit, start)
    # The product of the reflections is I - V' T V, with inv(T) + inv(T') = V V'.
    low = jnp.tril(dot(vs, vs.mT), -1) + jnp.eye(count, dtype=x.dtype)
    q = -dot(over(vs[:, pivots].mT, low), vs)
    q = q.at[jnp.arange(count), pivots].add(1)
    return q.mT, jnp.triu(columns[:, pivots].mT) * size[None]


@orthonormal.defjvp
def _orthonormal_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    q, r = orthonormal(x)
    _, moved = jax.jvp(lambda x: _over_upper(x, r), (x,), (dx,))
    inner = dot(q.mT, moved)
    lower = jnp.tril(inner, -1)
    turn = lower - lower.mT
    return (q, r), (moved + dot(q, turn - inner), dot(inner - turn, r))


def over(
    x: Float[Array, "rows columns"], low: Float[Array, "columns columns"]
) -> Float[Array, "rows columns"]:
    """`x @ inv(low)` for lower triangular `low`, by substitution."""
    return _over_upper(x[:, ::-1], low[::-1, ::-1])[:, ::-1]


def _over_upper(
    x: Float[Array, "rows columns"], r: Float[Array, "columns columns"]
) -> Float[Array, "rows columns"]:
    n = r.shape[0]
    if n <= sizes.TRIANGLE_COLUMNS:
        done: list[Array] = []
        for j in range(n):
            y = x[:, j]
            for i, column in enumerate(done):
                y = y - column * r[i, j]
            done.append(y / r[j, j])
        return jnp.stack(done, axis=1)
    more = -n % sizes.TRIANGLE_COLUMNS
    r = jnp.eye(n + more, dtype=r.dtype).at[:n, :n].set(r)
    x = jnp.pad(x, ((0, 0), (0, more)))

    def visit(i: Array, y: Float[Array, "rows n"]) -> Float[Array, "rows n"]:
        start = i * sizes.TRIANGLE_COLUMNS
        part, columns = (
            jax.lax.dynamic_slice_in_dim(a, start, sizes.TRIANGLE_COLUMNS, axis=1)
            for a in (x, r)
        )
        own = jax.lax.dynamic_slice_in_dim(columns, start, sizes.TRIANGLE_COLUMNS)
        solved = _over_upper(part - dot(y, columns), own)
        return jax.lax.dynamic_update_slice_in_dim(y, solved, start, 1)

    blocks = (n + more) // sizes.TRIANGLE_COLUMNS
    start = varying_like(jnp.zeros_like(x), x, r)
    return jax.lax.fori_loop(0, blocks, visit, start)[:, :n]


def inverse_factor(gram: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """inv(L) for `gram = L.T @ L`, L lower triangular; NaN if L does not exist.

    Blocks of columns leave most of the arithmetic to products of matrices.
    """
    n = gram.shape[0]
    size = n + -n % sizes.TRIANGLE_COLUMNS
    eye = jnp.eye(size, dtype=gram.dtype)
    gram = eye.at[:n, :n].set(gram[::-1, ::-1])

    def visit(i: Array, inverse: Float[Array, "n n"]) -> Float[Array, "n n"]:
        start = i * sizes.TRIANGLE_COLUMNS
        rows, own = (
            jax.lax.dynamic_slice_in_dim(x, start, sizes.TRIANGLE_COLUMNS)
            for x in (gram, eye)
        )
        above = dot(rows, inverse)  # R transposed, zero from the diagonal on
        square = dot(rows, own.mT) - dot(above, above.mT)
        left = jnp.concatenate([square, own - dot(inverse, above.mT).mT], axis=1)
        done: list[Array] = []
        for j in range(sizes.TRIANGLE_COLUMNS):
            row = left[j]
            for before in done:
                row = row - before[j] * before
            done.append(row * jax.lax.rsqrt(row[j]))
        added = jnp.stack(done)[:, sizes.TRIANGLE_COLUMNS :].mT
        return jax.lax.dynamic_update_slice_in_dim(inverse, added, start, 1)

    blocks = size // sizes.TRIANGLE_COLUMNS
    start = varying_like(jnp.zeros_like(eye), gram)
    return jax.lax.fori_loop(0, blocks, visit, start)[:n, :n][::-1, ::-1]
