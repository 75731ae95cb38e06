"""Weight decay: the closed form against the flow and its own laws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases, numerical_flow
from .decaying import KEY, close, of_flow, solved


@pytest.mark.parametrize("decay", [1e-3, 0.3, 2.0])
@pytest.mark.parametrize(
    "initialiser, sizes, start",
    [
        (lr.LambdaBalanced(2.0, 0.5), (4, 3, 3), "any"),
        (lr.LambdaBalanced(-20.0, 0.5), (3, 2, 4), "any"),
        (lr.LambdaBalanced(0.0, 0.5), (2, 6, 3), "any"),
        (lr.WideOrthogonal(0.7, 1.5), (3, 8, 2), "any"),
        (lr.WideOrthogonal(1.5, 0.7), (3, 8, 2), "wide"),
    ],
)
def test_the_flow_of_the_weights(initialiser, sizes, start, decay):
    task = lr.Task.from_correlation(cases.sigma(sizes[2], sizes[0]))
    task = lr.Task(1.3 * task.x, task.y)  # inputs of another variance than one
    network = initialiser(*sizes, key=jax.random.key(1))
    ts = np.array([0.0, 0.1, 1.0, 4.0])
    loss, qqt, own = solved(start)(network, task, decay, ts)
    expected = of_flow(network, task, decay, ts)
    close((loss, qqt), expected, 2e-10)
    close((own,), expected[1:], 2e-10)


@pytest.mark.slow
def test_aligned_modes_of_any_balance():
    task = lr.Task.from_correlation(cases.sigma(3, 4))
    network = lr.Aligned(task, jnp.array([1.0, -2.0, 0.5]))(4, 3, 3, key=KEY)
    ts = np.array([0.0, 0.3, 3.0])

    @jax.jit
    def solution(network, task):
        found = lr.ExactSolution(network, task, weight_decay=0.2, start="aligned")
        return found.loss(ts), found.qqt(ts), found.flow_network(ts).weights

    *found, weights = solution(network, task)
    close(found, of_flow(network, task, 0.2, ts), 1e-10)
    expected = numerical_flow.flow(network.weights, task, ts, weight_decay=0.2)
    close(weights, map(np.stack, zip(*expected, strict=True)), 1e-10)


@pytest.mark.parametrize("lmda", [-100.0, 100.0, 5.0, 1e-6, 0.0])
@pytest.mark.parametrize("decay", [1e-6, 1e-2, 10.0])
def test_late_times_follow_from_earlier_ones(lmda, decay):
    task = lr.Task.from_correlation(cases.sigma(3, 3))
    network = lr.LambdaBalanced(lmda, 0.3)(3, 3, 3, key=jax.random.key(2))
    ts = np.array([3.0, 100.0, 1e4, np.inf])
    *all_at_once, own = solved()(network, task, decay, ts)
    q = jnp.linalg.svd(own[0])  # any network with this QQ^T
    q = q[0][:, :3] * jnp.sqrt(q[1][:3])[None]
    middle = lr.LinearNetwork((q[:3].T, q[3:]))
    later = solved()(middle, task, decay, ts - 3)
    for x, y in zip(all_at_once, later, strict=False):
        x, y = np.asarray(x), np.asarray(y)
        size = max(np.abs(x[0]).max(), 1.0)
        assert np.abs(x - y)[:3].max() <= 1e-9 * size
        # Rounding of the largest exponents, lambda / decay, remains at infinity.
        assert np.abs(x - y)[3].max() <= 1e-13 * (1 + abs(lmda) / decay) * size


@pytest.mark.parametrize("sizes", [(4, 3, 3), (3, 2, 4)])
def test_the_end_is_soft_thresholded(sizes):
    n, hidden, _ = sizes
    sigma = cases.sigma(sizes[2], n)
    u, s, vt = np.linalg.svd(sigma, full_matrices=False)
    task = lr.Task.from_correlation(sigma)
    network = lr.LambdaBalanced(-3.0, 0.4)(*sizes, key=KEY)
    ts = np.array([0.0, 1.0, 10.0, np.inf])
    for decay, kept in ((s[1] + 0.1, 1), (s[2] - 0.01, 3)):
        qqt = solved()(network, task, decay, ts)[1][-1]
        end = np.where(np.arange(len(s)) < min(kept, hidden), s - decay, 0.0)
        np.testing.assert_allclose(qqt[n:, :n], u * end @ vt, atol=1e-12)
        np.testing.assert_allclose(qqt[:n, :n], vt.T * end @ vt, atol=1e-12)
        np.testing.assert_allclose(qqt[n:, n:], u * end @ u.T, atol=1e-12)


def test_the_balance_decays_and_no_decay_is_a_limit():
    task = lr.Task.from_correlation(cases.sigma(3, 4))
    ts = np.array([0.0, 0.2, 2.0, 30.0])
    sign = np.diag([1.0] * 4 + [-1.0] * 3)
    for lmda in (4.0, 1e-9, 0.0):
        network = lr.LambdaBalanced(lmda, 0.4)(4, 3, 3, key=KEY)
        qqt = np.asarray(solved()(network, task, 0.05, ts)[1])
        now = lmda * np.exp(-0.1 * ts)[:, None, None]
        np.testing.assert_allclose(qqt @ sign @ qqt, -now * qqt, atol=1e-13)
        without = lr.ExactSolution(network, task)
        for decay in (0.0, 1e-14):  # a traced zero does not switch it off
            loss, qqt, _ = solved()(network, task, decay, ts)
            np.testing.assert_allclose(loss, without.loss(ts), rtol=1e-11, atol=1e-13)
            np.testing.assert_allclose(qqt, without.qqt(ts), atol=1e-11)


@pytest.mark.slow
def test_repeated_modes_and_single_precision():
    sigma = np.diag([2.0, 1.0, 1.0])
    task = lr.Task.from_correlation(sigma)
    network = lr.LambdaBalanced(1.0, 0.4)(3, 3, 3, key=KEY)
    ts = np.array([0.0, 0.5, 5.0, 6.0])
    found = solved()(network, task, 0.1, ts)
    close(found[:2], of_flow(network, task, 0.1, ts), 1e-10)

    def loss(scale, decay):
        task = lr.Task.from_correlation(sigma * scale)
        solution = lr.ExactSolution(network, task, weight_decay=decay, throw=False)
        return solution.loss(ts[1])

    by_scale, by_decay = (jax.jit(jax.grad(loss, i))(1.0, 0.1) for i in (0, 1))
    assert np.isnan(by_scale)  # the singular vectors have no derivative
    assert np.isnan(jax.jit(jax.grad(loss, 1))(1.0, jnp.nan))
    near = (solved()(network, task, 0.1 + h, ts)[0][1] for h in (1e-4, -1e-4))
    slope = (next(near) - next(near)) / 2e-4
    np.testing.assert_allclose(by_decay, slope, rtol=1e-6)

    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (network, task))
    loss, qqt, _ = solved()(*half, jnp.float32(0.1), jnp.asarray(ts, jnp.float32))
    assert qqt.dtype == jnp.float32
    close((loss, qqt), found[:2], 1e-4)


@pytest.mark.slow
def test_the_first_moment_and_large_starts():
    task = lr.Task.from_correlation(1e-4 * np.diag([1.0, 0.5, 0.2]))
    network = lr.LambdaBalanced(1e-5, 1e3)(3, 3, 3, key=jax.random.key(2))
    ts = np.array([0.0, 1e-9, 1e-6, 1e-5])
    found = solved()(network, task, 1e-5, ts)
    close(found[:2], of_flow(network, task, 1e-5, ts), 2e-9)
    task = lr.Task.from_correlation(cases.sigma(3, 3))
    for i, decay in enumerate((1e-6, 0.1, 5.0)):
        network = lr.LambdaBalanced(2.0, 0.5)(3, 3, 3, key=jax.random.key(i))
        p, e = np.asarray(network.qqt), task.input_output_correlation
        e = np.block(
            [[np.zeros((3, 3)), (e - p[3:, :3]).T], [e - p[3:, :3], 0 * p[3:, 3:]]]
        )
        found = jax.jvp(
            functools.partial(solved(), network, task, decay), (ts,), (1 + 0 * ts,)
        )
        np.testing.assert_allclose(
            found[1][1][0], e @ p + p @ e - 2 * decay * p, atol=1e-12
        )


@pytest.mark.slow
def test_laws_with_weight_decay_agree():
    task = lr.Task.random_regression(3, 2, samples=8, key=KEY).whitened()
    network = lr.LambdaBalanced(1.0, 0.5)(3, 2, 2, key=KEY)
    ts = np.linspace(0, 3, 4)
    exact = lr.learn(network, task, ts, dynamics=lr.Exact(weight_decay=0.2))
    flow = lr.learn(network, task, ts, dynamics=lr.GradientFlow(weight_decay=0.2))
    np.testing.assert_allclose(exact.qqt, flow.qqt, atol=1e-9)
    errors = []
    for rate in (2e-3, 1e-3):
        law = lr.GradientDescent(rate, weight_decay=0.2)
        descent = lr.learn(network, task, ts, dynamics=law)
        errors.append(np.abs(descent.qqt - exact.qqt).max())
    np.testing.assert_allclose(errors[0] / errors[1], 2, rtol=0.01)
    # Decays of their own have the numerical flow alone.
    flow = lr.learn(network, task, ts, dynamics=lr.GradientFlow(weight_decay=(0.1, 1)))
    expected = of_flow(network, task, (0.1, 1.0), ts)
    close((flow.loss, flow.qqt), expected, 1e-9)


@pytest.mark.usefixtures("untyped")
def test_refusals():
    task = lr.Task.random_regression(3, 2, samples=8, key=KEY).whitened()
    network = lr.LambdaBalanced(1.0, 0.5)(3, 2, 2, key=KEY)
    with pytest.raises(ValueError, match=r"one number for both layers.*GradientFlow"):
        lr.Exact(weight_decay=(0.1, 0.2))  # pyright: ignore
    with pytest.raises(ValueError, match=r"`weight_decay` must be finite and non-neg"):
        lr.ExactSolution(network, task, weight_decay=-0.1)
    with pytest.raises(ValueError, match=r"must be zero for the flow's own weights"):
        lr.ExactSolution(network, task, weight_decay=0.1).flow_network(1.0)
    with pytest.raises(ValueError, match=r"`own_weights` must be false with weight"):
        law = lr.Exact(own_weights=True, weight_decay=0.1)
        lr.learn(network, task, [1.0], dynamics=law)
    with pytest.raises(ValueError, match=r"`flow_derivatives` must be false"):
        lr.ExactSolution(network, task, weight_decay=0.1, flow_derivatives=True)
    with pytest.raises(ValueError, match=r"each of the network's 2 layers.*were 3"):
        law = lr.GradientFlow(weight_decay=(0.1, 0.2, 0.3))
        lr.learn(network, task, [1.0], dynamics=law)
    with pytest.raises(ValueError, match=r"`weight_decay` must be zero for an optim"):
        import optax

        lr.GradientDescent(optax.adam(1e-3), weight_decay=0.1)

    def end(decay):
        law = lr.Exact(weight_decay=decay)
        found = lr.learn(network, task, [1.0], dynamics=law, throw=False)
        return found.loss[0], found.result

    loss, result = jax.vmap(end)(jnp.array([0.1, -1.0, jnp.nan, 0.0]))
    np.testing.assert_array_equal(np.isnan(loss), [False, True, True, False])
    is_bad = np.asarray(result == lr.RESULTS.invalid_setting)
    np.testing.assert_array_equal(is_bad, [False, True, True, False])
