"""Finite steps in aligned modes: the lag of descent behind the flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import lazyrich_jax as lr

TS = np.arange(0, 4.1, 0.4)
# Limits, starts and balances: both signs, zero, a saddle, modes that fall.
S = np.array([1.3, 1.3, 1.5, 1.0, 1.0, 0.8, 1.0, 0.0, 1.0, 0.0])
A0 = np.array([0.02, 0.02, 0.0025, -0.3, 2.0, 0.01, -0.1, 0.5, 0.0, 0.5])
LMDA = np.array([0.7, -0.7, 0.0, 0.2, 1.0, 5.0, 0.0, 0.3, 1e-3, 0.0])


def descent(rate):
    """The modes by gradient descent of their two weights, at `TS`."""
    larger = np.sqrt((np.abs(LMDA) + np.hypot(LMDA, 2 * A0)) / 2)
    smaller = A0 / larger
    w1 = np.where(LMDA >= 0, smaller, larger)
    w2 = np.where(LMDA >= 0, larger, smaller)
    steps, found = np.round(TS / rate).astype(int), []
    for step in range(steps[-1] + 1):
        if step in steps:
            found.append(w1 * w2)
        error = S - w1 * w2
        w1, w2 = w1 + rate * error * w2, w2 + rate * error * w1
    return np.array(found)


def test_the_lag_corrects_descent_to_second_order():
    rates = 0.04 / 2.0 ** np.arange(4)
    errors = []
    for rate in rates:
        lag = lr.theory.descent_lag(TS, S, A0, LMDA, rate)
        of_modes = [
            lr.theory.aligned_modes(TS - lag[:, i], S[i], A0[i], LMDA[i])
            for i in range(len(S))
        ]
        flow = lr.theory.aligned_modes(TS, S, A0, LMDA)
        found = descent(rate)
        errors.append(
            [np.abs(x - found).max(axis=0) for x in (flow, np.stack(of_modes, axis=1))]
        )
    errors = np.log2(errors)
    orders = -np.polyfit(np.arange(4), errors.reshape(4, -1), 1)[0].reshape(2, -1)
    np.testing.assert_allclose(orders[0], 1, atol=0.08)
    np.testing.assert_allclose(orders[1], 2, atol=0.08)


def test_the_lag_is_its_integral():
    """Both integrals, over time, of the flow of each mode."""
    for s, a0, lmda in zip(S, A0, LMDA, strict=True):

        def velocity(t, state, s=s, lmda=lmda):
            a, drift, _ = state
            r = np.hypot(lmda, 2 * a)
            slower = lmda**2 * drift / r**2 if lmda else 0.0
            return [r * (s - a), (s - a) ** 2, slower]

        a, _, slower = solve_ivp(
            velocity, (0, TS[-1]), [a0, 0, 0], "DOP853", TS, rtol=1e-12, atol=1e-15
        ).y
        r = np.hypot(lmda, 2 * a)
        expected = np.log((s - a) / (s - a0) * np.sqrt(r / r[0])) / 2 + slower
        found = lr.theory.descent_lag(TS, s, a0, lmda, 1.0)
        # The integration loses the digits of s - a.
        noise = 1e-11 + 5e-12 / np.abs(s - a)
        assert np.all(np.abs(found - expected) <= noise), (s, a0, lmda)


def test_extremes():
    lag = lr.theory.descent_lag
    assert lag(TS, 1.0, 0.1, 0.5, 0.01)[0] == 0
    # A mode that is learned, and a mode at zero without a balance, stand still.
    np.testing.assert_allclose(lag(TS, 0.0, 0.0, 0.0, 0.1), 0, atol=1e-14)
    # Late modes: descent's rate is -log(1 - rate K) / rate, K = 2 here.
    late = lag(100 * (1 + TS), 1.0, 0.1, 0.0, 0.01)
    np.testing.assert_allclose(np.diff(late) / 40, -0.01, rtol=1e-10)
    # The balance of zero is the limit of small ones.
    near = lag(TS, 1.0, 0.1, 1e-9, 1.0)
    np.testing.assert_allclose(near, lag(TS, 1.0, 0.1, 0.0, 1.0), atol=1e-13)
    point = [np.array(x) for x in (1.0, 0.1, 0.5, 0.01)]
    single = lag(*(x.astype(np.float32) for x in (TS, *point)))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, lag(TS, *point), atol=1e-6)
    with pytest.raises(ValueError, match=r"`ts` must be .*finite"):
        lag(np.inf, 1.0, 0.1, 0.5, 0.01)
    with pytest.raises(ValueError, match=r"`learning_rate` must be .* positive"):
        lag(TS, 1.0, 0.1, 0.5, -0.01)


def test_derivatives_of_the_lag():
    point = np.array([1.0, 1.2, 0.1, 0.5])

    @jax.jit
    def both(x):
        return jax.value_and_grad(
            lambda x: lr.theory.descent_lag(x[0], x[1], x[2], x[3], 1.0)
        )(x)

    found = both(point)[1]
    for i, step in enumerate(1e-5 * np.eye(4)):
        slope = (both(point + step)[0] - both(point - step)[0]) / 2e-5
        np.testing.assert_allclose(found[i], slope, rtol=1e-8)
    for lmda in (0.0, 1e-3):  # at the end, and without a balance
        assert np.all(np.isfinite(both(np.array([50.0, 1.2, 0.1, lmda]))[1]))
