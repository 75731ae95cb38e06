"""Searches for designs: their variables, bounds and failures, against sweeps."""

import jax
import jax.numpy as jnp
import numpy as np

import lazyrich_jax as lr
from lazyrich_jax.inference import Choice, LossAt, design, orders
from lazyrich_jax.inference.starts import BalancedStart, squared_scale
from lazyrich_jax.inference.variables import Range, Variables

from .two_modes import ALIGNED, TASK, A, S, U, V, modes, weights_of


def test_choices_alone_need_no_derivatives():
    goal = LossAt(TASK, 0.05)
    found = design(goal, ALIGNED, free={"lmda": Choice([0.0, 1.0])}, norm=2.5)
    # By the norm, sqrt(lmda^2 + 4 x^2 a^2) add up to 2.5.
    x, a = float(found.start.function[0, 0] / ALIGNED.function[0, 0]), A
    total = np.sum(np.hypot(found.values["lmda"], 2 * x * a))
    np.testing.assert_allclose(total, 2.5)
    loss = 0.5 * np.sum((S - modes(0.05, S, x * a, found.values["lmda"])) ** 2)
    np.testing.assert_allclose(found.goal, loss)
    assert found.searches == 2 and found.evaluations >= 2 and not found.gradient


def test_a_fixed_norm_is_met_by_the_scale():
    def goal(network):
        return -jnp.sum(network.function**2)

    network = lr.LambdaBalanced(-1.0)(3, 3, 2, key=jax.random.key(0))
    found = design(goal, network, free={"lmda": (-9.0, -0.1)}, norm=6.0, verify=20)
    total = sum(np.sum(w**2) for w in weights_of(found.start))
    np.testing.assert_allclose(total, 6.0, rtol=1e-12)
    # The function is largest at the smallest balance.
    assert found.values["lmda"] == -0.1 and found.active == {"lmda": "its range"}
    largest = design(
        goal, network, free={"lmda": (-9.0, -0.1)}, norm=6.0, maximise=True
    )
    assert largest.active == {"lmda": "the norm"}
    np.testing.assert_allclose(largest.values["lmda"], -2.0, rtol=2e-6)
    np.testing.assert_allclose(found.start.lmda, -0.1)
    a = jnp.array([0.5, 0.2])

    def factor(lmda):
        return squared_scale(jnp.array(6.0), a, lmda, 3)

    x, h = jnp.array(-1.2), 1e-5
    slope = (factor(x + h) - factor(x - h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(factor)(x), slope, rtol=1e-8)
    assert np.isnan(factor(jnp.array(2.5)))


def test_the_start_has_what_is_free_and_else_what_it_had():
    start = BalancedStart(ALIGNED, None)
    assert start() is ALIGNED
    np.testing.assert_allclose(start(lmda=jnp.array(1.5)).function, ALIGNED.function)
    np.testing.assert_allclose(
        start(scale=jnp.array(2.0)).function, 4 * ALIGNED.function, rtol=1e-10
    )
    network = start(strengths=jnp.array([0.3, 0.2]), lmda=jnp.array(-1.0))
    np.testing.assert_allclose(network.function, (U * [0.2, 0.3]) @ V.T, atol=1e-12)
    np.testing.assert_allclose(network.lmda, -1.0)


def test_searches_survive_what_is_not_finite_and_sweeps_find_what_they_miss():
    found = design(
        lambda x: jnp.where(x > 0.5, jnp.nan, 1e-9 * (x - 0.3) ** 2),
        free={"x": (0.0, 1.0)},
        searches=8,
    )
    np.testing.assert_allclose(found.values["x"], 0.3, atol=1e-6)
    assert 0 < found.failed < 8 and "without a finite goal" in str(found)

    def spike(x):
        return -jnp.exp(-(((x - 0.9) / 0.005) ** 2))

    found = design(spike, free={"x": (0.0, 1.0)}, searches=1, verify=300)
    np.testing.assert_allclose(found.values["x"], 0.9, rtol=1e-6)
    assert found.improved and found.reached == 0
    assert found.swept is not None and found.swept > -1
    assert "found a better" in str(found)
    found = design(
        lambda n, k: (n - 3) ** 2 * k,
        lambda n: n,
        free={"n": (0.0, 5.0), "k": Choice([1.0, 2.0])},
        searches=2,
        maximise=True,
    )
    assert found.values == {"n": 0.0, "k": 2.0} and found.start == 0.0
    assert found.goal == 18.0


def test_a_bound_is_met_where_rounding_hides_the_rest():
    found = design(
        lambda x: 1 + (x - 0.5 + 1e-9) ** 2, free={"x": (0.5, 5.0)}, searches=3
    )
    assert found.values["x"] == 0.5 and found.active == {"x": "its range"}
    assert found.slope == 0


def test_ranges_are_covered_logarithmically_and_evenly():
    ranges = {
        "both": Range((), np.array([-3.0]), np.array([5.0])),
        "scale": Range((2,), np.array([1e-6, 2.0]), np.array([1.0, 3.0])),
    }
    variables = Variables(ranges, {"n": Choice([1, 2]), "order": orders(2)})
    assert variables.size == 3 and len(variables.options) == 4
    for u in (np.zeros(3), np.ones(3), np.array([0.3, 0.4, 0.9])):
        _, slope = variables.at(u)
        step = 1e-6 * np.eye(3)
        for i in range(3):
            high, low = (variables.at(u + s * step[i])[0][i] for s in (1, -1))
            if 0 < u[i] < 1:
                np.testing.assert_allclose((high - low) / 2e-6, slope[i], rtol=1e-6)
    assert variables.at(np.zeros(3))[0].tolist() == [-3.0, 1e-6, 2.0]
    assert variables.at(np.ones(3))[0].tolist() == [5.0, 1.0, 3.0]
    assert 1e-4 < variables.at(np.full(3, 0.5))[0][1] < 1e-2
    points = variables.points(64)
    assert np.all((points >= 0) & (points < 1))
    for i in range(3):
        assert np.bincount((8 * points[:, i]).astype(int)).min() >= 5
    grid = variables.grid(27)
    assert grid.shape == (27, 3) and {0.0, 0.5, 1.0} == set(grid.ravel())
    assert variables.split(np.arange(3.0))["scale"].tolist() == [1.0, 2.0]
