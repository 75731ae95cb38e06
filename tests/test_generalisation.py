"""The test error of students of noisy teachers, against draws of the noise."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import lazyrich_jax as lr

from .numerical_flow import flow, product

theory = lr.theory
loose: Any = theory  # for arguments that its annotations refuse
SIZES = 400, 200, 200
STRENGTHS = np.array([3.0, 0.6, 1.5])
TS = np.r_[0.0, np.geomspace(0.001, 20.0, 120)]


def large(noise):
    return theory.spiked_modes(STRENGTHS, SIZES, samples=400, noise=noise)


def drawn(rng, noise):
    """A teacher, and a correlation of 400 samples with white inputs and noise."""
    n_in, _, n_out = SIZES
    u, v = (
        np.linalg.qr(rng.normal(size=(n, STRENGTHS.size)))[0] for n in (n_out, n_in)
    )
    teacher = u * STRENGTHS @ v.T
    return teacher, teacher + noise / 400**0.5 * rng.normal(size=teacher.shape)


def strengths_along(draws):
    """The singular values of every draw, and the teacher's strengths along them."""
    found = []
    for teacher, sigma in draws:
        u, s, vt = np.linalg.svd(sigma, full_matrices=False)
        found.append((s, np.sum(u * (teacher @ vt.T), axis=0)))
    return np.swapaxes(found, 0, 1)


def simulated(s, signal, a0, lmda):
    """Test errors of aligned students: the gradient flow of both layers' weights."""

    def velocity(t, weights):
        w1, w2 = weights.reshape(2, *s.shape)
        error = s - w2 * w1
        return np.concatenate([w2 * error, w1 * error], axis=None)

    large = np.sqrt((abs(lmda) + np.hypot(lmda, 2 * a0)) / 2)
    w1, w2 = (large, a0 / large) if lmda < 0 else (a0 / large, large)
    start = np.repeat([w1, w2], s.size)
    ends = solve_ivp(velocity, (0, TS[-1]), start, "DOP853", TS, rtol=1e-6, atol=1e-9)
    w1, w2 = ends.y.T.reshape(len(TS), 2, *s.shape).swapaxes(0, 1)
    outside = np.sum(STRENGTHS**2) - np.sum(signal**2, axis=1)
    return (np.sum((w2 * w1 - signal) ** 2, axis=2) + outside) / 2


@pytest.mark.parametrize("noise", [0.2, 1.0, 3.0])
def test_large_matrices(noise):
    """All of the teacher's modes are above the noise, two of them, and one."""
    rng = np.random.default_rng(0)
    s, signal = strengths_along(drawn(rng, noise) for _ in range(12))
    modes = large(noise)
    for lmda in (0.0, 1.0, -8.0):
        errors = simulated(s, signal, 0.01, lmda)
        found = theory.test_error(TS, modes, 0.01, lmda)
        most = errors.mean(axis=1).max()
        assert np.abs(found - errors.mean(axis=1)).max() < 0.005 * most
        assert np.abs(found[:, None] - errors).max() < 0.02 * most
        # The end of learning, and the best time to stop before it.
        np.testing.assert_allclose(found[-1], errors[-1].mean(), rtol=0.005)
        lowest = errors.mean(axis=1).min()
        best = theory.best_stopping_time(modes, 0.01, lmda)
        at_best = theory.test_error(best, modes, 0.01, lmda)
        assert at_best <= found.min() + 1e-12
        np.testing.assert_allclose(at_best, lowest, rtol=0.01)


@pytest.mark.parametrize("lmda", [0.0, 1.2, -3.0])
def test_one_network(lmda):
    """The flow of all weights of a bottleneck, which learns the strongest modes."""
    keys = jax.random.split(jax.random.key(0), 3)
    teacher = jax.random.normal(keys[0], (4, 1)) @ jax.random.normal(keys[1], (1, 5))
    teacher = np.asarray(teacher)
    task = lr.Task.teacher(teacher, samples=9, noise=1.0, key=keys[2])
    network = lr.Aligned(task, lmda, 0.5)(5, 3, 4, key=keys[0])
    modes = theory.noisy_modes(task.input_output_correlation, teacher, 3)
    ts = np.array([0.0, 0.3, 1.0, 5.0])
    weights = flow(network.weights, task, ts)
    expected = [np.sum((product(w) - teacher) ** 2) / 2 for w in weights]
    a0 = np.linalg.svd(network.function, compute_uv=False)[:3]
    found = theory.test_error(ts, modes, a0, lmda)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # Descent with small steps on the weights themselves.
    law = lr.GradientDescent(2e-3)
    descent = lr.learn(network, task, ts, dynamics=law).function
    expected = np.sum((np.asarray(descent) - teacher) ** 2, axis=(1, 2)) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-2)


def test_sums_of_the_modes():
    """What noise adds to the squares, and the whole of the teacher at the end."""
    rng = np.random.default_rng(1)
    for noise in (0.2, 1.0, 3.0):
        modes = large(noise)
        total = np.sum(STRENGTHS**2)
        np.testing.assert_allclose(np.sum(modes.s * modes.signal), total, rtol=1e-12)
        squares = total + noise**2 * 200
        np.testing.assert_allclose(np.sum(modes.s**2), squares, rtol=1e-3)
        assert np.all(np.diff(modes.s) < 0)
        # The largest values and their signal are those of a matrix.
        exact = theory.noisy_modes(*drawn(rng, noise)[::-1])
        np.testing.assert_allclose(modes.s[:5], exact.s[:5], rtol=0.05)
        np.testing.assert_allclose(
            modes.signal[0], exact.signal[0], rtol=0.02 + noise / 10
        )
    clean = large(0.0)
    expected = np.r_[np.sort(STRENGTHS)[::-1], np.zeros(197)]
    np.testing.assert_allclose(clean.s, expected, atol=1e-15)
    np.testing.assert_allclose(clean.signal, expected, atol=1e-15)
    assert theory.best_stopping_time(clean, 0.01, 1.0) == jnp.inf


def small(noise, strengths=(2.0, 0.7), sizes=(40, 15, 20)):
    return theory.spiked_modes(jnp.array(strengths), sizes, samples=40, noise=noise)


def test_few_hidden_units_learn_the_strongest_modes():
    few, all_modes, other = small(1.0), small(1.0, sizes=(40, 40, 20)), (20, 15, 40)
    for x in (few, small(1.0, sizes=other)):
        np.testing.assert_allclose(x.s, all_modes.s[:15], rtol=1e-13)
        np.testing.assert_allclose(x.signal, all_modes.signal[:15], rtol=1e-12)
    lost = np.sum(all_modes.signal[15:] ** 2)
    np.testing.assert_allclose(few.residual, all_modes.residual + lost, rtol=1e-12)


def test_the_best_time_to_stop():
    modes, ts = small(1.0), np.linspace(0.0, 6.0, 6001)
    for lmda in (0.0, -2.0):
        best = theory.best_stopping_time(modes, 0.05, lmda)
        errors = theory.test_error(ts, modes, 0.05, lmda)
        assert abs(ts[errors.argmin()] - best) < 1e-3
        assert theory.test_error(best, modes, 0.05, lmda) <= errors.min()
    # The lazy limit: the logarithm of one plus the signal-to-noise ratio.
    everything = small(1.0, sizes=(40, 40, 20))
    expected = np.log1p((2.0**2 + 0.7**2) / 20)
    found = 1e4 * theory.best_stopping_time(everything, 0.0, -1e4)
    np.testing.assert_allclose(found, expected, rtol=3e-3)
    # At the saddle nothing is learned; from above all modes the error always falls.
    single = jax.tree.map(jnp.float32, modes)
    for x in (modes, single):
        assert theory.best_stopping_time(x, 0.0, 0.0) == 0
        assert theory.best_stopping_time(x, 9.0, -2.0) == jnp.inf
    found = theory.best_stopping_time(single, 0.05, -2.0)
    np.testing.assert_allclose(found, best, rtol=1e-5)


def test_derivatives():
    @jax.jit
    def best(noise, weak):
        modes = small(noise, jnp.stack([jnp.array(2.0), weak]))
        return theory.best_stopping_time(modes, 0.05, 0.5), modes.signal[:3]

    point, step = (1.0, 0.7), 1e-5
    found = jax.jit(jax.jacrev(best, (0, 1)))(*point)
    for i in range(2):
        up, down = (
            best(*(x + sign * step * (i == j) for j, x in enumerate(point)))
            for sign in (1, -1)
        )
        for slope, high, low in zip(found, up, down, strict=True):
            change = (high - low) / (2 * step)
            np.testing.assert_allclose(slope[i], change, rtol=1e-5, atol=1e-8)
    # Traced bad noise gives NaN.
    assert all(np.isnan(x).all() for x in best(-1.0, 0.7))


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    "change, words",
    [
        ({"strengths": [1.0, -1.0]}, "`strengths` must be finite and non-negative"),
        ({"strengths": np.ones(4)}, r"`strengths` .* 1 to .* = 3 .* \(4,\)"),
        ({"sizes": (4, 3)}, r"`sizes` must be \(in, hidden, out\), but it was"),
        ({"samples": 3}, "`samples` must be at least 4, .* but it was 3.0"),
        ({"noise": -1.0}, "`noise` must be finite and non-negative"),
    ],
)
def test_bad_input(change, words):
    given = {"strengths": [1.0], "sizes": (4, 2, 3), "samples": 8, "noise": 1.0}
    with pytest.raises(ValueError, match=words):
        loose.spiked_modes(**(given | change))


@pytest.mark.usefixtures("untyped")
def test_bad_modes():
    with pytest.raises(ValueError, match="`sigma` and `teacher` must have the same"):
        loose.noisy_modes(np.ones((2, 3)), np.ones((3, 2)))
    modes = loose.noisy_modes(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(TypeError, match="`modes` must be a `NoisyModes`"):
        loose.test_error([1.0], modes.s, 0.1, 0.0)
    many = jax.tree.map(lambda x: jnp.stack([x, x]), modes)
    with pytest.raises(ValueError, match=r"`modes` must .* `modes.s` was \(2, 2\)"):
        loose.best_stopping_time(many, 0.1, 0.0)
    with pytest.raises(ValueError, match="`s` and `a0` must be scalars or"):
        loose.best_stopping_time(modes, [0.1, 0.1, 0.1], 0.0)
