"""Laws of the gradient flow, for drawn sizes, signs, ranks and repeated modes.

Every law is a property of its own.
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from .random_problems import (
    EPS,
    ROUNDINGS,
    SEEDS,
    SOME_TIMES,
    TIMES,
    Problem,
    Solution,
    agree,
    bounds,
    flipped,
    norm,
    problems,
    rotation,
    solve,
    values,
    white,
)

law = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.mark.slow
@law
@given(problems(), TIMES, SOME_TIMES)
def test_semigroup(problem, before, ts):
    """Stopping and starting again changes nothing."""
    before, ts = before / problem.rate, ts / problem.rate
    whole = solve(problem, np.append(before, before + ts))
    middle = problem._replace(w1=whole.w1[0, 0], w2=whole.w2[0, 0])
    # Weights that decay to nothing keep the rounding of the start's balance.
    assume(middle.size > 1e-3 * problem.size)
    again = solve(middle, ts)
    whole = Solution(*(x[:, 1:] for x in whole))
    agree(values(again), values(whole), bounds(problem, whole), bounds(middle, again))


@law
@given(problems(), SOME_TIMES, SEEDS, st.booleans())
def test_rotations(problem, ts, seed, permuted):
    """Rotating inputs, outputs or hidden units rotates the solution; samples don't."""
    ts, rng = ts / problem.rate, np.random.default_rng(seed)
    n_in, hidden, n_out = problem.sizes
    a, b, r, p = (
        np.eye(n)[rng.permutation(n)] if permuted else rotation(rng, n)
        for n in (n_in, n_out, hidden, len(problem.x))
    )
    turned = Problem(
        r @ problem.w1 @ a.T,
        b @ problem.w2 @ r.T,
        p @ problem.x @ a.T,
        p @ problem.y @ b.T,
    )
    found, expected = solve(turned, ts), solve(problem, ts)
    both = np.block([[a, np.zeros((n_in, n_out))], [np.zeros((n_out, n_in)), b]])
    loss, function, qqt = values(expected)
    agree(
        values(found),
        (loss, b @ function @ a.T, both @ qqt @ both.T),
        bounds(turned, found),
        bounds(problem, expected),
    )


@law
@given(problems(), SOME_TIMES, st.floats(-2, 2), st.floats(-2, 2))
def test_units(problem, ts, weights, inputs):
    """Units of weights, inputs and targets are units of time, loss and balance."""
    ts, (a, b) = ts / problem.rate, 10 ** np.array([weights, inputs])
    w1, w2, x, y = problem
    scaled = Problem(a * w1, a * w2, b * x, a * a * b * y)
    found, expected = solve(scaled, ts / (a * b) ** 2), solve(problem, ts)
    units = (a * a * b) ** 2, a * a, a * a
    other, bound = (
        [unit * x for unit, x in zip(units, numbers, strict=True)]
        for numbers in (values(expected), bounds(problem, expected))
    )
    agree(values(found), other, bounds(scaled, found), bound)


@law
@given(problems(), SOME_TIMES)
def test_transposition(problem, ts):
    """Inputs and outputs change places; the balance changes its sign."""
    ts, (n_in, _, n_out) = ts / problem.rate, problem.sizes
    variance, sigma = problem.variance, problem.sigma
    x = white(np.random.default_rng(0), n_out, variance)[0]
    other = Problem(problem.w2.T, problem.w1.T, x, x @ sigma / variance)
    assert np.sign(other.lmda) == -np.sign(problem.lmda)
    found, expected = solve(other, ts), solve(problem, ts)
    loss, function, qqt = values(expected)
    # What no linear map can learn stays with the task.
    rest = problem.y - problem.x @ sigma.T / variance
    loss = loss - np.sum(rest**2) / (2 * len(rest))
    order = np.roll(np.arange(n_in + n_out), n_out)
    agree(
        values(found),
        (loss, flipped(function), qqt[:, order][:, :, order]),
        bounds(other, found),
        bounds(problem, expected),
    )


@law
@given(problems(), SOME_TIMES)
def test_conservation(problem, ts):
    """W2' W2 - W1 W1' is lambda I at all times, and the weights have the QQ^T."""
    found = solve(problem, ts / problem.rate)
    w1, w2 = found.w1[0], found.w2[0]
    balance = (
        flipped(w2) @ w2 - w1 @ flipped(w1) - problem.lmda * np.eye(len(problem.w1))
    )
    q = np.concatenate([flipped(w1), w2], axis=1)
    bound = bounds(problem, found)[2]
    assert np.all(norm(balance) <= bound)
    assert np.all(norm(q @ flipped(q) - found.qqt[0]) <= bound)


@law
@given(problems())
def test_start(problem):
    """At time zero everything is what was given."""
    found = solve(problem, np.zeros(1))
    w1, w2, x, y = problem
    q = np.concatenate([w1.T, w2])
    error = y - x @ (w2 @ w1).T
    size = problem.size
    assert np.linalg.norm(q @ q.T - found.qqt[0, 0]) <= ROUNDINGS * EPS * size
    assert np.linalg.norm(w1 - found.w1[0, 0]) <= ROUNDINGS * EPS * size**0.5
    assert np.linalg.norm(w2 - found.w2[0, 0]) <= ROUNDINGS * EPS * size**0.5
    assert (
        abs(np.sum(error**2) / (2 * len(y)) - found.loss[0, 0])
        <= ROUNDINGS * EPS * problem.largest_loss
    )


@law
@given(problems())
def test_limit(problem):
    """The limit is stationary; late times are near it."""
    found = solve(problem, np.array([1e12 / problem.rate, np.inf]))
    _, function, qqt = values(found, -1)
    n_in, size = problem.sizes[0], problem.size + np.linalg.norm(qqt)
    error = problem.sigma - function * problem.variance
    bound = ROUNDINGS * EPS * size * problem.rate
    assert np.linalg.norm(qqt[n_in:, n_in:] @ error) <= bound
    assert np.linalg.norm(error @ qqt[:n_in, :n_in]) <= bound
    # Modes of rate zero decay as 1/t.
    left = 1e-11 * problem.rate / problem.variance
    slow = problem.rate * left, left, left
    both = [np.sum(x) for x in bounds(problem, found)]
    agree(values(found, slice(0, 1)), values(found, slice(1, 2)), both, slow)


@law
@given(problems())
def test_learned(problem):
    """A start of rank r ends on the r strongest modes, if it has a part in them."""
    u, s, vt = np.linalg.svd(problem.sigma)
    q = np.concatenate([problem.w1.T, problem.w2])
    known = np.linalg.svd(q, compute_uv=False)
    rank = min(np.sum(known > 1e-6 * known[0]), np.sum(s > 1e-6))
    half = problem.lmda * problem.variance / 2
    kappa = np.hypot(s, half)
    u, v, s, kappa = u[:, : len(s)], vt[: len(s)].T, s[:rank], kappa[:rank]
    growing = np.concatenate([v[:, :rank] * (kappa - half), u[:, :rank] * s])
    growing /= np.linalg.norm(growing, axis=0)
    part = np.linalg.svd(growing.T @ q, compute_uv=False)
    assume(rank == 0 or part[-1] > 1e-6 * known[0])
    found = solve(problem, np.array([np.inf]))
    bound = ROUNDINGS * EPS * problem.rate
    sigma = problem.sigma
    left = np.linalg.svd(
        found.function[0, 0] * problem.variance - sigma, compute_uv=False
    )
    expected = np.linalg.svd(sigma, compute_uv=False)
    expected[:rank] = 0
    assert np.all(abs(left - np.sort(expected)[::-1]) <= bound)


@law
@given(problems(), SOME_TIMES)
def test_loss_falls(problem, ts):
    """The loss falls, and gradient flow never raises it."""
    ts = np.sort(ts) / problem.rate
    found = solve(problem, ts)
    assert np.all(np.diff(found.loss[0]) <= ROUNDINGS * EPS * problem.largest_loss)


# Gauss-Legendre's, on (0, 1). A step is short against 1 / rate: the flow's poles are
# so far that nodes as many leave no error.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)
NODES, WEIGHTS = (1 + NODES) / 2, WEIGHTS / 2


@law
@given(problems(), TIMES.filter(np.isfinite), st.floats(0.02, 0.2))
def test_gradient_flow(problem, before, step):
    """Loss and QQ^T change by the integral of what the gradient makes of them."""
    before, step = before / problem.rate, step / problem.rate
    found = solve(problem, before + step * np.array([0, *NODES, 1]))
    loss, function, qqt = values(found)
    n_in = problem.sizes[0]
    inputs, outputs = qqt[:, :n_in, :n_in], qqt[:, n_in:, n_in:]
    error = problem.sigma - function @ (problem.x.T @ problem.x / len(problem.x))
    of_inputs, of_outputs = flipped(function) @ error, error @ flipped(function)
    of_function = outputs @ error + error @ inputs
    slope = np.block(
        [
            [of_inputs + flipped(of_inputs), flipped(of_function)],
            [of_function, of_outputs + flipped(of_outputs)],
        ]
    )
    change = step * np.einsum("t,tij->ij", WEIGHTS, slope[1:-1])
    allowed = [x.max() for x in bounds(problem, found)]
    assert np.linalg.norm(qqt[-1] - qqt[0] - change) <= allowed[2]
    slope = -np.sum(error * of_function, axis=(1, 2))
    change = step * WEIGHTS @ slope[1:-1]
    assert abs(loss[-1] - loss[0] - change) <= allowed[0]
