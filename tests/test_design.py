"""Goals of designs against simulations and closed forms."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

import lazyrich_jax as lr
from lazyrich_jax.inference import (
    Forgetting,
    Information,
    KernelDistance,
    LossAt,
    ReversalTime,
    SequenceLoss,
    design,
    orders,
    sensitivity,
)

from .two_modes import ALIGNED, TASK, A, S, U, V, modes, weights_of


def flow(weights, sigma, t):
    """The weights of a two-layer network after a time, for white inputs."""
    shapes = [w.shape for w in weights]
    cut = weights[0].size

    def rate(_, q):
        w1, w2 = q[:cut].reshape(shapes[0]), q[cut:].reshape(shapes[1])
        error = sigma - w2 @ w1
        return np.concatenate([(w2.T @ error).ravel(), (error @ w1.T).ravel()])

    start = np.concatenate([np.ravel(w) for w in weights])
    end = solve_ivp(rate, (0, t), start, method="DOP853", rtol=1e-11, atol=1e-13)
    q = end.y[:, -1]
    return q[:cut].reshape(shapes[0]), q[cut:].reshape(shapes[1])


@pytest.mark.slow
def test_the_loss_at_a_deadline_is_least_at_the_largest_stable_balance():
    goal, rate = LossAt(TASK, 0.05), 0.05
    found = design(
        goal, ALIGNED, free={"lmda": (0.0, 1e3)}, learning_rate=rate, verify=50
    )
    stable = lr.theory.largest_stable_step(S, found.values["lmda"])
    np.testing.assert_allclose(stable, rate, rtol=2e-6)
    assert found.active == {"lmda": "the stable step"} and found.slope == 0
    # Closed form of aligned modes: the loss falls with the balance.
    lmdas = np.linspace(0.0, float(found.values["lmda"]), 30)

    def loss(lmda):
        return 0.5 * np.sum((S - modes(0.05, S, A, lmda)) ** 2)

    losses = [loss(lmda) for lmda in lmdas]
    assert np.all(np.diff(losses) < 0)
    np.testing.assert_allclose(found.goal, losses[-1], rtol=1e-10)
    assert found.swept is not None
    np.testing.assert_allclose(found.swept, found.goal, rtol=1e-12)
    assert found.reached == found.searches and not found.improved
    slope = (loss(lmdas[-1] + 1e-3) - loss(lmdas[-1] - 1e-3)) / 2e-3
    np.testing.assert_allclose(found.gradient["lmda"], slope, rtol=1e-6)
    text = str(found)
    assert "at a bound: the stable step" in text and "16 of 16" in text
    # Without the constraint, the range is the bound.
    found = design(goal, ALIGNED, free={"lmda": (0.0, 1e3)}, searches=2)
    assert found.active == {"lmda": "its range"}
    assert found.values["lmda"] == 1e3


def ends_of(network):
    """The weights of a network before and after it learned the task."""
    before = weights_of(network)
    return before, flow(before, (U * S) @ V.T, 40.0)


@pytest.mark.slow
def test_a_target_distance_of_the_kernel_is_reached_or_the_miss_is_said():
    def free(low):
        return {"lmda": (low, 5.0)}

    found = design(KernelDistance(TASK, 0.1), ALIGNED, free=free(0.0), searches=4)
    assert found.goal < 1e-20 and not found.active
    assert found.slope < 1e-8
    start, end = (lr.LinearNetwork(x) for x in ends_of(found.start))
    x = jnp.eye(2)
    kernels = lr.kernels.ntk(start, x), lr.kernels.ntk(end, x)
    distance = lr.measures.kernel_distance(*kernels)
    np.testing.assert_allclose(distance, 0.1, atol=1e-7)
    # From this range no start is as rich as the target.
    found = design(
        KernelDistance(TASK, 0.9), ALIGNED, free=free(0.5), searches=4, verify=20
    )
    assert found.active == {"lmda": "its range"} and found.values["lmda"] == 0.5
    assert found.goal > 0.01 and found.goal == found.swept


@pytest.mark.slow
def test_the_fastest_reversal_has_the_largest_balance():
    goal = ReversalTime(TASK)

    def time(lmda):
        def excess(t):
            return np.sum((S - modes(t, S, -S, lmda)) ** 2) - 0.01 * np.sum(4 * S**2)

        return float(np.asarray(brentq(excess, 0, 200, xtol=1e-13)))

    found = design(goal, ALIGNED, free={"lmda": (-2.0, 2.0)}, searches=3, verify=9)
    assert found.active == {"lmda": "its range"}
    np.testing.assert_allclose(abs(found.values["lmda"]), 2.0)
    np.testing.assert_allclose(found.goal, time(2.0), rtol=1e-8)
    h = 1e-4
    slope = (time(2.0 + h) - time(2.0 - h)) / (2 * h)
    gradient = found.gradient["lmda"] * np.sign(found.values["lmda"])
    np.testing.assert_allclose(gradient, slope, rtol=1e-6)
    # Near the saddle the time is long; at the saddle it is infinite, and left out.
    found = design(
        goal, ALIGNED, free={"lmda": (-1e-3, 0.0)}, searches=3, verify=3, maximise=True
    )
    assert np.isfinite(found.goal) and found.goal > 30


@pytest.mark.slow
def test_the_best_order_of_tasks():
    keys = jax.random.split(jax.random.key(3), 3)
    tasks = [
        lr.Task.random_regression(2, 2, samples=6 + i, key=key)
        for i, key in enumerate(keys)
    ]
    times = [0.5, 1.0, 1.5]
    forgetting, loss = Forgetting(tasks, times), SequenceLoss(tasks, times)

    def goal(network, order):
        return forgetting(network, order=order) + 3 * loss(network, order=order)

    free = {"lmda": (0.1, 2.0), "order": orders(3)}
    found = design(goal, ALIGNED, free=free, searches=2)
    before, values = weights_of(found.start), {}
    for order in itertools.permutations(range(3)):
        weights, ends = before, []
        for i in order:
            sigma = np.asarray(tasks[i].input_output_correlation)
            weights = flow(weights, sigma, times[i])
            ends.append(jnp.asarray(weights[1] @ weights[0]))
        grown = [
            tasks[i].loss(ends[-1]) - tasks[i].loss(ends[k])
            for k, i in enumerate(order[:-1])
        ]
        losses = [task.loss(ends[-1]) for task in tasks]
        values[order] = np.mean(grown) + 3 * np.mean(losses)
    best = tuple(found.values["order"].tolist())
    assert best == min(values, key=values.__getitem__)
    np.testing.assert_allclose(found.goal, values[best], rtol=1e-7)
    assert found.searches == 12


def test_the_most_informative_times_are_those_of_an_exhaustive_choice():
    def observable(p, t):
        return p[0] * jnp.exp(-p[1] * t)

    goal = Information(observable, [1.0, 2.0], noise=0.1)
    found = design(goal, free={"times": (0.0, 5 * jnp.ones(2))}, verify=400)
    # det F is (t1 - t2)^2 e^{-2p(t1 + t2)}: one time is zero, the other 1 / p.
    np.testing.assert_allclose(np.sort(found.values["times"]), [0, 0.5], atol=1e-7)
    np.testing.assert_allclose(found.goal, np.log(0.25 * np.exp(-2) * 1e4), rtol=1e-10)
    assert found.maximised and not found.improved and "largest" in str(found)
    grid = np.linspace(0, 5, 101)
    j = np.stack([np.exp(-2 * grid), -grid * np.exp(-2 * grid)], axis=1) / 0.1
    pairs = itertools.combinations(range(101), 2)
    best = max(np.linalg.slogdet(j[list(p)].T @ j[list(p)])[1] for p in pairs)
    np.testing.assert_allclose(found.goal, best, rtol=1e-10)
    # Two parameters that appear in a product are never known apart.
    same = Information(lambda p, t: p[0] * p[1] * t, [1.0, 2.0])
    assert same(times=jnp.arange(1.0, 4.0)) == -jnp.inf
    with_prior = Information(lambda p, t: p[0] * p[1] * t, [1.0, 2.0], prior=1.0)
    np.testing.assert_allclose(with_prior(times=jnp.ones(1)), np.log(6.0))


@pytest.mark.slow
def test_sensitivity_is_that_of_the_flow():
    # One hidden unit is balanced whatever its weights.
    task = lr.Task.from_correlation(jnp.array([[1.5, 0.3]]))
    network = lr.LambdaBalanced(0.7)(2, 1, 1, key=jax.random.key(5))
    ts = jnp.array([0.0, 0.8, jnp.inf])
    found = sensitivity(network, task, ts, flow_derivatives=False)
    sigma, weights = np.array([[1.5, 0.3]]), weights_of(network)

    def loss(w1, w2):
        w1, w2 = flow((np.asarray(w1), np.asarray(w2)), sigma, 0.8)
        return 0.5 * np.sum((sigma - w2 @ w1) ** 2)

    h = 1e-5
    for i, slopes in enumerate((found.w1, found.w2)):
        for at in np.ndindex(weights[i].shape):
            step = np.zeros_like(weights[i])
            step[at] = h
            up, down = (
                loss(*(w + sign * step if w is weights[i] else w for w in weights))
                for sign in (1, -1)
            )
            np.testing.assert_allclose(slopes[1][at], (up - down) / (2 * h), atol=2e-8)

    def balanced(lmda, scale, more):
        factor = np.exp(2 * scale) + more / np.linalg.norm(weights[1] @ weights[0])
        start = lr.balanced_network(factor * weights[1] @ weights[0], lmda)
        return loss(*start.weights)

    at = np.array([0.7, 0.0, 0.0])
    for name, step in zip(("lmda", "scale", "strengths"), h * np.eye(3), strict=True):
        slope = (balanced(*(at + step)) - balanced(*(at - step))) / (2 * h)
        np.testing.assert_allclose(np.ravel(getattr(found, name)[1]), slope, atol=2e-8)
    np.testing.assert_allclose(found.curve[1], loss(*weights), rtol=1e-9)
    np.testing.assert_allclose(found.lmda[0], 0.0, atol=1e-12)
    np.testing.assert_allclose(found.w1[2], 0.0, atol=1e-12)
