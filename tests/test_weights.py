"""The flow's own weights, and chains of tasks."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

import lazyrich_jax as lr

from . import cases, numerical_flow
from .quick_compilation import AS_USERS

# All tests use as many times: each number of times takes seconds to compile.
TS = jnp.array([0.0, 0.05, 0.3, 1.0, 2.5])


def distance(a, b):
    """The largest difference of weights."""
    pairs = zip(a.weights, b.weights, strict=True)
    return max(float(jnp.abs(v - w).max()) for v, w in pairs)


def flow(network, task, ts: npt.ArrayLike = TS):
    """The weights of the integrated flow."""
    found = numerical_flow.flow(network.weights, task, np.asarray(ts))
    return jax.tree.map(lambda *w: np.stack(w), *map(lr.LinearNetwork, found))


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes, lmdas",
    [
        ((4, 4, 4), (0.0, 1.0, -4.0, 20.0, -20.0, 0.3, -0.1)),
        ((4, 2, 3), (0.0, 2.0, -2.0, 10.0, -0.5, 1e-3, -7.0)),
        ((2, 6, 3), (0.0,) * 6),
    ],
    ids=str,
)
def test_the_flows_own_weights(sizes, lmdas):
    def start(seed, lmda):
        key = jax.random.key(seed)
        task = lr.Task.random_regression(sizes[0], sizes[2], 12, key=key)
        task = lr.Task(2**0.5 * task.x, task.y)  # inputs of variance 2
        return cases.balanced(sizes, lmda, 0.5, seed), task

    starts = [start(*one) for one in enumerate(lmdas)]
    for network, task in starts:
        solution = lr.ExactSolution(network, task)
        own = solution.flow_network(TS)
        assert distance(own, flow(network, task)) < 1e-8
        np.testing.assert_allclose(own.qqt, solution.qqt(TS), atol=1e-12)
    network, task = starts[-1]
    solution = lr.ExactSolution(network, task)
    assert jax.eval_shape(solution.flow_network, 0.3).weights[0].shape == sizes[1::-1]
    # At infinity the weights equal those at a late time. Times need no order.
    late = flow(network, task, [0.0, 60.0])
    ends = solution.flow_network(jnp.array([jnp.inf, 0.0, 60.0, 1.0, 1e4]))
    np.testing.assert_allclose(ends.weights[0][2], late.weights[0][-1], atol=1e-8)
    np.testing.assert_allclose(ends.weights[0][1], network.weights[0], atol=1e-14)
    np.testing.assert_allclose(ends.weights[1][0], ends.weights[1][4], atol=1e-4)


def problem(lmda=1.0, size=4):
    target = cases.sigma(size, size)
    network = cases.network((size,) * 3, lmda, 0.5, target)
    return network, lr.Task.from_correlation(target)


def test_transport_in_steps_converges_at_order_two():
    """N <- (M(t + h)^-1 M(t))^(1/2) N, M = I + Q0' G(t) Q0, needs no solver."""
    network, task = problem()
    target = np.asarray(task.input_output_correlation)
    w1, w2 = map(np.asarray, network.weights)
    q0 = np.concatenate([w1.T, w2])
    half = np.eye(4) / 2
    w, o = np.linalg.eigh(np.block([[-half, target.T], [target, half]]))
    rows, end = o.T @ q0, 1.0

    def m(t):
        return np.eye(4) + rows.T @ (np.expm1(2 * w * t) / (2 * w) * rows.T).T

    def root(a):
        values, vectors = np.linalg.eig(a)
        return np.real(vectors * np.sqrt(values) @ np.linalg.inv(vectors))

    own = lr.ExactSolution(network, task).flow_network(end)
    expected = np.concatenate([own.weights[0].T, own.weights[1]])
    steps, errors = np.array([8, 16, 32, 64]), []
    for count in steps:
        ts = np.linspace(0, end, count + 1)
        n = np.eye(4)
        for before, after in itertools.pairwise(ts):
            n = root(np.linalg.solve(m(after), m(before))) @ n
        errors.append(
            np.abs(o @ (np.exp(w * end)[:, None] * rows) @ n - expected).max()
        )
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(order - 2) < 0.05, errors
    assert errors[-1] < 1e-4


def test_the_tolerance_is_the_error():
    network, task = problem()
    solution = lr.ExactSolution(network, task)
    best = solution.flow_network(TS, rtol=1e-13, atol=1e-15)
    errors = [
        distance(solution.flow_network(TS, rtol=r, atol=1e-2 * r), best)
        for r in (1e-3, 1e-6, 1e-9)
    ]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[0] < 1e-2 and errors[1] < 1e-5 and errors[2] < 1e-8
    with pytest.raises(ValueError, match=r"`rtol` must be .*positive, but it was -1"):
        solution.flow_network(1.0, rtol=-1.0)


def test_transport_is_trivial_where_it_has_a_closed_form():
    _, task = problem()
    aligned = lr.Aligned(task, 1.0, 0.5)(4, 4, 4, key=jax.random.key(1))
    rough = lr.ExactSolution(aligned, task).flow_network(TS, rtol=0.1, atol=0.1)
    assert distance(rough, flow(aligned, task)) < 1e-10


@pytest.mark.slow
def test_own_weights_in_a_trajectory_and_their_gradient():
    network, task = problem(size=3)

    # Both round equally with the users' code generator.
    @functools.partial(jax.jit, compiler_options=AS_USERS)
    def both(network, task):
        trajectory = lr.learn(network, task, TS, dynamics=lr.Exact(own_weights=True))
        return trajectory, lr.ExactSolution(network, task).flow_network(TS)

    trajectory, own = both(network, task)
    plain = lr.learn(network, task, TS)
    np.testing.assert_allclose(trajectory.qqt, plain.qqt, atol=1e-12)
    solution = lr.ExactSolution(network, task)
    assert distance(trajectory.network, own) < 1e-15
    assert distance(plain.network, solution.network(TS)) < 1e-15

    @jax.jit
    def corner_and_slope(w2):
        def corner(w2):
            start = lr.LinearNetwork((network.weights[0], w2))
            weights = lr.ExactSolution(start, task).flow_network(TS[::-1, None])
            return weights.weights[0][0, 0, 0, 1], weights

        return jax.value_and_grad(corner, has_aux=True)(w2)

    # The change is a rotation of the outputs, which keeps the balance.
    w2, h = network.weights[1], 0.02
    turn = jnp.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 0]])
    (_, turned), slope = corner_and_slope(w2)
    # Times may have another shape and order.
    assert distance(jax.tree.map(lambda w: w[::-1, 0], turned), own) < 1e-12
    slope = jnp.sum(slope * (turn @ w2))
    up, down, more, less = (
        corner_and_slope(jax.scipy.linalg.expm(c * h * turn) @ w2)[0][0]
        for c in (1, -1, 2, -2)
    )
    expected = (8 * (up - down) - (more - less)) / (12 * h)
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


@pytest.mark.slow
def test_bad_members_are_marked_and_alone():
    network, task = problem(size=3)
    w1, w2 = network.weights

    def weights(w2):
        start = lr.LinearNetwork((w1, w2))
        return lr.ExactSolution(start, task, throw=False).flow_network(TS).weights[0]

    both = jax.vmap(weights)(jnp.stack([w2, 2 * w2]))
    own = lr.ExactSolution(network, task).flow_network(TS).weights[0]
    np.testing.assert_allclose(both[0], own, atol=1e-9)
    assert np.all(np.isnan(both[1]))


@pytest.mark.slow
@pytest.mark.parametrize("lmda", [0.0, -2.0])
def test_a_chain_of_tasks_is_one_run_with_the_task_switched(lmda):
    first, second = cases.sigma(3, 3, seed=2), cases.sigma(3, 3, seed=3)
    network = cases.network((3, 3, 3), lmda, 0.5, first, seed=1)
    tasks = [lr.Task.from_correlation(s) for s in (first, second)]
    switch, ts = 1.5, jnp.array([0.0, 0.2, 0.5, 0.8, 1.0])
    before = jnp.linspace(0, switch, 5)

    earlier = flow(network, tasks[0], [0.0, switch])
    later = flow(jax.tree.map(lambda w: w[-1], earlier), tasks[1], ts)
    q = np.concatenate([later.weights[0].swapaxes(1, 2), later.weights[1]], axis=1)
    expected = q @ q.swapaxes(1, 2)
    for law in (lr.Exact(), lr.GradientFlow()):
        middle = lr.learn(network, tasks[0], before, dynamics=law)
        middle = jax.tree.map(lambda w: w[-1], middle.network)
        after = lr.learn(middle, tasks[1], ts, dynamics=law)
        np.testing.assert_allclose(after.qqt, expected, atol=1e-8)
    # The second task starts from rotated weights, or from the flow's own.
    solution = lr.ExactSolution(network, tasks[0])
    middle = jax.tree.map(lambda w: w[-1], solution.flow_network(before))
    own = lr.ExactSolution(middle, tasks[1])
    np.testing.assert_allclose(own.qqt(ts), expected, atol=1e-8)
    np.testing.assert_allclose(
        own.flow_network(ts).weights[0], later.weights[0], atol=1e-8
    )
