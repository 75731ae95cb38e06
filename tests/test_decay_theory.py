"""The theory of weight decay, against the flow and the exact solution at infinity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases, numerical_flow

theory = lr.theory
DECAY = 0.4
PARTS = "function", "input_representation", "output_representation"


def task_of(strengths, n_in, n_out, variance=1.0):
    """A task with these singular values and inputs of this variance."""
    rng = np.random.default_rng(3)
    u, v = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (n_out, n_in))
    k = len(strengths)
    task = lr.Task.from_correlation((u[:, :k] * strengths) @ v[:, :k].T)
    root = variance**0.5
    return lr.Task(root * task.x, task.y / root), u, v


@functools.cache
def limit(hidden):
    return jax.jit(functools.partial(theory.soft_thresholded_limit, hidden_size=hidden))


def thresholded(u, v, strengths, hidden, variance):
    """The limit by its definition."""
    s = np.maximum(np.array(strengths) - DECAY, 0) / variance
    s[hidden:] = 0
    u, v = u[:, : s.size], v[:, : s.size]
    return (u * s) @ v.T, (v * s) @ v.T, (u * s) @ u.T


@pytest.mark.parametrize("hidden, lmda, variance", [(3, 2.0, 1.5), (2, -1.0, 1.0)])
def test_the_flow_of_balanced_weights_ends_at_the_limit(hidden, lmda, variance):
    strengths = [2.0, 1.0, 0.2]  # the last mode dies; two units keep all others
    task, u, v = task_of(strengths, 4, 3, variance)
    network = cases.balanced((4, hidden, 3), lmda, 0.7)
    expected = thresholded(u, v, strengths, hidden, variance)
    found = limit(hidden)(task, DECAY)
    ends = numerical_flow.states(network.weights, task, [80.0], weight_decay=DECAY)
    for name, x, end in zip(PARTS, expected, ends, strict=True):
        np.testing.assert_allclose(getattr(found, name), x, atol=1e-14)
        np.testing.assert_allclose(end[0], x, atol=1e-11)


def test_other_starts_end_there_too():
    """Unbalanced weights and bottlenecks."""
    rng = np.random.default_rng(0)
    strengths = [2.0, 1.0, 0.9]
    task, u, v = task_of(strengths, 4, 3)
    for hidden in (1, 2, 5):
        weights = rng.normal(size=(hidden, 4)), rng.normal(size=(3, hidden))
        expected = thresholded(u, v, strengths, hidden, 1.0)
        found = limit(hidden)(task, DECAY)
        ends = numerical_flow.states(weights, task, [200.0], weight_decay=DECAY)
        for name, x, end in zip(PARTS, expected, ends, strict=True):
            np.testing.assert_allclose(getattr(found, name), x, atol=1e-14)
            np.testing.assert_allclose(end[0], x, atol=1e-9)


def test_the_exact_solution_ends_at_the_limit():
    task, *_ = task_of([2.0, 1.0, 1.0], 4, 3, 0.5)
    network = cases.balanced((4, 3, 3), -30.0, 0.5)
    solution = lr.ExactSolution(network, task, weight_decay=DECAY)
    qqt, found = solution.qqt(jnp.inf), limit(3)(task, DECAY)
    rows = np.s_[4:, :4], np.s_[:4, :4], np.s_[4:, 4:]
    for name, part in zip(PARTS, rows, strict=True):
        np.testing.assert_allclose(qqt[part], getattr(found, name), atol=1e-10)


@pytest.mark.parametrize("hidden", [2, 3])
def test_derivatives_of_the_limit(hidden):
    """Also at repeated and zero singular values, by the task and the decay."""
    strengths = [2.0, 1.0, 0.1] if hidden == 2 else [2.0, 2.0, 0.0]
    task, *_ = task_of(strengths, 4, 3)
    sigma = task.input_output_correlation
    rng = np.random.default_rng(1)
    way = jnp.asarray(rng.normal(size=sigma.shape))

    def of(h):
        moved = lr.Task.from_correlation(sigma + h * way)
        return theory.soft_thresholded_limit(moved, DECAY + 0.3 * h, hidden)

    slope = jax.jit(lambda: jax.jvp(of, (0.0,), (1.0,))[1])()
    h, values = 1e-5, jax.jit(of)
    for name in PARTS:
        above, below = (getattr(values(x), name) for x in (h, -h))
        difference = (above - below) / (2 * h)
        np.testing.assert_allclose(getattr(slope, name), difference, atol=1e-8)


def test_the_limit_refuses_what_has_none(untyped):
    task, *_ = task_of([1.0, 1.0, 0.4], 3, 3)
    with pytest.raises(ValueError, match="`hidden_size` must not cut through equal"):
        theory.soft_thresholded_limit(task, 0.1, 1)
    assert all(jnp.isnan(x).all() for x in jax.tree.leaves(limit(1)(task, 0.1)))
    # All of them die: nothing is cut.
    dead = theory.soft_thresholded_limit(task, 1.5, 1)
    assert all(jnp.all(abs(x) < 1e-14) for x in jax.tree.leaves(dead))
    for bad in (0.0, -1.0, jnp.inf):
        with pytest.raises(ValueError, match="`weight_decay` must be finite and pos"):
            theory.soft_thresholded_limit(task, bad, 3)
    with pytest.raises(ValueError, match="`weight_decay` must be a scalar"):
        theory.soft_thresholded_limit(task, jnp.array([0.1, 0.2]), 3)
    with pytest.raises(ValueError, match="`task` must have isotropic inputs"):
        skewed = lr.Task(task.x * jnp.array([[1.0, 2.0, 1.0]]), task.y)
        theory.soft_thresholded_limit(skewed, 0.1, 3)

    def size(decay):
        return theory.soft_thresholded_limit(task, decay, 3).function.sum()

    with pytest.raises(Exception, match="no singular value of the task equals"):
        jax.grad(size)(jnp.array(0.4))


def test_the_balance_decays():
    """The imbalance of any two layers, of any inputs."""
    rng = np.random.default_rng(2)
    task = lr.Task(rng.normal(size=(9, 3)), rng.normal(size=(9, 2)))
    weights = rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    ts = np.array([0.0, 0.4, 2.0])
    flow = numerical_flow.flow(weights, task, ts, weight_decay=DECAY)
    imbalance = [w2.T @ w2 - w1 @ w1.T for w1, w2 in flow]
    found = theory.decayed_balance(ts, imbalance[0], DECAY)
    np.testing.assert_allclose(found, imbalance, atol=1e-10)
    ends = theory.decayed_balance(jnp.array([[0.0, jnp.inf]]), -3.0, 0.5)
    np.testing.assert_array_equal(ends, [[-3.0, 0.0]])
    assert theory.decayed_balance(jnp.inf, -3.0, 0.0) == -3
    with pytest.raises(ValueError, match="`weight_decay` must be finite and non-neg"):
        theory.decayed_balance(1.0, -3.0, -0.1)


def test_the_crossover_is_where_the_balance_is_that_of_a_mode():
    s, lmda, decay = jnp.array([0.0, 0.5, 2.0, 6.0, 7.0]), -12.0, 0.02
    times = theory.crossover_time(s, lmda, decay)
    balance = theory.decayed_balance(times, lmda, decay)
    np.testing.assert_allclose(balance[:4], -2 * s[:4], rtol=1e-14)
    assert times[0] == jnp.inf and times[3] == times[4] == 0
    never = theory.crossover_time(s, lmda, 0.0)
    np.testing.assert_array_equal(never, [jnp.inf] * 3 + [0.0] * 2)
    # The layers' squared strengths there, of a mode that is learned.
    one = np.eye(1)
    weights = cases.balanced_weights(one, [2.0], one, one, float(balance[2]))
    found = np.ravel(weights) ** 2
    np.testing.assert_allclose(found, 2 * np.array([2**0.5 + 1, 2**0.5 - 1]))
    slope = jax.jit(jax.jacfwd(theory.crossover_time, 2))(s, lmda, decay)
    np.testing.assert_allclose(slope[1:], -times[1:] / decay)
    with pytest.raises(ValueError, match="`s` must be finite and non-negative"):
        theory.crossover_time(-1.0, lmda, decay)
    traced = jax.jit(theory.crossover_time)(jnp.array([1.0, jnp.nan]), lmda, -decay)
    assert jnp.isnan(traced).all()


def test_representations_align_around_the_crossover():
    """Much earlier they are the start's, at almost no loss; much later the task's."""
    task, *_ = task_of([1.0], 3, 3)
    network = cases.balanced((3, 3, 3), -20.0, 0.1)
    crossover = float(theory.crossover_time(1.0, -20.0, 0.05))
    ts = crossover * np.array([0.1, 1.0, 3.0])
    flow = numerical_flow.flow(network.weights, task, ts, weight_decay=0.05)
    goal = np.asarray(task.input_output_correlation)
    goal = goal.T @ goal  # a projector
    kernels = [w1.T @ w1 for w1, _ in flow]
    early, then, late = (np.sum(k * goal) / np.linalg.norm(k) for k in kernels)
    assert early < 0.58 and 0.64 < then < 0.72 and late > 0.99
    start, first = (
        numerical_flow.loss(w2 @ w1, task) for w1, w2 in (network.weights, flow[0])
    )
    assert first < 1e-3 * start
