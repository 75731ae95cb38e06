"""Triangular factors, and thin QR decompositions of K as a matrix."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from lazyrich_jax import _triangular
from lazyrich_jax._riccati.fast import thin_qr, values
from lazyrich_jax._riccati.frame import Frame, Problem

from . import cases, compiled


def k_of(columns):
    """Rows above the diagonal, and the diagonal, with columns far from parallel."""
    rng = np.random.default_rng(columns)
    above = tuple(0.3 * rng.normal(size=(rows, columns)) for rows in (columns, 1, 3))
    return above, rng.uniform(0.5, 2.0, columns)


def nearly_parallel():
    """Rows and diagonal with large rows that are nearly multiples of each other."""
    (first, *others), diagonal = k_of(12)
    return (1e9 * (first[:, :1] + 1e-5 * first), *others), diagonal


def exact(above, diagonal):
    """The rows of Q, and the inverse of the triangular factor, in 60 digits."""
    with mp.workdps(60):
        k = np.concatenate([*above, np.diag(diagonal)]).astype(float)
        k, n = mp.matrix(k[:, ::-1].tolist()), k.shape[1]
        reversed_inverse = mp.inverse(mp.cholesky(k.T * k).T)
        last_first = mp.matrix(np.eye(n)[::-1].tolist())
        k, inverse = k * last_first, last_first * reversed_inverse * last_first
        found = k * inverse
        return tuple(np.array(x.tolist(), dtype=float) for x in (found, inverse))


def check(above, diagonal, rtol):
    """Every row of Q must be right relative to its own size."""
    (units, inverse) = jax.jit(thin_qr.orthonormal_matrix)(above, diagonal)
    found = np.concatenate([*units, np.asarray(diagonal)[:, None] * inverse])
    q, expected = exact(above, diagonal)
    largest = np.abs(q).max(axis=1, keepdims=True)
    assert np.all(np.abs(found - q) <= rtol * largest)
    np.testing.assert_allclose(inverse, expected, atol=rtol * np.abs(expected).max())


def triangular(x):
    """The lower triangular factor of x, by another decomposition."""
    return np.linalg.cholesky((x.T @ x)[::-1, ::-1]).T[::-1, ::-1]


@pytest.mark.parametrize("columns", [1, 5, 8, 9, 16, 21])
def test_factors(columns):
    x = np.random.default_rng(columns).normal(size=(columns + 7, columns))
    r = np.asarray(jax.jit(_triangular.triangle)(x))
    lower = triangular(x)
    np.testing.assert_allclose(r, lower, atol=1e-13)
    solved = jax.jit(_triangular.over)(x, r)
    np.testing.assert_allclose(solved, x @ np.linalg.inv(lower), atol=1e-13)
    inverse = jax.jit(_triangular.inverse_factor)(x.T @ x)
    np.testing.assert_allclose(inverse, np.linalg.inv(lower), atol=1e-12)


def test_derivatives():
    """Both modes are right for more columns than are written out."""
    x, dx, cotangent = np.random.default_rng(0).normal(size=(3, 14, 11))

    @jax.jit
    def slopes(x, dx):
        def solved(x):
            return _triangular.over(x, _triangular.triangle(x))

        return jax.jvp(solved, (x,), (dx,))[1], jax.vjp(solved, x)[1](cotangent)[0]

    def numpy(x):
        return x @ np.linalg.inv(triangular(x))

    forward, backward = slopes(x, dx)
    step = 1e-6
    expected = (numpy(x + step * dx) - numpy(x - step * dx)) / (2 * step)
    np.testing.assert_allclose(forward, expected, atol=1e-8)
    np.testing.assert_allclose(np.vdot(backward, dx), np.vdot(cotangent, forward))


@pytest.mark.parametrize("columns", [5, 12])
def test_orthonormal(columns):
    check(*k_of(columns), rtol=1e-14)


def test_rows_keep_their_digits_where_columns_are_nearly_parallel():
    above, diagonal = nearly_parallel()
    check(above, diagonal, rtol=2e-9)
    # Without reflections all digits would be lost.
    k = np.concatenate([*above, np.diag(diagonal)])
    assert np.linalg.cond(k / np.linalg.norm(k, axis=0)) > 1e6


def test_squares_without_digits():
    """Columns may be so small that their squares have no digits."""
    above, diagonal = k_of(12)
    size = np.where(np.arange(12) % 2, 1e-160, 1.0)
    above, diagonal = tuple(size * x for x in above), size * diagonal
    found = jax.jit(thin_qr.orthonormal_matrix)(above, diagonal)[0]
    expected = exact(*jax.tree.map(lambda x: x / size, (above, diagonal)))[0]
    expected = expected[: -len(diagonal)]
    largest = np.abs(expected).max(axis=1, keepdims=True)
    assert np.all(np.abs(np.concatenate(found) - expected) <= 1e-14 * largest)


def test_one_bad_matrix_among_good_ones(monkeypatch):
    """Good matrices are unchanged, and need no reflections alone."""
    good, diagonal = k_of(12)
    bad = nearly_parallel()[0]
    both = jax.tree.map(lambda *x: jnp.stack(x), (good, diagonal), (bad, diagonal))

    runs = []

    def counted(x):
        jax.debug.callback(lambda _: runs.append(1), x)
        return _triangular.triangle(x)

    def found(*arrays):
        result = jax.jit(jax.vmap(thin_qr.orthonormal_matrix))(*arrays)
        jax.effects_barrier()
        return jax.tree.leaves(result)

    monkeypatch.setattr(thin_qr, "triangle", counted)
    alone = found(*jax.tree.map(lambda x: x[:1], both))
    assert not runs
    together = found(*both)
    assert runs
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a[0], b[0], atol=1e-14)
    check(bad, diagonal, rtol=1e-6)


@pytest.mark.parametrize("sizes", [(9, 9, 9), (14, 10, 12)], ids=str)
def test_networks_hardly_ever_need_reflections(monkeypatch, sizes):
    runs = []

    def counted(x):
        jax.debug.callback(lambda _: runs.append(1), x)
        return _triangular.triangle(x)

    monkeypatch.setattr(thin_qr, "triangle", counted)
    ts = jnp.array([1e-9, 0.1, 1.0, 10.0, 1000.0])

    @jax.jit
    @jax.vmap
    def excess(w1, w2, sigma, lmda):
        return values.excess(Frame(Problem(w1, w2, sigma, lmda)), ts)

    for lmda in (0.0, 1.0, -10.0):
        if cases.feasible(sizes, lmda):
            networks = [cases.balanced(sizes, lmda, 0.5, seed) for seed in range(8)]
            sigmas = [cases.sigma(sizes[2], sizes[0], seed) for seed in range(8)]
            weights = zip(*(network.weights for network in networks), strict=True)
            w1, w2 = (np.stack(w) for w in weights)
            found = excess(w1, w2, np.stack(sigmas), np.full(8, lmda))
            assert np.isfinite(found).all()
    jax.effects_barrier()
    assert not runs


def test_reflections_wait_in_their_loop():
    """XLA would move constant arithmetic out of the loop and always do it."""
    above, diagonal = k_of(12)
    of_many = jax.jit(jax.vmap(thin_qr.orthonormal_matrix))
    arrays = jax.tree.map(lambda x: jnp.stack([x] * 3), (above, diagonal))
    text = compiled.text(of_many, *arrays)
    entry = text[text.index("\nENTRY") :]
    loops = [line for line in entry.splitlines() if " while(" in line]
    assert len(loops) == 2  # the loops of `inverse_factor` and of the reflections


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_orthonormal_columns_of_any_rank_and_size(dtype):
    eps, tiny = float(jnp.finfo(dtype).eps), float(jnp.finfo(dtype).tiny)
    decomposed = jax.jit(_triangular.orthonormal)
    x = np.random.default_rng(0).normal(size=(30, 11))
    x[:, 4] = 0
    x[:, 7] = x[:, 1] - x[:, 2]
    sizes = np.geomspace(1, tiny / eps, 11)
    for case in (x, x * sizes, x * 0, x / eps):
        given = np.asarray(case, dtype)
        q, r = (np.asarray(a, float) for a in decomposed(jnp.asarray(given)))
        np.testing.assert_allclose(q.T @ q, np.eye(11), atol=40 * eps)
        np.testing.assert_array_equal(r, np.triu(r))
        size = np.abs(given).max(axis=0)
        assert (np.abs(q @ r - given) <= 40 * eps * size).all()
