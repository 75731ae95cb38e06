"""Derivatives of the solution under weight decay, against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases
from .decaying import KEY


def test_a_decay_of_zero_has_derivatives():
    def kept(decay):
        decay = lr.Exact(weight_decay=decay).weight_decay
        assert decay is not None
        return decay

    assert lr.Exact(weight_decay=jnp.asarray(0.0)).weight_decay is None
    assert jax.grad(kept)(0.0) == 1


@pytest.mark.slow
def test_derivatives():
    sigma, change = cases.sigma(3, 4), cases.sigma(3, 4, seed=5)
    weights = lr.LambdaBalanced(1.0, 0.5)(4, 3, 3, key=KEY).weights
    ts = jnp.array([0.3, 2.0, 8.0, jnp.inf])

    @jax.jit
    def f(x):
        lmda, decay, along, later = x
        task = lr.Task.from_correlation(sigma + along * change)
        network = lr.LinearNetwork(weights).rebalanced(lmda)
        solution = lr.ExactSolution(network, task, weight_decay=decay)
        ts_ = ts + jnp.where(jnp.isinf(ts), 0.0, later)
        return jnp.concatenate([solution.loss(ts_), solution.qqt(ts_).ravel()])

    step = 1e-4
    slopes = jax.jit(jax.jacfwd(f))
    for lmda, decay in ((2.0, 0.1), (-3.0, 0.02), (0.0, 0.3)):
        x = jnp.array([lmda, decay, 0.0, 0.1])
        found = slopes(x).T
        for i, unit in enumerate(jnp.eye(4)):
            if lmda == 0 and i == 0:
                continue  # `rebalanced` is not smooth there
            f1, f2 = (
                (f(x + h * unit) - f(x - h * unit)) / (2 * h) for h in (step, 2 * step)
            )
            expected = (4 * f1 - f2) / 3
            size = 1 + float(jnp.max(jnp.abs(expected)))
            np.testing.assert_allclose(found[i], expected, atol=2e-8 * size)
