"""Removable singularities and small linear algebra, against mpmath, SciPy and NumPy."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import scipy.linalg

from lazyrich_jax import _decays, _linalg
from lazyrich_jax._xla import sizes

from .differences import fourth_order

SIZES = np.array([0.0, 1e-30, 1e-9, 0.01, 0.0999, 0.1, 0.2499, 0.25, 0.6, 3.0, 40.0])


def in_many_digits(f, *grids):
    """`f` of every combination, in double precision."""
    with mp.workdps(120):
        numbers = np.vectorize(lambda *x: float(f(*map(mp.mpf, x))), otypes=[float])
        return numbers(*np.meshgrid(*grids, indexing="ij"))


def test_products():
    rng = np.random.default_rng(0)
    for inner in (0, 1, sizes.SUM_TERMS, sizes.SUM_TERMS + 1):
        a, b, c = (
            jnp.asarray(rng.normal(size=x)) for x in ((3, inner), (inner, 4), (4, 2))
        )
        for product in (_linalg.dot, _linalg.short_dot):
            found = product(a, b, c)
            np.testing.assert_allclose(found, a @ b @ c, atol=1e-14)


def test_mean_decay():
    """The mean of e^{-ux} over u from 0 to 1, and its slopes."""

    def exact(x, order):
        return mp.quad(lambda u: (-u) ** order * mp.exp(-u * x), [0, 1])

    f = _linalg.mean_decay
    for order, tolerance in ((0, 4e-16), (1, 2e-14), (2, 2e-12)):
        found = jax.jit(jax.vmap(f))(SIZES)
        expected = in_many_digits(lambda x, k=order: exact(x, k), SIZES)
        np.testing.assert_allclose(found, expected, rtol=tolerance)
        f = jax.grad(f)


def test_gain_of_decay():
    """The integral of e^{-2 rate u} up to t, and its slopes."""
    rates, ts = SIZES, np.array([0.0, 1e-9, 0.3, 1.0, 7.0])

    def gain(rate, t):
        return _linalg.gain_of_decay(rate, jnp.exp(-rate * t), t)

    def exact(rate, t):
        return -mp.expm1(-2 * rate * t) / (2 * rate) if rate else t

    def slope(rate, t):
        if 2 * rate * t < mp.mpf("1e-40"):
            return -t * t
        return ((1 + 2 * rate * t) * mp.exp(-2 * rate * t) - 1) / (2 * rate**2)

    both = jax.jit(jax.value_and_grad(lambda r, t: jnp.sum(gain(r, t)), (0, 1)))
    grid = np.meshgrid(rates, ts, indexing="ij")
    _, (by_rate, by_t) = both(*grid)
    np.testing.assert_allclose(
        jax.jit(gain)(*grid), in_many_digits(exact, rates, ts), rtol=3e-15
    )
    np.testing.assert_allclose(by_rate, in_many_digits(slope, rates, ts), rtol=2e-13)
    np.testing.assert_allclose(by_t, np.exp(-2 * grid[0] * grid[1]), rtol=1e-13)


def test_split_singular_values():
    s, lmdas = np.array([0.0, 1e-12, 0.3, 5.0]), np.array([-1e6, -0.7, 0.0, 1e-9, 3.0])

    def exact(s, lmda):
        return mp.sqrt((mp.hypot(lmda, 2 * s) - lmda) / 2)

    split = jax.jit(jax.vmap(_linalg.split_singular_values, (None, 0), 1))
    for found, sign in zip(split(s, lmdas), (1, -1), strict=True):
        np.testing.assert_allclose(
            found, in_many_digits(lambda s, x, k=sign: exact(s, k * x), s, lmdas), 1e-15
        )
    # By lambda: the larger alone.
    by_lambda = jax.jit(jax.jacfwd(_linalg.split_singular_values, 1))
    for sign, s2 in ((1, 1), (-1, 0)):
        slopes = by_lambda(np.zeros(1), sign * 4.0)
        np.testing.assert_allclose(np.ravel(slopes), [(s2 - 1) / 4, s2 / 4])


@pytest.mark.parametrize("size", [1.0, 1e-200, 1e200])
def test_lengths_neither_overflow_nor_vanish(size):
    x = size * jnp.array([3.0, -3.0, 0.0, 1.0])
    y = size * jnp.array([4.0, 4.0, -2.0, 0.0])
    np.testing.assert_allclose(_linalg.safe_hypot(x, y), np.hypot(x, y), 1e-15)
    slopes = jax.jit(jax.vmap(jax.grad(_linalg.safe_hypot, (0, 1))))(x, y)
    np.testing.assert_allclose(slopes, [[0.6, -0.6, 0, 1], [0.8, 0.8, -1, 0]])
    both = jnp.stack([x, y])
    np.testing.assert_allclose(_linalg.norm(both, axis=0), np.hypot(x, y), 1e-15)
    expected = size * np.linalg.norm(np.asarray(both) / size)
    np.testing.assert_allclose(_linalg.norm(both), expected, 1e-15)
    slope = jax.jit(jax.grad(lambda z: _linalg.norm(z)))(both)
    np.testing.assert_allclose(slope, both / expected, atol=1e-15)


def test_lengths_at_zero():
    zero = jnp.zeros(())
    assert float(_linalg.safe_hypot(zero, zero)) == 0
    assert jax.grad(_linalg.safe_hypot, (0, 1))(zero, zero) == (0, 0)
    both = jnp.array([[0.0, 3.0], [0.0, 4.0]])
    assert _linalg.norm(both, axis=0).tolist() == [0, 5]
    slope = jax.jit(jax.grad(lambda z: jnp.sum(_linalg.norm(z, axis=0))))(both)
    np.testing.assert_allclose(slope, [[0, 0.6], [0, 0.8]])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_time_that_nothing_tells_from_infinity(dtype):
    ts = jnp.array([0.5, jnp.inf], dtype)
    found = _linalg.finite_time(ts)
    assert found.dtype == dtype and found[0] == 0.5
    assert jnp.isfinite(found[1] ** 2) and jnp.exp(-1e-6 * found[1]) == 0


def test_repeated_singular_values_are_made_equal():
    eps = np.finfo(float).eps
    s = np.array([4.0, 2.0, 2 - 12 * eps, 2 - 24 * eps, 1.0, 1 - 100 * eps, 15 * eps])
    found = np.asarray(_linalg.merge_repeated(jnp.asarray(s), 1))
    assert found.tolist() == [4, 2 - 12 * eps, 2 - 12 * eps, 2 - 12 * eps, *s[4:6], 0]
    # Larger matrices round more.
    assert np.asarray(_linalg.merge_repeated(jnp.asarray(s), 7))[5] == 1 - 50 * eps
    assert _linalg.merge_repeated(jnp.zeros(3), 3).tolist() == [0, 0, 0]
    assert _linalg.merge_repeated(jnp.zeros(0), 3).shape == (0,)


def semidefinite(rng, values):
    """A matrix with these eigenvalues, and its eigenvectors."""
    basis = np.linalg.qr(rng.normal(size=2 * (len(values),)))[0]
    return basis * values @ basis.T, basis


def test_sylvester():
    rng = np.random.default_rng(0)
    of_b, of_c = np.array([2.0, 2.0, 0.5]), np.array([3.0, 0.0])
    (b, left), (c, right) = semidefinite(rng, of_b), semidefinite(rng, of_c)
    x, db, dc, dx = (rng.normal(size=s) for s in ((3, 2), (3, 3), (2, 2), (3, 2)))

    @jax.jit
    def solve(b, c, x):
        spectra = left, of_b, right, of_c
        return _linalg.sylvester(b, c, x, jax.tree.map(jnp.asarray, spectra))

    y = scipy.linalg.solve_sylvester(b, c, x)
    np.testing.assert_allclose(solve(b, c, x), y, atol=1e-14)
    found = jax.jvp(solve, (b, c, x), (db, dc, dx))[1]
    expected = scipy.linalg.solve_sylvester(b, c, dx - db @ y - y @ dc)
    np.testing.assert_allclose(found, expected, atol=1e-14)

    # The derivative by `b` of a derivative in reverse mode, also inside a custom rule.
    @jax.custom_jvp
    def half_square(b, x):
        return jnp.sum(x * solve(b, c, x)) / 2

    @half_square.defjvp
    def _(primals, tangents):
        (b, x), (db, dx) = primals, tangents
        y = solve(b, c, x)
        return half_square(b, x), jnp.sum(x * solve(b, c, dx - db @ y / 2))

    by_x = jax.jvp(lambda b: jax.grad(half_square, 1)(b, x), (b,), (db + db.T,))[1]
    expected = scipy.linalg.solve_sylvester(b, c, -(db + db.T) @ y)
    np.testing.assert_allclose(by_x, expected, atol=1e-14)
    # Along pairs of zero eigenvalues nothing.
    values = jnp.array([1.0, 0.0, 0.0])
    half, basis = map(jnp.asarray, semidefinite(rng, np.array([1.0, 0, 0])))
    x = basis @ jnp.array([[2.0, 3, 4], [5, 6, 7], [8, 9, 1]]) @ basis.T
    y = _linalg.sylvester(half, half, x, (basis, values, basis, values))
    expected = basis @ np.array([[1.0, 3, 4], [5, 0, 0], [8, 0, 0]]) @ basis.T
    np.testing.assert_allclose(y, expected, atol=1e-14)


@pytest.mark.parametrize("shape", [(3, 3), (5, 2), (2, 5)], ids=str)
def test_nearest_isometry(shape):
    """Singular values repeat. Twice differentiated."""
    rng = np.random.default_rng(0)
    tall, wide = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in shape)
    k = min(shape)
    x = jnp.asarray(tall[:, :k] * np.array([2.0, 2.0, 0.7])[:k] @ wide[:, :k].T)
    dx = jnp.asarray(rng.normal(size=shape))

    def polar(x):
        return scipy.linalg.polar(x)[0]

    @jax.jit
    def slope(x):
        return jax.jvp(_linalg.nearest_isometry, (x,), (dx,))

    (value, first), (_, second) = jax.jit(lambda x: jax.jvp(slope, (x,), (dx,)))(x)
    np.testing.assert_allclose(value, polar(x), atol=1e-14)
    np.testing.assert_allclose(first, fourth_order(polar, x, dx), atol=1e-9)
    expected = fourth_order(lambda x: slope(x)[1], x, dx)
    np.testing.assert_allclose(second, expected, atol=1e-8)


def test_complete_basis():
    columns = jnp.linalg.qr(np.random.default_rng(0).normal(size=(5, 2)))[0]
    both = np.concatenate([columns, _linalg.complete_basis(columns)], axis=1)
    np.testing.assert_allclose(both.T @ both, np.eye(5), atol=1e-14)


def test_symmetric_root():
    """Eigenvalues repeat; those that are zero have no derivative."""
    rng = np.random.default_rng(0)
    values = np.array([4.0, 4.0, 0.25])
    matrix, basis = semidefinite(rng, values)
    tilt = np.triu(np.ones((3, 3)), 1)
    change = rng.normal(size=(3, 3))

    @jax.jit
    def root(matrix, change):
        return jax.jvp(_linalg.symmetric_root, (matrix,), (change,))

    # The antisymmetric part counts for nothing.
    value, slope = root(matrix + tilt - tilt.T, change)
    expected = basis * np.sqrt(values) @ basis.T
    np.testing.assert_allclose(value, expected, atol=1e-14)
    change = (change + change.T) / 2
    by_scipy = scipy.linalg.solve_sylvester(expected, expected, change)
    np.testing.assert_allclose(slope, by_scipy, atol=1e-13)
    # Eigenvalues that are rounding.
    flat = basis * np.array([4.0, 1e-16, -1e-16]) @ basis.T
    value, slope = root(flat, basis @ np.ones((3, 3)) @ basis.T)
    np.testing.assert_allclose(
        value, 2 * np.outer(basis[:, 0], basis[:, 0]), atol=1e-14
    )
    within = np.array([[0.25, 0.5, 0.5], [0.5, 0, 0], [0.5, 0, 0]])
    np.testing.assert_allclose(basis.T @ slope @ basis, within, atol=1e-12)


def test_divided_differences():
    """Values and slopes are right far from, near and at coinciding arguments."""
    rates = np.array([0.0, 1e-12, 1e-3, 0.2, 0.2 + 1e-9, 0.25, 0.5, 3.0, 40.0])
    rates = jnp.asarray(rates)

    def f(x):
        return (1 - mp.exp(-2 * x)) / (2 * x) if x else mp.mpf(1)

    def difference(x, y):
        with mp.workdps(150):
            x, y = (
                mp.mpf(float(z)) + mp.mpf("1e-25") * k for k, z in enumerate((x, y))
            )
            return -(f(x) - f(y)) / (x - y)

    gap = jnp.abs(rates[:, None] - rates[None])
    found = _decays.decay_difference(rates, gap, jnp.array(1.0))
    expected = [[float(difference(x, y)) for y in rates] for x in rates]
    np.testing.assert_allclose(found, expected, rtol=2e-14)

    def mixed(x, y):
        with mp.workdps(150):
            x, y = mp.mpf(float(x)) + mp.mpf("1e-30"), mp.mpf(float(y))
            return (f(y) * mp.exp(-x) - f(x) * mp.exp(-y)) / (x + y)

    found = _decays.mixed_difference(rates[:, None], rates[None], jnp.array(1.0))
    expected = np.array([[float(mixed(x, y)) for y in rates] for x in rates])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-18)
