"""Reversal, transfer and fine-tuning, against SciPy's flow."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax.applications.second_stage import excess_loss

from .numerical_flow import flow, loss, product

app = lr.applications
INF, NAN = jnp.inf, jnp.nan
KEY = jax.random.key(0)


def optimum(task):
    """The least loss of any linear map."""
    x, y = np.asarray(task.x), np.asarray(task.y)
    return loss(np.linalg.lstsq(x, y, rcond=None)[0].T, task)


def crossing(ts, curve, level):
    """The time at which a falling curve crosses a level, by interpolation."""
    fine = np.linspace(ts[0], ts[-1], 400_001)
    below = np.interp(fine, ts, curve) <= level
    return fine[np.argmax(below)] if below.any() else np.inf


def ntk(weights, x):
    """The tangent kernel from the derivatives by each weight."""
    w1, w2 = weights
    by_w1 = np.einsum("ih,nj->inhj", w2, x)
    by_w2 = np.einsum("ik,nh->inkh", np.eye(len(w2)), x @ w1.T)
    rows = [d.reshape(len(w2) * len(x), -1) for d in (by_w1, by_w2)]
    return sum(r @ r.T for r in rows)


# Reversal

S = np.array([1.1, 0.5])  # singular values of the correlation
C = 0.64  # the inputs' variance
LMDAS = np.array([0.0, 1e-6, 1e-4, 1.0, -2.0])


@pytest.fixture(scope="module")
def opposite():
    rng = np.random.default_rng(3)
    u, v = (np.linalg.qr(rng.normal(size=(n, 2)))[0] for n in (2, 3))
    x = np.sqrt(3 * C) * np.eye(3)
    return lr.Task(x, x @ ((u * S) @ v.T / C).T)


@pytest.fixture(scope="module")
def reverse(opposite):
    network = lr.LambdaBalanced(0.5, 0.4)(3, 2, 2, key=jax.random.key(2))
    ts = np.append(np.linspace(0, 80, 4001), np.inf)

    def run(duration, **options):
        return app.reversal(
            network, opposite, LMDAS, duration=duration, ts=ts, **options
        )

    return network, ts, run


@pytest.mark.slow
def test_only_a_balance_frees_a_network_from_what_it_has_learned(opposite, reverse):
    network, ts, run = reverse
    outcome = run(INF)
    np.testing.assert_array_equal(outcome.escaped, LMDAS != 0)
    np.testing.assert_array_equal(np.isinf(outcome.time), LMDAS == 0)
    np.testing.assert_array_equal(np.isinf(outcome.predicted_time), LMDAS == 0)
    np.testing.assert_allclose(
        outcome.before.function[:, -1],
        np.broadcast_to(opposite.input_output_correlation / C, (5, 2, 3)),
        atol=1e-12,
    )
    # At the saddle at zero a quarter of the loss remains for ever.
    np.testing.assert_allclose(outcome.after.loss[0, -1], np.sum(S**2) / (2 * C))
    np.testing.assert_allclose(outcome.after.loss[1:, -1], 0, atol=1e-12)
    np.testing.assert_allclose(outcome.time[1:], outcome.predicted_time[1:], rtol=1e-6)
    # The time diverges as log(1 / lambda) / s of the slowest mode.
    np.testing.assert_allclose(
        outcome.time[1] - outcome.time[2], np.log(100) / S[-1], rtol=1e-4
    )
    # Large balances are simulated quickly, through both stages.
    second = opposite.reversed()
    for i in (3, 4):
        weights = network.rebalanced(LMDAS[i]).weights
        trained = flow(weights, opposite, [0, 80.0])[1]
        path = flow(trained, second, ts[:500])
        losses = [loss(product(w), second) for w in path]
        np.testing.assert_allclose(outcome.after.loss[i, :500], losses, atol=1e-9)
        expected = crossing(ts[:500], losses, 1e-2 * losses[0])
        np.testing.assert_allclose(outcome.time[i], expected, atol=1e-4)
    text = str(outcome)
    assert "3-2-2 network at 5 balances" in text and text.count("inf") == 2


def test_a_task_half_learned_is_reversed_at_any_balance(opposite, reverse):
    network, ts, run = reverse
    outcome = run(2.5)
    assert outcome.escaped.all() and np.isfinite(outcome.time).all()
    assert np.abs(outcome.time - outcome.predicted_time)[1:].min() > 1e-3
    np.testing.assert_allclose(
        outcome.before.ts[0], np.append(np.minimum(ts[:-1], 2.5), 2.5)
    )
    # The shallow network learns both stages from the same function.
    function = np.asarray(network.function)
    shallow = flow([function], opposite, [0, 2.5])[1]
    second = opposite.reversed()
    path = flow(shallow, second, ts[:-1])
    expected = [loss(product(w), second) for w in path]
    np.testing.assert_allclose(outcome.shallow_loss[:-1], expected, atol=1e-10)
    np.testing.assert_allclose(outcome.shallow_time, np.log(100) / (2 * C), rtol=1e-4)


# Transfer and fine-tuning

BALANCES = np.array([-3.0, 0.2, 3.0])


@pytest.fixture(scope="module")
def pair():
    """A network, two tasks with noisy targets, and times."""
    keys = jax.random.split(jax.random.key(7), 3)
    task, second = (lr.Task.random_regression(3, 2, 8, key=key) for key in keys[:2])
    network = lr.LambdaBalanced(0.6, 0.5)(3, 2, 2, key=keys[2])
    return network, task, second, np.linspace(0, 12, 301)


def longhand(weights, task, second, ts):
    """Time to learn, kernel distance and forgetting, from SciPy's flow."""
    path = flow(weights, second, ts)
    losses = np.array([loss(product(w), second) for w in path]) - optimum(second)
    k0, k1 = (ntk(path[n], np.asarray(second.x)) for n in (0, -1))
    cosine = np.sum(k0 * k1) / np.linalg.norm(k0) / np.linalg.norm(k1)
    forgotten = loss(product(path[-1]), task) - loss(product(path[0]), task)
    return crossing(ts, losses, 0.02 * losses[0]), 1 - cosine, forgotten


@pytest.mark.slow
def test_transfer_is_two_flows(pair):
    network, task, second, ts = pair
    outcome = app.transfer(
        network, task, second, BALANCES, duration=2, ts=ts, tolerance=0.02
    )
    for i, lmda in enumerate(BALANCES):
        trained = flow(network.rebalanced(lmda).weights, task, [0, 2.0])[1]
        time, distance, forgotten = longhand(trained, task, second, ts)
        assert 0.1 < time < 12 and distance > 1e-4 and abs(forgotten) > 0.01
        np.testing.assert_allclose(outcome.time[i], time, atol=1e-4)
        np.testing.assert_allclose(outcome.kernel_distance[i], distance, rtol=1e-7)
        np.testing.assert_allclose(outcome.forgetting[i], forgotten, rtol=1e-8)
        np.testing.assert_allclose(
            outcome.before.function[i, -1], product(trained), atol=1e-10
        )
    np.testing.assert_allclose(
        outcome.after.network.lmda, np.tile(BALANCES[:, None], (1, 301)), atol=1e-12
    )
    text = str(outcome)
    assert text.startswith("Transfer of a 3-2-2 network at 3 balances")
    assert f"{float(outcome.forgetting[0]):.4g}" in text.splitlines()[2]
    # Batches and traced results print only the first line.
    twice = str(jax.tree.map(lambda x: jnp.stack([x, x]), outcome))
    assert twice == "Transfer x (2,) of a 3-2-2 network at 3 balances"
    traced = []
    jax.jit(lambda outcome: traced.append(str(outcome)))(outcome)
    assert traced == ["Transfer of a 3-2-2 network at 3 balances (traced)"]


def test_finetuning_changes_the_balance_and_not_the_function(pair):
    network, task, second, ts = pair
    outcome = app.finetune(
        network, task, second, BALANCES, duration=2, ts=ts, tolerance=0.02
    )
    pretrained = outcome.before.function[-1]
    weights = flow(network.weights, task, [0, 2.0])[1]
    np.testing.assert_allclose(pretrained, product(weights), atol=1e-10)
    for i, lmda in enumerate(BALANCES):
        np.testing.assert_allclose(outcome.after.function[i, 0], pretrained, atol=1e-12)
        np.testing.assert_allclose(outcome.after.network.lmda[i], lmda, atol=1e-12)
        start = lr.LinearNetwork(weights).rebalanced(lmda).weights
        time, distance, forgotten = longhand(start, task, second, ts)
        np.testing.assert_allclose(outcome.time[i], time, atol=1e-4)
        np.testing.assert_allclose(outcome.kernel_distance[i], distance, rtol=1e-7)
        np.testing.assert_allclose(outcome.forgetting[i], forgotten, rtol=1e-8)
    assert str(outcome).startswith("FineTuning of a 3-2-2 network at 3 balances")
    # Errors about the second task name the second task.
    skewed = lr.Task(second.x * jnp.arange(1.0, 4.0)[None], second.y)
    with pytest.raises(
        ValueError, match=r"^`second` must .* isotropic.*`lmda\[0\]`, -3"
    ):
        app.finetune(network, task, skewed, BALANCES, duration=2, ts=ts)


def test_one_balance_that_fails_leaves_the_others_alone(pair):
    network, task, second, ts = pair
    descent = lr.GradientDescent(0.05)

    def run(lmda, throw):
        return app.transfer(
            network,
            task,
            second,
            lmda,
            duration=2.0,
            ts=ts,
            dynamics=descent,
            throw=throw,
        )

    lmda = jnp.array([0.5, 400.0, -0.5])
    with pytest.raises(RuntimeError, match=r"was 0.05. That was at `lmda\[1\]`, 400"):
        run(lmda, True)
    outcome = run(lmda, False)
    np.testing.assert_array_equal(
        outcome.result == lr.RESULTS.diverged, [False, True, False]
    )
    np.testing.assert_array_equal(np.isnan(outcome.forgetting), [False, True, False])
    np.testing.assert_array_equal(np.isnan(outcome.time), [False, True, False])
    assert "result: 1 of 3 failed" in str(outcome)
    # Measures of a diverged run are NaN, even if it is finite.
    short = app.transfer(
        network,
        task,
        second,
        lmda,
        duration=0.1,
        ts=ts / 120,
        dynamics=descent,
        throw=False,
    )
    assert np.isfinite(short.after.loss).all()
    for name in ("time", "kernel_distance", "forgetting"):
        np.testing.assert_array_equal(
            np.isnan(getattr(short, name)), [False, True, False], err_msg=name
        )
    # Traced bad values are marked, or raise an error at run time.
    bad = lmda.at[1].set(NAN)
    traced = jax.jit(lambda lmda: run(lmda, False))(bad)
    np.testing.assert_array_equal(
        traced.result == lr.RESULTS.nonfinite_values, [False, True, False]
    )
    np.testing.assert_allclose(traced.time[::2], outcome.time[::2], rtol=1e-12)
    with pytest.raises(RuntimeError, match="must be finite"):
        jax.block_until_ready(eqx.filter_jit(lambda lmda: run(lmda, True).time)(bad))


def test_the_optimum_of_a_bottleneck():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(9, 4))
    task = lr.Task(x, x @ rng.normal(size=(4, 3)) + 0.1 * rng.normal(size=(9, 3)))
    for hidden in (1, 3):
        start = lr.LambdaBalanced(0.5, 0.3)(4, hidden, 3, key=KEY)
        path = [product(w) for w in flow(start.weights, task, [0, 1.0, 400.0])]
        left = [float(excess_loss(jnp.asarray(w), task, hidden)) for w in path]
        np.testing.assert_allclose(
            left, [loss(w, task) - loss(path[-1], task) for w in path], atol=1e-9
        )
        assert left[1] > 0.1 and abs(left[2]) < 1e-15


def test_related_tasks_share_what_they_should():
    rng = np.random.default_rng(1)  # anisotropic inputs, noisy targets
    task = lr.Task(rng.normal(size=(9, 5)), rng.normal(size=(9, 4)))
    u, s, vt = np.linalg.svd(task.input_output_correlation, full_matrices=False)
    for shared, kept in ((0, 0), (0.5, 2), (0.7, 3), (1, 4)):
        second, other = (
            app.related_task(task, shared, key=jax.random.key(k)) for k in (0, 1)
        )
        sigma = np.asarray(second.input_output_correlation)
        np.testing.assert_array_equal(second.x, task.x)
        np.testing.assert_allclose(np.linalg.svd(sigma)[1], s, rtol=1e-12)
        strengths = u.T @ sigma @ vt.T
        np.testing.assert_allclose(
            strengths[:kept, :kept], np.diag(s[:kept]), atol=1e-12
        )
        np.testing.assert_allclose(strengths[:kept, kept:], 0, atol=1e-12)
        np.testing.assert_allclose(strengths[kept:, :kept], 0, atol=1e-12)
        np.testing.assert_allclose(optimum(second), optimum(task), rtol=1e-9)
        if kept < 4:
            rest = np.diag(strengths)[kept:]
            assert np.abs(rest - s[kept:]).min() > 1e-3
            assert np.abs(sigma - other.input_output_correlation).max() > 1e-3
        else:
            np.testing.assert_allclose(second.y, task.y, atol=1e-12)
    for rank in (1, 3):
        second = app.low_rank_change(task, rank, 0.3, key=KEY)
        change = second.input_output_correlation - task.input_output_correlation
        values = np.linalg.svd(change)[1]
        assert np.sum(values > 1e-10) == rank
        np.testing.assert_allclose(
            np.linalg.norm(values), 0.3 * np.linalg.norm(s), rtol=1e-12
        )
        np.testing.assert_allclose(optimum(second), optimum(task), rtol=1e-9)
