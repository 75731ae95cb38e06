"""The frame alone: an orthonormal eigenbasis of F, and rows in echelon form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax._riccati.echelon import by_falling_rate, eliminate
from lazyrich_jax._riccati.frame import Frame, Problem

SHAPES = [(3, 3), (2, 4), (4, 2)]  # outputs, inputs
LMDAS = [0.0, 1.5, -2.0, 1e6]
HIDDEN = 3


@functools.cache
def drawn(shape):
    """Weights and a correlation of one rank less than it could have."""
    rng = np.random.default_rng(0)
    n_out, n_in = shape
    u, s, vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    s[-1] = 0
    w1, w2 = rng.normal(size=(HIDDEN, n_in)), rng.normal(size=(n_out, HIDDEN))
    return tuple(jnp.asarray(x) for x in (w1, w2, u * s @ vt))


@jax.jit
def parts(w1, w2, sigma, lmda):
    """The frame, and what is computed with it."""
    frame = Frame(Problem(w1, w2, sigma, lmda))
    rows = frame.weights_to_rows(w1, w2)
    core = frame.left.mT @ sigma @ frame.right
    return {
        "frame": frame,
        "identity": frame.matrix_from_rows(jnp.eye(len(frame.rates))),
        "generator": frame.matrix_from_rows(jnp.diag(frame.rates)),
        "in the eigenbasis": frame.generator_to_rows(core, lmda),
        "strengths": frame.strengths,
        "weights": frame.factor_from_rows(rows),
        "rows": rows,
        "function": frame.from_singular_basis(frame.function_block(rows @ rows.mT)),
        "coefficients": frame.coefficients,
        "pivot rates": frame.pivot_rates,
        "is pivot": frame.is_pivot,
        "others": frame.off_pivots(rows),
    }


@pytest.mark.parametrize("lmda", LMDAS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_eigenbasis(shape, lmda):
    w1, w2, sigma = drawn(shape)
    n_out, n_in = shape
    found = parts(w1, w2, sigma, jnp.array(lmda))
    half = lmda / 2
    f = np.block([[-half * np.eye(n_in), sigma.T], [sigma, half * np.eye(n_out)]])
    size = float(np.linalg.norm(f, 2))
    np.testing.assert_allclose(found["identity"], np.eye(len(f)), atol=1e-14)
    np.testing.assert_allclose(found["generator"], f, atol=4e-15 * size)
    rates = np.asarray(found["frame"].rates)
    np.testing.assert_allclose(
        found["in the eigenbasis"], np.diag(rates), atol=4e-15 * size
    )
    np.testing.assert_allclose(np.sort(rates), np.linalg.eigvalsh(f), atol=1e-14 * size)
    order = by_falling_rate(min(shape), len(f))
    assert sorted(order) == list(range(len(f))) and np.all(np.diff(rates[order]) <= 0)
    # Every rate is that of its singular value, or of a direction left over.
    strengths = np.asarray(found["strengths"])
    np.testing.assert_allclose(np.abs(rates), np.hypot(strengths, half), rtol=1e-14)
    expected = np.linalg.svd(sigma, compute_uv=False)
    np.testing.assert_allclose(strengths[: min(shape)], expected, atol=1e-14)
    assert strengths[min(shape) - 1] == 0


@pytest.mark.parametrize("lmda", LMDAS[:3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows_and_their_echelon_form(shape, lmda):
    w1, w2, sigma = drawn(shape)
    found = parts(w1, w2, sigma, jnp.array(lmda))
    frame, rows = found["frame"], np.asarray(found["rows"])
    q = np.concatenate([w1.T, w2])
    np.testing.assert_allclose(found["weights"], q, atol=1e-14)
    np.testing.assert_allclose(found["function"], w2 @ w1, atol=1e-14)
    np.testing.assert_allclose(frame.lower @ frame.basis, rows, atol=1e-14)
    np.testing.assert_allclose(frame.basis @ frame.basis.T, np.eye(HIDDEN), atol=1e-14)
    pivots = np.asarray(frame.pivots)
    own = np.asarray(frame.lower)[pivots]
    np.testing.assert_allclose(own, np.tril(own), atol=0)
    assert np.all(np.diagonal(own) > 0)
    np.testing.assert_allclose(frame.inverse @ own, np.eye(HIDDEN), atol=1e-13)
    np.testing.assert_allclose(frame.echelon @ own, frame.lower, atol=1e-13)
    # Of generic rows the first ones by falling rate.
    assert pivots.tolist() == by_falling_rate(min(shape), len(rows))[:HIDDEN].tolist()
    np.testing.assert_array_equal(found["pivot rates"], frame.rates[pivots])
    is_pivot = np.isin(np.arange(len(rows)), pivots)
    np.testing.assert_array_equal(found["is pivot"], is_pivot)
    expected = np.where(is_pivot[:, None], 0, rows)
    np.testing.assert_array_equal(found["others"], expected)


def test_rows_of_a_low_rank():
    """Rows that depend on those above add no pivot, and no number without a meaning."""
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.normal(size=(6, 2)) @ rng.normal(size=(2, 4)))
    order = np.array([5, 4, 3, 2, 1, 0])
    found = jax.jit(lambda rows: eliminate(rows, order))(rows)
    lower, echelon, _, basis, pivots = map(np.asarray, found)
    assert pivots[:2].tolist() == [5, 4] and np.all(pivots[2:] >= 6)
    np.testing.assert_allclose(lower @ basis, rows, atol=1e-14)
    np.testing.assert_allclose(echelon[:, :2] @ rows[order[:2]], rows, atol=1e-13)
    assert np.all(lower[:, 2:] == 0) and np.all(echelon[:, 2:] == 0)
    assert np.all(basis[2:] == 0)
    w1, w2 = jnp.ones((3, 3)), jnp.ones((3, 3))
    found = parts(w1, w2, drawn((3, 3))[2], jnp.array(0.0))
    assert found["is pivot"].sum() == 1
    assert np.isfinite(found["coefficients"]).all()


def test_matrices_are_eliminated_together():
    """Also in two maps: each as alone, whatever the ranks of the others."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(6, 5, 3))
    rows[0, 1] = 2 * rows[0, 0]  # a later row is a pivot
    rows[1] = rng.normal(size=(5, 2)) @ rng.normal(size=(2, 3))
    rows[2, :3] = 1e-9 * rng.normal(size=(3, 2)) @ rng.normal(size=(2, 3))
    rows[3] = 0
    rows[4, 0] = 0
    rows = jnp.asarray(rows)
    order = by_falling_rate(2, 5)
    one = jax.jit(lambda x: eliminate(x, order))
    found = jax.jit(jax.vmap(jax.vmap(one)))(rows.reshape(2, 3, 5, 3))
    for i in range(6):
        for x, y in zip(found, one(rows[i]), strict=True):
            np.testing.assert_allclose(x[i // 3, i % 3], y, rtol=1e-11, atol=1e-13)
    ranks = np.sum(np.asarray(found[-1]).reshape(6, 3) < 5, axis=1)
    assert ranks.tolist() == [3, 2, 3, 0, 3, 3]


def test_matrices_are_eliminated_in_the_branch_of_a_mapped_condition():
    """JAX maps constants there, too."""
    rows = jnp.asarray(np.random.default_rng(3).normal(size=(4, 5, 3)))
    order = by_falling_rate(2, 5)

    def lower(x):
        return eliminate(x, order)[0]

    def of_branch(x):
        return jax.lax.cond(jnp.sum(x) > 0, lower, lambda x: 2 * lower(x), x)

    found = jax.jit(jax.vmap(of_branch))(rows)
    expected = jax.jit(jax.vmap(lower))(rows)
    factor = jnp.where(jnp.sum(rows, axis=(1, 2)) > 0, 1, 2)
    np.testing.assert_allclose(found, factor[:, None, None] * expected, atol=1e-13)
    assert len(set(factor.tolist())) == 2


def test_modes_without_a_singular_value_or_balance():
    """At exactly zero of both."""
    start, s, ts = np.array([0.6, 0.4]), np.array([1.0, 0.0]), np.array([0.3, 5.0])
    root = np.diag(np.sqrt(start))
    network, task = lr.LinearNetwork((root, root)), lr.Task.from_correlation(np.diag(s))
    assert float(network.lmda) == 0
    found = lr.ExactSolution(network, task).function(ts)
    growth = np.exp(2 * ts)
    expected = np.zeros((2, 2, 2))
    expected[:, 0, 0] = start[0] * growth / (1 + start[0] * (growth - 1))
    expected[:, 1, 1] = start[1] / (1 + 2 * start[1] * ts)
    np.testing.assert_allclose(found, expected, atol=1e-14)
