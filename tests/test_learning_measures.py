"""Measures along the learning of networks."""

import jax
import jax.numpy as jnp
import numpy as np

import lazyrich_jax as lr

from .numerical_flow import flow
from .test_measures import cosine, features, kernel

measures = lr.measures


def test_task_specificity_of_lazy_and_rich_networks():
    rng = np.random.default_rng(0)
    sigma = rng.normal(size=(4, 3))
    task = lr.Task.from_correlation(sigma)
    _, s, vt = np.linalg.svd(sigma, full_matrices=False)
    score = jax.jit(measures.task_specificity)
    for lmda, inputs, outputs in ((0.0, True, True), (300.0, True, False)):
        end = lr.theory.converged_representations(task, lmda, 3)
        of_input = score(end.input_representation, sigma)
        of_output = score(end.output_representation, sigma.T)
        assert (of_input > 0.999) == inputs and (of_output > 0.99) == outputs
    # The published form, with both candidates written out.
    r = rng.normal(size=(3, 3))
    r = r @ r.T
    published = max(cosine(r, vt.T @ np.diag(s**p) @ vt) for p in (1, 2))
    np.testing.assert_allclose(score(r, sigma), published, rtol=1e-10)


def test_measures_along_the_flow():
    task = lr.Task.random_regression(3, 2, 9, key=jax.random.key(0))
    network = lr.LambdaBalanced(1.0, 0.3)(3, 2, 2, key=jax.random.key(1))
    ts, sigma = np.linspace(0, 6, 301), np.asarray(task.input_output_correlation)
    path = flow(network.weights, task, ts)
    for w1, w2 in path[::100]:
        lmda, residual = measures.balance(w1, w2)
        np.testing.assert_allclose([lmda, residual], [1.0, 0.0], atol=1e-9)
    u, s, vt = np.linalg.svd(sigma, full_matrices=False)
    middle, last = (w2 @ w1 for w1, w2 in (path[50], path[-1]))
    np.testing.assert_allclose(measures.mode_strengths(last, sigma), s, rtol=1e-2)
    np.testing.assert_allclose(
        measures.mode_strengths(middle, sigma), np.diag(u.T @ middle @ vt.T)
    )
    excess = np.array([np.sum((w2 @ w1 - sigma) ** 2) / 2 for w1, w2 in path])
    time = float(measures.convergence_time(ts, excess, 0.1))
    w1, w2 = flow(network.weights, task, [0, time])[1]
    np.testing.assert_allclose(np.sum((w2 @ w1 - sigma) ** 2) / 2, 0.1, rtol=1e-3)
    slope = jax.grad(lambda x: measures.convergence_time(ts, excess, x))(0.1)
    rate = lr.theory.loss_rate(lr.LinearNetwork((w1, w2)), task, learning=task)
    np.testing.assert_allclose(slope, 1 / rate, rtol=0.05)
    assert jnp.isinf(measures.convergence_time(ts, excess, 0.0))
    assert measures.convergence_time(ts, excess, excess[0] + 1) == 0
    start, end = (lr.LinearNetwork(path[k]) for k in (0, -1))
    flat = [np.concatenate([np.ravel(w) for w in path[k]]) for k in (0, -1)]
    moved = np.linalg.norm(flat[1] - flat[0]) / np.linalg.norm(flat[0])
    np.testing.assert_allclose(measures.weight_movement(start, end), moved, rtol=1e-12)


def test_convergence_time_between_and_at_infinity():
    time = jax.jit(measures.convergence_time)
    ts, loss = np.array([0.0, 1.0, 3.0, np.inf]), np.array([4.0, 2.0, 1.0, 0.0])
    for threshold, expected in ((3.0, 0.5), (2.0, 1.0), (1.5, 2.0), (0.5, np.inf)):
        assert time(ts, loss, threshold) == expected
    assert time(ts, loss, 5.0) == 0 and jnp.isinf(time(ts, loss, -1.0))
    assert jnp.isnan(time(ts[::-1], loss, 2.0))
    assert jnp.isnan(time(ts, np.array([1.0, np.nan, 1, 1]), 0.5))
    np.testing.assert_allclose(time(np.zeros(2), np.array([1.0, 0.0]), 0.5), 0.0)


def test_the_index_sees_what_the_kernel_distance_does_not():
    # In a small aligned network with equal modes features grow, and the kernel scales.
    task = lr.Task.from_correlation(np.eye(3))
    for scale, low, high in ((1e-2, 0.95, 1.0), (1.0, 0.0, 1e-6)):
        network = lr.LinearNetwork((scale * jnp.eye(3), scale * jnp.eye(3)))
        first, last = lr.ExactSolution(network, task).ntk(
            jnp.array([0.0, jnp.inf]), task.x
        )
        assert measures.kernel_distance(first, last) < 1e-12
        assert low <= measures.rich_lazy_index(first, last) <= high


def test_target_alignment_of_both_kinds_of_kernel():
    y = features(0, 5, 2)
    flat = y.T.ravel()
    big = kernel(1, 10)
    np.testing.assert_allclose(
        measures.target_alignment(big, y), cosine(big, np.outer(flat, flat))
    )
    small = kernel(1, 5)
    np.testing.assert_allclose(
        measures.target_alignment(small, y), cosine(small, y @ y.T)
    )
