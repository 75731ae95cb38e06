"""Drawn problems of the gradient flow, their solutions, and how they are rounded.

A problem is solved together with copies whose weights and data are moved by `MOVED` of
their norms. Rounding moves them by a few eps: a law holds to eps / MOVED of the copies'
distance and to the rounding of the result. Where `MOVED` decides the outcome (late,
from a start near a saddle or of a low rank), rounding does too: nothing is asked there.
"""

import typing

import jax
import numpy as np
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
