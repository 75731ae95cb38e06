"""Trajectories: kernels, labelled data sets, and those of an exact solution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases

TS = jnp.array([0.0, 0.5, 2.0])
NETWORK = cases.balanced((3, 2, 2), 1.0, 0.6)
TASK = lr.Task.from_correlation(cases.sigma(2, 3))


@pytest.fixture(scope="module")
def solution():
    return lr.ExactSolution(NETWORK, TASK)


@pytest.fixture(scope="module")
def trajectory():
    return lr.learn(NETWORK, TASK, TS)


def test_a_solution_gives_what_learn_returns(solution, trajectory):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-13),
        solution.trajectory(TS),
        trajectory,
    )


def test_a_solution_gives_times_in_any_order_and_shape(solution, trajectory):
    found = solution.trajectory(TS[::-1, None])
    assert found.loss.shape == (3, 1) and found.function.shape == (3, 1, 2, 3)
    np.testing.assert_allclose(found.loss[::-1, 0], trajectory.loss, atol=1e-13)


@pytest.mark.parametrize("ts", [1.0, np.zeros(0)])
def test_a_trajectory_needs_an_axis_of_times(solution, untyped, ts):
    with pytest.raises(ValueError, match="`ts` must be an array of at least one time"):
        solution.trajectory(ts)


def test_the_former_name_of_the_flows_network_warns(solution, monkeypatch):
    asked = []

    def flow_network(self, *args, **options):
        asked.append((args, options))
        return NETWORK

    monkeypatch.setattr(lr.ExactSolution, "flow_network", flow_network)
    with pytest.warns(DeprecationWarning, match="now called `flow_network`"):
        solution.weights(1.0, rtol=1e-3)
    assert asked == [((1.0,), {"rtol": 1e-3})]


def test_the_kernel_of_a_trajectory(solution, trajectory):
    x = TASK.x[:4]
    found = trajectory.ntk(x)
    np.testing.assert_allclose(found, solution.ntk(TS, x), atol=1e-12)
    batch = jax.tree.map(lambda a: jnp.stack([a, a]), trajectory)
    np.testing.assert_array_equal(batch.ntk(x)[1], found)


def test_a_trajectory_as_a_data_set(trajectory):
    data = trajectory.to_xarray()
    assert data.attrs == {"result": "successful"}
    assert data.time.attrs["units"] == "learning rate x step"
    np.testing.assert_array_equal(data.time, TS)
    sizes = {"time": 3, "out": 2, "in": 3, "in_": 3, "out_": 2, "hidden": 2}
    assert dict(data.sizes) == sizes
    last = data.sel(time=2.0)
    np.testing.assert_array_equal(last.loss, trajectory.loss[-1])
    product = last.w2.dot(last.w1, dim="hidden").transpose("out", "in")
    np.testing.assert_allclose(product, last.function, atol=1e-14)


def test_a_batch_of_trajectories_as_a_data_set(trajectory):
    batch = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), trajectory)
    data = batch.to_xarray()
    assert data.function.dims == ("batch_0", "time", "out", "in")
    np.testing.assert_array_equal(data.ts[1], 2 * TS)


def test_a_deep_trajectory_names_its_layers():
    network = lr.LinearNetwork((jnp.ones((2, 3)), jnp.ones((4, 2)), jnp.ones((2, 4))))
    stacked = jax.tree.map(lambda w: jnp.stack([w] * 3), network)
    data = lr.Trajectory(TS, TS, stacked, lr.RESULTS.successful).to_xarray()
    assert data.w2.dims == ("time", "hidden_2", "hidden_1")


def test_a_traced_trajectory_is_no_data_set(trajectory):
    with pytest.raises(TypeError, match="`trajectory` must be concrete"):
        jax.jit(lambda t: t.to_xarray())(trajectory)
