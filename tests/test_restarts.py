"""Values at time zero equal the start's, also for learned networks at a saddle."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from benchmarks.accuracy import derivative_errors
from lazyrich_jax._riccati.echelon import eliminate

from . import cases, oracle

pytestmark = pytest.mark.slow

EARLY = np.array([0.0, 1e-3, 0.1, 1.0, 3.0])
TS = np.array([0.1, 0.7, 3.0])
SIZES = ((3, 3, 3), (3, 2, 2), (4, 2, 5), (5, 5, 5), (3, 5, 5), (3, 9, 4))


@jax.jit
@jax.vmap
def learned(w1, w2, sigma, t):
    """The weights at time `t`."""
    task = lr.Task.from_correlation(sigma)
    return lr.ExactSolution(lr.LinearNetwork((w1, w2)), task).network(t).weights


@jax.jit
@jax.vmap
def restarted(w1, w2, sigma):
    """The reproduced Q0, and QQ^T and the loss at early times."""
    task = lr.Task.from_correlation(sigma)
    solution = lr.ExactSolution(lr.LinearNetwork((w1, w2)), task)
    frame = solution.frame
    q0 = frame.factor_from_rows(frame.lower @ frame.basis)
    if solution.wide is not None:
        q0 = q0 @ solution.wide.rotation.T
    return q0, solution.qqt(EARLY), solution.loss(EARLY)


def relearned(sizes):
    """Learned weights, and the correlations of their next tasks."""
    first = cases.sigma(sizes[2], sizes[0])
    u, s, vt = np.linalg.svd(first, full_matrices=False)
    partly = u * (s * np.where(np.arange(s.size) % 2, -1, 1)) @ vt
    tasks = np.stack([-first, first[::-1], partly, first])
    lmdas = [x for x in (0.0, 1e-13, -1e-13, 1e-6) if cases.feasible(sizes, x)]
    times = np.array([12.0, 20.0, 30.0, 40.0, np.inf])
    task = lr.Task.from_correlation(first)
    starts = [cases.start(sizes, x, 0.3, task=task).weights for x in lmdas]
    grid = list(itertools.product(range(len(lmdas)), times))
    w1, w2 = (np.stack([starts[i][k] for i, _ in grid]) for k in (0, 1))
    same = np.broadcast_to(first, (len(grid), *first.shape))
    weights = learned(w1, w2, same, np.array([t for _, t in grid]))
    w1, w2 = (np.repeat(np.asarray(w), len(tasks), axis=0) for w in weights)
    return w1, w2, np.tile(tasks, (len(grid), 1, 1))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_learned_networks_start_as_they_are(sizes):
    w1, w2, sigma = relearned(sizes)
    q0 = np.concatenate([w1.swapaxes(1, 2), w2], axis=1)
    reproduced, qqt, loss = restarted(w1, w2, sigma)
    size = np.linalg.norm(q0, axis=(1, 2))
    assert np.all(np.linalg.norm(reproduced - q0, axis=(1, 2)) < 1e-14 * size)
    start = q0 @ q0.swapaxes(1, 2)
    error = np.linalg.norm(qqt[:, 0] - start, axis=(1, 2))
    assert np.all(error < 2e-14 * np.linalg.norm(start, axis=(1, 2)))
    expected = np.sum((w2 @ w1 - sigma) ** 2, axis=(1, 2)) / 2
    assert np.all(np.abs(loss[:, 0] - expected) < 1e-14 * size**4)


@pytest.mark.parametrize("sizes", SIZES[:3], ids=str)
def test_early_times_are_right_as_far_as_the_problem_determines_them(sizes):
    """The bound grows like errors of a start, as e^{2st} for the largest s."""
    w1, w2, sigma = relearned(sizes)
    some = slice(0, 4) if sizes == (4, 2, 5) else slice(8, 20, 4)  # tasks, or times
    w1, w2, sigma = w1[some], w2[some], sigma[some]
    _, qqt, loss = restarted(w1, w2, sigma)
    strength = np.linalg.norm(sigma[0], 2)
    bound = 4e-15 * np.exp(2 * strength * EARLY)
    for a, b, m, found, losses in zip(w1, w2, sigma, qqt, loss, strict=True):
        lmda = np.trace(b.T @ b - a @ a.T) / len(a)
        expected = oracle.qqt(a, b, m, lmda, EARLY)
        size = np.linalg.norm(expected[0])
        assert np.all(np.linalg.norm(found - expected, axis=(1, 2)) < bound * size)
        expected = oracle.loss_excess(a, b, m, lmda, EARLY)
        assert np.all(np.abs(losses - expected) < bound * size**2)


def test_no_row_is_lost_however_large_its_weights_on_tiny_ones():
    root = np.sqrt(np.diag([3.0, 2, 1]))
    skew = np.array([[0.0, 1, -2], [-1, 0, 1], [2, -1, 0]])
    network = lr.LinearNetwork((root, -(np.eye(3) + 1e-14 * skew) @ root))
    solution = lr.ExactSolution(network, lr.Task.from_correlation(root @ root))
    error = np.linalg.norm(solution.qqt(0.0) - network.qqt)
    assert error < 1e-14 * np.linalg.norm(network.qqt)


@pytest.mark.parametrize("shape", ((6, 3, 3), (6, 5, 2), (12, 9, 4)), ids=str)
def test_no_row_is_lost_whatever_the_sizes_of_rows_and_their_rounding(shape):
    """Rows of low rank, with sizes over up to 17 decades, are reproduced."""
    count, hidden, rank = shape
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(300, count, rank)) @ rng.normal(size=(300, rank, hidden))
    decades = np.array([4, 17, 17] * 100)[:, None, None]
    rows *= 10 ** -(rng.uniform(size=(300, count, 1)) * decades)
    size = np.linalg.norm(rows, axis=(1, 2), keepdims=True)
    is_rounded = np.array([1, 1, 0] * 100)[:, None, None]
    eps = np.finfo(float).eps
    rows += is_rounded * eps / 4 * size * rng.normal(size=rows.shape)
    found = jax.jit(jax.vmap(lambda x: eliminate(x, np.arange(count))))(rows)
    lower, _, _, basis, chosen = map(np.asarray, found)
    error = np.linalg.norm(lower @ basis - rows, axis=(1, 2))
    assert np.all(error < 100 * eps * size.squeeze())
    products = basis @ basis.swapaxes(1, 2)
    expected = np.eye(basis.shape[1]) * (chosen < count)[:, None]
    np.testing.assert_allclose(products, expected, atol=1e-14)


def test_rounding_of_small_rows_adds_no_pivot():
    """Rows repeat, magnified, the rounding of the ten times smaller ones above."""
    count, hidden, rank = 12, 9, 4
    rng = np.random.default_rng(0)
    coefficients = rng.normal(size=(300, count, rank))
    coefficients[:, :rank] /= 10
    rows = coefficients @ rng.normal(size=(300, rank, hidden))
    size = np.linalg.norm(rows, axis=(1, 2), keepdims=True)
    rows += np.finfo(float).eps / 4 * size * rng.normal(size=rows.shape)
    found = jax.jit(jax.vmap(lambda x: eliminate(x, np.arange(count))[-1]))(rows)
    ranks = np.sum(np.asarray(found) < count, axis=1)
    assert np.all(ranks >= rank) and np.mean(ranks > rank) < 0.05


def test_derivatives_of_a_rank_deficient_start():
    """A pivot row of pure rounding would take all digits of the derivatives."""
    sizes = (3, 7, 4)
    task = lr.Task.from_correlation(cases.sigma(4, 3))
    errors = derivative_errors(cases.network(sizes, 0.0, 0.4, cases.sigma(4, 3)), task)
    assert max(errors) < 1e-12


def test_derivatives_of_early_losses_after_a_reversal():
    """Derivatives along the class agree with differences in many digits."""
    w1, w2, sigma = (x[8] for x in relearned((3, 3, 3)))
    ts = np.array([0.0, 0.1, 1.0])
    rng = np.random.default_rng(0)
    changes = [rng.normal(size=x.shape) for x in (w1, w2, sigma)]

    def qqt(w1, w2, sigma):
        network = lr.LinearNetwork((w1, w2))
        return lr.ExactSolution(network, lr.Task.from_correlation(sigma)).qqt(ts)

    found = jax.jvp(qqt, (w1, w2, sigma), tuple(jnp.asarray(x) for x in changes))[1]
    expected, _ = oracle.slopes(w1, w2, sigma, ts, (*changes, 0 * ts))
    error = np.linalg.norm(found - expected, axis=(1, 2))
    assert np.all(error < 1e-12 * np.linalg.norm(expected, axis=(1, 2)))


def quantities(w1, w2, sigma):
    network = lr.LinearNetwork((w1, w2))
    solution = lr.ExactSolution(network, lr.Task.from_correlation(sigma))
    return solution.qqt(TS), solution.loss(TS)


@jax.jit
def forward(point, changes):
    return jax.jvp(quantities, point, changes)[1]


@jax.jit
def reverse(point):
    return jax.grad(lambda *x: jnp.sum(quantities(*x)[1]), (0, 1, 2))(*point)


@pytest.mark.parametrize("sign", [1, -1], ids=["near a saddle", "else"])
@pytest.mark.parametrize("size", [1e-14, 1e-12, 1e-9])
def test_derivatives_of_a_start_near_a_lower_rank(size, sign):
    """Tiny pivots must not take their digits, in both forms and both modes."""
    network = cases.balanced((2, 4, 2), 0.0, 0.8, 3)
    rng = np.random.default_rng(0)
    w1, w2 = (w + size * rng.normal(size=w.shape) for w in network.weights)
    sigma = np.array([[1.3, 0.2], [-0.4, 0.6]]) * np.array([[sign], [1]])
    changes = tuple(rng.normal(size=x.shape) for x in (w1, w2, sigma))
    # Two programs: docs/upstream.md.
    (qqt, loss), gradient = forward((w1, w2, sigma), changes), reverse((w1, w2, sigma))
    by_qqt, by_loss = oracle.slopes(w1, w2, sigma, TS, (*changes, 0 * TS))
    assert oracle.relative_error(qqt, by_qqt) < 1e-11
    np.testing.assert_allclose(loss, by_loss, rtol=1e-10)
    along = sum(np.sum(a * b) for a, b in zip(gradient, changes, strict=True))
    np.testing.assert_allclose(along, np.sum(by_loss), rtol=1e-10)
    with pytest.raises(Exception, match="near a lower rank"):
        jax.block_until_ready(jax.hessian(lambda a: quantities(a * w1, w2, sigma))(1.0))


def test_the_loss_keeps_its_digits_where_start_and_task_have_a_low_rank():
    rng = np.random.default_rng(0)
    u, v, r = (x / np.linalg.norm(x) for x in rng.normal(size=(3, 3)))
    w1, w2, sigma = 0.7 * np.outer(r, v), 0.7 * np.outer(u, r), np.outer(u, v)
    ts = np.array([1.0, 4.0, 8.0, 12.0])
    expected = oracle.loss_excess(w1, w2, sigma, oracle.balance(w1, w2), ts)
    solution = lr.ExactSolution(
        lr.LinearNetwork((w1, w2)), lr.Task.from_correlation(sigma)
    )
    found = [solution.loss(ts), solution.loss(np.tile(ts, 20))[:4]]
    for loss in found:
        error = np.abs(loss - solution.optimum - expected) / expected
        assert np.all(error < [1e-13, 1e-12, 1e-12, 1e-8])
