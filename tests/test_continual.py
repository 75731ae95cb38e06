"""Continual learning, against SciPy's flow across the changes of task."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import lazyrich_jax as lr

from .numerical_flow import loss

app = lr.applications
KEY = jax.random.key(0)

DURATIONS = np.array([3.0, 1.0, 4.0])


@pytest.fixture(scope="module")
def tasks():
    keys = jax.random.split(KEY, 3)
    return [lr.Task.random_regression(4, 2, 9, key=key) for key in keys]


@pytest.fixture(scope="module")
def start():
    return lr.LambdaBalanced(-0.7, 0.5)(4, 3, 2, key=jax.random.key(1))


@pytest.fixture(scope="module")
def learned(start, tasks):
    return app.continual(start, tasks, DURATIONS, points=21)


def integrated(network, tasks, durations):
    """The function at any time, integrated across the changes of task."""
    switches = np.cumsum(durations)
    shapes = [w.shape for w in network.weights]

    def split(flat):
        return flat[: np.prod(shapes[0])].reshape(shapes[0]), flat[
            np.prod(shapes[0]) :
        ].reshape(shapes[1])

    def velocity(t, flat):
        w1, w2 = split(flat)
        k = min(np.searchsorted(switches, t, side="right"), len(tasks) - 1)
        x, y = np.asarray(tasks[k].x), np.asarray(tasks[k].y)
        error = (y - x @ (w2 @ w1).T).T / len(x)
        return np.concatenate(
            [(w2.T @ error @ x).ravel(), (error @ (x @ w1.T)).ravel()]
        )

    solution = solve_ivp(
        velocity,
        (0, switches[-1]),
        np.concatenate([np.ravel(w) for w in network.weights]),
        "DOP853",
        dense_output=True,
        rtol=1e-12,
        atol=1e-13,
        max_step=0.02,
    )

    def function(t):
        w1, w2 = split(solution.sol(t))
        return w2 @ w1

    return function


@pytest.mark.slow
def test_continual_learning_is_one_flow_across_the_switches(start, tasks, learned):
    function = integrated(start, tasks, DURATIONS)
    ts = np.asarray(learned.ts)
    ends = [0.0, 3.0, 4.0, 8.0]
    expected = np.concatenate([np.linspace(ends[k], ends[k + 1], 21) for k in range(3)])
    np.testing.assert_allclose(ts, expected, rtol=1e-14)
    np.testing.assert_array_equal(learned.training, np.repeat([0, 1, 2], 21))
    np.testing.assert_allclose(
        learned.function, np.stack([function(t) for t in ts]), atol=2e-9
    )

    def losses(t):
        return np.array([loss(function(t), task) for task in tasks])

    np.testing.assert_allclose(
        learned.losses, np.stack([losses(t) for t in ts]), atol=2e-9
    )
    h = 1e-3
    for n, t in enumerate(ts):
        if n % 21 == 0:  # right of a change of task
            rate = (4 * losses(t + h) - losses(t + 2 * h) - 3 * losses(t)) / (2 * h)
        elif n % 21 == 20:  # left of a change of task
            rate = (3 * losses(t) + losses(t - 2 * h) - 4 * losses(t - h)) / (2 * h)
        else:
            rate = (losses(t + h) - losses(t - h)) / (2 * h)
        np.testing.assert_allclose(learned.loss_rates[n], rate, atol=2e-4)
    # The rates jump where the task changes; the losses don't.
    assert np.all(np.abs(learned.loss_rates[20] - learned.loss_rates[21]) > 0.01)
    assert learned.result == lr.RESULTS.successful


def test_continual_learning_simulated(start, tasks, learned):
    simulated = app.continual(
        start, tasks, DURATIONS, points=21, dynamics=lr.GradientFlow()
    )
    for name in ("ts", "training", "function", "losses", "loss_rates", "forgetting"):
        np.testing.assert_allclose(
            getattr(simulated, name), getattr(learned, name), atol=1e-8, err_msg=name
        )
    errors = []
    for rate in (1e-2, 5e-3):
        descent = lr.GradientDescent(rate)
        stepped = app.continual(start, tasks, DURATIONS, points=21, dynamics=descent)
        np.testing.assert_allclose(stepped.ts, learned.ts, atol=1e-12)
        errors.append(np.abs(stepped.losses - learned.losses).max())
    assert 1.8 < errors[0] / errors[1] < 2.2 and errors[1] < 0.02


def test_forgetting_is_what_the_losses_say(start, tasks, learned):
    ends = np.asarray(learned.losses)[[20, 41, 62]]  # after task, of task
    expected = (ends - np.diagonal(ends)[None]).T
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(learned.forgetting, expected, atol=1e-13)
    # After complete learning, forgetting is half of the squared distance of two tasks.
    complete = app.continual(start, tasks, 300, points=21)
    sigmas = np.stack([t.input_output_correlation for t in tasks])
    published = np.sum((sigmas[:, None] - sigmas[None]) ** 2, axis=(2, 3)) / 2
    np.testing.assert_allclose(complete.forgetting, published, atol=1e-9)
    assert np.isclose(complete.ts[-1], 900)
    text = str(complete)
    assert "3 tasks by a 4-3-2 network" in text and "successful" in text
    assert f"{float(complete.losses[-1, 0]):.4g}" in text.splitlines()[-2]
    twice = jax.tree.map(lambda x: jnp.stack([x, x]), complete)
    assert str(twice) == "Continual x (2,) learning of 3 tasks by a 4-3-2 network"


def test_the_task_that_fails_is_named(start, tasks):
    skewed = lr.Task(tasks[1].x * jnp.arange(1.0, 5.0)[None], tasks[1].y)
    ordered = [tasks[0], skewed, tasks[2]]
    with pytest.raises(ValueError, match=r"^`tasks\[1\]` must have isotropic inputs"):
        app.continual(start, ordered, 1.0, points=21)
    marked = app.continual(start, ordered, 1.0, points=21, throw=False)
    assert marked.result == lr.RESULTS.anisotropic_inputs
    assert np.isfinite(marked.losses[:21]).all() and np.isnan(marked.losses[21:]).all()

    def last(tasks):
        return app.continual(
            start, tasks, 0.2, points=2, dynamics=lr.GradientDescent(0.1)
        ).losses[-1]

    # Traced tasks work too; bad ones raise an error at run time.
    np.testing.assert_allclose(jax.jit(last)(tasks), last(tasks), rtol=1e-12)
    bad = [tasks[0], lr.Task(tasks[1].x, tasks[1].y)]
    bad[1] = jax.tree.map(lambda a: a * jnp.nan, bad[1])
    with pytest.raises(RuntimeError, match="must be finite"):
        jax.block_until_ready(eqx.filter_jit(last)([*bad, tasks[2]]))
