"""Symmetric factorisation and Oja's flow, against the flow of the weights in SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import lazyrich_jax as lr
from lazyrich_jax.theory import oja_flow, symmetric_factorisation

TS = np.array([0.0, 0.1, 0.7, 2.0, 6.0])
VECTORS = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
SPECTRA = {
    "distinct": [2.0, 1.0, -0.3, -0.8],
    "repeated": [1.5, 1.5, 0.0, -1.0],
    "identity": [1.0, 1.0, 1.0, 1.0],
    "zero": [0.0, 0.0, 0.0, 0.0],
    "negative": [-0.5, -1.0, -1.0, -2.0],
}


def matrix(name, *, positive=False):
    values = np.array(SPECTRA[name])
    values = np.abs(values) if positive else values
    return (VECTORS * values) @ VECTORS.T


def start(kind, hidden):
    """Weights, (n, hidden)."""
    w = 0.4 * np.random.default_rng(2).normal(size=(4, hidden))
    if kind == "rank one":
        w = np.outer(w[:, 0], w[0])
    if kind == "saddle":
        w = w - np.outer(VECTORS[:, 0], VECTORS[:, 0] @ w)
    return w


def to_target(q, m):
    """The velocity of W^T for dW/dt = W (M - W^T W)."""
    return (m - q @ q.T) @ q


def by_oja(w, c):
    return c @ w - w @ (w.T @ c @ w)


FLOWS = {
    "factorisation": (lambda ts, q, m: symmetric_factorisation(ts, q.T, m), to_target),
    "oja": (oja_flow, by_oja),
}


def simulated(velocity, q, m, ts):
    solution = solve_ivp(
        lambda t, y: velocity(y.reshape(q.shape), m).ravel(),
        (0, ts[-1]),
        q.ravel(),
        "DOP853",
        ts,
        rtol=1e-12,
        atol=1e-14,
    )
    q = solution.y.T.reshape(-1, *q.shape)
    return np.einsum("tik,tjk->tij", q, q)


@pytest.mark.parametrize("hidden", [2, 6])
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("name", SPECTRA)
def test_it_is_the_flow_of_the_weights(name, flow, hidden):
    closed, velocity = FLOWS[flow]
    m = matrix(name, positive=flow == "oja")
    for kind in ("generic", "rank one", "saddle"):
        q = start(kind, hidden)
        expected = simulated(velocity, q, m, TS)
        # A solver's rounding leaves a saddle.
        within = 1e-8 if kind == "saddle" else 1e-10
        np.testing.assert_allclose(closed(TS, q, m), expected, atol=within)


def test_limits_are_the_positive_part_and_a_projector():
    m, c = matrix("distinct"), matrix("repeated", positive=True)
    ts = np.array([[1e3, 1e6, 1e9, 1e300, np.inf]])
    parts = VECTORS[:, :, None] * VECTORS.T[None]  # [:, i] is the projector on mode i
    for found, end in (
        (
            symmetric_factorisation(ts, start("generic", 6).T, m),
            2 * parts[:, 0] + parts[:, 1],
        ),
        # From the exact saddle the first mode is never learned.
        (symmetric_factorisation(ts, start("saddle", 2).T, m), parts[:, 1]),
        (oja_flow(ts, start("generic", 2), c), parts[:, 0] + parts[:, 1]),
    ):
        np.testing.assert_allclose(
            found, np.broadcast_to(end, (1, 5, 4, 4)), atol=1e-14
        )


def test_early_times_are_the_start():
    q = start("generic", 6)
    ts = np.array([0.0, 1e-300, 1e-100, 1e-30, 1e-20])
    for flow, _ in FLOWS.values():
        found = flow(ts, q, matrix("identity"))
        expected = np.broadcast_to(q @ q.T, (5, 4, 4))
        np.testing.assert_allclose(found, expected, atol=1e-15)


def test_a_tied_network_is_the_factorisation_of_its_task():
    """The engine on twice as many rows, for a positive matrix."""
    m, w = matrix("repeated", positive=True), start("generic", 2).T
    network = lr.LinearNetwork((w, w.T))
    solution = lr.ExactSolution(network, lr.Task.from_correlation(m))
    ts = jnp.array([0.0, 0.3, 4.0, 1e3, jnp.inf])
    found = symmetric_factorisation(ts, w, m)
    np.testing.assert_allclose(found, solution.function(ts), atol=1e-13)


@pytest.mark.parametrize("flow", FLOWS)
def test_derivatives_are_differences(flow):
    closed = FLOWS[flow][0]
    ts = jnp.array([0.0, 0.1, 0.6, 3.0, jnp.inf])
    rng = np.random.default_rng(3)
    dq, dm = rng.normal(size=(4, 2)), rng.normal(size=(4, 4))
    dm = dm + dm.T

    @jax.jit
    def slope(q, m, by_q, by_m, by_t):
        def of(q, m, t):
            return closed(t, q, m)

        moved = by_q * dq, by_m * dm, by_t * jnp.array([1.0, 1.0, 1.0, 1.0, 0.0])
        return jax.jvp(of, (q, m, ts), moved)[1]

    def along(q, m, x):
        """Values along the change, with finite times after zero."""
        by_q, by_m, by_t = x
        later = np.where(np.isfinite(ts), ts + by_t, ts)
        return np.asarray(closed(later, q + by_q * dq, m + by_m * dm))

    for name, values in SPECTRA.items():
        if flow == "oja" and 0 in values:
            continue  # a change may leave the covariances
        q, m = start("generic", 2), matrix(name, positive=flow == "oja")
        leading = np.sort(np.abs(values) if flow == "oja" else np.maximum(values, 0))
        for i, direction in enumerate(np.eye(3)):
            found = slope(q, m, *direction)
            # One-sided in time, which is not negative.
            places = range(5) if i == 2 else (-2, -1, 1, 2)
            weights = [-25, 48, -36, 16, -3] if i == 2 else [1, -8, 8, -1]
            steps = [along(q, m, 1e-4 * x * direction) for x in places]
            expected = np.tensordot(np.array(weights), np.array(steps), 1) / 12e-4
            # The limit jumps with the matrix if two hidden units cut equal modes.
            jumps = i == 1 and leading[1] == leading[2]
            last = slice(4) if jumps else slice(5)
            np.testing.assert_allclose(
                found[last], expected[last], atol=1e-7, err_msg=f"{name} {i}"
            )


def test_first_derivatives_in_reverse():
    m, q = matrix("identity"), start("generic", 2)

    def total(m):
        return jnp.sum(oja_flow(TS, q, m) * (1 + m)[None])

    both = jax.jit(
        lambda m: (jax.jvp(total, (m,), (m,))[1], jnp.sum(jax.grad(total)(m) * m))
    )
    np.testing.assert_allclose(*both(m), rtol=1e-13)


def test_second_derivatives_are_by_times_alone():
    m, q = matrix("identity"), jnp.asarray(start("generic", 2))

    def flow(t, q, m):
        return symmetric_factorisation(t, q.mT, m)[0, 0]

    for of in (1, 2):
        with pytest.raises(TypeError, match="Second derivatives of this flow must"):
            jax.eval_shape(jax.jacfwd(jax.jacfwd(flow, of), of), 0.7, q, m)
    assert jax.eval_shape(jax.jacfwd(jax.jacfwd(flow)), 0.7, q, m).shape == ()


def test_refusals(untyped):
    w, m = np.eye(2), np.eye(2)
    with pytest.raises(ValueError, match="`matrix` must be symmetric, but"):
        symmetric_factorisation(1.0, w, np.array([[1.0, 1.0], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="`matrix` must be square and fit the 3 dim"):
        symmetric_factorisation(1.0, np.ones((2, 3)), m)
    with pytest.raises(ValueError, match="`ts` must be non-negative"):
        symmetric_factorisation(-1.0, w, m)
    with pytest.raises(ValueError, match="`covariance` must be positive semidefinite"):
        oja_flow(1.0, w, np.diag([1.0, -1e-3]))
    traced = jax.jit(oja_flow)(1.0, w, np.diag([1.0, -1e-3]))
    assert np.isnan(traced).all()


def test_single_precision():
    q, m = start("generic", 2), matrix("repeated", positive=True)
    narrow = oja_flow(TS.astype(np.float32), *(x.astype(np.float32) for x in (q, m)))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, oja_flow(TS, q, m), atol=3e-6)
