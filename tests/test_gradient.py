"""The loss with its gradient in their two forms, and late, when little of it is left.

That it is right is in test_derivatives.py, which asks for few times: matrices. More
have lanes on the last axes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax._dynamics import blocks, gradient, values
from lazyrich_jax._dynamics.frame import Frame, Problem

from . import cases, oracle

TS = jnp.array([1e-30, 1e-4, 0.02, 0.3, 0.9, 2.0, 5.0, 12.0])


@jax.jit
@jax.vmap
def forms(w1, w2, sigma):
    lmda = (jnp.sum(w2**2) - jnp.sum(w1**2)) / w1.shape[0]
    frame = Frame(Problem(w1, w2, sigma, lmda))
    ts = TS.astype(w1.dtype)
    many = jnp.tile(ts, blocks.FEW // ts.size + 1)
    found = gradient.excess_with_gradient(frame, many)[: ts.size]
    value = values.excess(frame, ts)
    return found, gradient.excess_with_gradient(frame, ts), value


def check(networks, sigmas, tolerance=1e-12, times=8, dtype=float):
    weights = zip(*(n.weights for n in networks), strict=True)
    arrays = (*(np.stack(w) for w in weights), np.stack(sigmas))
    found = forms(*(jnp.asarray(x, dtype) for x in arrays))
    lanes, matrices, value = (x[:, :times] for x in found)
    largest = np.abs(value).max(1, keepdims=True)
    assert np.all(np.abs(lanes[..., 0] - value) <= tolerance * largest)
    assert np.all(np.isfinite(lanes))
    size = np.abs(matrices).max((1, 2), keepdims=True)
    assert np.all(np.abs(lanes - matrices) <= tolerance * size)


@pytest.mark.parametrize(
    "sizes, lmdas",
    [
        ((2, 3, 4), (0.0, 1.0, -1.0, 50.0)),
        ((4, 3, 2), (0.0, 1.0, -1.0, -50.0)),
        ((4, 1, 3), (0.0, 2.0, -2.0)),
    ],
    ids=str,
)
def test_lanes_and_matrices(sizes, lmdas):
    n_in, _, n_out = sizes
    target = cases.sigma(n_out, n_in)
    networks = [cases.balanced(sizes, lmda, 0.4) for lmda in lmdas]
    check(networks, [target] * len(lmdas))


def test_degenerate_tasks_saddles_and_single_precision():
    special = [one for one in cases.special() if one[1].sizes == (3, 3, 3)]
    networks = [network for _, network, _ in special]
    sigmas = [np.asarray(task.input_output_correlation) for _, _, task in special]
    target = cases.sigma(3, 3)
    u, s, vt = np.linalg.svd(target)
    learned = lr.LinearNetwork((np.sqrt(s)[:, None] * vt, u * np.sqrt(s)))
    zero = jax.tree.map(jnp.zeros_like, learned)
    check([*networks, learned, zero], [*sigmas, 2 * target, target])
    # Away from a saddle; later, that amplifies rounding.
    check([*networks, learned, zero], [*sigmas, -target, target], times=5)
    check([*networks, zero, zero], [*sigmas, target, target], 1e-4, dtype=jnp.float32)


@pytest.mark.parametrize("sizes, lmda", [((3, 3, 3), -3.0), ((2, 3, 3), 1.0)], ids=str)
def test_it_keeps_its_digits_as_it_vanishes(sizes, lmda):
    n_in, _, n_out = sizes
    sigma = cases.sigma(n_out, n_in)
    w1, w2 = cases.balanced(sizes, lmda, 0.4).weights
    late = np.array([6.0, 8.0, 10.0])
    ts = jnp.tile(late, 22)

    @jax.jit
    def slope(change):
        def losses(w1, w2, sigma, ts):
            task = lr.Task.from_correlation(sigma)
            return lr.ExactSolution(lr.LinearNetwork((w1, w2)), task).loss(ts)

        return jax.jvp(losses, (w1, w2, sigma, ts), change)[1]

    rng = np.random.default_rng(0)
    point = np.asarray(w1), np.asarray(w2), sigma, late
    for k in range(4):
        change = [np.zeros_like(x) for x in point]
        change[k] = rng.normal(size=point[k].shape) if k < 3 else np.ones(3)
        expected = oracle.slopes(*point, change)[1]
        found = slope((*change[:3], np.tile(change[3], 22)))[:3]
        # The optimum's slope is 1e-33, not zero.
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-32)
