"""Derivatives of the solution, against differences in high-precision arithmetic."""

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax._linalg import decay_difference, mixed_difference
from lazyrich_jax._riccati.differentiable import excess, product
from lazyrich_jax._riccati.frame import Frame, Problem
from lazyrich_jax._riccati.reference.second import tracked

from . import cases, oracle

TS = np.array([0.0, 1e-4, 0.05, 0.5, 2.0, 6.0])


def quantities(w1, w2, sigma, ts):
    network = lr.LinearNetwork((w1, w2))
    solution = lr.ExactSolution(network, lr.Task.from_correlation(sigma), throw=False)
    return solution.qqt(ts), solution.loss(ts)


@jax.jit
def derivatives(point, change, cotangent):
    """The jvp of `quantities` and a vjp of QQ^T, compiled once for a size."""
    _, push = jax.linearize(quantities, *point)
    back = jax.linear_transpose(lambda *change: push(*change)[0], *point)
    return push(*change), back(cotangent)


def check(network, task, ts=TS, tolerance=1e-8):
    """Compare both modes, with respect to weights, correlation and time."""
    sigma = np.asarray(task.input_output_correlation)
    w1, w2 = (np.asarray(w) for w in network.weights)
    point = w1, w2, sigma, ts
    rng = np.random.default_rng(0)
    cotangent = rng.normal(size=(len(ts), *2 * (sum(sigma.shape),)))
    for k in range(4):
        change = [np.zeros_like(x) for x in point]
        change[k] = rng.normal(size=point[k].shape) if k < 3 else np.ones_like(ts)
        (found, found_loss), pulled = jax.device_get(
            derivatives(point, tuple(change), cotangent)
        )
        expected, expected_loss = oracle.slopes(*point, change)
        norm = np.linalg.norm(expected, axis=(1, 2))
        error = np.linalg.norm(found - expected, axis=(1, 2))
        # A slope far below the rounding of P (t = 0) has an absolute bound.
        floor = 1e-14 * np.abs(found).max()
        assert np.all(error <= tolerance * norm + floor), (k, error / norm)
        # Rounding of the slope of P enters the loss's slope times the error.
        rounding = np.finfo(float).eps * np.abs(found).max() * np.linalg.norm(sigma)
        floor = max(1e-14 * np.abs(expected_loss).max(), rounding, 1e-28)
        error = np.abs(found_loss - expected_loss)
        assert np.all(error <= tolerance * np.abs(expected_loss) + floor), k
        pushed = np.sum(cotangent * found)
        size = np.sum(np.abs(cotangent * found))
        assert abs(np.sum(pulled[k] * change[k]) - pushed) <= 1e-11 * size


@pytest.mark.parametrize("lmda", [0.0, -1e-8, 1.0, -50.0, 1e3])
@pytest.mark.parametrize("scale", [1e-5, 1.0])
def test_square(lmda, scale):
    target = cases.sigma(3, 3)
    network = cases.network((3, 3, 3), lmda, scale, target)
    ts = TS[:5] / (1 + abs(lmda) / 50)  # before convergence
    check(network, lr.Task.from_correlation(target), ts)


@pytest.mark.parametrize(
    "name", ["identity", "gap 1e-4", "gap 1e-8", "gap 1e-12", "rank one", "zero task"]
)
@pytest.mark.parametrize("lmda", [0.0, 1.0])
def test_degenerate_tasks(name, lmda):
    found = {n: (network, task) for n, network, task in SPECIAL}
    check(*found[f"{name} {lmda:g}"], TS[:5])


SPECIAL = list(cases.special())


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes, lmda",
    [
        ((4, 2, 5), 0.0),
        ((4, 2, 5), -1.0),
        ((2, 3, 4), 1.0),
        ((2, 3, 4), 0.0),
        ((2, 6, 3), 0.0),
        ((5, 1, 1), -3.0),
    ],
    ids=str,
)
def test_other_sizes(sizes, lmda):
    target = cases.sigma(sizes[2], sizes[0])
    check(cases.balanced(sizes, lmda, 0.4), lr.Task.from_correlation(target))


def test_saddles_and_zero_weights():
    target = cases.sigma(3, 3)
    u, s, vt = np.linalg.svd(target)
    learned = lr.LinearNetwork((np.sqrt(s)[:, None] * vt, u * np.sqrt(s)))
    # At later times leaving the saddle amplifies the rounding of the weights.
    early = np.append(TS[:4], 0.3)
    check(learned, lr.Task.from_correlation(-target), early)
    zero = jax.tree.map(jnp.zeros_like, learned)
    check(zero, lr.Task.from_correlation(target), early)


def test_large_times_and_infinity():
    target = cases.sigma(3, 3)
    for sigma in (target, np.eye(3)):
        network = cases.network((3, 3, 3), 1.0, 0.4, target)
        check(
            network,
            lr.Task.from_correlation(sigma),
            np.array([8.0, 30.0, 300.0, 1e3, 1e4]),
        )
    # At infinity P = 2 F on its growing modes for every start.
    point = (*network.weights, np.eye(3), np.full(5, np.inf))
    still, nothing = np.zeros((3, 3)), np.zeros((5, 6, 6))
    change = (np.ones((3, 3)), still, still, np.ones(5))
    slope = derivatives(point, change, nothing)[0][0]
    trace = 2 * jnp.sum(network.weights[0])  # lambda falls by 2/3 of it
    root = 5**0.5
    lmda = -trace / 3
    expected = jnp.eye(3) * (lmda / root + lmda) / 2
    np.testing.assert_allclose(slope[0, 3:, 3:], expected, atol=1e-14)
    slope = derivatives(point, (still, still, target, np.zeros(5)), nothing)[0][0]
    np.testing.assert_allclose(slope[0, 3:, :3], target, atol=1e-13)


def draw(lmda, scale, x, y):
    initialiser = lr.LambdaBalanced(lmda, scale)
    return initialiser(4, 2, 4, key=jax.random.key(2)), lr.Task(x, y)


@jax.jit
def function_slope(point, change):
    def function(*point):
        return lr.ExactSolution(*draw(*point)).function(3.0)

    return jax.jvp(function, point, change)[1]


@jax.jit
def weights_and_correlation(point):
    network, task = draw(*point)
    return network.weights, task.input_output_correlation


def exact_function(*point):
    (w1, w2), sigma = jax.device_get(weights_and_correlation(point))
    lmda = np.trace(w2.T @ w2 - w1 @ w1.T) / 2
    variance = float(jnp.sum(point[2] ** 2)) / 16
    return oracle.qqt(w1, w2, sigma, lmda, 3.0, variance)[4:, :4]


@pytest.mark.slow
@pytest.mark.parametrize("lmda", [0.0, -10.0])
def test_with_respect_to_balance_scale_and_data(lmda):
    """The hierarchy has inputs of variance 1/4 and repeated singular values."""
    task = lr.Task.hierarchy(2)
    point = jnp.array(lmda), jnp.array(0.4), task.x, task.y
    # The inputs stay isotropic.
    moves = 1.0, 1.0, 0.3 * task.x, jnp.cos(jnp.arange(16.0)).reshape(4, 4)
    for k in range(4):
        change = tuple(
            m * jnp.ones_like(p) if i == k else 0 * p
            for i, (p, m) in enumerate(zip(point, moves, strict=True))
        )

        def at(h, change=change):
            moved = (p + h * dp for p, dp in zip(point, change, strict=True))
            return exact_function(*moved)

        # Fourth-order differences of values rounded to double precision.
        h = 1e-3
        expected = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        found = function_slope(point, change)
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.slow
def test_a_trajectory_has_the_same_derivatives():
    target = cases.sigma(3, 3)
    weights = cases.network((3, 3, 3), 1.0, 0.4, np.eye(3)).weights

    @jax.jit
    def slopes(sigma):
        def parts(sigma):
            task = lr.Task.from_correlation(sigma)
            network = lr.LinearNetwork(weights)
            trajectory = lr.learn(network, task, TS)
            return trajectory.qqt, trajectory.loss

        return jax.jvp(parts, (sigma,), (target,))[1]

    ours = slopes(jnp.eye(3))
    still = np.zeros((3, 3))
    for part in (slice(0, 5), slice(1, 6)):  # five times are compiled
        point, change = (
            (*weights, np.eye(3), TS[part]),
            (still, still, target, 0 * TS[:5]),
        )
        theirs, _ = derivatives(point, change, np.zeros((5, 6, 6)))
        np.testing.assert_allclose(ours[0][part], theirs[0], atol=1e-13)
        np.testing.assert_allclose(ours[1][part], theirs[1], atol=1e-13)


@pytest.mark.slow
def test_vmap_of_grad_is_grad_of_vmap_and_bad_members_are_alone():
    targets = jnp.stack(
        [jnp.eye(3), cases.sigma(3, 3), jnp.diag(jnp.array([2.0, 1, 0]))]
    )
    w1, w2 = cases.network((3, 3, 3), 1.0, 0.4, np.eye(3)).weights

    def loss(sigma, w2):
        return quantities(w1, w2, sigma, jnp.array(0.7))[1]

    by_member = jax.jit(jax.vmap(jax.grad(loss)))
    each = by_member(targets, jnp.stack([w2, w2, w2]))
    total = jax.jit(jax.grad(lambda s, w: jnp.sum(jax.vmap(loss, (0, None))(s, w))))(
        targets, w2
    )
    np.testing.assert_allclose(each, total, atol=1e-15)
    mixed = by_member(targets, jnp.stack([w2, 2 * w2, w2]))
    np.testing.assert_array_equal(
        np.isnan(mixed).any(axis=(1, 2)), [False, True, False]
    )
    np.testing.assert_allclose(mixed[::2], each[::2], atol=1e-15)


def decomposed(w1, w2, sigma, throw=True):
    """Without the balance check: differences fail it."""
    lmda = jnp.trace(w2.T @ w2 - w1 @ w1.T) / w1.shape[0]
    problem = Problem(w1, w2, sigma, lmda, throw)
    return problem, Frame(problem)


def of_state(problem, frame, t):
    # At a fixed time: off the class, slopes by time are the flow's, not the formula's.
    (p,) = product(problem, frame, jnp.full(1, 0.7), part="qqt")
    (function,) = product(problem, frame, t[None], part="function")
    return jnp.sum(jnp.cos(function - problem.sigma)) + jnp.sum(jnp.sin(p))


def of_loss(problem, frame, t):
    (loss,) = excess(problem, frame, t[None])
    return 4 * loss


def smooth(w1, w2, sigma, t):
    """A function of everything."""
    problem, frame = decomposed(w1, w2, sigma)
    return of_state(problem, frame, t) + of_loss(problem, frame, t)


def fourth_order(f, x, move, h=1e-3):
    """The derivative of `f` at `x` along `move`, by central differences."""
    up, down, more, less = (f(x + c * h * move) for c in (1, -1, 2, -2))
    return (8 * (up - down) - (more - less)) / (12 * h)


@eqx.filter_jit
def change_of_gradient(point, change):
    """The gradient of `smooth` by everything, and its change along `change`."""
    return jax.jvp(jax.grad(smooth, argnums=(0, 1, 2, 3)), point, change)


@pytest.mark.slow
def test_second_derivatives():
    """By weights, correlation and time together; refused at repeated modes."""
    point = (
        *cases.balanced((2, 3, 4), 1.0, 0.4).weights,
        cases.sigma(4, 2),
        np.array(0.7),
    )
    flat, unflatten = jax.flatten_util.ravel_pytree(point)

    def gradient_and_change(flat, move):
        found = change_of_gradient(unflatten(flat), unflatten(move))
        return jax.flatten_util.ravel_pytree(found)[0].reshape(2, 27)

    rng = np.random.default_rng(1)
    moves = np.zeros((4, 27))
    for i, part in enumerate((slice(0, 6), slice(6, 18), slice(18, 26), slice(26, 27))):
        moves[i, part] = rng.normal(size=27)[part]
    found = np.stack([gradient_and_change(flat, move)[1] for move in moves])
    products = found @ moves.T
    np.testing.assert_allclose(products, products.T, atol=1e-11)
    for one, move in zip(found, moves, strict=True):
        expected = fourth_order(
            lambda x, move=move: gradient_and_change(x, move)[0], flat, move
        )
        np.testing.assert_allclose(one, expected, rtol=1e-7, atol=1e-7)
    repeated = *point[:2], jnp.eye(4, 2), point[3]
    with pytest.raises(Exception, match=r"Second derivatives .* must be taken where"):
        jax.block_until_ready(change_of_gradient(repeated, unflatten(moves[2])))


@eqx.filter_jit
def by_weights_and_time(w1, w2, sigma, t, change):
    """The gradient of `smooth` by weights and time, and its change along `change`."""
    gradient = jax.grad(lambda w1, w2, t: smooth(w1, w2, sigma, t), argnums=(0, 1, 2))
    return jax.jvp(gradient, (w1, w2, t), change)


@jax.jit
def by_task(w1, w2, sigma, t):
    """Second derivatives of the parts of `smooth` by the task, along ones."""
    found = []
    for part in (of_state, of_loss):
        gradient = jax.grad(
            lambda m, part=part: part(*decomposed(w1, w2, m, throw=False), t)
        )
        found.append(jax.jvp(gradient, (sigma,), (jnp.ones_like(sigma),))[1])
    return found


@pytest.mark.slow
def test_second_derivatives_at_repeated_modes():
    """They are right by weights (and so the balance) and time, and NaN by the task."""
    w1, w2 = cases.network((3, 3, 3), 1.0, 0.4, np.eye(3)).weights
    t, repeated = jnp.float64(0.7), jnp.eye(3)

    def gradient(flat, change):
        v1, v2, t = unflatten(flat)
        slope, second = by_weights_and_time(v1, v2, repeated, t, unflatten(change))
        return jax.flatten_util.ravel_pytree((slope, second))[0].reshape(2, 19)

    flat, unflatten = jax.flatten_util.ravel_pytree((w1, w2, t))
    moves = np.zeros((3, 19))
    moves[0, :9] = np.cos(np.arange(9))
    moves[1, 9:18] = np.sin(np.arange(9))
    moves[2, 18] = 1
    for move in jnp.asarray(moves):
        found = gradient(flat, move)[1]
        expected = fourth_order(lambda x, m=move: gradient(x, m)[0], flat, move)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)
    w1, w2 = cases.network((2, 2, 2), 1.0, 0.4, np.eye(2)).weights
    for second in by_task(w1, w2, jnp.eye(2), t):
        assert np.all(np.isnan(second))
    for second in by_task(w1, w2, jnp.diag(jnp.array([1.0, 2.0])), t):
        assert np.all(np.isfinite(second))


MODES = np.diag([2.0, 1.0, 0.5])


def near_saddle(lmda):
    """Weights near a saddle of the task `MODES`."""
    w1, w2 = (np.array(w) for w in cases.balanced((3, 3, 3), lmda, 0.5).weights)
    w2[0] *= -np.sign(np.linalg.det(w2 @ w1))
    return w1, w2


def test_near_a_saddle():
    """First derivatives keep their digits; the frame's derivatives are refused."""
    for lmda in (1e-4, 1e-8, 1e-12):
        network = lr.LinearNetwork(near_saddle(lmda))
        check(network, lr.Task.from_correlation(MODES), TS[:5])

    @eqx.filter_jit
    def change_of_frame(weights):
        """Second derivatives take it."""

        def frame(w1, w2):
            return tracked(*decomposed(w1, w2, jnp.asarray(MODES))).lower

        return jax.jvp(frame, weights, weights)[1]

    with pytest.raises(Exception, match="not near a saddle"):
        jax.block_until_ready(change_of_frame(near_saddle(1e-12)))
    w1, w2 = near_saddle(1.0)
    assert np.all(np.isfinite(change_of_frame((w1, w2 * [[-1], [1], [1]]))))


@pytest.mark.slow
def test_second_derivatives_near_a_saddle_are_refused():
    w1, w2 = (jnp.asarray(w) for w in near_saddle(1e-12))
    point = w1, w2, jnp.asarray(MODES), jnp.float64(0.7)
    with pytest.raises(Exception, match="not near a saddle"):
        jax.block_until_ready(by_weights_and_time(*point, (w1, w2, jnp.zeros(()))))


def test_divided_differences():
    """Values and slopes are right far from, near and at coinciding arguments."""
    rates = np.array([0.0, 1e-12, 1e-3, 0.2, 0.2 + 1e-9, 0.25, 0.5, 3.0, 40.0])
    rates = jnp.asarray(rates)

    def f(x):
        return (1 - mp.exp(-2 * x)) / (2 * x) if x else mp.mpf(1)

    def difference(x, y):
        with mp.workdps(150):
            x, y = (
                mp.mpf(float(z)) + mp.mpf("1e-25") * k for k, z in enumerate((x, y))
            )
            return -(f(x) - f(y)) / (x - y)

    gap = jnp.abs(rates[:, None] - rates[None])
    found = decay_difference(rates, gap, jnp.array(1.0))
    expected = [[float(difference(x, y)) for y in rates] for x in rates]
    np.testing.assert_allclose(found, expected, rtol=2e-14)

    def mixed(x, y):
        with mp.workdps(150):
            x, y = mp.mpf(float(x)) + mp.mpf("1e-30"), mp.mpf(float(y))
            return (f(y) * mp.exp(-x) - f(x) * mp.exp(-y)) / (x + y)

    found = mixed_difference(rates[:, None], rates[None], jnp.array(1.0))
    expected = np.array([[float(mixed(x, y)) for y in rates] for x in rates])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-18)
