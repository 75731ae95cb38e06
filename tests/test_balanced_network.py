"""The balanced network of a function: values, derivatives and refusals."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import lazyrich_jax as lr

loose: Any = lr  # for arguments that its annotations refuse
STEP = 1e-4

# Sizes (in, hidden, out), with balances that they allow.
SHAPES = {
    (3, 3, 3): (0.0, 0.5, -0.7),
    (3, 2, 2): (0.0, 0.5, -0.7),
    (2, 2, 3): (0.5, -0.7),
    (4, 2, 3): (0.5, -0.7),
    (2, 4, 4): (0.0, 0.5),
    (4, 4, 2): (0.0, -0.7),
    (2, 3, 4): (0.0, 0.5),
    (4, 3, 2): (-0.7,),
    (2, 5, 4): (0.0,),
}


def functions(sizes):
    """Functions with random, equal, some zero and only zero singular values."""
    n_in, _, n_out = sizes
    random = np.random.default_rng(1).normal(size=(n_out, n_in))
    u, _, vt = np.linalg.svd(random, full_matrices=False)
    return {
        "random": random,
        "equal": 0.8 * u @ vt,
        "rank one": 1.3 * np.outer(u[:, 0], vt[0]),
        "zero": np.zeros((n_out, n_in)),
    }


def reference(function, lmda, hidden):
    """QQ^T, with surplus units on all directions that the modes leave."""
    n_out, n_in = function.shape
    u, s, vt = np.linalg.svd(function)
    k = min(hidden, n_in, n_out)
    rate = np.hypot(lmda, 2 * s[:k])
    of_input = (vt[:k].T * (rate - lmda) / 2) @ vt[:k]
    of_output = (u[:, :k] * (rate + lmda) / 2) @ u[:, :k].T
    if k < hidden:
        of_input += max(-lmda, 0) * vt[k:].T @ vt[k:]
        of_output += max(lmda, 0) * u[:, k:] @ u[:, k:].T
    product = (u[:, :k] * s[:k]) @ vt[:k]
    return np.block([[of_input, product.T], [product, of_output]])


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_values(sizes):
    n_in, hidden, n_out = sizes
    for name, function in functions(sizes).items():
        is_cut = name == "equal" and hidden < min(n_in, n_out)
        is_full = name in ("random", "equal") and hidden <= min(n_in, n_out)
        for lmda in SHAPES[sizes]:
            network = lr.balanced_network(function, lmda, hidden)
            assert network.sizes == sizes
            w1, w2 = (np.asarray(w) for w in network.weights)
            balance = w2.T @ w2 - w1 @ w1.T
            np.testing.assert_allclose(balance, lmda * np.eye(hidden), atol=1e-14)
            expected = reference(function, lmda, hidden)
            if not is_cut:
                np.testing.assert_allclose(w2 @ w1, expected[n_in:, :n_in], atol=1e-14)
            # Elsewhere function and balance leave some directions open.
            if not is_cut and (lmda == 0 or is_full or hidden >= max(n_in, n_out)):
                q = np.concatenate([w1.T, w2])
                np.testing.assert_allclose(q @ q.T, expected, atol=1e-14)
            # The first units are the modes in falling order, the others follow.
            strengths = np.linalg.norm(w1, axis=1) * np.linalg.norm(w2, axis=0)
            s = np.linalg.svd(function, compute_uv=False)[:hidden]
            s = np.pad(s, (0, hidden - len(s)))
            np.testing.assert_allclose(strengths, s, atol=1e-14)


def test_default_size_and_dtype():
    function = functions((4, 2, 2))["random"]
    network = lr.balanced_network(function.astype(np.float32), 0.5)
    assert network.sizes == (4, 2, 2)
    assert all(w.dtype == jnp.float32 for w in network.weights)
    assert lr.balanced_network(function, jnp.float32(0.5)).weights[0].dtype == float


@eqx.filter_jit
def slopes(function, lmda, hidden):
    """A number that rotations don't change, its gradient, and the change of these."""
    rng = np.random.default_rng(2)
    n = sum(function.shape)
    mixed, change = rng.normal(size=(n, n)), rng.normal(size=function.shape)

    def total(function, lmda):
        network = lr.balanced_network(function, lmda, hidden)
        w1, w2 = network.weights
        q = jnp.concatenate([w1.T, w2])
        return jnp.sum(mixed * (q @ q.T))

    gradient = jax.value_and_grad(total, (0, 1))
    given = jnp.asarray(function), jnp.asarray(lmda)
    found, change_of = jax.jvp(gradient, given, (jnp.asarray(change), jnp.ones(())))
    return found, change_of, change


def differences(f, *x):
    """The derivative at x along a change, of fourth order in the step."""

    def at(step):
        moved = [a + step * b for a, b in x]
        return np.asarray(f(*moved))

    near, far = (at(k * STEP) - at(-k * STEP) for k in (1, 2))
    return (8 * near - far) / (12 * STEP)


SMOOTH = (
    ((3, 3, 3), 0.5, ("random", "equal", "rank one", "zero")),
    ((3, 3, 3), -0.7, ("equal", "zero")),
    ((3, 3, 3), 0.0, ("random", "equal")),
    ((2, 4, 4), 0.5, ("random", "equal", "rank one", "zero")),
    ((4, 2, 3), -0.7, ("random",)),
    ((2, 3, 4), 0.5, ("random", "equal")),
)


@pytest.mark.parametrize("sizes, lmda, names", SMOOTH, ids=str)
def test_derivatives(sizes, lmda, names):
    """First ones in reverse mode, second ones forward over reverse."""
    for name in names:
        function = functions(sizes)[name]

        def at(function, lmda):
            return slopes(function, jnp.asarray(lmda), sizes[1])

        (_, by), twice, change = at(function, lmda)
        along = (function, change), (lmda, 1.0)
        first = np.sum(by[0] * change) + by[1]
        expected = differences(lambda *x: at(*x)[0][0], *along)
        np.testing.assert_allclose(first, expected, rtol=1e-9)
        np.testing.assert_allclose(twice[0], first, rtol=1e-11)
        for i in (0, 1):
            expected = differences(lambda *x, i=i: at(*x)[0][1][i], *along)
            np.testing.assert_allclose(twice[1][i], expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["random", "equal", "rank one", "zero"])
def test_derivatives_of_square_functions_in_closed_form(name):
    """W1^T W1 = R - lmda / 2 with R^2 = A^T A + lmda^2 / 4: dR is from R dR + dR R."""
    a, lmda = functions((3, 3, 3))[name], 0.5
    (_, by), _, da = slopes(a, jnp.asarray(lmda), 3)
    changes = []
    for x, dx in ((a, da), (a.T, da.T)):
        root = np.real(scipy.linalg.sqrtm(x.T @ x + lmda**2 / 4 * np.eye(3)))
        square = dx.T @ x + x.T @ dx + lmda / 2 * np.eye(3)
        changes.append(scipy.linalg.solve_sylvester(root, root, square))
    half = np.eye(3) / 2
    expected = np.block([[changes[0] - half, da.T], [da, changes[1] + half]])
    mixed = np.random.default_rng(2).normal(size=(6, 6))
    found = np.sum(by[0] * da) + by[1]
    np.testing.assert_allclose(found, np.sum(mixed * expected), rtol=1e-12)


def test_the_loss_of_the_exact_solution():
    """Its gradient and, at equal singular values, the balance and strength zero."""
    task = lr.Task.from_correlation(np.diag([2.0, 1.0]))
    change = np.array([[0.3, -0.2], [0.5, 0.4]])

    @jax.jit
    def loss_and_slope(function, lmda):
        def loss(function, lmda):
            network = lr.balanced_network(function, lmda)
            return lr.ExactSolution(network, task, throw=False).loss(0.7)

        return jax.value_and_grad(loss, (0, 1))(function, lmda)

    for factor, lmda in ((0.3, 0.0), (0.3, -0.7), (0.0, 0.5)):
        along = (factor * np.eye(2), change), (lmda, 1.0)
        _, by = loss_and_slope(along[0][0], lmda)
        expected = differences(lambda *x: loss_and_slope(*x)[0], *along)
        np.testing.assert_allclose(np.sum(by[0] * change) + by[1], expected, rtol=1e-9)


@pytest.mark.parametrize(
    "sizes, name, lmda, words",
    [
        ((2, 3, 4), "rank one", 0.5, "function must be .* all its singular values"),
        ((4, 2, 3), "equal", -0.7, "cut through equal"),
        ((2, 4, 4), "random", 0.0, "`lmda` must be taken where no hidden unit is zero"),
    ],
    ids=str,
)
def test_derivatives_that_do_not_exist(sizes, name, lmda, words):
    with pytest.raises(RuntimeError, match=words):
        slopes(functions(sizes)[name], jnp.asarray(lmda), sizes[1])


def test_derivatives_that_do_not_exist_are_marked_without_throw():
    def trace(factor, lmda):
        function = factor * jnp.eye(2)
        network = lr.balanced_network(function, lmda, throw=False)
        return jnp.trace(network.qqt)

    found = jax.jit(jax.value_and_grad(trace, (0, 1)))(0.0, 0.0)
    np.testing.assert_array_equal(jnp.stack([found[0], *found[1]]), [0, np.nan, np.nan])


@pytest.mark.usefixtures("untyped")
def test_refusals():
    function = np.ones((2, 3))
    for given, words in (
        ((function, 1.0, 3), "`lmda` must not be positive for sizes 3-3-2"),
        ((function, -1.0, 4), "`lmda` must not be negative for sizes 3-4-2"),
        ((function, np.inf), "`lmda` must be finite"),
        ((function, np.ones(2)), "`lmda` must be a scalar.*`jax.vmap`"),
        ((function * np.nan, 1.0), "`function` must be finite"),
        ((np.ones((4, 2, 3)), 1.0), "`function` must be a matrix.*`jax.vmap`"),
        ((function, 1.0, 0), "`hidden_size` must be an integer of at least 1"),
    ):
        with pytest.raises(ValueError, match=words):
            loose.balanced_network(*given)
    with pytest.raises(ValueError, match="`lmda` must not be positive"):
        jax.grad(lambda x: lr.balanced_network(function, x, 3).qqt.sum())(1.0)


def test_batches_with_bad_members():
    """Traced bad values stop the program or are marked, and good ones don't change."""
    batch = jnp.stack([jnp.ones((2, 3)), jnp.full((2, 3), jnp.inf)])

    @jax.jit
    def made(functions, lmdas):
        def one(function, lmda):
            return lr.balanced_network(function, lmda, 3, throw=False)

        return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(functions, lmdas)

    w1, _ = made(batch, jnp.array([-1.0, 0.0, 1.0])).weights
    bad = np.isnan(w1).all(axis=(-1, -2))
    np.testing.assert_array_equal(bad, [[False, False, True], [True, True, True]])
    alone = lr.balanced_network(batch[0], -1.0, 3).weights[0]
    np.testing.assert_allclose(w1[0, 0], alone, atol=1e-14)
    with pytest.raises(RuntimeError, match="`lmda` must be finite and feasible"):
        jax.jit(lambda x: lr.balanced_network(batch[0], x, 3))(1.0)
