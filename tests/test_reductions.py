"""Reductions of rates, scales and steps, against simulations of the original models."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lazyrich_jax as lr
from lazyrich_jax import reductions

from .original_models import (
    TS,
    agrees,
    arrays,
    gradients,
    losses,
    simulated,
    task_and_start,
)


@pytest.mark.parametrize("centred", [False, True])
def test_output_scale(centred):
    task, network = task_and_start()
    x, y = arrays(task.x, task.y)
    w1, w2 = arrays(*network.weights)
    alpha, before = 2.5, (w2 @ w1 if centred else 0 * w2 @ w1)

    def function(w1, w2):
        return alpha * (w2 @ w1 - before)

    def velocity(t, w1, w2):
        return (alpha * g for g in gradients(w1, w2, y - x @ function(w1, w2).T, x))

    a, b = simulated(velocity, (w1, w2))
    f = function(a, b)
    loss = losses(f, x, y)
    model = reductions.output_scale(network, task, alpha, centred=centred)
    agrees(model, a, b, f, loss)


def test_layers_with_learning_rates_of_their_own():
    task, balanced = task_and_start()
    x, y = arrays(task.x, task.y)
    rates = 0.5, 3.0
    w1, w2 = (
        np.sqrt(r) * np.asarray(w) for r, w in zip(rates, balanced.weights, strict=True)
    )

    def velocity(t, w1, w2):
        first, second = gradients(w1, w2, y - x @ (w2 @ w1).T, x)
        return rates[0] * first, rates[1] * second

    a, b = simulated(velocity, (w1, w2))
    f = b @ a
    loss = losses(f, x, y)
    model = reductions.layer_rates(lr.LinearNetwork((w1, w2)), task, rates)
    agrees(model, a, b, f, loss)


def test_schedule_and_its_descent():
    task, network = task_and_start()
    x, y = arrays(task.x, task.y)
    steps = 400
    rate = optax.warmup_cosine_decay_schedule(0.0, 0.02, 50, steps)
    model = reductions.schedule(network, task, rate, steps)
    ks = np.array([0, 10, 50, 200, 400])
    etas = np.array([rate(k) for k in range(steps)], float)
    np.testing.assert_allclose(
        model.clock(ks), np.r_[0, np.cumsum(etas)][ks], rtol=1e-12
    )
    between = (model.clock(10) + model.clock(11)) / 2
    np.testing.assert_allclose(model.clock(10.5), between, rtol=1e-12)

    def descent(refined):
        """Descent whose every step is divided into `refined` ones."""
        w1, w2 = arrays(*network.weights)
        kept = [w2 @ w1]
        for k, eta in enumerate(etas):
            for _ in range(refined):
                first, second = gradients(w1, w2, y - x @ (w2 @ w1).T, x)
                w1, w2 = w1 + eta / refined * first, w2 + eta / refined * second
            if k + 1 in ks:
                kept.append(w2 @ w1)
        return np.stack(kept)

    exact = model.function(ks)
    errors = [np.abs(descent(n) - exact).max() for n in (1, 2)]
    assert errors[0] < 0.02 and 1.9 < errors[0] / errors[1] < 2.1
    # Two descents without their errors of first order.
    np.testing.assert_allclose(2 * descent(2) - descent(1), exact, atol=2e-4)


def test_heavy_ball_and_its_error():
    task, network = task_and_start()
    x, y = arrays(task.x, task.y)
    beta, end = 0.8, 2.0
    errors = []
    for eta in (1e-3, 5e-4):
        model = reductions.heavy_ball(network, task, eta, beta)
        steps = round(end * (1 - beta) / eta)
        w1, w2 = arrays(*network.weights)
        v1, v2, kept = 0, 0, [w2 @ w1]
        for _ in range(steps):
            first, second = gradients(w1, w2, y - x @ (w2 @ w1).T, x)
            v1, v2 = beta * v1 + eta * first, beta * v2 + eta * second
            w1, w2 = w1 + v1, w2 + v2
            kept.append(w2 @ w1)
        ks = np.array([0, 1, 3, steps // 2, steps])
        exact = model.function(ks)
        errors.append(np.abs(np.stack(kept)[ks] - exact).max() / np.abs(exact).max())
        assert model.error is not None and errors[-1] < model.error
        most = model.error
    assert 1.8 < errors[0] / errors[1] < 2.2
    assert errors[1] > most / 20  # it is no loose bound
    with pytest.raises(ValueError, match="`learning_rate` must be small enough for an"):
        reductions.heavy_ball(network, task, 0.1, 0.9)
    # Large weights are sharper at the start than at the end.
    one = np.ones((1, 1))
    seven = lr.LinearNetwork((7 * one, 7 * one))
    model = reductions.heavy_ball(seven, lr.Task(one, one), 0.05, 0.0, tolerance=4)
    assert model.error is not None
    np.testing.assert_allclose(model.error, 0.025 * (2 * 49 + 48), rtol=1e-12)
    # The learned function I / 4 at the larger of two variances, 4.
    still = lr.LinearNetwork((1e-3 * np.eye(2), 1e-3 * np.eye(2)))
    x = np.diag([2.0, 1.0]) * 2**0.5
    model = reductions.heavy_ball(still, lr.Task(x, x / 4), 0.01, 0.0)
    assert model.error is not None
    np.testing.assert_allclose(model.error, 0.005 * 4 * 2 * 0.25, rtol=1e-12)


def test_networks_keep_the_dtype_by_which_they_are_judged():
    """A network in single precision, balanced to its rounding, and a double task."""
    task, network = task_and_start()
    narrow = jax.tree.map(lambda w: w.astype(jnp.float32), network)
    x, y = (jnp.concatenate([z, -z]) for z in (task.x, task.y))
    w1, w2 = narrow.weights
    pairs = jnp.concatenate([w1, -w1]), jnp.concatenate([w2, -w2], axis=1)
    for model in (
        reductions.output_scale(narrow, task, 2.0, centred=True),
        reductions.layer_rates(narrow, task, (2.0, 2.0)),
        reductions.schedule(narrow, task, lambda k: 0.1, 1),
        reductions.heavy_ball(narrow, task, 1e-3, 0.5),
        reductions.linear_recurrent(narrow, task.x[:, None], task.y, 0.5),
        reductions.antisymmetric_relu(pairs, lr.Task(x, y)),
    ):
        assert model.network.weights[0].dtype == jnp.float32
        assert model.loss(TS / 10).dtype == jnp.float64


@pytest.mark.slow
def test_clocks_are_differentiable():
    task, network = task_and_start()
    alpha = jnp.array(2.0)

    def elapsed(alpha):
        model = reductions.output_scale(network, task, alpha)
        return jnp.sum(model.to_function(model.network.function)) + model.clock(3.0)

    found = jax.jit(jax.grad(elapsed))(alpha)
    np.testing.assert_allclose(found, jnp.sum(network.function) + 3, rtol=1e-12)
    ts = jnp.array([0.0, 0.5, 2.0, np.inf])

    def at_momentum(beta):
        return reductions.heavy_ball(network, task, 1e-3, beta).clock(ts)

    slopes = jax.jit(jax.jacfwd(at_momentum))(0.0)
    np.testing.assert_allclose(slopes, [0, -5e-4, 1e-3, 0], atol=1e-15)
    slopes = jax.jacfwd(lambda a: reductions.output_scale(network, task, a).clock(ts))
    np.testing.assert_allclose(jax.jit(slopes)(alpha), [0, 0.5, 2, 0])
