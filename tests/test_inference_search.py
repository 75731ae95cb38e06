"""The search of fits: steps, candidates, valleys, many curves."""

import importlib
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax import inference
from lazyrich_jax.inference import rays, search
from lazyrich_jax.inference.anchored import Anchored
from lazyrich_jax.inference.coordinates import Coordinates
from lazyrich_jax.inference.data import Misfit, checked_data
from lazyrich_jax.inference.lanes import LONGEST
from lazyrich_jax.inference.least_squares import minimise
from lazyrich_jax.inference.members import begin
from lazyrich_jax.inference.screening import after_step, costs_after_step, screened

from .experiments import BOTH_SIGNS, TRUTH, UNKNOWN, build

# `inference.intervals` is the function of this module.
intervals_of = importlib.import_module("lazyrich_jax.inference.intervals")

WIDE = (np.full(3, -30.0), np.full(3, 30.0))  # a range of coordinates


@pytest.fixture(scope="module")
def square():
    """A square network, whose loss is even in lambda."""
    return build((2, 2, 2))


@pytest.fixture(scope="module")
def wide_input():
    """A network whose loss depends on the sign of lambda."""
    return build((3, 2, 2))


def test_a_coordinate_without_slope_does_not_hold_others_up():
    """Gauss and Newton's step of the first one is a million long."""

    def residuals(u, row):
        return jnp.stack([10 * jnp.cosh(u[0]), u[1] - 3 + u[1] ** 3])

    start, ends = np.array([[1e-6, 0.0]]), (np.full(2, -20.0), np.full(2, 20.0))
    found = minimise(residuals, begin(start), ends, 0.0)
    np.testing.assert_allclose(found.u, [[0.0, 1.2134]], atol=0.05)


def test_a_member_does_not_depend_on_the_other_lanes():
    """Members of many numbers of steps, more than there are lanes."""

    def residuals(u, row):
        return jnp.stack([jnp.sinh(u[0]) - row.astype(u.dtype), u[0] * u[1] - 1.0])

    def found(starts, rows, steps):
        return minimise(residuals, begin(starts, rows), ends, 0.0, steps=steps, lanes=4)

    ends = (np.full(2, -20.0), np.full(2, 20.0))
    starts = np.random.default_rng(1).uniform(-4, 4, (23, 2))
    rows = 1 + np.arange(23) % 5
    few, all_steps = found(starts, rows, 3), found(starts, rows, 100)
    assert np.all((few.steps == 3) | few.done) and 5 < all_steps.steps.min()
    assert all_steps.steps.max() > 2 * all_steps.steps.min()
    good = all_steps.cost < 1e-16  # there are other minima
    assert good.sum() > 18
    np.testing.assert_allclose(all_steps.u[good, 0], np.arcsinh(rows[good]), rtol=1e-9)
    for i in range(0, 23, 4):
        for together, steps in ((few, 3), (all_steps, 100)):
            alone = found(starts[i : i + 1], rows[i : i + 1], steps)
            for x, y in zip(together, alone, strict=True):
                np.testing.assert_allclose(x[i], y[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("jump", [0.0, 1e3, np.inf])
def test_an_end_is_found_beside_a_kink_or_a_jump(monkeypatch, jump):
    """The profile's root is no longer linear beyond 1.3, where it has risen by 1.69."""

    def solved(a, rays, offsets, starts):
        rises = [x**2 + (jump * (x - 1.3) if x > 1.3 else 0.0) for x in offsets]
        points = [np.array([x]) for x in offsets]
        return list(zip(rays, map(rays_point, offsets, points, rises), strict=True))

    rays_point = rays.Point
    monkeypatch.setattr(rays, "_solved", solved)
    made = build((2, 2, 2))
    coordinates = Coordinates(made, ("rate",))
    misfit = Misfit(made, coordinates, checked_data(made, made.predict()))
    one, bounds = np.ones((1, 1)), coordinates.bounds
    fit: Any = SimpleNamespace(labels=("rate",))
    a = Anchored(fit, misfit, 0 * one, one, one[0], 0.0, np.zeros(1), bounds)
    ray = rays.Ray(0, 0, 1)
    ends, _ = rays.followed(a, [ray], 1.92)
    right = {0.0: 1.92**0.5, 1e3: 1.30023, np.inf: 1.3}[jump]
    np.testing.assert_allclose(ends[ray], right, rtol=2e-4)


def test_a_gap_far_narrower_than_a_segment_is_none():
    one: Any = None
    a = Anchored(one, one, one, one, np.array([1e-3]), 0.0, one, one)
    inf = np.inf
    for segments, merged in (
        ([(3.0, inf), (1.0, 1.5), (1.505, 1.505)], [(1.0, 1.505), (3.0, inf)]),
        ([(-inf, -0.1), (-0.09, 0.0)], [(-inf, 0.0)]),
        # The same gap beside narrow segments, and one of less than a tenth of the sd.
        ([(1.5, 1.504), (1.505, 1.506)], [(1.5, 1.504), (1.505, 1.506)]),
        ([(1.5, 1.504), (1.50405, 1.506)], [(1.5, 1.506)]),
        ([(1.0, 4.0), (2.0, 3.0)], [(1.0, 4.0)]),
    ):
        assert intervals_of._merged(a, segments, 0) == merged


@pytest.mark.slow
def test_many_curves(wide_input):
    lmdas = jnp.array([-1.0, 0.1, 0.8])
    curves = jnp.stack([wide_input.predict(**(TRUTH | {"lmda": x})) for x in lmdas])
    table = inference.fit_curves(wide_input, curves, UNKNOWN, starts=16)
    assert table.success.all() and (table.deviance < 1e-6).all()
    np.testing.assert_allclose(table.lmda, lmdas, rtol=1e-5)
    assert table.covariance.dims == ("curve", "coordinate", "other")
    one = inference.fit(wide_input, curves[1], UNKNOWN)
    np.testing.assert_allclose(
        table.covariance[1], one.covariance, rtol=1e-4, atol=1e-12
    )


def learned(sizes, noise=None):
    """An experiment in which most of the loss is learned: its costs have valleys."""
    noise = noise or inference.Relative(0.01)
    keys = jax.random.split(jax.random.key(0))
    sigma = jax.random.normal(keys[0], (sizes[2], sizes[0]))
    task = lr.Task.from_correlation(sigma)
    start = lr.LambdaBalanced()(*sizes, key=keys[1]).function
    times = jnp.linspace(0, 8, 100)
    return inference.Experiment(
        task, times, hidden_size=sizes[1], start=start, scale=0.3, noise=noise
    )


@pytest.mark.slow
@pytest.mark.filterwarnings(BOTH_SIGNS)
@pytest.mark.parametrize("sizes", [(3, 2, 2), (2, 2, 2)])
def test_curves_without_noise_give_the_truth(sizes):
    made, rng = learned(sizes), np.random.default_rng(3)
    scale, rate = np.exp(rng.uniform(-2, 0, 100)), np.exp(rng.uniform(-0.7, 0.7, 100))
    lmda = np.sinh(rng.uniform(-4, 4, 100)) * scale**2
    lmda = np.abs(lmda) if sizes == (2, 2, 2) else lmda  # of the two signs
    truth = {"lmda": lmda, "scale": scale, "rate": rate}
    draw = jax.jit(jax.vmap(lambda v: made.predict(**v)))
    curves = draw({name: jnp.asarray(x) for name, x in truth.items()})
    table = inference.fit_curves(made, curves, UNKNOWN)
    off = [np.abs(table[name] / x - 1) for name, x in truth.items()]
    assert np.sum(np.max(off, axis=0) < 1e-6) >= 99
    assert np.sum(table.success) >= 99


def test_candidates_are_compared_by_their_costs_after_a_step():
    """Of a linear theory the step ends at the optimum, or at the longest step."""
    rng = np.random.default_rng(0)
    slopes, goal = rng.normal(size=(20, 3)), np.array([0.5, -1.0, 0.2])
    u = np.array([goal + 0.3, goal + 4 * LONGEST * np.eye(3)[0]])
    r = (u - goal) @ slopes.T
    hessian = np.stack([slopes.T @ slopes] * 2)
    after = costs_after_step(np.sum(r**2, 1)[None] / 2, (r @ slopes)[None], hessian)
    expected = [0.0, (3 / 4) ** 2 * np.sum(r[1] ** 2) / 2]
    np.testing.assert_allclose(after[0], expected, rtol=1e-8, atol=1e-8)


def curves_to_screen(noise, observe):
    """Three curves; data of the second one are missing."""
    made = build((2, 2, 2), observe=observe, noise=noise)
    drawn = [made.simulate(key=jax.random.key(i), **TRUTH) for i in range(3)]
    if made.single:
        drawn = [{made.observe[0]: x} for x in drawn]
    data = {name: np.ma.array([x[name] for x in drawn]) for name in made.observe}
    data["loss"][1, :5] = np.ma.masked
    coordinates = Coordinates(made, UNKNOWN)
    return Misfit(made, coordinates, checked_data(made, data, curves=True))


def test_curves_share_the_predictions_of_candidates():
    """A cost is half the sum of a curve's squared residuals, with missing data too."""
    noise = (inference.Relative(0.01), inference.Counts(each=40))
    misfit = curves_to_screen(noise, ("loss", "choices"))
    truth = misfit.coordinates.encode(TRUTH)
    points = np.array([truth, truth + 1.0])
    members = screened(misfit, np.arange(3), points, 2)
    np.testing.assert_array_equal(members.u, np.tile(points, (3, 1)))
    seen = after_step(members).reshape(3, 2)
    residuals = [misfit(jnp.asarray(truth), jnp.asarray(i)) for i in range(3)]
    cost = [float(jnp.sum(x**2) / 2) for x in residuals]
    assert np.all(seen[:, 0] <= np.array(cost) * 1.1)
    assert np.all(seen[:, 0] >= np.array(cost) - 10)  # three numbers fit the noise
    assert np.all(seen[:, 1] > 2 * seen[:, 0])


def test_candidates_know_their_costs_and_derivatives():
    misfit = curves_to_screen(inference.Relative(0.01), "loss")
    truth = misfit.coordinates.encode(TRUTH)
    points = truth + np.array([[1.0], [0.0], [3.0]])
    members = screened(misfit, np.array([1, 2]), points, 2)
    assert members.row.tolist() == [1, 1, 2, 2]
    np.testing.assert_array_equal(members.u[0], truth)
    found = minimise(misfit, begin(members.u, members.row), WIDE, 0.0, steps=1)
    np.testing.assert_allclose(members.cost, found.cost, rtol=1e-10)
    size = np.max(np.abs(found.gradient))
    np.testing.assert_allclose(members.gradient, found.gradient, atol=1e-6 * size)
    np.testing.assert_allclose(members.hessian, found.hessian, rtol=1e-5)
    np.testing.assert_allclose(members.size, found.size, rtol=1e-5)


def test_members_that_follow_a_better_one_stop():
    """Each follows the best one nearby that goes on itself, within its own curve."""
    u = np.array([[0.0], [0.08], [0.16], [0.24], [0.08], [5.0], [5.05], [5.02]])
    members = begin(u)._replace(
        cost=np.array([1.0, 2.0, 3.0, np.inf, 2.0, 1.0, 4.0, 3.0]),
        hessian=np.ones((8, 1, 1)),
        done=np.array([False] * 6 + [True, False]),
    )
    leads = search._stop_followers(members, 2)
    # The third is near the second alone, which stops; the seventh is done.
    np.testing.assert_array_equal(leads, [0, 0, 2, 2, 4, 5, 6, 5])
    stopped = [False, True, False, True, False, False, False, True]
    np.testing.assert_array_equal(members.done & np.isinf(members.cost), stopped)
    np.testing.assert_array_equal(members.cost[[0, 2, 4, 5, 6]], [1, 3, 2, 1, 4])


HARD = [  # their first candidates lead to an optimum whose deviance is above 10,000
    (3.99877076, 0.74196005, 1.40443912),
    (4.90426548, 0.93319175, 1.11129554),
    (8.563256, 0.58635651, 0.59136848),
    (7.12479152, 0.69328843, 0.62205979),
]


@pytest.mark.slow
def test_an_interval_beside_a_scale_of_zero_has_all_segments(monkeypatch):
    """The loss has no slope by the best scale; the truth needs a scale of 0.3."""
    made = learned((2, 2, 3), inference.Additive())
    clean = np.asarray(made.predict(lmda=0.5, scale=0.3, rate=1.0))
    noise = np.random.default_rng(1).normal(size=(56, clean.size))[-1]
    fit = inference.fit(made, clean + 0.01 * clean[0] * noise, UNKNOWN)
    assert fit.values["scale"] < 1e-3
    assert any(low <= 0.5 <= high for low, high in fit.intervals()["lmda"])
    # One round does not reach all: the points met beyond are in the interval.
    monkeypatch.setattr(intervals_of, "ISLANDS", 1)
    ((low, high),) = inference.intervals(fit)["scale"]
    assert low == 0 and 0.3 < high < 0.35


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A point on the way fits better")
def test_an_interval_of_a_poor_curve_has_the_lazy_branch():
    """The best fit is far from it, and there are more than four segments."""
    made = learned((2, 2, 3))
    task = lr.Task.random_regression(
        2, 3, 40, key=jax.random.split(jax.random.key(0))[0]
    )
    made = eqx.tree_at(lambda m: m.task, made, task)
    truth = {"lmda": 30.0, "scale": 0.3, "rate": 1.0}
    clean = np.asarray(made.predict(**truth))
    noise = np.random.default_rng(1).normal(size=(14, clean.size))[-1]
    fit = inference.fit(made, clean * np.exp(0.01 * noise), UNKNOWN)
    assert fit.values["lmda"] < 1 and fit.values["rate"] > 10
    intervals = fit.intervals()
    for name, segments in intervals.items():
        assert any(low <= truth[name] <= high for low, high in segments)
    # Between them, and below, no network fits (a search with 64 starts at each lmda).
    (low, high), (lazy, end) = intervals["lmda"]
    assert 0 < low < high < 0.2 and 1 < lazy < 2 and end == np.inf


@pytest.mark.slow
def test_curves_that_noise_does_not_explain_begin_again(monkeypatch):
    made = learned((3, 2, 2))
    truths = [dict(zip(UNKNOWN, x, strict=True)) for x in HARD]
    curves = jnp.stack([made.predict(**truth) for truth in truths])
    curves *= jnp.exp(0.01 * jax.random.normal(jax.random.key(0), curves.shape))
    table = inference.fit_curves(made, curves, UNKNOWN)
    assert np.all(table.deviance < 170)
    monkeypatch.setattr(search, "TRIALS", 1)
    table = inference.fit_curves(made, curves, UNKNOWN)
    assert np.any(table.deviance > 1000)


@pytest.mark.slow
@pytest.mark.filterwarnings(BOTH_SIGNS)
def test_a_wrong_theory_does_not_begin_again(square, monkeypatch):
    """Where the noise explains none of the curves, the theory is wrong."""
    calls, rows = [], search._of_curves
    monkeypatch.setattr(
        search, "_of_curves", lambda *args: calls.append(args[1]) or rows(*args)
    )
    curves = np.exp(np.random.default_rng(0).normal(size=(search.FEW + 1, 40)))
    table = inference.fit_curves(square, curves, UNKNOWN, starts=1)
    assert len(calls) == 1 and np.all(table.deviance > 1000)


@pytest.mark.slow
def test_a_valley_may_have_several_optima():
    """The second one is found where no start has gone to it."""
    made = learned((2, 2, 3))
    truths = [(0.921, 0.716, 1.101), (0.723, 0.517, 0.672), (-2.727, 0.438, 1.892)]
    truths += [(0.0813, 0.8473, 1.1983), (0.7742, 0.5352, 0.8601)]
    truths = [dict(zip(UNKNOWN, x, strict=True)) for x in truths]
    curves = jnp.stack([made.predict(**truth) for truth in truths])
    table = inference.fit_curves(made, curves, UNKNOWN)
    for name in UNKNOWN:
        expected = [truth[name] for truth in truths]
        np.testing.assert_allclose(table[name], expected, rtol=1e-6)
    assert np.any(table.reached == 0)
