"""Loss and forgetting over a sequence of tasks, and the balance of random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from .numerical_flow import flow, product

theory = lr.theory


@pytest.fixture(scope="module")
def tasks():
    keys = jax.random.split(jax.random.key(0), 3)
    white = [lr.Task.random_regression(3, 2, 9, key=k) for k in keys[:2]]
    x = jax.random.normal(keys[2], (7, 3))
    return [*white, lr.Task(x, x[:, :2] ** 2)]


def test_loss_and_forgetting_along_the_flow(tasks):
    network = lr.LambdaBalanced(1.0, 0.6)(3, 2, 2, key=jax.random.key(1))
    weights = flow(network.weights, tasks[0], [0, 30.0])[1]
    before = product(weights)
    for learning in tasks[1:]:
        ts = np.array([0.0, 0.3, 0.6 - 1e-5, 0.6, 0.6 + 1e-5, 30.0])
        path = flow(weights, learning, ts)
        functions = [product(w) for w in path]
        state = lr.LinearNetwork(path[3])
        velocity = (functions[4] - functions[2]) / 2e-5
        np.testing.assert_allclose(
            theory.function_rate(state, learning), velocity, atol=1e-6
        )
        for task in tasks:
            x, y = np.asarray(task.x), np.asarray(task.y)
            losses = [np.sum((y - x @ f.T) ** 2) / (2 * len(x)) for f in functions]
            np.testing.assert_allclose(
                [theory.loss(f, task) for f in functions], losses, rtol=1e-12
            )
            forgotten = [theory.forgetting(before, f, task) for f in functions]
            expected = np.array(losses) - float(task.loss(jnp.asarray(before)))
            np.testing.assert_allclose(forgotten, expected, atol=1e-12)
            rate = (losses[4] - losses[2]) / 2e-5
            np.testing.assert_allclose(
                theory.loss_rate(state, task, learning=learning), rate, atol=1e-6
            )
        weights, before = path[-1], functions[-1]


def test_forgetting_after_learning_to_the_end_is_a_difference_of_correlations(tasks):
    i, j = tasks[:2]
    key = jax.random.key(5)
    k = lr.Task.random_regression(3, 2, 9, key=key)
    network = lr.LambdaBalanced(1.0, 0.6)(3, 2, 2, key=key)
    first = flow(network.weights, j, [0, 60.0])[1]
    second = flow(first, k, [0, 60.0])[1]
    si, sj, sk = (np.asarray(t.input_output_correlation) for t in (i, j, k))
    published = (np.sum((sk - si) ** 2) - np.sum((sj - si) ** 2)) / 2
    measured = i.loss(jnp.asarray(product(second))) - i.loss(
        jnp.asarray(product(first))
    )
    np.testing.assert_allclose(theory.forgetting(sj, sk, i), published, rtol=1e-12)
    np.testing.assert_allclose(measured, published, rtol=1e-7)
    # Forgetting of a just learned task is half of the squared distance.
    own = theory.forgetting(sj, sk, j)
    np.testing.assert_allclose(own, np.sum((sk - sj) ** 2) / 2, rtol=1e-12)
    # A small change keeps its digits; a difference of losses has none.
    tiny = 1e-9 * np.ones((2, 3))
    np.testing.assert_allclose(
        theory.forgetting(sj, sj + tiny, j), np.sum(tiny**2) / 2, rtol=1e-6
    )


@pytest.mark.parametrize(
    "initialiser, text",
    [
        (lr.Gaussian.lecun(), "5/3 - 1"),
        (lr.Gaussian.he(), "2 * (5/3 - 1)"),
        (lr.Gaussian.glorot(), "2 * 5/8 - 2 * 1/4"),
        (lr.Gaussian.scaled([1.0, 2.0]), "4 * 5/3 - 1"),
        (lr.Gaussian([0.1, 0.3]), "50 * 0.09 - 10 * 0.01"),
    ],
    ids=["lecun", "he", "glorot", "scaled", "explicit"],
)
def test_the_balance_of_random_weights(initialiser, text):
    sizes = (10, 30, 50)
    expected = theory.expected_balance(initialiser, *sizes)
    np.testing.assert_allclose(expected, eval(text), rtol=1e-12)
    variance = theory.balance_variance(initialiser, *sizes)

    def draw(key):
        w1, w2 = initialiser(*sizes, key=key).weights
        balance = w2.T @ w2 - w1 @ w1.T
        return balance, lr.measures.balance(w1, w2)[1] ** 2

    draws, residuals = jax.jit(jax.vmap(draw))(
        jax.random.split(jax.random.key(0), 2000)
    )
    diagonal = np.eye(30, dtype=bool)
    error = float(np.sqrt(variance[0, 0] / 2000 / 30))
    np.testing.assert_allclose(draws[:, diagonal].mean(), expected, atol=5 * error)
    np.testing.assert_allclose(draws[:, ~diagonal].mean(), 0, atol=error)
    measured = np.var(draws, axis=0)
    np.testing.assert_allclose(measured[diagonal].mean(), variance[0, 0], rtol=0.05)
    np.testing.assert_allclose(measured[~diagonal].mean(), variance[0, 1], rtol=0.05)
    np.testing.assert_allclose(residuals.mean(), 29 * 32 * variance[0, 1], rtol=0.03)


@pytest.mark.parametrize(
    "initialiser", [lr.Gaussian.lecun(), lr.Gaussian.he(), lr.Gaussian.glorot()]
)
def test_wide_networks_are_balanced(initialiser):
    widths = (10, 40, 160)
    spread = []
    for n in widths:
        sizes = (n, 3 * n, 5 * n)
        limit = theory.wide_balance(initialiser, 3, 5)
        np.testing.assert_allclose(
            theory.expected_balance(initialiser, *sizes), limit, rtol=1e-12
        )
        spread.append(theory.balance_variance(initialiser, *sizes)[0, 0])
    np.testing.assert_allclose(
        np.polyfit(np.log(widths), np.log(spread), 1)[0], -1, 0.05
    )


def test_the_limits_of_proportions():
    wide, inf = theory.wide_balance, jnp.inf
    lecun, he, glorot = lr.Gaussian.lecun(), lr.Gaussian.he(), lr.Gaussian.glorot()
    scaled = lr.Gaussian.scaled([2.0, 3.0])
    for k in (0.5, 4.0):
        assert wide(lecun, k, k) == wide(he, k, k) == 0
        assert (wide(lecun, k, 0.0), wide(he, k, 0.0)) == (-1, pytest.approx(-2))
        assert wide(scaled, k, k) == 5 and wide(scaled, k, 4 / 9 * k) == pytest.approx(
            0
        )
        assert wide(glorot, k, k) == pytest.approx((k - 1) / (k + 1))
        assert wide(glorot, k, 0.0) == pytest.approx(-2 / (k + 1))
        assert wide(glorot, k, inf) == pytest.approx(2 * k / (k + 1))
        assert wide(glorot, inf, k) == wide(glorot, 0.0, k) == 0
        assert wide(lecun, inf, k) == -1 and jnp.isinf(wide(lecun, k, inf))


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda task: theory.loss(np.ones((3, 2)), task),
            "`function` must fit the task's 3 inputs and 2 outputs",
        ),
        (
            lambda task: theory.forgetting(np.ones((2, 3)), np.ones(3), task),
            "`after` must be a matrix",
        ),
        (
            lambda task: theory.function_rate(
                lr.Gaussian(1.0)(3, 2, 2, 2, key=jax.random.key(0)), task
            ),
            "`network` must have two layers, but it had 3",
        ),
        (
            lambda task: theory.wide_balance(lr.Gaussian(0.1), 1, 1),
            "`initialiser` must have a variance that falls with width",
        ),
        (
            lambda task: theory.wide_balance(lr.Gaussian.he(), -1, 1),
            "`hidden_ratio` must not be negative",
        ),
        (
            lambda task: theory.expected_balance(lr.Gaussian.he(), 3, 0, 2),
            "`hidden_size` must be an integer",
        ),
        (
            lambda task: theory.expected_balance(lr.Gaussian([1, 2, 3.0]), 3, 2, 2),
            "one for each of 2 layers",
        ),
    ],
)
def test_bad_input_is_named(untyped, tasks, call, message):
    with pytest.raises(ValueError, match=message):
        call(tasks[0])
