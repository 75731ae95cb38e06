"""Modes of deep networks, against the numerical flow and two layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from .numerical_flow import flow, product

theory = lr.theory
TS = np.array([0.0, 0.05, 0.4, 2.0, 9.0])
aligned = jax.jit(theory.aligned_modes)


@pytest.mark.parametrize(
    "strengths, s",
    [
        ([[0.5, 0.5, 0.5], [0.4, 0.4, 0.4]], [2.0, 1.0]),
        ([[0.3, 0.9, 0.6], [0.7, 0.1, 0.5]], [2.0, -0.5]),
        ([[-0.3, 0.9, 0.6]], [2.0]),  # through zero
        ([[-0.5, 0.5, 1.0]], [1.0]),  # to the saddle at zero
        ([[0.2, 0.5, 0.2, 1.0]], [1.5]),
        ([[1.0, 1.0, 2.0]], [0.3]),  # from above
        ([[0.6, 0.6]], [0.0]),
    ],
    ids=str,
)
def test_deep_networks_learn_mode_by_mode(strengths, s):
    rng = np.random.default_rng(0)
    strengths, n = np.array(strengths), 3
    layers = strengths.shape[1]
    bases = [np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(layers + 1)]

    def matrix(values, left, right):
        return left[:, : len(values)] @ np.diag(values) @ right[:, : len(values)].T

    weights = [matrix(strengths[:, i], bases[i + 1], bases[i]) for i in range(layers)]
    task = lr.Task.from_correlation(matrix(s, bases[-1], bases[0]))
    lmda = strengths[:, 1:] ** 2 - strengths[:, :-1] ** 2
    end = flow(weights, task, TS)
    for i in range(len(s)):
        start = strengths[i].prod()
        modes = theory.deep_modes(TS, s[i], start, lmda[i])
        u, v = bases[-1][:, i], bases[0][:, i]
        np.testing.assert_allclose(modes, [u @ product(w) @ v for w in end], atol=1e-9)


@pytest.mark.slow
def test_deep_modes_of_two_layers_are_the_aligned_ones():
    s, a0 = jnp.array([1.0, -2.0, 1.0, 0.5, 0.0]), jnp.array([0.1, 1.0, 1e-8, 4.0, 1.0])
    ts = jnp.array([[0.0, 0.3], [1e3, 4.0]])
    for lmda in (0.5, -100.0):
        deep = theory.deep_modes(ts, s, a0, jnp.array([lmda]))
        assert deep.shape == (2, 2, 5)
        np.testing.assert_allclose(deep, aligned(ts, s, a0, lmda), atol=1e-10)
    # Derivatives are right where strengths are equal and a balance passes zero.
    value_and_slope = jax.jit(
        jax.value_and_grad(
            lambda s, a, x: theory.deep_modes(0.5, s, a, x), argnums=(0, 1, 2)
        )
    )

    def value(flat):
        return float(value_and_slope(flat[0], flat[1], flat[2:])[0])

    for s, a, x in (
        (2.0, 0.3, [0.0, 0.0]),
        (1.0, -0.5, [0.0, 1.0]),
        (0.0, 0.7, [0.0, 0.0]),
        (1.0, 0.3, [0.2, -0.1]),
    ):
        flat = np.array([s, a, *x])
        near = [(value(flat + h) - value(flat - h)) / 2e-6 for h in 1e-6 * np.eye(4)]
        _, (by_s, by_a, by_x) = value_and_slope(flat[0], flat[1], flat[2:])
        np.testing.assert_allclose([by_s, by_a, *by_x], near, atol=1e-7)
    # A stiff start keeps the accuracy.
    stiff = theory.deep_modes(jnp.array([0.0, 100.0]), 1.0, 0.1, jnp.array([1e3, 0.0]))
    np.testing.assert_allclose(stiff, [0.1, 1.0], rtol=1e-12)
    inside, last = (
        theory.deep_modes(jnp.array(ts), 3.0, -3.0, jnp.zeros(2))
        for ts in ([1.0, 3.0], [1.0, 1.0])
    )
    np.testing.assert_allclose(inside[0], last[1], rtol=1e-10)
    single = theory.deep_modes(
        jnp.float32(0.6), jnp.float32(1), 0.3, jnp.float32([0.4])
    )
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, aligned(0.6, 1.0, 0.3, 0.4), rtol=1e-4)


@pytest.mark.parametrize(
    "lmda",
    [
        [0.0, 0.3],
        *(pytest.param(x, marks=pytest.mark.slow) for x in ([0.0], [0.0, 0.0])),
        pytest.param([0.2, -0.2, 0.5], marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_deep_modes_have_a_derivative_at_the_saddle(lmda):
    t, h = jnp.array([0.8]), 1e-7

    def mode(a0, s):
        return theory.deep_modes(t, s, a0, jnp.array(lmda))[0]

    mode_and_slope = jax.jit(jax.value_and_grad(mode))
    for s in (0.7, -0.7, 0.0):
        # The one-sided slope from above converges slowly, as a power of the start.
        near, nearer = ((mode_and_slope(x, s)[0] / x).item() for x in (h, h / 1e3))
        value, slope = mode_and_slope(0.0, s)
        assert abs(slope - nearer) < 1e-6 + abs(near - nearer)
        assert value == 0
