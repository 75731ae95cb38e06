"""Tolerances of balance, refused members of a batch, and backward errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from benchmarks import accuracy

from . import cases

TASK = cases.make_task((3, 2, 2))
NETWORK = cases.start((3, 2, 2), 1.0, 0.6)
TS = jnp.array([0.0, 0.5, jnp.inf])


def rotated(w1, w2, seed=0):
    """The same network with its hidden units rotated."""
    draw = np.random.default_rng(seed).normal(size=(len(w1), len(w1)))
    r = np.linalg.qr(draw)[0]
    return lr.LinearNetwork((r @ w1, w2 @ r.T))


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("strengths", [(1.0, 1.0), (1e8, 1.0)])
def test_imbalance_of_a_small_direction_is_not_hidden_by_a_large_one(turn, strengths):
    weights = np.diag([1e4, 0.5]), np.diag([1e4, 0.0])
    network = rotated(*weights) if turn else lr.LinearNetwork(weights)
    task = lr.Task.from_correlation(np.diag(strengths))
    with pytest.raises(ValueError, match=r"must be lambda-balanced.* slowest rate"):
        lr.ExactSolution(network, task)
    with pytest.raises(ValueError, match=r"must be lambda-balanced.* slowest rate"):
        lr.theory.lazy_limit(1.0, network, task)


def test_rounding_of_large_weights_is_not_imbalance():
    task = cases.make_task((3, 3, 3))
    network = cases.start((3, 3, 3), 0.0, 1e5, task=task)
    assert network.balance_residual > 1e-6  # relative to the rates, which are about one
    end = lr.ExactSolution(network, task).function(jnp.inf)
    expected = task.input_output_correlation / task.input_variance
    np.testing.assert_allclose(end, expected, atol=1e-12)


def test_simulated_networks_are_balanced():
    flow = lr.learn(NETWORK, TASK, jnp.array([0.0, 2.0]), dynamics=lr.GradientFlow())
    network = jax.tree.map(lambda w: w[-1], flow.network)
    solution = lr.ExactSolution(network, TASK)
    later = lr.ExactSolution(NETWORK, TASK).loss(3.0)
    np.testing.assert_allclose(solution.loss(1.0), later, rtol=1e-7)


@pytest.mark.parametrize(
    "quantity", ["loss", pytest.param("qqt", marks=pytest.mark.slow)]
)
def test_refused_members_have_no_derivatives(quantity):
    def total(network, task, ts):
        solution = lr.ExactSolution(network, task, throw=False)
        return getattr(solution, quantity)(ts).sum()

    slope = jax.jit(jax.vmap(jax.grad(total, (0, 1, 2)), in_axes=(0, None, None)))
    bad = jax.tree.map(lambda w: w + 0.1, NETWORK)
    found, expected = (
        jax.tree.leaves(
            slope(jax.tree.map(lambda *w: np.stack(w), NETWORK, other), TASK, TS)
        )
        for other in (bad, NETWORK)
    )
    for a, b in zip(found, expected, strict=True):
        assert np.all(np.isfinite(b))
        np.testing.assert_allclose(a[0], b[0], atol=1e-12)
        assert jnp.all(jnp.isnan(a[1]))

    @jax.jit
    def along_ones(network):
        change = jax.tree.map(jnp.ones_like, network)
        return jax.jvp(lambda n: total(n, TASK, TS), (network,), (change,))[1]

    assert jnp.isfinite(along_ones(NETWORK)) and jnp.isnan(along_ones(bad))


@jax.jit
@jax.jacrev
def slopes_at_infinity(w):
    """The slopes of loss and function by both weights of 1-1-1 units."""
    task = lr.Task.from_correlation(np.ones((1, 1)))
    network = lr.LinearNetwork((jnp.full((1, 1), w), jnp.full((1, 1), w)))
    solution = lr.ExactSolution(network, task)
    return solution.loss(jnp.inf), solution.function(jnp.inf)[0, 0]


@pytest.mark.parametrize("size", [1e-3, 1e-12, 1e-100])
def test_derivatives_at_infinity_from_tiny_starts(size):
    assert all(abs(slope) < 1e-12 for slope in slopes_at_infinity(size))


@pytest.mark.slow
def test_backward_errors():
    """Backward errors are small over all scales, balances, variances and tasks."""
    rng = np.random.default_rng(5)
    for _ in range(4):
        _, backward, saddle = accuracy.attacked(rng)
        assert not saddle
        assert backward.max() < 2e-14
