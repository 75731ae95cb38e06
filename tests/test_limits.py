"""The limits of learning, against the numerical flow; limits are tested as limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases
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


def make_task(sizes, strengths=(2.0, 1.4, 0.9, 0.5, 0.3), variance=2.0, seed=0):
    """A task with given singular values and inputs of the given variance."""
    n_in, _, n_out = sizes
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (n_out, n_in))
    k = min(n_in, n_out)
    sigma = u[:, :k] @ np.diag(strengths[:k]) @ v[:, :k].T
    task = lr.Task.from_correlation(sigma)
    return lr.Task(variance**0.5 * task.x, task.y / variance**0.5)


def start(sizes, lmda, scale=0.7, seed=1, task=None):
    """A balanced network; with `task`, one that is no saddle of it at lambda = 0."""
    network = cases.balanced(sizes, lmda, scale, seed)
    if task is not None and len(set(sizes)) == 1:
        w1, w2 = network.weights
        sigma = task.input_output_correlation
        sign = np.sign(np.linalg.det(w2 @ w1) * np.linalg.det(sigma))
        network = lr.LinearNetwork((w1, w2.at[0].multiply(sign)))
    return network


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
    # At lambda = 0 surplus hidden units never quite finish: 1 / t.
    surplus = lmda == 0 and sizes[1] > min(sizes[0], sizes[2])
    t = 60.0 if surplus else 300.0
    w1, w2 = flow(network.weights, task, np.array([0.0, t]))[1]
    bound = 1.5 / t if surplus else 1e-8
    assert_close(end, (w2 @ w1, w1.T @ w1, w2 @ w2.T), bound)
    if surplus:  # ...but the rest does: what is left is theirs alone
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
    # The semantic hierarchy: ends of all values that repeat.
    task = lr.Task.hierarchy(2)
    for lmda in (0.0, 3.0, -10.0):
        network = start((4, 4, 4), lmda, 0.7, 5, task)
        end = theory.converged_representations(task, lmda, 4)
        expected = states(network.weights, task, np.array([0.0, 200.0]))
        assert_close(end, [x[-1] for x in expected], 1e-8)
    # Rank one: the other modes decay to zero, algebraically at lambda = 0.
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
    # The function to order 1 / lambda^2; the representations to one order more.
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
        assert error < 30 / lmda**2  # both terms of order 1 / lambda are there
    fit = np.polyfit(np.log(lmdas), np.log([changes, indices]).T, 1)[0]
    np.testing.assert_allclose(fit, [-1, -2], atol=0.05)


@pytest.mark.parametrize(
    "sizes, lmda",
    [
        ((3, 3, 3), 1.0),
        ((3, 3, 5), 6.0),  # delayed rich
        ((3, 3, 5), -6.0),
        ((4, 2, 2), -5.0),  # delayed rich
        ((2, 3, 4), 5.0),  # delayed rich, in between
        ((2, 4, 4), 0.5),
        ((4, 2, 3), 1.0),  # bottleneck
    ],
    ids=str,
)
def test_convergence_rates_are_those_of_the_flow(sizes, lmda):
    task = make_task(sizes)
    network = start(sizes, lmda)
    rates = theory.convergence_rates(task, lmda, sizes[1])
    slowest = float(rates.min())
    end = np.asarray(task.input_output_correlation) / 2
    if sizes[1] < min(sizes[0], sizes[2]):
        u, s, vt = np.linalg.svd(end)
        end = u[:, : sizes[1]] @ np.diag(s[: sizes[1]]) @ vt[: sizes[1]]
    ts = np.array([0.0, 10.0, 13.0]) / slowest
    function, _, _ = states(network.weights, task, ts)
    distance = np.linalg.norm(function - end, axis=(1, 2))
    measured = np.log(distance[1] / distance[2]) / (ts[2] - ts[1])
    np.testing.assert_allclose(measured, slowest, rtol=0.02)


def test_delayed_rich_learning_takes_the_time_it_should():
    sizes = (3, 3, 5)
    task = make_task(sizes)
    s = np.array([2.0, 1.4, 0.9])
    for lmda in (10.0, 30.0):
        delayed = theory.delayed_rich_time(task, lmda, 3)
        # kappa - c lambda / 2 = s^2 / (c lambda) for large lambda
        np.testing.assert_allclose(delayed, 2 * lmda / s**2, rtol=1e-2)
        network = start(sizes, lmda, 0.3)
        ts = np.array([0.0, 8 / lmda, 1.0 * float(delayed[2]), 9 * float(delayed[2])])
        function, _, _ = states(network.weights, task, ts)
        losses = [float(theory.loss(f, task)) for f in function]
        # Something is learned at once; the rest on the slow scale.
        assert losses[0] > 1.1 * losses[1] > 1.2 * losses[2] > 1e3 * losses[3]
        lazy = theory.lazy_limit(ts[1], network, task)
        np.testing.assert_allclose(function[1], lazy.function, atol=0.6 / lmda)
    # Nothing is delayed in square networks, nor where lambda favours the other side.
    for sizes, lmda in (((3, 3, 3), 9.0), ((3, 3, 5), -9.0), ((3, 5, 5), 9.0)):
        times = theory.delayed_rich_time(make_task(sizes), lmda, sizes[1])
        np.testing.assert_array_equal(times, 0.0)
    # Exact where subtraction would leave nothing.
    rate = 1 / float(theory.delayed_rich_time(task, 1e9, 3)[0])
    assert rate == pytest.approx(4 / 2e9, rel=1e-12)


def test_reversal_starts_at_a_saddle_unless_there_is_a_balance():
    for sizes in ((3, 3, 3), (4, 2, 2), (2, 4, 4)):
        task = make_task(sizes)
        s = 2.0  # the strongest mode is the nearest to being stuck
        for lmda in (0.0, 1e-3, 2.0, -2.0):
            if lmda < 0 and sizes[1] > sizes[0]:
                continue
            network = start(sizes, lmda, task=task)
            (learned,) = flow(network.weights, task, [0, 80.0])[1:]
            learned = lr.LinearNetwork(learned)
            distance = float(theory.saddle_distance(learned, task.reversed()))
            c = 2 * abs(lmda)
            expected = c / (c * c + 4 * s * s) ** 0.25
            assert distance == pytest.approx(expected, abs=1e-6, rel=1e-3)
            assert float(theory.saddle_distance(learned, task)) > 1
    # Stuck at lambda = 0, free otherwise.
    task = make_task((2, 2, 2))
    for lmda, end in ((0.0, 0.0), (0.5, -1.0)):
        sigma = task.input_output_correlation / 2
        state = lr.Aligned(task, lmda)(2, 2, 2, key=jax.random.key(0))
        learned = flow(state.weights, task, [0, 40.0])[1]
        function, _, _ = states(learned, task.reversed(), np.array([0.0, 8.0]))
        if lmda:
            np.testing.assert_allclose(function[1], end * sigma, atol=1e-3)
        else:
            assert np.linalg.norm(function[1]) < 1e-3


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

    end = converged(jnp.array([1.0, 0.0, -1.0]))  # negative: not for these sizes
    bad = jnp.isnan(end.output_representation).any(axis=(1, 2))
    assert bad.tolist() == [False, False, True]
    lazy = jax.jit(theory.lazy_limit)(0.1, start(sizes, 0.0), make_task(sizes))
    assert jnp.isnan(lazy.function).all()
    slope = jax.jacrev(lambda x: theory.converged_representations(task, x, 3))(1.0)
    assert jnp.isfinite(slope.output_representation).all()


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
    # Under grad too, where values look concrete, and in jit.
    slope = jax.jacrev(lambda w: lazy(w).function)(network.weights[1])
    again = jax.jit(jax.jacrev(lambda w: lazy(w).function))(network.weights[1])
    assert jnp.isfinite(slope).all() and jnp.any(slope != 0)
    np.testing.assert_allclose(slope, again, rtol=1e-10)


def test_what_the_forms_assume_is_checked(untyped):
    task, network = make_task((3, 3, 3)), start((3, 3, 3), 1.0)
    skewed = lr.Task(task.x @ np.diag([1.0, 2.0, 3.0]), task.y)
    unbalanced = lr.Gaussian(1.0)(3, 3, 3, key=jax.random.key(0))
    for call in (
        lambda t: theory.converged_representations(t, 1.0, 3),
        lambda t: theory.rich_limit(1.0, network.function, t),
        lambda t: theory.lazy_limit(1.0, network, t),
        lambda t: theory.convergence_rates(t, 1.0, 3),
        lambda t: theory.delayed_rich_time(t, 1.0, 3),
        lambda t: theory.saddle_distance(network, t),
    ):
        with pytest.raises(ValueError, match="`task` must have isotropic inputs"):
            call(skewed)
        assert all(jnp.isnan(x).all() for x in jax.tree.leaves(jax.jit(call)(skewed)))
    for call in (
        lambda: theory.lazy_limit(1.0, unbalanced, task),
        lambda: theory.saddle_distance(unbalanced, task),
        lambda: theory.converged_representations(task, 1.0, 3, start=unbalanced),
    ):
        with pytest.raises(ValueError, match="must be lambda-balanced"):
            call()
    with pytest.raises(ValueError, match="`start` must have the balance `lmda`, 2"):
        theory.converged_representations(task, 2.0, 3, start=network)


SIZES = (3, 3, 4)
ZERO = np.zeros((4, 3))


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda task: theory.converged_representations(task, 1.0, 5),
            "`lmda` must not be positive for sizes 3-5-4",
        ),
        (
            lambda task: theory.converged_representations(make_task((2, 3, 4)), 1.0, 3),
            "`start` must be given .* sizes 2-3-4",
        ),
        (
            lambda task: theory.converged_representations(
                make_task((2, 3, 4)), 1.0, 3, start=start((2, 2, 4), 1.0)
            ),
            "`start` must have sizes 2-3-4, but its sizes were 2-2-4",
        ),
        (
            lambda task: theory.converged_representations(
                lr.Task.from_correlation(np.eye(3)), 1.0, 2
            ),
            "`hidden_size` must not cut through equal singular values",
        ),
        (
            lambda task: theory.balanced_representations(np.ones((2, 4)), -1.0, 3),
            "`lmda` must be zero for sizes 4-3-2",
        ),
        (
            lambda task: theory.convergence_rates(task, -1.0, 4),
            "`lmda` must not be negative for sizes 3-4-4",
        ),
        (
            lambda task: theory.delayed_rich_time(task, 1.0, 0),
            "`hidden_size` must be an integer of at least 1",
        ),
        (
            lambda task: theory.rich_limit(-1.0, np.ones((4, 3)), task),
            "`ts` must be non-negative",
        ),
        (
            lambda task: theory.rich_limit(1.0, np.ones((3, 4)), task),
            "`function` must fit the task's 3 inputs and 4 outputs",
        ),
        (lambda task: theory.rich_limit(1.0, ZERO, task), "must have full rank"),
        (
            lambda task: theory.rich_limit(1.0, -task.input_output_correlation, task),
            "must not be at a saddle",
        ),
        (
            lambda task: theory.lazy_limit(1.0, start(SIZES, 0.0), task),
            "`network` must have a balance that is not zero for its lazy limit",
        ),
        (
            lambda task: theory.lazy_limit(1.0, start((3, 3, 3), 1.0), task),
            "`network` must have the task's 3 inputs and 4 outputs",
        ),
        (
            lambda task: theory.lazy_limit(1.0, lr.LinearNetwork((ZERO,)), task),
            "`network` must have two layers",
        ),
        (
            lambda task: theory.saddle_distance(lr.LinearNetwork((ZERO,)), task),
            "`network` must have two layers",
        ),
    ],
)
def test_bad_input_is_named(untyped, call, message):
    with pytest.raises(ValueError, match=message):
        call(make_task(SIZES))
