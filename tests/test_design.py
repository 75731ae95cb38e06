"""Goals against simulations and closed forms, and searches against sweeps."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

import lazyrich_jax as lr
from lazyrich_jax.inference import (
    Choice,
    Forgetting,
    Information,
    KernelDistance,
    LearningTime,
    LossAt,
    ReversalTime,
    SequenceLoss,
    design,
    orders,
    sensitivity,
)
from lazyrich_jax.inference.starts import BalancedStart, squared_scale
from lazyrich_jax.inference.variables import Range, Variables

S = np.array([2.0, 1.0])
U, V = (np.asarray(jax.random.orthogonal(jax.random.key(i), 2)) for i in (0, 1))
TASK = lr.Task.from_correlation((U * S) @ V.T)
A = np.array([0.05, 0.1])
ALIGNED = lr.balanced_network((U * A) @ V.T, 0.0)


def flow(weights, sigma, t):
    """The weights of a two-layer network after a time, for white inputs."""
    shapes = [w.shape for w in weights]
    cut = weights[0].size

    def rate(_, q):
        w1, w2 = q[:cut].reshape(shapes[0]), q[cut:].reshape(shapes[1])
        error = sigma - w2 @ w1
        return np.concatenate([(w2.T @ error).ravel(), (error @ w1.T).ravel()])

    start = np.concatenate([np.ravel(w) for w in weights])
    end = solve_ivp(rate, (0, t), start, method="DOP853", rtol=1e-11, atol=1e-13)
    q = end.y[:, -1]
    return q[:cut].reshape(shapes[0]), q[cut:].reshape(shapes[1])


def weights_of(network):
    return [np.asarray(w) for w in network.weights]


def modes(t, s, a0, lmda):
    return np.asarray(lr.theory.aligned_modes(t, s, a0, lmda))


@pytest.mark.slow
def test_the_loss_at_a_deadline_is_least_at_the_largest_stable_balance():
    goal, rate = LossAt(TASK, 0.05), 0.05
    found = design(
        goal, ALIGNED, free={"lmda": (0.0, 1e3)}, learning_rate=rate, verify=50
    )
    stable = lr.theory.largest_stable_step(S, found.values["lmda"])
    np.testing.assert_allclose(stable, rate, rtol=2e-6)
    assert found.active == {"lmda": "the stable step"} and found.slope == 0
    # Closed form of aligned modes: the loss falls with the balance.
    lmdas = np.linspace(0.0, float(found.values["lmda"]), 30)

    def loss(lmda):
        return 0.5 * np.sum((S - modes(0.05, S, A, lmda)) ** 2)

    losses = [loss(lmda) for lmda in lmdas]
    assert np.all(np.diff(losses) < 0)
    np.testing.assert_allclose(found.goal, losses[-1], rtol=1e-10)
    assert found.swept is not None
    np.testing.assert_allclose(found.swept, found.goal, rtol=1e-12)
    assert found.reached == found.searches and not found.improved
    slope = (loss(lmdas[-1] + 1e-3) - loss(lmdas[-1] - 1e-3)) / 2e-3
    np.testing.assert_allclose(found.gradient["lmda"], slope, rtol=1e-6)
    text = str(found)
    assert "at a bound: the stable step" in text and "16 of 16" in text
    # Without the constraint, the range is the bound.
    found = design(goal, ALIGNED, free={"lmda": (0.0, 1e3)}, searches=2)
    assert found.active == {"lmda": "its range"}
    assert found.values["lmda"] == 1e3


@pytest.mark.slow
def test_a_target_distance_of_the_kernel_is_reached_or_the_miss_is_said():
    def free(low):
        return {"lmda": (low, 5.0)}

    found = design(KernelDistance(TASK, 0.1), ALIGNED, free=free(0.0), searches=4)
    assert found.goal < 1e-20 and not found.active
    assert found.slope < 1e-8
    start, end = (lr.LinearNetwork(x) for x in ends_of(found.start))
    x = jnp.eye(2)
    kernels = lr.kernels.ntk(start, x), lr.kernels.ntk(end, x)
    distance = lr.measures.kernel_distance(*kernels)
    np.testing.assert_allclose(distance, 0.1, atol=1e-7)
    # From this range no start is as rich as the target.
    found = design(
        KernelDistance(TASK, 0.9), ALIGNED, free=free(0.5), searches=4, verify=20
    )
    assert found.active == {"lmda": "its range"} and found.values["lmda"] == 0.5
    assert found.goal > 0.01 and found.goal == found.swept


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


def ends_of(network):
    """The weights of a network before and after it learned the task."""
    before = weights_of(network)
    return before, flow(before, (U * S) @ V.T, 40.0)


@pytest.mark.slow
def test_the_fastest_reversal_has_the_largest_balance():
    goal = ReversalTime(TASK)

    def time(lmda):
        def excess(t):
            return np.sum((S - modes(t, S, -S, lmda)) ** 2) - 0.01 * np.sum(4 * S**2)

        return float(np.asarray(brentq(excess, 0, 200, xtol=1e-13)))

    found = design(goal, ALIGNED, free={"lmda": (-2.0, 2.0)}, searches=3, verify=9)
    assert found.active == {"lmda": "its range"}
    np.testing.assert_allclose(abs(found.values["lmda"]), 2.0)
    np.testing.assert_allclose(found.goal, time(2.0), rtol=1e-8)
    h = 1e-4
    slope = (time(2.0 + h) - time(2.0 - h)) / (2 * h)
    gradient = found.gradient["lmda"] * np.sign(found.values["lmda"])
    np.testing.assert_allclose(gradient, slope, rtol=1e-6)
    # Near the saddle the time is long; at the saddle it is infinite, and left out.
    found = design(
        goal, ALIGNED, free={"lmda": (-1e-3, 0.0)}, searches=3, verify=3, maximise=True
    )
    assert np.isfinite(found.goal) and found.goal > 30


@pytest.mark.slow
def test_the_best_order_of_tasks():
    keys = jax.random.split(jax.random.key(3), 3)
    tasks = [
        lr.Task.random_regression(2, 2, samples=6 + i, key=key)
        for i, key in enumerate(keys)
    ]
    times = [0.5, 1.0, 1.5]
    forgetting, loss = Forgetting(tasks, times), SequenceLoss(tasks, times)

    def goal(network, order):
        return forgetting(network, order=order) + 3 * loss(network, order=order)

    free = {"lmda": (0.1, 2.0), "order": orders(3)}
    found = design(goal, ALIGNED, free=free, searches=2)
    before, values = weights_of(found.start), {}
    for order in itertools.permutations(range(3)):
        weights, ends = before, []
        for i in order:
            sigma = np.asarray(tasks[i].input_output_correlation)
            weights = flow(weights, sigma, times[i])
            ends.append(jnp.asarray(weights[1] @ weights[0]))
        grown = [
            tasks[i].loss(ends[-1]) - tasks[i].loss(ends[k])
            for k, i in enumerate(order[:-1])
        ]
        losses = [task.loss(ends[-1]) for task in tasks]
        values[order] = np.mean(grown) + 3 * np.mean(losses)
    best = tuple(found.values["order"].tolist())
    assert best == min(values, key=values.__getitem__)
    np.testing.assert_allclose(found.goal, values[best], rtol=1e-7)
    assert found.searches == 12


def test_the_most_informative_times_are_those_of_an_exhaustive_choice():
    def observable(p, t):
        return p[0] * jnp.exp(-p[1] * t)

    goal = Information(observable, [1.0, 2.0], noise=0.1)
    found = design(goal, free={"times": (0.0, 5 * jnp.ones(2))}, verify=400)
    # det F is (t1 - t2)^2 e^{-2p(t1 + t2)}: one time is zero, the other 1 / p.
    np.testing.assert_allclose(np.sort(found.values["times"]), [0, 0.5], atol=1e-7)
    np.testing.assert_allclose(found.goal, np.log(0.25 * np.exp(-2) * 1e4), rtol=1e-10)
    assert found.maximised and not found.improved and "largest" in str(found)
    grid = np.linspace(0, 5, 101)
    j = np.stack([np.exp(-2 * grid), -grid * np.exp(-2 * grid)], axis=1) / 0.1
    pairs = itertools.combinations(range(101), 2)
    best = max(np.linalg.slogdet(j[list(p)].T @ j[list(p)])[1] for p in pairs)
    np.testing.assert_allclose(found.goal, best, rtol=1e-10)
    # Two parameters that appear in a product are never known apart.
    same = Information(lambda p, t: p[0] * p[1] * t, [1.0, 2.0])
    assert same(times=jnp.arange(1.0, 4.0)) == -jnp.inf
    with_prior = Information(lambda p, t: p[0] * p[1] * t, [1.0, 2.0], prior=1.0)
    np.testing.assert_allclose(with_prior(times=jnp.ones(1)), np.log(6.0))


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


@pytest.mark.slow
def test_sensitivity_is_that_of_the_flow():
    # One hidden unit is balanced whatever its weights.
    task = lr.Task.from_correlation(jnp.array([[1.5, 0.3]]))
    network = lr.LambdaBalanced(0.7)(2, 1, 1, key=jax.random.key(5))
    ts = jnp.array([0.0, 0.8, jnp.inf])
    found = sensitivity(network, task, ts, flow_derivatives=False)
    sigma, weights = np.array([[1.5, 0.3]]), weights_of(network)

    def loss(w1, w2):
        w1, w2 = flow((np.asarray(w1), np.asarray(w2)), sigma, 0.8)
        return 0.5 * np.sum((sigma - w2 @ w1) ** 2)

    h = 1e-5
    for i, slopes in enumerate((found.w1, found.w2)):
        for at in np.ndindex(weights[i].shape):
            step = np.zeros_like(weights[i])
            step[at] = h
            up, down = (
                loss(*(w + sign * step if w is weights[i] else w for w in weights))
                for sign in (1, -1)
            )
            np.testing.assert_allclose(slopes[1][at], (up - down) / (2 * h), atol=2e-8)

    def balanced(lmda, scale, more):
        factor = np.exp(2 * scale) + more / np.linalg.norm(weights[1] @ weights[0])
        start = lr.balanced_network(factor * weights[1] @ weights[0], lmda)
        return loss(*start.weights)

    at = np.array([0.7, 0.0, 0.0])
    for name, step in zip(("lmda", "scale", "strengths"), h * np.eye(3), strict=True):
        slope = (balanced(*(at + step)) - balanced(*(at - step))) / (2 * h)
        np.testing.assert_allclose(np.ravel(getattr(found, name)[1]), slope, atol=2e-8)
    np.testing.assert_allclose(found.curve[1], loss(*weights), rtol=1e-9)
    np.testing.assert_allclose(found.lmda[0], 0.0, atol=1e-12)
    np.testing.assert_allclose(found.w1[2], 0.0, atol=1e-12)


GOAL = LossAt(TASK, 1.0)
RANGE = {"lmda": (-5.0, 5.0)}
WIDER = lr.LambdaBalanced(-1.0)(2, 2, 1, key=jax.random.key(0))
ANISOTROPIC = lr.Task(jnp.array([[1.0, 0.0], [0.0, 3.0]]), jnp.ones((2, 2)))


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: KernelDistance(TASK, 1.0), "`target` must be at least 0 and below 1"),
        (lambda: KernelDistance(TASK, np.nan), "`target` must be at least 0"),
        (lambda: LossAt(TASK, 0.0), "`duration` must be positive and finite"),
        (lambda: LossAt(TASK, np.inf), "`duration` must be positive and finite"),
        (lambda: LearningTime(TASK, tolerance=1.0), "`tolerance` must be more than 0"),
        (lambda: LossAt(ANISOTROPIC, 1.0), "`task` must have isotropic inputs"),
        (lambda: Forgetting([TASK, ANISOTROPIC], 1.0), r"`tasks\[1\]` must have iso"),
        (lambda: Forgetting([TASK], 1.0), "`tasks` must hold at least two"),
        (lambda: Forgetting([TASK] * 2, [1.0]), "`durations` must be one number or"),
        (lambda: design(GOAL, ALIGNED, free={}), "`free` must name a variable"),
        (lambda: design(GOAL, ALIGNED, free={"lmda": 1.0}), "must be a pair"),
        (lambda: design(GOAL, ALIGNED, free={"lmda": (5.0, -5.0)}), "below its high"),
        (lambda: design(GOAL, ALIGNED, free={"lmda": (1.0, np.inf)}), "finite bounds"),
        (lambda: design(GOAL, ALIGNED, free={"lmda": (np.nan, 1.0)}), "finite bounds"),
        (lambda: design(GOAL, ALIGNED, free={"lamda": (0.0, 1.0)}), "had 'lamda'"),
        (lambda: design(GOAL, free={"duration": (1.0, 2.0)}), "'network' was missing"),
        (
            lambda: design(GOAL, ALIGNED, free={"strengths": (0.1, jnp.ones(3))}),
            "one range or one for each of 2 modes",
        ),
        (
            lambda: design(GOAL, ALIGNED, free={"scale": (0.0, 1.0)}),
            r"`free\['scale'\]` must be positive",
        ),
        (
            lambda: design(GOAL, ALIGNED, free={"duration": (0.0, 1.0)}),
            r"`free\['duration'\]` must be positive",
        ),
        (
            lambda: design(GOAL, WIDER, free=RANGE),
            r"`free\['lmda'\]` must not be positive for sizes 2-2-1",
        ),
        (
            lambda: design(GOAL, WIDER, free={"lmda": Choice([-1.0, 1.0])}),
            r"`free\['lmda'\]` must not be positive for sizes 2-2-1",
        ),
        (
            lambda: design(GOAL, ALIGNED, free={"lmda": (3.0, 5.0)}, norm=2.0),
            "`norm` must allow a balance",
        ),
        (
            lambda: design(GOAL, ALIGNED, free={"scale": (0.1, 1.0)}, norm=2.0),
            "must not have 'scale' where `norm`",
        ),
        (lambda: design(GOAL, lambda lmda: None, free=RANGE, norm=1.0), "`start` must"),
        (
            lambda: design(GOAL, ALIGNED, free=RANGE, learning_rate=0.5),
            "`learning_rate` must be below 0.5",
        ),
        (
            lambda: design(GOAL, ALIGNED, free={"lmda": (1e3, 1e4)}, learning_rate=0.1),
            "`learning_rate` must allow a balance",
        ),
        (lambda: design(GOAL, ALIGNED, free=RANGE, searches=0), "`searches` must be"),
        (lambda: design(GOAL, ALIGNED, free=RANGE, verify=1), "`verify` must be an"),
        (lambda: design(lambda x: x * np.nan, free={"x": (0.0, 1.0)}), "it was nan"),
        (lambda: design(lambda x: [x, x], free={"x": (0.0, 1.0)}), "give a scalar"),
        (lambda: orders(9), "362880; `most` allows more"),
        (lambda: Choice([]), "`options` must hold at least one"),
        (
            lambda: design(
                Forgetting([TASK] * 2, 1.0), ALIGNED, free={"order": Choice([[0, 0]])}
            ),
            r"`free\['order'\]` must be a permutation of 0 to 1",
        ),
        (
            lambda: design(
                Information(lambda p, t: p[0] * p[1] * t, [1.0, 2.0]),
                free={"times": (0.0, jnp.ones(1))},
            ),
            "`times` must give as many observations",
        ),
        (lambda: Information(lambda p, t: p, 1.0, noise=0.0), "`noise` must be"),
        (lambda: sensitivity(ALIGNED, TASK, [1.0], observe="los"), "`observe` must be"),
        (lambda: sensitivity(ALIGNED, TASK, 1.0), "`ts` must be a vector"),
        (lambda: sensitivity(ALIGNED, ANISOTROPIC, [1.0]), "isotropic"),
    ],
)
def test_what_is_refused_is_named(untyped, call, match):
    with pytest.raises(ValueError, match=match):
        call()
