"""The three laws of learning, which share no formula, agree."""

import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lazyrich_jax as lr

from . import numerical_flow

TS = jnp.array([0.0, 0.05, 0.3, 1.0, 2.0, 8.0])


def problem(sizes, lmda, scale=0.4, dtype=jnp.float64, seed=0):
    """A task whose inputs have variance 2, and a balanced start."""
    n_in, _, n_out = sizes
    key1, key2 = jax.random.split(jax.random.key(seed))
    one = jnp.ones((), dtype)
    task = lr.Task.random_regression(n_in, n_out, 12, target_scale=2 * one, key=key1)
    task = lr.Task(jnp.asarray(2, dtype) ** 0.5 * task.x, task.y)
    return lr.LambdaBalanced(lmda * one, scale * one)(*sizes, key=key2), task


def difference(a, b):
    """The largest relative distance over time of each quantity of a trajectory."""
    names = ("loss", "function", "input_representation", "output_representation", "qqt")
    for name in names:
        x, y = (np.asarray(getattr(t, name)).reshape(len(t.ts), -1) for t in (a, b))
        distance = np.linalg.norm(x - y, axis=1).max() / np.linalg.norm(y, axis=1).max()
        yield distance


# The simulated flow has one form for all sizes; to compile it takes seconds.
SIMULATED = (3, 3, 3), (4, 2, 3), (2, 5, 3)


def integrated(network, task):
    """The flow by SciPy, with the names of a trajectory."""
    function, below, above = numerical_flow.states(
        network.weights, task, np.asarray(TS)
    )
    return types.SimpleNamespace(
        ts=TS,
        loss=np.array([numerical_flow.loss(f, task) for f in function]),
        function=function,
        input_representation=below,
        output_representation=above,
        qqt=np.block([[below, function.swapaxes(1, 2)], [function, above]]),
    )


@pytest.mark.parametrize(
    "sizes, lmda",
    [
        ((3, 3, 3), 0.0),
        ((3, 3, 3), -5.0),
        ((4, 2, 3), 2.0),
        ((4, 2, 3), -2.0),
        ((4, 3, 2), -1.0),
        ((2, 3, 4), 1.0),
        ((2, 5, 3), 0.0),
        ((2, 7, 3), 0.0),
        ((5, 1, 1), -3.0),
    ],
    ids=str,
)
def test_exact_is_the_flow(sizes, lmda):
    network, task = problem(sizes, lmda)
    exact = lr.learn(network, task, TS)
    assert max(difference(exact, integrated(network, task))) < 2e-8
    if sizes in SIMULATED:
        flow = lr.learn(network, task, TS, dynamics=lr.GradientFlow())
        # The flow's tolerance is 1e-10 a step; errors grow while modes are learned.
        assert max(difference(exact, flow)) < 2e-8


def test_what_is_left_is_the_solvers_error():
    network, task = problem((3, 2, 2), 1.0)
    exact = lr.learn(network, task, TS)
    errors = []
    for rtol in (1e-5, 1e-7, 1e-9):
        dynamics = lr.GradientFlow(rtol=rtol, atol=1e-3 * rtol)
        flow = lr.learn(network, task, TS, dynamics=dynamics)
        errors.append(max(difference(exact, flow)))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-7


def test_descent_approaches_the_flow_at_order_one():
    network, task = problem((3, 2, 2), 1.0)
    ts = TS.at[5].set(TS[4])
    exact = lr.learn(network, task, ts)
    rates = np.array([5e-3, 2.5e-3, 1.25e-3, 6.25e-4])
    found = [
        lr.learn(network, task, ts, dynamics=lr.GradientDescent(rate)) for rate in rates
    ]
    for descent in found:
        np.testing.assert_allclose(descent.ts, exact.ts, atol=1e-12)
    errors = [list(difference(descent, exact)) for descent in found]
    orders = np.polyfit(np.log(rates), np.log(errors), 1)[0]
    np.testing.assert_allclose(orders, 1.0, atol=0.05)

    # The rate may be traced.
    @jax.vmap
    def traced(rate):
        dynamics = lr.GradientDescent(rate)
        return lr.learn(network, task, ts, dynamics=dynamics).loss

    np.testing.assert_allclose(traced(rates)[-1], found[-1].loss, rtol=1e-12)


@pytest.mark.slow
def test_single_precision():
    network, task = problem((3, 2, 2), 1.0, dtype=jnp.float32)
    ts = TS.astype(jnp.float32)
    exact = lr.learn(network, task, ts)
    assert exact.loss.dtype == exact.qqt.dtype == jnp.float32
    network64, task64 = jax.tree.map(lambda x: x.astype(jnp.float64), (network, task))
    # The task and network are white and balanced in double precision too.
    task64 = lr.Task(2**0.5 * task64.whitened().x, task64.y)
    network64 = network64.rebalanced(1.0)
    assert max(difference(exact, lr.learn(network64, task64, TS))) < 1e-5
    for dynamics, bound in (
        (lr.GradientFlow(), 1e-4),
        (lr.GradientDescent(1e-3), 2e-2),
    ):
        other = lr.learn(network, task, ts, dynamics=dynamics)
        assert other.loss.dtype == other.qqt.dtype == jnp.float32
        assert max(difference(exact, other)) < bound


@pytest.mark.parametrize("dynamics", [lr.GradientFlow(), lr.GradientDescent(1e-3)])
def test_deep_networks_and_any_inputs(dynamics):
    x = jax.random.normal(jax.random.key(0), (9, 3)) @ jnp.diag(jnp.array([1, 2, 0.5]))
    task = lr.Task(x, x[:, :2] * 0.7)
    network = lr.Gaussian(0.6)(3, 4, 4, 2, key=jax.random.key(1))
    trajectory = lr.learn(network, task, jnp.array([0.0, 1.0, 4.0]), dynamics=dynamics)
    np.testing.assert_allclose(trajectory.function[0], network.function, atol=1e-15)
    np.testing.assert_allclose(
        trajectory.loss, jax.jit(jax.vmap(task.loss))(trajectory.function), rtol=1e-14
    )
    assert trajectory.loss[2] < trajectory.loss[1] < trajectory.loss[0]
    # Gradient flow conserves the balance of every pair of layers; descent nearly does.
    drift = jnp.abs(trajectory.network.lmda - network.lmda[None]).max()
    assert drift < (1e-8 if isinstance(dynamics, lr.GradientFlow) else 1e-2)


def test_shallow_networks_follow_their_closed_form():
    _, task = problem((3, 2, 2), 0.0)
    w = jax.random.normal(jax.random.key(2), (2, 3))
    ts = jnp.array([0.0, 0.3, 1.5])
    shallow = lr.learn(lr.LinearNetwork((w,)), task, ts, dynamics=lr.GradientFlow())
    target = task.input_output_correlation / 2
    expected = target[None] + (w - target)[None] * jnp.exp(-2 * ts)[:, None, None]
    np.testing.assert_allclose(shallow.function, expected, atol=1e-9)


def test_optax_optimisers_count_steps():
    network, task = problem((3, 2, 2), 1.0)
    ts = jnp.array([0, 10, 10, 300])
    adam = lr.GradientDescent(optax.adam(0.02))
    with jax.numpy_dtype_promotion("standard"):  # optax counts in integers
        trajectory = lr.learn(network, task, ts, dynamics=adam)
    np.testing.assert_array_equal(trajectory.ts, ts)
    np.testing.assert_array_equal(trajectory.loss[1], trajectory.loss[2])
    optimum = lr.learn(network, task, TS.at[5].set(jnp.inf)).loss[-1]
    assert trajectory.loss[-1] - optimum < 0.1 * (trajectory.loss[0] - optimum)
    sgd = lr.GradientDescent(optax.sgd(1e-3), step_time=1e-3)
    np.testing.assert_allclose(
        lr.learn(network, task, TS, dynamics=sgd).loss,
        lr.learn(network, task, TS, dynamics=lr.GradientDescent(1e-3)).loss,
        rtol=1e-13,
    )


def test_minibatches():
    network, task = problem((3, 2, 2), 1.0)
    ts, key = jnp.array([0.0, 0.5, 1.0]), jax.random.key(3)
    full = lr.learn(network, task, ts, dynamics=lr.GradientDescent(1e-3))

    def mini(size, key, rate=1e-3):
        dynamics = lr.GradientDescent(rate, batch_size=size, key=key)
        return lr.learn(network, task, ts, dynamics=dynamics)

    np.testing.assert_allclose(mini(12, key).loss, full.loss, rtol=1e-12)
    one, again = mini(3, key), mini(3, key)
    np.testing.assert_array_equal(one.loss, again.loss)
    assert jnp.any(mini(3, jax.random.key(4)).loss != one.loss)
    # The noise averages out as the step goes to zero.
    far = jnp.abs(one.function - full.function).max()
    near = jnp.abs(mini(3, key, 1e-5).function - full.function).max()
    assert near < far < 0.5


def test_learn_compiles_once_per_shape():
    traces = []

    class Counted(lr.Exact):
        def run(self, network, task, ts):
            traces.append(ts.shape)
            return super().run(network, task, ts)

    lmdas = 0.0, 1.0, -50.0
    problems = [problem((3, 2, 2), lmda, seed=i) for i, lmda in enumerate(lmdas)]
    for seed, start in enumerate(problems):
        lr.learn(*start, TS + seed, dynamics=Counted())
    assert traces == [TS.shape]
    lr.learn(*problems[-1], TS[1:], dynamics=Counted())
    assert traces == [TS.shape, TS[1:].shape]
    # New values of numerical options do not compile again.
    with_rate = eqx.filter_jit(
        eqx.debug.assert_max_traces(lambda rate: lr.GradientDescent(rate), max_traces=1)
    )
    for rate in (0.1, 0.2):
        with_rate(jnp.array(rate))


def test_trajectories_compare_with_one_tree_map():
    network, task = problem((3, 2, 2), 1.0)
    exact = lr.learn(network, task, TS)
    flow = lr.learn(network, task, TS, dynamics=lr.GradientFlow())
    same = jax.tree.map(lambda a, b: a.shape == b.shape, exact, flow)
    assert all(jax.tree.leaves(same))
    text = str(exact)
    assert "3-2-2" in text and "6 times from 0 to 8" in text and "successful" in text


@pytest.mark.slow
def test_learn_under_jit_vmap_and_grad():
    _, task = problem((3, 2, 2), 0.0)
    ts = jnp.minimum(TS, 1.0)

    def loss(lmda, dynamics, throw=True):
        network = lr.LambdaBalanced(lmda, 0.4)(3, 2, 2, key=jax.random.key(1))
        return lr.learn(network, task, ts, dynamics=dynamics, throw=throw).loss[-1]

    lmdas = jnp.array([-2.0, 0.5, 3.0])
    one_by_one = jnp.stack([loss(lmda, lr.Exact()) for lmda in lmdas])
    h = 1e-5
    near = [loss(lmdas[1] + e, lr.Exact()) for e in (h, -h)]
    near = (near[0] - near[1]) / (2 * h)
    for dynamics in (lr.Exact(), lr.GradientFlow()):
        both = jax.value_and_grad(lambda lmda, d=dynamics: loss(lmda, d))
        batch, slopes = jax.jit(jax.vmap(both))(lmdas)
        np.testing.assert_allclose(batch, one_by_one, rtol=1e-8)
        np.testing.assert_allclose(slopes[1], near, rtol=1e-6)
    slope = jax.grad(loss)(lmdas[1], lr.Exact())  # under grad values look concrete
    np.testing.assert_allclose(slope, near, rtol=1e-6)
