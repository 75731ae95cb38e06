"""Laws of the gradient flow, for drawn sizes, signs, ranks and repeated modes.

Every law is a property of its own. A problem is solved together with copies whose
weights and data are moved by `MOVED` of their norms. Rounding moves them by a few eps:
a law holds to eps / MOVED of the copies' distance and to the rounding of the result.
Where `MOVED` decides the outcome (late, from a start near a saddle or of a low rank),
rounding does too: nothing is asked there.
"""

import typing

import jax
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lazyrich_jax as lr

from . import cases

EPS = np.finfo(float).eps
MOVED = 1e-12
COPIES = 3
ROUNDINGS = 64  # how many each of a law's sides may take
# In, hidden, out, and how many times: few are solved as matrices, many as lanes. The
# transpose of every shape is another.
SHAPES = {
    (3, 3, 3): 24,
    (4, 2, 3): 24,
    (3, 2, 4): 12,
    (2, 3, 4): 12,
    (4, 3, 2): 24,
    (2, 5, 2): 12,
    (2, 1, 2): 24,
}

law = settings(max_examples=60, deadline=None, derandomize=True)


class Problem(typing.NamedTuple):
    """A start and a task."""

    w1: np.ndarray
    w2: np.ndarray
    x: np.ndarray
    y: np.ndarray

    @property
    def sizes(self):
        return self.x.shape[1], len(self.w1), self.y.shape[1]

    @property
    def variance(self):
        return np.sum(self.x**2) / self.x.size

    @property
    def sigma(self):
        return self.y.T @ self.x / len(self.x)

    @property
    def lmda(self):
        return (np.sum(self.w2**2) - np.sum(self.w1**2)) / len(self.w1)

    @property
    def size(self):
        return np.sum(self.w1**2) + np.sum(self.w2**2)

    @property
    def largest_loss(self):
        """An upper bound: targets and outputs add up."""
        return np.sum(self.y**2) / len(self.y) + self.variance * self.size**2

    @property
    def rate(self):
        """A bound of the largest of the flow, and of what sums to it; never zero."""
        strength = np.sqrt(self.variance * np.sum(self.y**2) / len(self.y))
        return max(strength, max(abs(self.lmda), self.size) * self.variance) or 1.0


class Solution(typing.NamedTuple):
    """A problem's solution (the first) and its copies' at all times, as arrays."""

    loss: typing.Any
    qqt: typing.Any
    w1: typing.Any
    w2: typing.Any

    @property
    def function(self):
        n_in = self.w1.shape[-1]
        return self.qqt[..., n_in:, :n_in]


@jax.jit
def solved(problem, ts):
    def one(problem):
        network = lr.LinearNetwork((problem.w1, problem.w2))
        solution = lr.ExactSolution(network, lr.Task(problem.x, problem.y), throw=False)
        return Solution(
            solution.loss(ts), solution.qqt(ts), *solution.network(ts).weights
        )

    return jax.vmap(one)(problem)


def moved(problem, rng):
    """A copy moved by `MOVED`, which is as balanced as the problem."""
    one, two, *data = (float(np.linalg.norm(a)) for a in problem)
    sizes = one or two, two or one, *data
    w1, w2, x, y = (
        a + MOVED * size * rng.normal(size=a.shape) / a.size**0.5
        for a, size in zip(problem, sizes, strict=True)
    )
    # Hidden units without weights allow no other balance.
    s = np.linalg.eigvalsh(problem.w1 @ problem.w1.T + problem.w2.T @ problem.w2)
    lmda = problem.lmda
    lmda += (s[0] > 1e-6 * s[-1]) * MOVED * problem.size / len(w1) * rng.normal()
    for _ in range(2):  # Newton's steps, along (1 + z) w1 and w2 (1 - z)
        a, b = w1 @ w1.T, w2.T @ w2
        s, r = np.linalg.eigh(a + b)
        excess = r.T @ (b - a - lmda * np.eye(len(s))) @ r
        total = s[:, None] + s
        z = np.divide(excess, total, out=0 * total, where=total > 1e-10 * s[-1])
        z = r @ z @ r.T
        w1, w2 = w1 + z @ w1, w2 - w2 @ z
    return Problem(w1, w2, x, y)


def solve(problem, ts):
    """The solution at `ts`."""
    rng = np.random.default_rng(0)
    copies = [moved(problem, rng) for _ in range(COPIES)]
    count = SHAPES[problem.sizes]
    assert len(ts) <= count
    many = np.concatenate([ts, np.zeros(count - len(ts))])
    found = solved(Problem(*map(np.stack, zip(problem, *copies, strict=True))), many)
    found = Solution(*(np.asarray(x)[:, : len(ts)] for x in found))
    assert all(np.all(np.isfinite(x)) for x in found)
    return found


def norm(x):
    """Frobenius norms of matrices, or sizes of numbers, at times."""
    return np.abs(x) if x.ndim < 3 else np.linalg.norm(x, axis=(-2, -1))


def flipped(x):
    """Transposed matrices."""
    return x.swapaxes(-2, -1)


def rounding(found, size):
    """The largest change by rounding at every time; inf where rounding decides.

    `size` is the size of the added numbers.
    """
    moved = norm(found[1:] - found[:1]).max(axis=0)
    allowed = ROUNDINGS * (EPS / MOVED * moved + EPS * size)
    return np.where(moved <= 1e-6 * norm(found[0]), allowed, np.inf)


def bounds(problem, found):
    """The largest changes of loss, function and QQ^T by rounding."""
    # The balance is the difference of numbers of the size of the start.
    size = norm(found.qqt[0]) + problem.size
    return (
        rounding(found.loss, problem.largest_loss),
        rounding(found.function, size),
        rounding(found.qqt, size),
    )


def agree(found, expected, *bounds):
    """Loss, function and QQ^T are the same within the bounds of both solutions."""
    for one, other, *both in zip(found, expected, *bounds, strict=True):
        assert np.all(norm(one - other) <= sum(both))


def rotation(rng, n):
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


def white(rng, n, variance):
    """Inputs, and directions of samples that they leave out."""
    basis = rotation(rng, n + 2)
    return np.sqrt(variance * len(basis)) * basis[:, :n], basis[:, n:]


STRENGTHS = st.sampled_from((0.0, 1.0, 2.0)) | st.integers(10, 300).map(
    lambda x: x / 100
)
STARTS = st.sampled_from((0.0, 0.1)) | st.floats(1e-3, 2.0)
SEEDS = st.integers(0, 2**32 - 1)
# In units of the largest rate's inverse.
TIMES = st.sampled_from((0.0, 1e4, np.inf)) | st.floats(-3, 2).map(lambda x: 10**x)
SOME_TIMES = st.lists(TIMES, min_size=1, max_size=8).map(np.array)


@st.composite
def problems(draw):
    sizes = n_in, hidden, n_out = draw(st.sampled_from(list(SHAPES)))
    signs = [sign for sign in (0, 1, -1) if cases.feasible(sizes, sign)]
    variance = 10 ** draw(st.floats(-2, 2))
    lmda = draw(st.sampled_from(signs)) * 10 ** draw(st.floats(-6, 3)) / variance
    modes = min(n_in, n_out)
    strengths = draw(st.lists(STRENGTHS, min_size=modes, max_size=modes))
    starts = draw(st.lists(STARTS, min_size=modes, max_size=modes))
    turn = draw(st.sampled_from((None, 1, -1)))
    rng = np.random.default_rng(draw(SEEDS))
    left, right = rotation(rng, n_out), rotation(rng, n_in)
    sigma = left[:, :modes] * strengths @ right[:, :modes].T
    u, v = (
        (rotation(rng, n_out), rotation(rng, n_in))
        if turn is None
        else (left * turn, right)
    )
    r, starts = rotation(rng, hidden), np.array(starts) / variance
    weights = cases.balanced_weights(u, starts, v.T, r, lmda)
    x, others = white(rng, n_in, variance)
    noise = draw(st.sampled_from((0.0, 1.0))) * rng.normal(size=(2, n_out))
    y = x @ sigma.T / variance + others @ noise
    return Problem(*weights, x, y)


def values(found, at: typing.Any = slice(None)):
    """Loss, function and QQ^T of the problem itself."""
    return found.loss[0, at], found.function[0, at], found.qqt[0, at]


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
