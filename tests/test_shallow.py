"""Networks of one layer and their modes, against the numerical flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from .numerical_flow import flow, product

theory = lr.theory
TS = np.array([0.0, 0.05, 0.4, 2.0, 9.0])


@pytest.mark.parametrize("spread", [1.0, 0.0], ids=["anisotropic", "flat"])
def test_shallow_networks_and_any_inputs(spread):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(8, 3)) @ np.diag([1.0, 2.0, spread])
    task = lr.Task(x, rng.normal(size=(8, 2)))
    start = rng.normal(size=(2, 3))
    w = theory.shallow_function(TS, start, task)
    exact = np.stack([product(w) for w in flow([start], task, TS)])
    np.testing.assert_allclose(w, exact, atol=1e-10)
    if spread:  # with white inputs the modes decouple in any basis
        white = task.whitened()
        u, s, vt = np.linalg.svd(white.input_output_correlation)
        entries = [u.T @ product(w) @ vt.T for w in flow([start], white, TS)]
        goal = np.diag(s) @ np.eye(2, 3)
        modes = theory.shallow_modes(TS, goal, u.T @ start @ vt.T)
        np.testing.assert_allclose(modes, entries, atol=1e-10)
        single = jax.tree.map(jnp.float32, (task.x, task.y, start))
        single = theory.shallow_function(TS, single[2], lr.Task(*single[:2]))
        np.testing.assert_allclose(single, exact, atol=1e-4)
    best = np.linalg.lstsq(x, np.asarray(task.y), rcond=None)[0].T
    best = best + start @ np.diag([0, 0, spread == 0])
    np.testing.assert_allclose(
        theory.shallow_function(jnp.inf, start, task), best, atol=1e-12
    )


@pytest.mark.parametrize("samples", [3, 2], ids=["repeated", "zero"])
def test_shallow_derivatives_at_repeated_and_zero_eigenvalues(samples):
    x, y = np.sqrt(3) * np.eye(3)[:samples], np.arange(6.0).reshape(3, 2)[:samples]
    dx = np.random.default_rng(2).normal(size=(samples, 3))

    @jax.jit
    def end(step, t=0.7):
        return theory.shallow_function(t, np.ones((2, 3)), lr.Task(x + step * dx, y))

    slope = jax.jit(lambda h: jax.jvp(end, (h,), (1.0,))[1])(0.0)
    np.testing.assert_allclose(slope, (end(1e-6) - end(-1e-6)) / 2e-6, atol=1e-8)
    by_time = jax.jit(jax.jacfwd(lambda t: end(0.0, t)))(0.7)
    near = (end(0.0, 0.7 + 1e-6) - end(0.0, 0.7 - 1e-6)) / 2e-6
    np.testing.assert_allclose(by_time, near, atol=1e-8)


def test_shallow_descent_takes_the_steps_it_should():
    task = lr.Task.random_regression(3, 2, 9, key=jax.random.key(0))
    sigma = task.input_output_correlation
    rate, w, steps = 0.05, jnp.zeros((2, 3)), 0
    optimum, start = task.loss(sigma), task.loss(w)
    while task.loss(w) - optimum > 1e-6:
        w, steps = w - rate * task.loss_gradient(w), steps + 1
    expected = float(theory.shallow_steps(start - optimum, 1e-6, rate))
    assert steps == np.ceil(expected) and expected > 100
