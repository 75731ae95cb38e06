"""The corrected exact solution: descent, nearly balanced weights, nearly white data."""

import functools

import jax
import jax.numpy as jnp
import matplotlib.cbook
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases, numerical_flow

pytestmark = pytest.mark.slow

TS = np.arange(0, 2.1, 0.2)
RATES = 0.04 / 2.0 ** np.arange(4)
SIZES = (3, 2, 2)
SAMPLES = 1500


def stacked(trees):
    return jax.tree.map(lambda *x: np.stack(x), *trees)


def order(deviations, errors):
    return np.polyfit(np.log(deviations), np.log(errors), 1)[0]


def descent(network, task, rate):
    """The weights by descent, at `TS`."""
    w1, w2 = (np.array(w) for w in network.weights)
    sigma, sxx = (
        np.asarray(x) for x in (task.input_output_correlation, task.input_correlation)
    )
    steps, found = np.round(TS / rate).astype(int), []
    for step in range(steps[-1] + 1):
        if step in steps:
            found.append((w1, w2))
        error = sigma - w2 @ w1 @ sxx
        w1, w2 = w1 + rate * w2.T @ error, w2 + rate * error @ w1.T
    return found


def law(network, x, y, rate, ts=TS):
    law = lr.NearlyExact(learning_rate=rate)
    return lr.learn(network, lr.Task(x, y), ts, dynamics=law, throw=False)


@jax.jit
@jax.vmap
def learned(network, x, y, rate):
    return law(network, x, y, rate)


@jax.jit
def with_slopes(start, change):
    """Trajectories, and the slopes of losses and functions along a change."""

    def of(*start):
        found = law(*start)
        return (found.loss, found.function), found

    _, slopes, found = jax.jvp(of, (*start, TS), change, has_aux=True)
    return found, slopes


@functools.cache
def change():
    """A change of a start of 3-2-2 units, and of the times."""
    rng = np.random.default_rng(0)
    shapes = (2, 3), (2, 2), (SAMPLES, 3), (SAMPLES, 2), TS.shape
    w1, w2, x, y, ts = (rng.normal(size=shape) for shape in shapes)
    ts[0] = 0.0
    return lr.LinearNetwork((w1, w2)), x, y, 0.0, ts


def white(seed=0):
    """Exactly white inputs, and targets with noise."""
    rng = np.random.default_rng(seed)
    x = np.linalg.qr(rng.normal(size=(SAMPLES, 3)))[0] * np.sqrt(SAMPLES)
    y = x @ np.array([[1.2, 0.3], [-0.4, 0.9], [0.2, 0.5]])
    return x, y + 0.1 * rng.normal(size=y.shape)


@functools.cache
def small_deviations():
    """Weights and inputs off the class by four sizes."""
    rng = np.random.default_rng(0)
    x, y = white()
    start = cases.start(SIZES, 0.5, 0.6)
    moved = [rng.normal(size=w.shape) / 3 for w in start.weights]
    inputs = rng.normal(size=(3, 3)) / 3

    def off(size):
        weights = [w + size * dw for w, dw in zip(start.weights, moved, strict=True)]
        return lr.LinearNetwork(weights), x + size * x @ inputs, y

    return [off(size) for size in (0.0, *RATES)]


@functools.cache
def after_descent():
    """Weights after 1000 steps of minibatch descent on another task."""
    rng = np.random.default_rng(1)
    x, y = white(seed=1)
    w1, w2 = (np.array(w) for w in cases.start(SIZES, 0.5, 0.6).weights)
    for _ in range(1000):
        rows = rng.choice(SAMPLES, 10, replace=False)
        error = (y[rows] - x[rows] @ w1.T @ w2.T).T @ x[rows] / 10
        w1, w2 = w1 + 0.05 * w2.T @ error, w2 + 0.05 * error @ w1.T
    x, y = white()
    return lr.LinearNetwork((w1, w2)), x, y[:, ::-1]


@functools.cache
def real_data():
    """Heights of a landscape from their neighbours', whitened by other samples."""
    file = matplotlib.cbook.get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)
    with np.load(file) as data:
        heights = np.array(data["elevation"], float)
    rng = np.random.default_rng(0)
    i, j = (rng.integers(8, n - 8, 2 * SAMPLES) for n in heights.shape)
    x = np.stack([heights[i, j], heights[i - 4, j], heights[i, j - 8]], axis=1)
    y = np.stack([heights[i + 4, j], heights[i, j + 8]], axis=1)
    x, y = ((z - z[:SAMPLES].mean(axis=0)) / heights.std() for z in (x, y))
    root = np.linalg.cholesky(x[:SAMPLES].T @ x[:SAMPLES] / SAMPLES)
    x = np.linalg.solve(root, x.T).T
    return cases.start(SIZES, 0.5, 0.6), x[SAMPLES:], y[SAMPLES:]


@functools.cache
def members():
    """All starts of 3-2-2 networks, with a rate: none for the first seven."""
    starts = [*small_deviations(), after_descent(), real_data()]
    starts = [(*start, 0.0) for start in starts]
    balanced = [(cases.start(SIZES, x, 0.6), *white()) for x in (1.0, 0.0, -0.7)]
    starts += [(*start, rate) for start in balanced for rate in RATES]
    return starts, *zip(*(with_slopes(x, change()) for x in starts), strict=True)


def off(found, weights):
    """The errors of the function and of the weights."""
    w1, w2 = (np.stack(w) for w in zip(*weights, strict=True))
    function = np.linalg.norm(found.function - w2 @ w1, axis=(1, 2)).max()
    pairs = zip(found.network.weights, (w1, w2), strict=True)
    return function, max(np.abs(x - w).max() for x, w in pairs)


def compared(i):
    """The errors of a start's flow, and its trajectory."""
    starts, found, _ = members()
    network, x, y, _ = starts[i]
    exact = numerical_flow.flow(network.weights, lr.Task(x, y), TS)
    return *off(found[i], exact), found[i]


@functools.cache
def wide():
    """Wide starts at four rates, members of the class, and two random ones."""
    key, task = jax.random.key(0), cases.make_task((3, 5, 2))
    scales = (0.5, 1.2), (0.3, 0.0), (1.0, 0.2)
    starts = [lr.WideOrthogonal(*x)(3, 5, 2, key=key) for x in scales]
    starts = [(x, rate) for x in starts for rate in RATES]
    narrow = lr.Gaussian(1.0)(3, 5, 2, key=key)
    starts += [(narrow, 0.0), (lr.Gaussian.he().compressed(3, 4096, 2, key=key), 0.0)]
    starts = [(network, task.x, task.y, rate) for network, rate in starts]
    found = learned(*(stacked(x) for x in zip(*starts, strict=True)))
    return starts, [jax.tree.map(lambda x, i=i: x[i], found) for i in range(14)]


@pytest.mark.parametrize(
    "starts, first",
    [(members, 7), (members, 11), (members, 15), (wide, 0), (wide, 4), (wide, 8)],
    ids=["1", "0", "-0.7", "wide", "inputs alone", "inputs"],
)
def test_descent_to_second_order(starts, first):
    starts, trajectories, *_ = starts()
    errors, estimates, before = [], [], []
    for i in range(first, first + 4):
        network, x, y, rate = starts[i]
        found = trajectories[i]
        assert found.result == lr.RESULTS.successful
        for w, own in zip(found.network.weights, network.weights, strict=True):
            np.testing.assert_array_equal(w[0], own)
        weights = descent(network, lr.Task(x, y), rate)
        errors.append(off(found, weights))
        estimates.append(np.max(found.error_estimate))
        flow = numerical_flow.flow(network.weights, lr.Task(x, y), TS)
        apart = [
            w2 @ w1 - v2 @ v1 for (w1, w2), (v1, v2) in zip(weights, flow, strict=True)
        ]
        before.append(np.linalg.norm(apart, axis=(1, 2)).max())
    errors = np.array(errors)
    assert abs(order(RATES, before) - 1) < 0.06
    for error in errors.T:
        assert abs(order(RATES, error) - 2) < 0.06
    assert errors[-1, 0] < 0.02 * before[-1]
    np.testing.assert_allclose(estimates / errors[:, 0], 1, atol=0.15)


def test_small_deviations_to_second_order():
    error, of_weights, found = compared(0)
    assert error < 1e-9 and of_weights < 1e-9 and np.max(found.error_estimate) < 1e-9
    errors, of_weights, found = zip(*(compared(i) for i in range(1, 5)), strict=True)
    assert abs(order(RATES, errors) - 2) < 0.05
    assert abs(order(RATES, of_weights) - 2) < 0.05
    estimates = [np.max(x.error_estimate) for x in found]
    np.testing.assert_allclose(np.array(estimates) / errors, 1, atol=0.1)


@pytest.mark.parametrize("i", [5, 6], ids=["after descent", "real data"])
def test_starts_and_data_of_practice(i):
    network, x, y, _ = members()[0][i]
    task = lr.Task(x, y)
    error, of_weights, found = compared(i)
    assert found.result == lr.RESULTS.successful
    size = np.linalg.norm(found.function, axis=(1, 2)).max()
    assert error < 3e-3 * size and of_weights < 3e-3
    assert 0.8 < np.max(found.error_estimate) / error < 1.25
    # The exact solution of the nearest member without its correction is far worse.
    member = network.rebalanced(network.lmda)
    sigma = np.asarray(task.input_output_correlation) / task.input_variance
    exact = numerical_flow.flow(member.weights, lr.Task.from_correlation(sigma), TS)
    flow = numerical_flow.flow(network.weights, task, TS)
    apart = [w2 @ w1 - v2 @ v1 for (w1, w2), (v1, v2) in zip(exact, flow, strict=True)]
    assert np.linalg.norm(apart, axis=(1, 2)).max() > 10 * error


def test_far_members_of_a_batch_are_marked():
    _, found = wide()
    refused = [one.result == lr.RESULTS.too_far for one in found]
    assert refused == [*12 * [False], True, False]
    assert np.all(np.isfinite(found[12].loss))
    assert np.max(found[12].error_estimate) > 0.01


def test_wide_random_networks():
    starts, found = wide()
    network, x, y, _ = starts[13]
    exact = numerical_flow.flow(network.weights, lr.Task(x, y), TS)
    size = np.linalg.norm([w2 @ w1 for w1, w2 in exact], axis=(1, 2)).max()
    error = off(found[13], exact)[0]
    assert error < 3e-3 * size
    assert 0.8 < np.max(found[13].error_estimate) / error < 1.25


def test_derivatives_are_the_flows():
    starts, _, slopes = members()
    of_network, dx, dy, _, dts = change()
    network, x, y, _ = starts[0]

    def at(size):
        pairs = zip(network.weights, of_network.weights, strict=True)
        weights = [w + size * dw for w, dw in pairs]
        task = lr.Task(x + size * dx, y + size * dy)
        functions = numerical_flow.states(weights, task, TS + size * dts)[0]
        return [numerical_flow.loss(f, task) for f in functions], functions

    values = [at(size) for size in (-2e-3, -1e-3, 1e-3, 2e-3)]
    for i, found in enumerate(slopes[0]):
        a, b, c, d = (np.asarray(x[i]) for x in values)
        expected = (8 * (c - b) - (d - a)) / 12e-3
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_refusals_and_single_precision():
    task, network = cases.make_task(SIZES), cases.start(SIZES, 1.0)
    with pytest.raises(ValueError, match=r"`learning_rate` must be .*non-negative"):
        lr.NearlyExact(learning_rate=-1.0)
    with pytest.raises(ValueError, match=r"`tolerance` must be .*positive"):
        lr.NearlyExact(tolerance=0.0)
    with pytest.raises(ValueError, match="two layers"):
        deep = lr.LinearNetwork([jnp.eye(3), jnp.eye(3), jnp.ones((2, 3))])
        lr.learn(deep, task, TS, dynamics=lr.NearlyExact())
    with pytest.raises(ValueError, match=r"`ts` must be non-negative"):
        lr.learn(network, task, -TS, dynamics=lr.NearlyExact())

    def loss(network):
        single = jax.tree.map(lambda x: x.astype(network.weights[0].dtype), task)
        law = lr.NearlyExact(learning_rate=0.01)
        return lr.learn(network, single, TS, dynamics=law, throw=False).loss[-1]

    network = jax.tree.map(lambda w: w.astype(np.float32), network)
    assert jax.eval_shape(loss, network).dtype == jnp.float32
    with pytest.raises(TypeError, match="`NearlyExact` must be taken in forward mode"):
        jax.eval_shape(jax.grad(loss), network)
