"""The exact solution against high-precision arithmetic."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases, oracle

TS = np.array([0.0, 1e-9, 1e-3, 0.1, 1.0, 10.0, 100.0, 1e3, np.inf])
KEY = jax.random.key(0)

network_lmda = eqx.filter_jit(lambda network: network.lmda)


def worst(network, task, ts=TS):
    """The largest relative error of Q Q^T over the times."""
    sigma = np.asarray(task.input_output_correlation)
    w1, w2 = (np.asarray(w) for w in network.weights)
    lmda, variance = float(network_lmda(network)), float(task.input_variance)
    expected = oracle.qqt(w1, w2, sigma, lmda, ts, variance)
    return oracle.relative_error(lr.ExactSolution(network, task).qqt(ts), expected)


def case_name(x):
    return x if isinstance(x, str) else ""


# Every size with some balances and scales; benchmarks/accuracy.py has all.
SOME = cases.ROWS[::11]


@pytest.mark.parametrize("row", SOME, ids=str)
def test_against_high_precision(row):
    assert worst(*cases.case(*row), cases.TIMES) < 1e-11


@pytest.mark.parametrize("name, network, task", list(cases.special()), ids=case_name)
def test_degenerate_tasks(name, network, task):
    assert worst(network, task, cases.TIMES) < 1e-11


def test_many_units():
    target = cases.sigma(12, 12)
    network = cases.network((12, 12, 12), 1.0, 0.1, target)
    task = lr.Task.from_correlation(target)
    assert worst(network, task, np.array([0.0, 0.3, 3.0])) < 1e-11


@pytest.mark.parametrize("row", SOME[::2], ids=str)
def test_single_precision(row):
    network, task = jax.tree.map(lambda x: x.astype(jnp.float32), cases.case(*row))
    w1, w2 = (np.asarray(w, float) for w in network.weights)
    x, y = np.asarray(task.x, float), np.asarray(task.y, float)
    sigma, variance = y.T @ x / len(x), np.sum(x * x) / x.size
    lmda = np.trace(w2.T @ w2 - w1 @ w1.T) / len(w1)
    kappa = np.hypot(np.linalg.norm(sigma, 2), lmda * variance / 2)
    ts = np.array([0.0, 1e-3, 0.1, 1.0, 10.0, 100.0]) / kappa
    expected = oracle.qqt(w1, w2, sigma, lmda, ts, variance)
    found = lr.ExactSolution(network, task).qqt(ts)
    assert found.dtype == jnp.float32
    error = np.linalg.norm(np.asarray(found, float) - expected, axis=(1, 2))
    assert np.all(error < 1e-4 * np.linalg.norm(expected, axis=(1, 2)))


@pytest.mark.parametrize("lmda", [0.0, 1.0])
def test_rank_deficient_and_zero_tasks_and_weights(lmda):
    sigma = np.outer([1.0, 2, 0.5], [1.0, -1, 1])
    network = lr.LambdaBalanced(lmda, 0.5)(3, 3, 3, key=KEY)
    assert worst(network, lr.Task.from_correlation(sigma)) < 1e-11
    assert worst(network, lr.Task.from_correlation(0 * sigma)) < 1e-11
    if lmda == 0:
        zero = jax.tree.map(jnp.zeros_like, network)
        stuck = lr.ExactSolution(zero, lr.Task.from_correlation(sigma)).qqt(TS)
        assert jnp.all(stuck == 0)


@pytest.mark.parametrize("rank", [1, 2])
def test_rank_deficient_weights(rank):
    rng = np.random.default_rng(0)
    u, v, r = (np.linalg.qr(rng.normal(size=(3, 3)))[0][:, :rank] for _ in range(3))
    root = np.sqrt([0.5, 0.2][:rank])
    network = lr.LinearNetwork((r * root @ v.T, u * root @ r.T))
    # Rounding grows as e^{s t} and decides which modes leave zero.
    task = lr.Task.from_correlation(cases.sigma(3, 3))
    assert worst(network, task, np.array([0.0, 1e-3, 0.3, 3.0])) < 1e-11


def test_reversal_at_zero_lambda_is_a_saddle():
    sigma = cases.sigma(3, 3)
    u, s, vt = np.linalg.svd(sigma)
    learned = lr.LinearNetwork((np.sqrt(s)[:, None] * vt, u * np.sqrt(s)))
    task = lr.Task.from_correlation(-sigma)
    decayed = lr.ExactSolution(learned, task).function(jnp.array([0.0, 1.0, jnp.inf]))
    np.testing.assert_allclose(decayed[0], sigma, atol=1e-13)
    modes = np.asarray(u.T @ decayed[1] @ vt.T)
    np.testing.assert_allclose(modes, np.diag(s / (2 * np.exp(2 * s) - 1)), atol=1e-12)
    assert jnp.abs(decayed[2]).max() < 1e-12
    # At any other balance the network learns the reversed task.
    freed = lr.ExactSolution(learned.rebalanced(0.1), task).function(jnp.inf)
    np.testing.assert_allclose(freed, -sigma, atol=1e-12)


def test_loss_keeps_its_digits_as_it_vanishes():
    sigma = cases.sigma(3, 4)
    task = lr.Task.from_correlation(sigma)
    network = lr.LambdaBalanced(1.0, 0.5)(4, 3, 3, key=KEY)
    ts = np.linspace(0, 40, 41)
    w1, w2 = (np.asarray(w) for w in network.weights)
    expected = oracle.loss_excess(w1, w2, sigma, float(network_lmda(network)), ts)
    small = expected > 1e-20 * expected[0]
    assert expected[small].min() < 1e-15 * expected[0]
    loss = np.asarray(lr.ExactSolution(network, task).loss(ts))
    np.testing.assert_allclose(loss[small], expected[small], rtol=1e-6)


@pytest.mark.parametrize("lmda", [0.0, -2.0, 3.0])
def test_time_zero_and_infinity(lmda):
    sigma = cases.sigma(3, 3, seed=2)
    task = lr.Task.from_correlation(sigma)
    network = lr.LambdaBalanced(lmda, 0.5)(3, 3, 3, key=jax.random.key(3))
    if lmda == 0 and np.linalg.det(network.function) * np.linalg.det(sigma) < 0:
        network = lr.LinearNetwork(
            tuple(-w for w in network.weights[:1]) + network.weights[1:]
        )
    solution = lr.ExactSolution(network, task)
    np.testing.assert_allclose(solution.qqt(0.0), network.qqt, atol=1e-14)
    np.testing.assert_allclose(
        solution.loss(0.0), task.loss(network.function), rtol=1e-13
    )
    # The converged representations (Domine et al. 2025, theorem on convergence).
    u, s, vt = np.linalg.svd(sigma)
    root = np.sqrt(lmda**2 + 4 * s**2)
    np.testing.assert_allclose(solution.function(jnp.inf), sigma, atol=1e-13)
    np.testing.assert_allclose(
        solution.output_representation(jnp.inf), u * (root + lmda) / 2 @ u.T, atol=1e-12
    )
    np.testing.assert_allclose(
        solution.input_representation(jnp.inf),
        vt.T * (root - lmda) / 2 @ vt,
        atol=1e-12,
    )
    assert abs(solution.loss(jnp.inf)) < 1e-28


def test_a_bottleneck_learns_the_largest_modes():
    sigma = cases.sigma(3, 4)
    u, s, vt = np.linalg.svd(sigma)
    network = lr.LambdaBalanced(0.5, 0.1)(4, 2, 3, key=KEY)
    final = lr.ExactSolution(network, lr.Task.from_correlation(sigma)).function(jnp.inf)
    np.testing.assert_allclose(final, u[:, :2] * s[:2] @ vt[:2], atol=1e-12)


def test_quantities_agree_and_times_have_any_shape():
    task = lr.Task.random_regression(3, 2, 8, key=KEY)
    network = lr.LambdaBalanced(1.0, 0.5)(3, 2, 2, key=KEY)
    solution = lr.ExactSolution(network, task)
    ts = jnp.array([[0.0, 0.5, 1.0], [2.0, 0.1, jnp.inf]])
    function = solution.function(ts)
    assert function.shape == (2, 3, 2, 3)
    np.testing.assert_allclose(solution.qqt(ts)[..., 3:, :3], function, atol=1e-14)
    np.testing.assert_allclose(solution.network(ts).function, function, atol=1e-14)
    by_function = jax.jit(jax.vmap(jax.vmap(task.loss)))(function)
    np.testing.assert_allclose(solution.loss(ts), by_function, rtol=1e-13)
    kernel = lr.kernels.ntk(solution.network(0.5), task.x)
    np.testing.assert_allclose(solution.ntk(0.5, task.x), kernel, atol=1e-12)


def test_a_shared_task_is_decomposed_once():
    """The singular vectors of a shared task have no batch axis."""
    task = lr.Task.random_regression(3, 2, 10, key=KEY)

    def prepared(w1, w2):
        network = lr.LinearNetwork((w1, w2))
        return lr.ExactSolution(network, task, throw=False).frame

    weights = jnp.ones((7, 2, 3)), jnp.ones((7, 2, 2))
    text = str(jax.make_jaxpr(jax.vmap(prepared))(*weights))
    decompositions = [line for line in text.splitlines() if "= svd[" in line]
    assert len(decompositions) == 1 and "[7," not in decompositions[0]
