"""The limits of learning, against the numerical flow and as limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from .cases import make_task, start
from .numerical_flow import flow, states

theory = lr.theory
NAMES = ("function", "input_representation", "output_representation")
ARCHITECTURES = {
    "square": ((3, 3, 3), (2.0, -2.0, 0.0)),
    "bottleneck": ((4, 2, 3), (1.0, -1.0, 0.0)),
    "funnel": ((5, 3, 3), (2.0, -2.0, 0.0)),
    "inverted funnel": ((3, 3, 5), (2.0, -1.0, 0.0)),
    "between, in < out": ((2, 3, 4), (2.0,)),
    "between, in > out": ((4, 3, 2), (-2.0,)),
    "wide, hidden = out": ((3, 5, 5), (2.0, 0.0)),
    "wide, hidden = in": ((5, 5, 3), (-2.0, 0.0)),
    "wider": ((2, 6, 3), (0.0,)),
    "one neuron": ((4, 1, 1), (-3.0, 3.0)),
}


def assert_close(state, expected, atol):
    for name, value in zip(NAMES, expected, strict=True):
        np.testing.assert_allclose(getattr(state, name), value, atol=atol, err_msg=name)


def distances(state, expected):
    pairs = zip(NAMES, expected, strict=True)
    return [float(np.abs(getattr(state, name) - value).max()) for name, value in pairs]


@pytest.mark.parametrize(
    "kind, lmda", [(kind, x) for kind, (_, xs) in ARCHITECTURES.items() for x in xs]
)
def test_converged_representations_are_where_the_flow_ends(kind, lmda):
    sizes = ARCHITECTURES[kind][0]
    task = make_task(sizes)
    network = start(sizes, lmda, task=task)
    between = sizes[0] < sizes[1] < sizes[2] or sizes[0] > sizes[1] > sizes[2]
    end = theory.converged_representations(
        task, lmda, sizes[1], start=network if between else None
    )
    # At lambda = 0 surplus hidden units decay only as 1 / t.
    surplus = lmda == 0 and sizes[1] > min(sizes[0], sizes[2])
    t = 60.0 if surplus else 300.0
    w1, w2 = flow(network.weights, task, np.array([0.0, t]))[1]
    bound = 1.5 / t if surplus else 1e-8
    assert_close(end, (w2 @ w1, w1.T @ w1, w2 @ w2.T), bound)
    if surplus:  # all other parts have converged
        np.testing.assert_allclose(end.function, w2 @ w1, atol=1e-8)
    else:
        ntk = lr.kernels.ntk(lr.LinearNetwork((w1, w2)), task.x)
        np.testing.assert_allclose(end.ntk(task.x), ntk, atol=1e-7)


@pytest.mark.parametrize(
    "kind", ["square", "bottleneck", "funnel", "wide, hidden = in"]
)
def test_a_balanced_function_determines_its_representations(kind):
    sizes, lmdas = ARCHITECTURES[kind]
    task = make_task(sizes)
    for lmda in lmdas[:2]:
        network = start(sizes, lmda, task=task)
        for w1, w2 in flow(network.weights, task, np.array([0.0, 0.4, 2.0])):
            state = theory.balanced_representations(w2 @ w1, lmda, sizes[1])
            if lmda == 0 and sizes[1] > min(sizes):
                assert_close(state, (w2 @ w1, w1.T @ w1, w2 @ w2.T), 1e-5)
            assert_close(state, (w2 @ w1, w1.T @ w1, w2 @ w2.T), 1e-9)


def test_repeated_and_zero_singular_values():
    # The semantic hierarchy has repeated singular values.
    task = lr.Task.hierarchy(2)
    for lmda in (0.0, 3.0, -10.0):
        network = start((4, 4, 4), lmda, 0.7, 5, task)
        end = theory.converged_representations(task, lmda, 4)
        expected = states(network.weights, task, np.array([0.0, 200.0]))
        assert_close(end, [x[-1] for x in expected], 1e-8)
    # At rank one the other modes decay to zero, algebraically for lambda = 0.
    task = make_task((3, 3, 3), (2.0, 0.0, 0.0))
    network = start((3, 3, 3), 2.0)
    expected = states(network.weights, task, np.array([0.0, 60.0]))
    end = theory.converged_representations(task, 2.0, 3)
    assert_close(end, [x[-1] for x in expected], 1e-8)
    zero = theory.converged_representations(
        lr.Task.from_correlation(np.zeros((2, 3))), -1.0, 2
    )
    assert jnp.all(zero.function == 0) and jnp.all(zero.output_representation == 0)
    np.testing.assert_allclose(jnp.trace(zero.input_representation), 2.0)


@pytest.mark.parametrize(
    "sizes", [(3, 3, 3), (4, 3, 3), (3, 5, 5), (2, 6, 3), (2, 3, 4)], ids=str
)
def test_the_rich_limit_is_the_flow_from_zero_balance(sizes):
    task = make_task(sizes)
    network = start(sizes, 0.0, task=task)
    ts = np.array([0.0, 0.1, 0.5, 2.0, 5.0])
    rich = theory.rich_limit(ts, network.function, task)
    assert_close(rich, states(network.weights, task, ts), 1e-9)
    end = theory.rich_limit(jnp.inf, network.function, task)
    assert_close(end, [x[-1] for x in states(network.weights, task, [0, 60.0])], 0.02)
    ntk = lr.kernels.ntk(network, task.x)
    np.testing.assert_allclose(rich.ntk(task.x)[0], ntk, atol=1e-12)


def test_networks_of_small_balance_approach_the_rich_limit():
    sizes = (3, 3, 4)
    task, ts = make_task(sizes), np.array([0.0, 0.4, 2.0])
    network = start(sizes, 0.0)
    rich = theory.rich_limit(ts, network.function, task)
    lmdas, change = np.array([1e-2, 1e-3, 1e-4]), []
    for lmda in lmdas:
        near = states(network.rebalanced(lmda).weights, task, ts)
        change.append(distances(rich, near))
    order = np.polyfit(np.log(lmdas), np.log(change), 1)[0]
    np.testing.assert_allclose(order, 1.0, atol=0.05)


@pytest.mark.parametrize(
    "sizes, sign",
    [
        ((3, 3, 3), 1),
        ((3, 3, 3), -1),
        ((3, 2, 4), 1),
        ((3, 2, 4), -1),
        ((3, 3, 5), 1),
        ((5, 3, 3), -1),
        ((5, 3, 3), 1),
        ((3, 1, 1), -1),
    ],
    ids=str,
)
def test_the_lazy_limit_is_approached_at_its_order(sizes, sign):
    task = make_task(sizes)
    lmdas, errors = np.array([30.0, 100.0, 300.0]), []
    for lmda in lmdas:
        network = start(sizes, sign * lmda)
        ts = np.array([0.0, 0.3, 1.0, 3.0]) / lmda
        lazy = theory.lazy_limit(ts, network, task)
        right = states(network.weights, task, ts)
        errors.append(distances(lazy, right))
    order = -np.polyfit(np.log(lmdas), np.log(errors), 1)[0]
    # Errors are of order 1 / lambda^2 in the function, of one order more otherwise.
    np.testing.assert_allclose(order, [2, 3, 3], atol=0.2)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_change_of_the_ntk_falls_as_one_over_lambda(sign):
    sizes = (3, 3, 3)
    task = make_task(sizes)
    lmdas, changes, indices = np.array([20.0, 60.0, 200.0]), [], []
    for lmda in lmdas:
        network = start(sizes, sign * lmda)
        weights = flow(network.weights, task, np.array([0.0, 30.0 / lmda]))
        first, last = (lr.kernels.ntk(lr.LinearNetwork(w), task.x) for w in weights)
        changes.append(np.linalg.norm(last - first))
        indices.append(float(lr.measures.rich_lazy_index(first, last)))
        predicted = theory.lazy_limit(jnp.array([0.0, jnp.inf]), network, task)
        predicted = np.subtract(*predicted.ntk(task.x)[::-1])
        error = np.linalg.norm(predicted - (last - first)) / changes[-1]
        assert error < 30 / lmda**2  # holds only with both terms of order 1 / lambda
    fit = np.polyfit(np.log(lmdas), np.log([changes, indices]).T, 1)[0]
    np.testing.assert_allclose(fit, [-1, -2], atol=0.05)


def test_limits_in_single_precision_and_traced():
    sizes = (3, 3, 3)
    task = jax.tree.map(lambda x: x.astype(jnp.float32), make_task(sizes))
    network = jax.tree.map(lambda x: x.astype(jnp.float32), start(sizes, 0.0))
    exact = jax.tree.map(lambda x: x.astype(jnp.float64), (task, network))
    ts = np.array([0.0, 0.5, 2.0])
    if theory.saddle_distance(network, task) > 0.1:
        rich = theory.rich_limit(jnp.float32(ts), network.function, task)
        assert rich.function.dtype == jnp.float32
        assert_close(rich, states(exact[1].weights, exact[0], ts), 1e-4)
    end = theory.converged_representations(task, 1.0, 3)
    assert end.input_representation.dtype == jnp.float32

    @jax.jit
    @jax.vmap
    def converged(lmda):
        return theory.converged_representations(make_task((2, 3, 3)), lmda, 3)

    end = converged(jnp.array([1.0, 0.0, -1.0]))  # -1 is infeasible for these sizes
    bad = jnp.isnan(end.output_representation).any(axis=(1, 2))
    assert bad.tolist() == [False, False, True]
    lazy = jax.jit(theory.lazy_limit)(0.1, start(sizes, 0.0), make_task(sizes))
    assert jnp.isnan(lazy.function).all()
    ends = jax.jacrev(lambda x: theory.converged_representations(task, x, 3))
    slope = jax.jit(ends)(1.0)
    assert jnp.isfinite(slope.output_representation).all()


@pytest.mark.slow
def test_derivatives_for_any_sizes():
    sigma = np.random.default_rng(0).normal(size=(4, 3))
    network = start((3, 4, 4), 2.0)
    step = 1e-6 * np.eye(4, 3)

    def converged(sigma):
        task = lr.Task.from_correlation(sigma)
        return theory.converged_representations(task, 2.0, 4)

    def rich(function):
        return theory.rich_limit(0.4, function, lr.Task.from_correlation(sigma))

    def lazy(w2):
        w1 = network.weights[0]
        start = lr.LinearNetwork((w1, w2))
        return theory.lazy_limit(0.2, start, lr.Task.from_correlation(sigma))

    def distance(sigma):
        task = lr.Task.from_correlation(sigma)
        return theory.saddle_distance(network, task)

    for f, x in (
        (converged, sigma),
        (rich, 0.5 * sigma + 0.2),
        (distance, sigma),
    ):
        _, slope = jax.jvp(jax.jit(f), (jnp.asarray(x),), (jnp.asarray(step / 1e-6),))
        near = jax.tree.map(lambda a, b: (a - b) / 2e-6, f(x + step), f(x - step))
        for got, expected in zip(*map(jax.tree.leaves, (slope, near)), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-7)
    # The check holds under grad, where values look concrete, and in jit.
    slope = jax.jacrev(lambda w: lazy(w).function)(network.weights[1])
    again = jax.jit(jax.jacrev(lambda w: lazy(w).function))(network.weights[1])
    assert jnp.isfinite(slope).all() and jnp.any(slope != 0)
    np.testing.assert_allclose(slope, again, rtol=1e-10)
