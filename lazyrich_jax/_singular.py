"""Singular value decompositions; rotations decompose many small matrices at once.

One-sided Jacobi rotations (Hestenes 1958) of each matrix's columns make these columns
orthogonal; the product of the rotations is the right basis. Householder reflections of
the orthogonal columns give the left basis, complete at any rank. The matrices are lanes
on the last axis: a graphics card or a vector unit works on many of them at once.
Libraries work on one after the other.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float

from ._checks import refuse_derivative
from ._linalg import dot
from ._xla import is_few, once, sizes, varying_like

SWEEPS = 30  # the most sweeps over all pairs of columns; convergence takes a handful

REPEATED = (
    "Derivatives of singular vectors must be taken where the task's singular values "
    "are distinct (and nonzero, for unequal sizes), but they were not. The vectors "
    "have no derivative there."
)

Bases = tuple[
    Float[Array, "*matrices out out"],
    Float[Array, "*matrices modes"],
    Float[Array, "*matrices in in"],
]
Lanes = Float[Array, "rows lanes"]


def singular_basis(sigma: Float[Array, "out in"]) -> Bases:
    """The full `u`, `s`, `v` with `sigma = u[:, :k] @ diag(s) @ v[:, :k].T`.

    The entries must be finite. The function has no derivative.
    """
    # Without another platform the CPU's sizes decide.
    only_cpu = jax.default_backend() == "cpu"
    if not _fits(sigma, sizes.ROTATED_ON_CPU if only_cpu else sizes.ROTATED):
        return by_library(sigma)
    u, s, v = _of_all(sigma[None])
    return u[0], s[0], v[0]


def _fits(sigma: Float[Array, "... out in"], largest: tuple[int, int]) -> bool:
    smaller, larger = sorted(sigma.shape[-2:])
    return 0 < smaller <= largest[0] and larger <= largest[1]


@custom_vmap
def _of_all(sigma: Float[Array, "matrices out in"]) -> Bases:
    if is_few(sigma.shape[0], sizes.FEW_MATRICES):
        return by_library(sigma)
    if jax.default_backend() == "cpu":
        return by_rotations(sigma)
    on_cpu = by_rotations if _fits(sigma, sizes.ROTATED_ON_CPU) else by_library
    return jax.lax.platform_dependent(sigma, cpu=on_cpu, default=by_rotations)


@_of_all.def_vmap
def _(size: Any, batched: list[bool], sigma: Array) -> tuple[Any, Any]:
    found = _of_all(sigma.reshape(-1, *sigma.shape[2:]))
    found = jax.tree.map(lambda x: x.reshape(size, -1, *x.shape[1:]), found)
    return found, (True, True, True)


def by_library(sigma: Float[Array, "*matrices out in"]) -> Bases:
    """Decompositions by LAPACK or the platform's library."""
    u, s, vt = jnp.linalg.svd(sigma)
    return u, s, vt.mT


@jax.custom_jvp
def _singular_vectors(sigma: Float[Array, "out in"]) -> Bases:
    return by_library(sigma)


@_singular_vectors.defjvp
def _singular_vectors_jvp(primals, tangents):
    u, s, v = _singular_vectors(*primals)
    return (u, s, v), turned(u, s, v, *tangents)


def singular_vectors(sigma: Float[Array, "out in"], throw: bool = True) -> Bases:
    """`singular_basis` by LAPACK, with derivatives.

    **Raises:** a runtime error for derivatives where singular values repeat or, for
    unequal sizes, are zero: the vectors have none there. Without `throw` the
    derivatives are NaN.
    """
    s = jnp.linalg.svd(jax.lax.stop_gradient(sigma), compute_uv=False)
    bad = nearly_repeated(s, sigma.shape)
    sigma = refuse_derivative(sigma, bad, message=REPEATED, throw=throw)
    return _singular_vectors(sigma)


def nearly_repeated(
    s: Float[Array, " modes"], shape: tuple[int, ...]
) -> Bool[Array, ""]:
    """Whether a gap of singular values has lost half of its digits.

    For unequal sizes the smallest singular value counts as a gap too.
    """
    gaps = s[:-1] - s[1:]
    if shape[0] != shape[1]:
        gaps = jnp.append(gaps, s[-1])
    return jnp.any(gaps <= jnp.finfo(s.dtype).eps ** 0.5 * s[0])


def turned(
    u: Float[Array, "out out"],
    s: Float[Array, " modes"],
    v: Float[Array, "in in"],
    change: Float[Array, "out in"],
) -> Bases:
    """The change of singular vectors and values under a `change` of the matrix."""
    k = s.size
    core = dot(u.mT, change, v)
    square = core[:k, :k]
    same = jnp.eye(k, dtype=bool)
    gap = (s[None] - s[:, None]) * (s[None] + s[:, None])
    gap = jnp.where(same, 1.0, gap)
    left = jnp.where(same, 0.0, (square * s[None] + s[:, None] * square.mT) / gap)
    right = jnp.where(same, 0.0, (s[:, None] * square + square.mT * s[None]) / gap)
    return (
        dot(u, _generator(left, core[k:, :k] / s[None])),
        jnp.diagonal(core),
        dot(v, _generator(right, core[:k, k:].mT / s[None])),
    )


def _generator(
    core: Float[Array, "k k"], rest: Float[Array, "rest k"]
) -> Float[Array, "n n"]:
    """A rotation's generator, given its blocks within and out of `k` modes."""
    zero = jnp.zeros((rest.shape[0], rest.shape[0]), core.dtype)
    return jnp.block([[core, -rest.mT], [rest, zero]])


def by_rotations(sigma: Float[Array, "matrices out in"]) -> Bases:
    """Decompositions by one-sided Jacobi rotations."""
    is_wide = sigma.shape[1] < sigma.shape[2]
    x = jnp.moveaxis(sigma, 0, -1)
    x = x.swapaxes(0, 1) if is_wide else x
    rows, k = x.shape[:2]
    largest = jnp.max(jnp.abs(x), axis=(0, 1))
    scale = jnp.where(largest > 0, largest, 1.0)
    columns = jnp.concatenate([x / scale[None, None], _eye(k, x)])
    turned, squares = _orthogonal([columns[:, j] for j in range(k)], rows)
    columns, norms = _sorted(turned, squares)
    u, v = _completed(columns[:, :rows]), columns[:, rows:]
    u, v = (jnp.moveaxis(x, (0, 1, 2), (2, 1, 0)) for x in (u, v))
    s = (norms * scale[None]).T
    return (v, s, u) if is_wide else (u, s, v)


def _orthogonal(
    columns: list[Lanes], rows: int
) -> tuple[Float[Array, "k both lanes"], Float[Array, "k lanes"]]:
    """Columns rotated until their first `rows`, of size one, are orthogonal.

    The second result is the squares of their norms. Both are results of the loop: XLA
    may recompute other values for every use, each time rounded differently.
    """
    # The residual's square is at rounding level below this angle.
    dtype = columns[0].dtype
    least = jnp.asarray(jnp.finfo(dtype).eps ** 0.5 / 2, dtype)

    def sweep(state):
        columns, count = list(state[0]), state[3]
        largest = jnp.zeros((), dtype)
        for i, j in _pairs(len(columns)):
            columns[i], columns[j], angle = _turned(columns[i], columns[j], rows)
            largest = jnp.maximum(largest, jnp.max(angle))
        tops = [x[:rows] for x in columns]
        squares = jnp.stack([_dot(x, x) for x in tops])
        return tuple(columns), squares, largest, count + 1

    def goes_on(state):
        return (state[2] > least) & (state[3] < SWEEPS)

    squares = jnp.zeros((len(columns), columns[0].shape[1]), dtype)
    start = tuple(columns), squares, jnp.ones((), dtype), jnp.array(0)
    start = varying_like(start, *columns)
    turned, squares, _, _ = jax.lax.while_loop(goes_on, sweep, start)
    return jnp.stack(turned), squares


def _pairs(k: int) -> list[tuple[int, int]]:
    """All pairs of `k` columns, in the rounds of a tournament."""
    players = list(range(k + k % 2))
    half = len(players) // 2
    pairs = []
    for _ in players[1:]:
        pairs += zip(players[:half], players[: half - 1 : -1], strict=True)
        players = [players[0], players[-1], *players[1:-1]]
    return [(min(pair), max(pair)) for pair in pairs if max(pair) < k]


def _turned(
    x: Lanes, y: Lanes, rows: int
) -> tuple[Lanes, Lanes, Float[Array, "lanes"]]:
    """Two columns made orthogonal by a rotation, and its angle's absolute tangent."""
    a, b = x[:rows], y[:rows]
    xx, yy, xy = _dot(a, a), _dot(b, b), _dot(a, b)
    noise = rows * jnp.finfo(x.dtype).eps * jnp.sqrt(jnp.maximum(xx, yy))
    is_done = jnp.abs(xy) <= noise
    half = once((yy - xx) / (2 * jnp.where(is_done, 1.0, xy)))
    tangent = 1 / (jnp.abs(half) + jnp.sqrt(1 + half * half))
    tangent = jnp.where(is_done, 0.0, jnp.where(half < 0, -tangent, tangent))
    cos = 1 / jnp.sqrt(1 + tangent * tangent)
    cos, sin = cos[None], (cos * tangent)[None]
    return cos * x - sin * y, sin * x + cos * y, jnp.abs(tangent)


def _sorted(
    columns: Float[Array, "k both lanes"], squares: Float[Array, "k lanes"]
) -> tuple[Float[Array, "k both lanes"], Float[Array, "k lanes"]]:
    """Columns in the order of falling norms, and these norms."""
    k = jnp.arange(squares.shape[0])
    is_before = (squares[:, None] > squares[None]) | (
        (squares[:, None] == squares[None]) & (k[:, None] < k[None])[..., None]
    )
    place = jnp.sum(is_before, axis=0)
    is_here = (place[:, None] == k[None, :, None]).astype(squares.dtype)
    in_order = _dot(is_here[:, :, None], columns[:, None])
    return in_order, jnp.sqrt(_dot(is_here, squares[:, None]))


def _completed(
    columns: Float[Array, "k rows lanes"],
) -> Float[Array, "rows rows lanes"]:
    """A complete orthonormal basis as rows; the first `k` are along the columns."""
    k, rows, _ = columns.shape
    x = jnp.concatenate([columns, _eye(rows, columns)]).swapaxes(0, 1)
    row = jnp.arange(rows)[:, None]
    limits = jnp.finfo(x.dtype)

    # The result of a loop, as in `_orthogonal`.
    def reflect(j: Array, x: Array) -> Array:
        v = jnp.where(row >= j, x[:, j], 0.0)
        square, first = _dot(v, v), x[j, j]
        is_zero = square < limits.tiny / limits.eps  # too small to keep its digits
        norm = jnp.where(is_zero, 0.0, jnp.sqrt(square))
        v = v + jnp.where(row == j, jnp.where(first < 0, -norm, norm)[None], 0.0)
        half = jnp.where(is_zero, 1.0, norm * (norm + jnp.abs(first)))
        scale = jnp.where(is_zero, 0.0, 1 / half)
        return x - v[:, None] * (scale[None] * _dot(v[:, None], x))[None]

    x = jax.lax.fori_loop(0, k, reflect, varying_like(x, columns))
    norms = x[jnp.arange(k), jnp.arange(k)]
    signs = jnp.where(norms < 0, -1.0, 1.0)[:, None]
    return jnp.concatenate([signs * x[:k, k:], x[k:, k:]])


def _eye(n: int, like: Float[Array, "rows columns lanes"]) -> Array:
    eye = jnp.eye(n, dtype=like.dtype)[..., None]
    return jnp.broadcast_to(eye, (n, n, like.shape[-1]))


def _dot(x: Float[Array, "n ..."], y: Float[Array, "n ..."]) -> Float[Array, "..."]:
    """The sum of products along the first axis, written out."""
    return functools.reduce(jnp.add, [a * b for a, b in zip(x, y, strict=True)])
