"""Aligned networks with a balance for every mode, and starts of a named class."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import numerical_flow

TS = np.array([0.0, 0.1, 0.5, 2.0, 10.0])
KEY = jax.random.key(0)


def several_units(task, units=3):
    """Aligned weights with several hidden units, of any balances, in every mode."""
    u, _, vt = np.linalg.svd(task.input_output_correlation)
    k, rng = min(task.in_size, task.out_size), np.random.default_rng(0)
    hidden = np.linalg.qr(rng.normal(size=(units * k, units * k)))[0]
    w1, w2 = np.zeros((units * k, task.in_size)), np.zeros((task.out_size, units * k))
    for i in range(k):
        own = hidden[:, units * i : units * (i + 1)]
        q1, q2 = (own @ rng.normal(size=(units, 2))).T
        if i == 1:  # one direction, with opposite signs
            q2 = -0.5 * q1
        if i == 2:
            q2 = 0 * q2
        w1, w2 = w1 + np.outer(q1, vt[i]), w2 + np.outer(u[:, i], q2)
    return lr.LinearNetwork((w1, w2))


@functools.cache
def regression():
    return lr.Task.random_regression(4, 3, 9, key=KEY).whitened()


def hierarchy():
    return lr.Task.hierarchy(2)  # repeated singular values


LMDA = [1.0, -2.0, 0.0, 0.5]
STARTS = {
    "one balance for each mode": lambda: (
        lr.Aligned(regression(), LMDA[:3], 0.7)(4, 5, 3, key=KEY),
        regression(),
    ),
    "several units": lambda: (several_units(regression()), regression()),
    "repeated modes": lambda: (
        lr.Aligned(hierarchy(), LMDA, 0.7)(4, 4, 4, key=KEY),
        hierarchy(),
    ),
    "repeated modes, at zero": lambda: (
        lr.Aligned(hierarchy(), LMDA, strengths=0.0)(4, 4, 4, key=KEY),
        hierarchy(),
    ),
    "no task": lambda: (
        lr.Aligned(regression(), LMDA[:3])(4, 3, 3, key=KEY),
        lr.Task.from_correlation(np.zeros((3, 4))),
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        "one balance for each mode",
        "repeated modes",
        *(
            pytest.param(x, marks=pytest.mark.slow)
            for x in ("several units", "repeated modes, at zero", "no task")
        ),
    ],
)
def test_the_flow_of_the_weights(name):
    """The weights themselves, not only up to a rotation."""
    network, task = STARTS[name]()
    weights = numerical_flow.flow(network.weights, task, TS)
    function, below, above = numerical_flow.states(network.weights, task, TS)
    solution = lr.ExactSolution(network, task, start="aligned")
    np.testing.assert_allclose(solution.function(TS), function, atol=1e-10)
    np.testing.assert_allclose(solution.input_representation(TS), below, atol=1e-10)
    np.testing.assert_allclose(solution.output_representation(TS), above, atol=1e-10)
    losses = [numerical_flow.loss(a, task) for a in function]
    np.testing.assert_allclose(solution.loss(TS), losses, atol=1e-10)
    there = solution.network(TS)
    for i, one in enumerate(there.weights):
        np.testing.assert_allclose(one, np.stack([w[i] for w in weights]), atol=1e-10)
    np.testing.assert_allclose(solution.qqt(TS), there.qqt, atol=1e-13)
    own = solution.flow_network(TS)
    np.testing.assert_array_equal(own.weights[0], there.weights[0])
    kernel = solution.ntk(TS[:2], task.x)
    expected = lr.kernels.ntk(jax.tree.map(lambda w: w[1], there), task.x)
    np.testing.assert_allclose(kernel[1], expected, atol=1e-12)


@pytest.mark.slow
def test_balanced_networks_are_the_same():
    task = lr.Task.random_regression(4, 3, 9, key=KEY).whitened()
    network = lr.Aligned(task, -0.8, 0.5)(4, 3, 3, key=KEY)
    ts = jnp.array([0.0, 0.3, 20.0, jnp.inf])
    one, other = (lr.ExactSolution(network, task, start=s) for s in ("any", "aligned"))
    # The excess of the loss keeps its digits.
    last = [x.loss(20.0) - x.optimum for x in (one, other)]
    np.testing.assert_allclose(*last, rtol=1e-7)
    np.testing.assert_allclose(one.loss(ts), other.loss(ts), rtol=1e-12)
    np.testing.assert_allclose(one.qqt(ts), other.qqt(ts), atol=1e-13)


@pytest.mark.slow
def test_rounding_does_not_leave_a_saddle():
    """A rich mode of the wrong sign ends at zero, in both precisions."""
    task = lr.Task.random_regression(4, 3, 9, key=KEY).whitened()
    w1, w2 = lr.Aligned(task, [0.0, -2.0, 0.0], 0.7)(4, 3, 3, key=KEY).weights
    network = lr.LinearNetwork((-w1, w2))
    s = np.linalg.svd(task.input_output_correlation, compute_uv=False)
    for dtype in (jnp.float32, jnp.float64):
        one, its = jax.tree.map(lambda x, d=dtype: x.astype(d), (network, task))
        solution = lr.ExactSolution(one, its, start="aligned")
        lost = solution.loss(jnp.inf) - solution.optimum
        np.testing.assert_allclose(lost, (s[0] ** 2 + s[2] ** 2) / 2, rtol=1e-5)
        last = solution.network(jnp.inf)
        np.testing.assert_allclose(last.qqt, solution.qqt(jnp.inf), atol=1e-5)


@pytest.mark.slow
def test_derivatives():
    """By balances, strengths and the scale, against differences."""
    task = lr.Task.random_regression(4, 3, 9, key=KEY).whitened()
    ts = jnp.array([0.0, 0.4, 3.0, jnp.inf])

    def values(lmda, scale, strengths):
        start = lr.Aligned(task, lmda, scale, strengths=strengths)(4, 3, 3, key=KEY)
        solution = lr.ExactSolution(start, task, start="aligned", throw=False)
        return solution.loss(ts), solution.qqt(ts), solution.network(ts).qqt

    point = jnp.array([1.0, -2.0, 0.3]), jnp.array(0.7), jnp.array([0.5, 0.2, 0.1])
    moved = jnp.array([0.3, -0.2, 0.5]), jnp.array(0.4), jnp.array([0.1, -0.2, 0.3])

    @jax.jit
    def along(size):
        there = tuple(x + size * dx for x, dx in zip(point, moved, strict=True))
        return jax.jvp(values, there, moved)

    step = 1e-4
    ahead, behind, far, back = (along(h)[0] for h in (step, -step, 2 * step, -2 * step))
    for one, a, b, c, d in zip(along(0.0)[1], ahead, behind, far, back, strict=True):
        slope = (8 * (a - b) - (c - d)) / (12 * step)
        np.testing.assert_allclose(one, slope, atol=1e-8 * np.abs(slope).max())


@pytest.mark.slow
def test_members_that_are_not_aligned_are_marked_alone():
    task = lr.Task.random_regression(4, 3, 9, key=KEY).whitened()
    good = lr.Aligned(task, [1.0, -2.0, 0.5])(4, 3, 3, key=KEY)
    bad = lr.LambdaBalanced(1.0)(4, 3, 3, key=KEY)
    batch = jax.tree.map(lambda *w: jnp.stack(w), good, bad)

    @jax.jit
    @jax.vmap
    def learned(network):
        def loss(network):
            solution = lr.ExactSolution(network, task, start="aligned", throw=False)
            return solution.loss(1.0)

        return jax.value_and_grad(loss)(network)

    loss, slopes = learned(batch)
    assert np.isfinite(loss[0]) and np.isnan(loss[1])
    for w in slopes.weights:
        assert np.all(np.isfinite(w[0])) and np.all(np.isnan(w[1]))
    trajectory = lr.learn(good, task, TS, dynamics=lr.Exact(start="aligned"))
    np.testing.assert_allclose(trajectory.loss[0], task.loss(good.function))
    with pytest.raises(
        ValueError, match=r"aligned with the task .* were 0\.\d+ of all"
    ):
        lr.learn(bad, task, TS, dynamics=lr.Exact(start="aligned"))
    with pytest.raises(ValueError, match=r"`start='aligned'` is exact for it"):
        lr.learn(good, task, TS)


@pytest.mark.slow
def test_wide_starts_by_name():
    """The same values with fewer hidden units in the solution."""
    task = lr.Task.random_regression(3, 2, 9, key=KEY).whitened()
    ts = jnp.array([0.0, 0.3, 2.0, jnp.inf])
    for first, second in ((0.5, 2.0), (2.0, 0.5)):
        network = lr.WideOrthogonal(first, second)(3, 7, 2, key=KEY)
        one, other = (lr.ExactSolution(network, task, start=s) for s in ("any", "wide"))
        np.testing.assert_allclose(one.loss(ts), other.loss(ts), rtol=1e-12)
        np.testing.assert_allclose(one.qqt(ts), other.qqt(ts), atol=1e-13)
        pair = one.network(ts).weights[0], other.network(ts).weights[0]
        np.testing.assert_allclose(*pair, atol=1e-13)
        assert other.frame.lower.shape == (5, 3)
    balanced = lr.LambdaBalanced(0.0)(3, 7, 2, key=KEY)
    lr.ExactSolution(balanced, task, start="balanced")
    for one, name in ((balanced, "wide"), (network, "balanced")):
        with pytest.raises(ValueError, match=r"lambda-balanced .* wide class"):
            lr.ExactSolution(one, task, start=name)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"start": "alined"}, r"`start` must be one of any, .* 'alined'"),
        ({"start": "wide"}, r"at least `in \+ out` hidden units .* 3-2-2"),
        (
            {"start": "aligned", "flow_derivatives": True},
            r"`flow_derivatives` must be false .* 'aligned'",
        ),
    ],
)
def test_bad_starts(options, words):
    network = lr.LambdaBalanced(1.0)(3, 2, 2, key=KEY)
    task = lr.Task.random_regression(3, 2, 9, key=KEY).whitened()
    with pytest.raises(ValueError, match=words):
        lr.ExactSolution(network, task, **options)
