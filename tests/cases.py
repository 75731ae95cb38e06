"""The table of cases for tests of the exact solution."""

import functools
import itertools

import jax
import numpy as np

import lazyrich_jax as lr

TIMES = np.array([0.0, 1e-9, 1e-4, 1e-2, 0.3, 3.0, 30.0, 1e3, 1e4, np.inf])
SIZES = {
    "square": (3, 3, 3),
    "funnel": (5, 3, 3),
    "inverted funnel": (3, 3, 5),
    "between, in > out": (5, 4, 3),
    "between, in < out": (3, 4, 5),
    "hidden = out": (3, 5, 5),
    "bottleneck": (4, 2, 5),
    "wide": (3, 7, 4),
    "wider than in + out": (3, 9, 4),
    "one neuron": (5, 1, 1),
    "scalars": (1, 1, 1),
}
LMDAS = (0.0, 1e-8, -1e-8, 1.0, -1.0, 50.0, -50.0, 1e3, 1e6, -1e6)
SCALES = (1e-5, 0.1, 10.0)


def sigma(n_out, n_in, seed=0):
    return np.random.default_rng(seed).normal(size=(n_out, n_in))


def feasible(sizes, lmda):
    n_in, hidden, n_out = sizes
    return not (lmda > 0 and hidden > n_out) and not (lmda < 0 and hidden > n_in)


def balanced(sizes, lmda, scale, seed=0):
    """A balanced network as `LambdaBalanced` draws them, in NumPy: nothing to compile.

    Tests of later stages use it; `test_init` tests the draw.
    """
    n_in, hidden, n_out = sizes
    rng = np.random.default_rng(seed)
    product = rng.normal(size=(n_out, hidden)) @ rng.normal(size=(hidden, n_in))
    u, strengths, vt = np.linalg.svd(product)
    r = np.linalg.qr(rng.normal(size=(hidden, hidden)))[0]
    return lr.LinearNetwork(balanced_weights(u, scale**2 * strengths, vt, r, lmda))


def balanced_weights(u, strengths, vt, r, lmda):
    """The balanced weights of the function `u @ diag(strengths) @ vt`.

    `u`, `vt` and `r`, of the hidden units, are orthogonal. Strengths beyond the number
    of hidden units don't count.
    """
    (n_out, n_in), hidden = (len(u), len(vt)), len(r)
    a, b = min(hidden, n_in), min(hidden, n_out)
    s = np.zeros(hidden)
    s[: min(a, b)] = strengths[: min(a, b)]
    # s1 s2 = s and s2^2 - s1^2 = lambda, for surplus hidden units (s = 0) too.
    larger = np.sqrt((abs(lmda) + np.hypot(lmda, 2 * s)) / 2)
    smaller = np.divide(s, larger, out=np.zeros(hidden), where=larger > 0)
    s1, s2 = (smaller, larger) if lmda >= 0 else (larger, smaller)
    return (r[:, :a] * s1[:a]) @ vt[:a], (u[:, :b] * s2[:b]) @ r[:, :b].T


def network(sizes, lmda, scale, target, seed=0):
    """A balanced start that is not at a saddle.

    Half of all square draws are at a saddle for lambda = 0, and near one for 1e-8. The
    flow then amplifies the rounding of the weights by e^{2 s t}.
    """
    start = lr.LambdaBalanced(lmda, scale)(*sizes, key=jax.random.key(seed))
    if len(set(sizes)) == 1 and abs(lmda) < 1e-3:
        w1, w2 = (np.array(w) for w in start.weights)
        w2[0] *= np.sign(np.linalg.det(w2 @ w1) * np.linalg.det(target))
        start = lr.LinearNetwork((w1, w2))
    return start


MODES = np.diag([2.0, 1.0, 0.5])


def near_saddle(lmda):
    """Weights near a saddle of the task `MODES`."""
    w1, w2 = (np.array(w) for w in balanced((3, 3, 3), lmda, 0.5).weights)
    w2[0] *= -np.sign(np.linalg.det(w2 @ w1))
    return w1, w2


# Every feasible kind of sizes, lambda and scale.
ROWS = [
    row
    for row in itertools.product(SIZES, LMDAS, SCALES)
    if feasible(SIZES[row[0]], row[1])
]


def case(kind, lmda, scale):
    """The network and the task of a row."""
    sizes = SIZES[kind]
    target = sigma(sizes[2], sizes[0])
    return network(sizes, lmda, scale, target), lr.Task.from_correlation(target)


def table():
    """(name, network, task) of every row."""
    for row in ROWS:
        yield "{} {:g} {:g}".format(*row), *case(*row)


@functools.cache
def special():
    """(name, network, task) for degenerate tasks, ranks, and other input variances."""
    return tuple(_special())


def _special():
    eye = np.eye(3)
    deficient = np.outer([1.0, 2, 0.5], [1.0, -1, 1])
    for lmda in (0.0, 1.0, -10.0):
        for name, target in (
            ("identity", eye),
            ("gap 1e-4", np.diag([1, 1 + 1e-4, 1 + 2e-4])),
            ("gap 1e-8", np.diag([1, 1 + 1e-8, 1 + 2e-8])),
            ("gap 1e-12", np.diag([1, 1 + 1e-12, 1 + 2e-12])),
            ("rank one", deficient),
            ("zero task", 0 * eye),
        ):
            start = network((3, 3, 3), lmda, 0.3, target if target[0, 1] == 0 else eye)
            if not target.any():
                start = lr.LambdaBalanced(lmda, 0.3)(3, 3, 3, key=jax.random.key(0))
            yield f"{name} {lmda:g}", start, lr.Task.from_correlation(target)
        hierarchy = lr.Task.hierarchy(2)  # inputs of variance 1/4
        start = network((4, 4, 4), lmda, 0.3, np.asarray(hierarchy.y).T, seed=5)
        yield f"hierarchy {lmda:g}", start, hierarchy
        few = network((4, 2, 4), lmda, 0.3, np.asarray(hierarchy.y).T, seed=5)
        yield f"hierarchy, bottleneck {lmda:g}", few, hierarchy


def make_task(sizes, strengths=(2.0, 1.4, 0.9, 0.5, 0.3), variance=2.0, seed=0):
    """A task with given singular values and inputs of the given variance."""
    n_in, _, n_out = sizes
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (n_out, n_in))
    k = min(n_in, n_out)
    sigma = u[:, :k] @ np.diag(strengths[:k]) @ v[:, :k].T
    task = lr.Task.from_correlation(sigma)
    return lr.Task(variance**0.5 * task.x, task.y / variance**0.5)


def start(sizes, lmda, scale=0.7, seed=1, task=None):
    """A balanced network; with `task`, one that is at no saddle of it at lambda = 0."""
    network = balanced(sizes, lmda, scale, seed)
    if task is not None and len(set(sizes)) == 1:
        w1, w2 = (np.array(w) for w in network.weights)
        sigma = task.input_output_correlation
        w2[0] *= np.sign(np.linalg.det(w2 @ w1) * np.linalg.det(sigma))
        network = lr.LinearNetwork((w1, w2))
    return network
