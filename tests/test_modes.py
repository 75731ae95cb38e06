"""Aligned modes and their times, against the numerical flow and their limits."""

import itertools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import lazyrich_jax as lr

from . import cases
from .numerical_flow import flow, product

theory = lr.theory
TS = np.array([0.0, 0.05, 0.4, 2.0, 9.0])
aligned = jax.jit(theory.aligned_modes)
sigmoidal = jax.jit(theory.sigmoidal_modes)


def ode(velocity, start, ts=TS):
    return solve_ivp(velocity, (0, ts[-1]), start, "DOP853", ts, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("lmda", [0.0, 1e-6, -0.5, 3.0, -40.0])
def test_aligned_modes_of_any_sign_follow_their_equation(lmda):
    pairs = itertools.product([2.0, 0.3, 0.0, -1.2], [0.0, 1e-4, 0.7, 3.0, -0.4, -2.5])
    s, a0 = np.array(list(pairs)).T

    def velocity(t, a):
        return np.sqrt(lmda**2 + 4 * a * a) * (s - a)

    a = aligned(TS, s, a0, lmda)
    assert a.shape == (len(TS), len(s))
    # At lambda = 1e-6 a start of opposite sign amplifies the solver's error at zero.
    bound = 1e-9 if abs(lmda) != 1e-6 else 1e-5
    np.testing.assert_allclose(a.T, ode(velocity, a0).y, atol=bound)
    np.testing.assert_array_equal(a, aligned(TS, s, a0, -lmda))


@pytest.mark.parametrize(
    "sizes, lmda", [((3, 3, 3), -2.0), ((4, 2, 3), 1.5), ((3, 3, 4), 0.0)], ids=str
)
def test_aligned_networks_learn_mode_by_mode(sizes, lmda):
    key1, key2 = jax.random.split(jax.random.key(0))
    task = lr.Task.random_regression(sizes[0], sizes[2], 9, key=key1)
    network = lr.Aligned(task, lmda, 0.7)(*sizes, key=key2)
    k, sigma = min(sizes), task.input_output_correlation
    s = np.linalg.svd(sigma, compute_uv=False)[:k]
    a0 = np.linalg.svd(network.function, compute_uv=False)[:k]
    modes = aligned(TS, s, a0, lmda)
    for a, weights in zip(modes, flow(network.weights, task, TS), strict=True):
        strengths = lr.measures.mode_strengths(product(weights), sigma)
        np.testing.assert_allclose(strengths[:k], a, atol=1e-10)


@pytest.mark.parametrize("sizes", [(3, 3, 3), (3, 6, 4)], ids=str)
def test_every_mode_may_have_its_own_balance(sizes):
    task = lr.Task.from_correlation(cases.sigma(sizes[2], sizes[0]))
    lmdas, strengths = np.array([-3.0, 0.0, 1.5]), np.array([0.1, 0.8, 0.02])
    initialiser = lr.Aligned(task, lmdas, 0.5, strengths=strengths)
    network = initialiser(*sizes, key=jax.random.key(1))
    sigma = task.input_output_correlation
    s = np.linalg.svd(sigma, compute_uv=False)
    modes = aligned(TS, s, 0.25 * strengths, lmdas)
    for a, weights in zip(modes, flow(network.weights, task, TS), strict=True):
        found = lr.measures.mode_strengths(product(weights), sigma)
        np.testing.assert_allclose(found, a, atol=1e-10)
    # The mode of one balance is that of a network with this balance alone.
    for i, lmda in enumerate(lmdas):
        alone = aligned(TS, s[i], 0.25 * strengths[i], lmda)
        np.testing.assert_allclose(modes[:, i], alone, rtol=1e-14)
    times = theory.time_to_reach(0.9, s, 0.25 * strengths, lmdas)
    reached = [aligned(t, s, 0.25 * strengths, lmdas)[i] for i, t in enumerate(times)]
    np.testing.assert_allclose(reached, 0.9 * s, rtol=1e-12)
    with pytest.raises(ValueError, match="`network` must be lambda-balanced"):
        lr.ExactSolution(network, task)


def test_modes_of_several_units():
    rng = np.random.default_rng(0)
    task = lr.Task.random_regression(3, 4, 9, key=jax.random.key(0))
    u, s, vt = np.linalg.svd(task.input_output_correlation, full_matrices=False)
    # Three, two and two units of any weights; a0 has either sign.
    x, y = np.zeros((2, 3, 7))
    for i, units in enumerate((slice(0, 3), slice(3, 5), slice(5, 7))):
        x[i, units], y[i, units] = 0.6 * rng.normal(size=(2, units.stop - units.start))
    r = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    weights = r @ x.T @ vt, u @ y @ r.T
    p11, p22, a0 = np.sum([x * x, y * y, x * y], axis=2)
    assert a0.min() < 0 < a0.max()
    modes = aligned(TS, s, a0, np.sqrt((p11 + p22) ** 2 - 4 * a0**2))
    for a, w in zip(modes, flow(weights, task, TS), strict=True):
        np.testing.assert_allclose(u.T @ product(w) @ vt.T, np.diag(a), atol=1e-10)


def test_the_limits_of_aligned_modes():
    s, a0 = jnp.array([2.0, 0.5, 1.0]), jnp.array([0.1, 1.5, -0.3])
    lmdas = np.array([1e-2, 1e-3, 1e-4])
    rich = theory.sigmoidal_modes(TS, s, a0)
    change = [jnp.abs(aligned(TS, s, a0, x) - rich)[:3].max() for x in lmdas]
    np.testing.assert_allclose(np.polyfit(np.log(lmdas), np.log(change), 1)[0], 2, 0.1)
    # Rich modes of opposite sign are the exception: any balance makes them pass zero.
    assert abs(rich[-1, 2]) < 1e-4
    np.testing.assert_allclose(aligned(50.0, 1.0, -0.3, 1e-4), 1.0, rtol=1e-12)
    lmdas = np.array([1e2, 1e3, 1e4])
    change = []
    for x in lmdas:
        lazy = theory.exponential_modes(TS / x, s, a0, -x)
        flow = ode(lambda t, a, x=x: np.sqrt(x**2 + 4 * a * a) * (s - a), a0, TS / x)
        change.append(jnp.abs(flow.y.T - lazy).max())
    np.testing.assert_allclose(np.polyfit(np.log(lmdas), np.log(change), 1)[0], -2, 0.1)


def overlaps(s, a0, lmda):
    """K, p^2 and m^2 of the docstring of `aligned_modes`."""
    rate = mp.hypot(lmda, 2 * s)
    size, tilt = mp.hypot(lmda, 2 * a0), (lmda**2 + 4 * a0 * s) / rate
    return rate, (size + tilt) / 2, (size - tilt) / 2


def mode_in_many_digits(t, s, a0, lmda):
    with mp.workdps(60):
        t, s, a0, lmda = map(mp.mpf, (t, s, a0, lmda))
        k, plus, minus = overlaps(s, a0, lmda)
        d = 1 + (plus * mp.expm1(k * t) - minus * mp.expm1(-k * t)) / k
        return float(s + (a0 - s) / d)


def time_in_many_digits(fraction, s, a0, lmda):
    """By the quadratic equation for e^{Kt} - 1."""
    with mp.workdps(60):
        f, s, a0, lmda = map(mp.mpf, (fraction, s, a0, lmda))
        k, plus, minus = overlaps(s, a0, lmda)
        target = k * (f - a0 / s) / (1 - f)
        if target <= 0:
            return 0.0
        gap = plus + minus - target
        z = (mp.sqrt(gap**2 + 4 * plus * target) - gap) / (2 * plus)
        return float(mp.log1p(z) / k)


def test_modes_and_their_times_to_rounding():
    """On both sides of every change of form."""
    strengths, starts = (2.0, 0.3, -1.2), (1e-4, 0.7, 3.0, -0.4, -2.5)
    lmdas, ts = (0.0, 1e-6, 0.5, -3.0, 40.0), (0.05, 0.2, 0.45, 0.6, 1.0, 2.0, 5.0, 20)
    grid = np.array(list(itertools.product(ts, strengths, starts, lmdas)))
    expected = np.array([mode_in_many_digits(*point) for point in grid])
    found = jax.jit(jax.vmap(theory.aligned_modes))(*grid.T)
    t, s, _, lmda = grid.T
    # A rounding of the time moves the mode.
    moved = t * np.hypot(lmda, 2 * expected) * np.abs(s - expected)
    assert np.all(np.abs(found - expected) < 1e-15 * (np.abs(expected) + moved))
    fractions = (0.0, 0.2, 0.9, 1 - 1e-6)
    grid = np.array(list(itertools.product(fractions, strengths, starts, lmdas[1:])))
    expected = [time_in_many_digits(*point) for point in grid]
    found = jax.jit(jax.vmap(theory.time_to_reach))(*grid.T)
    np.testing.assert_allclose(found, expected, rtol=2e-14)


def test_sigmoidal_modes_follow_their_equation():
    pairs = itertools.product([2.0, 0.0, -1.2], [0.0, 1e-4, 3.0, -0.4])
    s, a0 = np.array(list(pairs)).T
    exact = ode(lambda t, a: 2 * np.abs(a) * (s - a), a0).y
    np.testing.assert_allclose(theory.sigmoidal_modes(TS, s, a0).T, exact, atol=1e-10)
    end = theory.sigmoidal_modes(jnp.inf, s, a0)
    np.testing.assert_allclose(end, np.where(s * a0 > 0, s, 0.0), atol=1e-100)
    # A mode that starts with the opposite sign keeps its digits as it vanishes.
    a = float(theory.sigmoidal_modes(40.0, 2.0, -0.5))
    assert a == pytest.approx(-2 / (5 * np.exp(160)), rel=1e-12)


def test_relaxing_modes_at_infinity():
    slope = jax.jit(jax.grad(theory.exponential_modes, argnums=(0, 1, 2, 3)))
    for lmda in (1e-3, -2.0):
        assert float(theory.exponential_modes(np.inf, 2.0, 0.5, lmda)) == 2
        assert np.array(slope(np.inf, 2.0, 0.5, lmda)).tolist() == [0, 1, 0, 0]
    assert float(theory.exponential_modes(np.inf, 2.0, 0.5, 0.0)) == 0.5
    assert float(theory.shallow_modes(np.inf, 2.0, 0.5)) == 2


def test_no_overflow_and_infinite_times():
    for dtype in (jnp.float32, jnp.float64):
        s = jnp.array([3.0, 3.0, 0.0, 3.0, -3.0], dtype)
        a0 = jnp.array([1e-6, -1.0, 2.0, 3.0, 2.0], dtype)
        for lmda in (1e-3, 1e3, -1e4):
            a = aligned(jnp.array([1e6, jnp.inf], dtype), s, a0, lmda)
            assert a.dtype == dtype
            np.testing.assert_allclose(a, jnp.stack([s, s]), atol=1e-6)
        # At lambda = 0 modes of opposite sign end at zero, and zero stays.
        end = aligned(jnp.array(jnp.inf, dtype), s, a0, 0.0)
        np.testing.assert_allclose(end, [3, 0, 0, 3, 0], atol=1e-6)
        np.testing.assert_array_equal(aligned(jnp.array(5, dtype), s, 0.0, 0.0), 0.0)


def test_small_modes_keep_their_digits():
    a = float(aligned(0.5, 1.0, 1e-12, 0.0))
    assert a == pytest.approx(1e-12 * np.e, rel=1e-11)
    a = float(aligned(1e-7, 1.0, 1e-12, 2.0))
    assert a == pytest.approx(1e-12 + 2e-7 * (1 - 1e-7), rel=1e-9)
    # Modes of opposite sign pass zero, or decay at the saddle.
    a = float(aligned(7.0, -2.0, 2.0, 1e-12))
    assert a == pytest.approx(6.010489441761087e-13, rel=1e-9)  # from fifty digits
    assert float(aligned(1.0, 30.0, -1.0, 0.0)) == pytest.approx(
        -30 / (31 * np.exp(60) - 1), rel=1e-12
    )
    # Weak tasks are right in single precision.
    one = jnp.float32(1)
    for modes in (aligned(one, 1e-8 * one, one, 0.0), sigmoidal(one, 1e-8 * one, one)):
        np.testing.assert_allclose(modes, 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(theory.shallow_modes(1e-9 * one, one, 0.0), 1e-9)
    assert aligned(one, one, one, 0).dtype == jnp.float32  # whole numbers take a dtype


def test_gradients_are_finite_and_right():
    slope = jax.jit(jax.grad(theory.aligned_modes, argnums=(0, 1, 2, 3)))
    grid = itertools.product(
        (0.0, 0.4, 1e4, np.inf), (0.0, 0.7, -1.5), (0.0, 0.1, -2.0)
    )
    for (t, s, a0), lmda in itertools.product(grid, (0.0, 1.0, -1e3)):
        slopes = np.array(slope(t, s, a0, lmda))
        assert np.isfinite(slopes).all(), (t, s, a0, lmda)
        if 0 < t < 1e3 and (a0 or lmda):
            for i in range(4):
                h = 1e-5 * np.eye(4)[i]
                high, low = (
                    aligned(*(np.array([t, s, a0, lmda]) + x)) for x in (h, -h)
                )
                near = float(high - low) / 2e-5
                assert abs(slopes[i] - near) < 1e-6 + 1e-4 * abs(near), (t, s, a0, lmda)
    # Slopes on leaving the saddle at zero upwards, and at convergence.
    assert float(slope(1.0, 1.0, 0.0, 0.0)[2]) == pytest.approx(np.exp(2))
    assert float(slope(np.inf, 0.7, 0.1, 1.0)[1]) == pytest.approx(1, rel=1e-15)
    # Near the saddle, and long after it, the start is forgotten.
    for args in ((1e3, 1.0, -1e-12, 0.0), (np.inf, -2.0, 1e-3, 0.0)):
        assert np.array(slope(*args)).tolist() == [0, 0, 0, 0]
    for args in ((30.0, 2.0, -2.0, 1e-4), (0.3, 1e3, 0.0, 1e-12)):
        late = np.array(slope(*args))
        np.testing.assert_allclose(late, [0, 1, 0, 0], atol=1e-15)
    for dtype in (jnp.float32, jnp.float64):
        by = jax.jit(jax.grad(theory.sigmoidal_modes, argnums=(0, 1, 2)))
        np.testing.assert_allclose(
            by(*jnp.array([1.0, 0.0, 1.0], dtype)), [-2 / 9, 4 / 9, 1 / 9], rtol=1e-6
        )
        assert by(*jnp.array([1.0, 1.0, 0.0], dtype))[2] == pytest.approx(np.exp(2))
    curvature = jax.jit(jax.hessian(theory.aligned_modes, argnums=(1, 2, 3)))
    assert np.isfinite(np.array(curvature(0.4, 0.7, -2.0, 0.0))).all()


def test_time_to_reach_inverts_the_modes():
    reach = jax.jit(theory.time_to_reach)
    for s, a0, lmda in itertools.product((2.0, -0.6), (0.01, -1.0), (1e-3, -1.0, 50.0)):
        fraction = np.array([0.1, 0.5, 0.99])
        t = reach(fraction, s, a0, lmda)
        ahead = a0 / s < fraction
        reached = np.array([aligned(x, s, a0, lmda) for x in t]) / s
        np.testing.assert_allclose(reached[ahead], fraction[ahead], rtol=1e-10)
        assert (t[~ahead] == 0).all()
    # A simulation reaches the fraction at that time.
    ends = np.array([0, 2.0])
    flow = ode(lambda t, a: np.sqrt(1 + 4 * a * a) * (2 - a), [0.01], ends).y
    reached = float(reach(flow[0, -1] / 2, 2.0, 0.01, 1.0))
    assert reached == pytest.approx(2.0, rel=1e-9)
    # At lambda = 0 it is the textbook's logarithm, or infinite.
    t = float(reach(0.9, 2.0, 0.01, 0.0))
    assert t == pytest.approx(np.log(1.8 * 1.99 / (0.01 * 0.2)) / 4, rel=1e-13)
    assert jnp.isinf(reach(0.5, 2.0, jnp.array([0.0, -0.1]), 0.0)).all()
    assert jnp.isinf(reach(0.5, 0.0, 0.1, 1.0))
    # Reversal takes longer as the balance vanishes: log(1/lambda^2) / 2s.
    t = np.array([reach(0.5, 1.0, -1.0, x) for x in (1e-3, 1e-4, 1e-5)])
    np.testing.assert_allclose(np.diff(t), np.log(10), rtol=1e-5)
    slope = jax.jit(jax.grad(theory.time_to_reach, argnums=(0, 1, 2, 3)))
    point, h = np.array([0.5, 1.0, 0.1, 0.3]), 1e-5
    near = [
        float(reach(*(point + x)) - reach(*(point - x))) / (2 * h)
        for x in h * np.eye(4)
    ]
    np.testing.assert_allclose(slope(*point), near, rtol=1e-6)


def test_times_that_are_zero_or_infinite():
    """They have no derivative but zero."""
    reach = jax.jit(theory.time_to_reach)
    slope = jax.jit(jax.grad(theory.time_to_reach, argnums=(0, 1, 2, 3)))
    for zero in ((0.5, 2.0, 1.0, 0.3), (0.1, 1.0, 0.5, 0.3), (0.0, 1.0, 0.0, 0.0)):
        assert float(reach(*zero)) == 0
        assert np.array(slope(*zero)).tolist() == [0, 0, 0, 0]
    for never in ((0.5, 0.0, 0.1, 1.0), (0.5, 2.0, -0.1, 0.0), (0.5, 2.0, 0.0, 0.0)):
        assert float(reach(*never)) == np.inf
        assert np.array(slope(*never)).tolist() == [0, 0, 0, 0]
    # A start of the wrong sign only tends to zero, however rounding falls.
    s, a0 = np.random.default_rng(0).uniform(0.1, 3, size=(2, 200))
    assert jnp.isinf(reach(0.0, s, -a0, 0.0)).all()
    # Fractions that nothing reaches.
    for point in ((-0.1, 2.0, -0.1, 0.0), (1.0, 0.0, 0.1, 1.0), (np.nan, 1, 1, 1.0)):
        assert jnp.isnan(reach(*point))
