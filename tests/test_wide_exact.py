"""The exact solution of wide networks, against many digits and the numerical flow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases, numerical_flow, wide_oracle

TIMES = np.array([0.0, 1e-3, 0.1, 1.0, 5.0, 40.0, np.inf])
SCALES = [
    (1.0, 1.0),
    (0.3, 2.0),
    (2.0, 0.3),
    (1e-6, 1e-6),
    (1e-9, 2.0),
    (2.0, 1e-9),
    (1e4, 1e3),
    (3e-5, 1e-6),
    (0.1, 40.0),
    (1e-9, 2e-9),
    (0.0, 1.5),
    (1.5, 0.0),
]


def tasks(n_out, n_in):
    """Correlations of distinct, repeated and zero singular values."""
    u, s, vt = np.linalg.svd(cases.sigma(n_out, n_in), full_matrices=False)
    return [
        (u * strengths) @ vt
        for strengths in (s, np.full_like(s, 0.7), np.where(s == s.min(), 0.0, s))
    ]


@functools.partial(jax.jit, static_argnames="hidden")
@functools.partial(jax.vmap, in_axes=(0, 0, None, None))
def solved(function, sigma, scales, hidden):
    def of_scales(first, second):
        network = lr.wide_network(function, first, second, hidden)
        task = lr.Task.from_correlation(sigma)
        solution = lr.ExactSolution(network, task, throw=False)
        ts = jnp.asarray(TIMES, function.dtype)
        parts = (
            solution.qqt(ts),
            solution.input_representation(ts),
            solution.output_representation(ts),
            solution.function(ts),
            solution.network(ts).qqt,
            solution.loss(ts),
        )
        return network, solution.result == lr.RESULTS.successful, parts

    return jax.vmap(of_scales)(*scales)


@pytest.mark.parametrize(
    "sizes",
    [
        (2, 5, 3),
        *(pytest.param(x, marks=pytest.mark.slow) for x in ((3, 6, 2), (2, 4, 2))),
    ],
    ids=str,
)
def test_every_quantity_in_many_digits(sizes):
    """108 cases at 7 times: scales of every ratio, several starts and tasks."""
    n_in, hidden, n_out = sizes
    start = 0.1 * cases.sigma(n_out, n_in, 5)
    sigmas = tasks(n_out, n_in)
    functions = [start, 0 * start, start]
    scales = tuple(np.array(SCALES).T)
    arrays = jnp.stack(functions), jnp.stack(sigmas), tuple(map(jnp.asarray, scales))
    networks, ok, parts = jax.device_get(solved(*arrays, hidden))
    assert np.all(ok)
    for i, sigma in enumerate(sigmas):
        for j, (first, second) in enumerate(SCALES):
            w1, w2 = (w[i, j] for w in networks.weights)
            p = wide_oracle.of_weights(w1, w2)
            p = wide_oracle.qqt(p, sigma, first, second, TIMES)
            a = p[:, n_in:, :n_in]
            blocks = p, p[:, :n_in, :n_in], p[:, n_in:, n_in:], a, p
            for k, (one, expected) in enumerate(zip(parts, blocks, strict=False)):
                # At a scale of zero the start in that layer is rounding.
                error = np.abs(one[i, j] - expected).max((1, 2))
                size = np.abs(expected).max((1, 2)) + 1e-16 * (first + second)
                assert np.all(error <= 1e-11 * size.max()), (i, j, k)
            expected = ((a - sigma) ** 2).sum((1, 2)) / 2
            size = 1e-11 * (1e-3 * expected[0] + expected)
            assert np.all(np.abs(parts[5][i, j] - expected) <= size), (i, j)


@pytest.mark.slow
def test_derivatives():
    """By the start, its scales, the task and time, against differences."""
    task = cases.make_task((3, 6, 2))
    sigma = np.asarray(task.input_output_correlation)
    point = [0.2 * cases.sigma(2, 3, 5), np.array([0.3, 1.1]), sigma, np.array(0.7)]

    def values(function, scales, sigma, t):
        network = lr.wide_network(function, scales[0], scales[1], 6)
        solution = lr.ExactSolution(network, lr.Task.from_correlation(sigma))
        qqt = solution.network(t).qqt
        return solution.loss(t), solution.qqt(t), qqt

    rng = np.random.default_rng(0)
    moved = [rng.normal(size=x.shape) for x in point]

    @jax.jit
    def along(size):
        there = [x + size * dx for x, dx in zip(point, moved, strict=True)]
        return jax.jvp(values, there, moved)

    step = 1e-4
    ahead, behind, far, back = (along(h)[0] for h in (step, -step, 2 * step, -2 * step))
    found = along(0.0)[1]
    for one, a, b, c, d in zip(
        *map(jax.tree.leaves, (found, ahead, behind, far, back)), strict=True
    ):
        slope = (8 * (a - b) - (c - d)) / (12 * step)
        np.testing.assert_allclose(one, slope, atol=1e-8 * np.abs(slope).max())


@pytest.mark.slow
def test_both_classes_in_one_batch_and_one_with_neither():
    """Balanced and wide members have one program; another is refused alone."""
    task = cases.make_task((3, 6, 2))
    wide = lr.WideOrthogonal(0.5, 2.0)(3, 6, 2, key=jax.random.key(0))
    balanced = lr.LambdaBalanced(0.0, 0.3)(3, 6, 2, key=jax.random.key(2))
    random = lr.Gaussian(0.5)(3, 6, 2, key=jax.random.key(1))
    batch = jax.tree.map(lambda *w: jnp.stack(w), wide, balanced, random)
    ts = jnp.array([0.0, 0.4, 3.0])

    @jax.jit
    def learned(networks):
        def loss(network):
            solution = lr.ExactSolution(network, task, throw=False)
            return jnp.sum(solution.qqt(ts)), solution.qqt(ts)

        of_one = jax.value_and_grad(loss, has_aux=True)
        return jax.vmap(of_one)(networks)

    (_, qqt), slopes = learned(batch)
    for i, network in enumerate((wide, balanced)):
        function, below, above = numerical_flow.states(network.weights, task, ts)
        np.testing.assert_allclose(qqt[i, :, 3:, :3], function, atol=1e-10)
        np.testing.assert_allclose(qqt[i, :, :3, :3], below, atol=1e-10)
        np.testing.assert_allclose(qqt[i, :, 3:, 3:], above, atol=1e-10)
        assert all(np.all(np.isfinite(w[i])) for w in slopes.weights)
    assert np.all(np.isnan(qqt[2]))
    assert all(np.all(np.isnan(w[2])) for w in slopes.weights)
    np.testing.assert_allclose(qqt[0, 0], wide.qqt, atol=1e-14)
    with pytest.raises(
        ValueError,
        match=r"lambda-balanced .* wide class .* nearest lambda.* input scale",
    ):
        lr.ExactSolution(random, task)


@pytest.mark.slow
def test_the_flow_has_these_weights():
    task = cases.make_task((3, 7, 2))
    network = lr.WideOrthogonal(0.5, 2.0)(3, 7, 2, key=jax.random.key(0))
    ts = np.array([0.0, 0.3, 1.0, 4.0])
    expected = numerical_flow.flow(network.weights, task, ts)
    dynamics = lr.Exact(own_weights=True)
    trajectory = lr.learn(network, task, ts, dynamics=dynamics)
    for i, weights in enumerate(zip(*expected, strict=True)):
        np.testing.assert_allclose(
            trajectory.network.weights[i], np.stack(weights), atol=1e-8
        )
    other = lr.learn(network, task, ts)
    np.testing.assert_allclose(other.qqt, trajectory.qqt, atol=1e-13)
    np.testing.assert_allclose(other.network.weights[0][0], network.weights[0])


def test_single_precision():
    task = cases.make_task((3, 6, 2))
    task = jax.tree.map(lambda x: x.astype(jnp.float32), task)
    network = lr.WideOrthogonal(0.5, 2.0)(3, 6, 2, key=jax.random.key(0))
    network = jax.tree.map(lambda w: w.astype(jnp.float32), network)
    ts = np.array([0.0, 0.3, 1.0, 4.0])
    function, below, above = numerical_flow.states(network.weights, task, ts)
    solution = lr.ExactSolution(network, task)
    assert solution.function(ts).dtype == jnp.float32
    np.testing.assert_allclose(solution.function(ts), function, atol=1e-5)
    np.testing.assert_allclose(solution.input_representation(ts), below, atol=1e-5)
    np.testing.assert_allclose(solution.output_representation(ts), above, atol=1e-5)
