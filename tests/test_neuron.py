"""The single neuron of Kunin et al., against its equations integrated numerically."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import lazyrich_jax as lr

theory = lr.theory
loose: Any = theory  # for arguments that its annotations refuse
TS = np.array([0.0, 0.2, 1.0, 3.0, 9.0])
TARGET = np.array([0.3, 1.1, -0.4])
START = np.array([-0.9, 0.2, 0.5])
DELTAS = (-30.0, -2.0, -1e-9, 0.0, 1e-9, 2.0, 30.0)
neuron = jax.jit(theory.single_neuron)


def integrated(w, a, target, ts=TS, sxx=None):
    sxx = np.eye(len(w)) if sxx is None else sxx

    def velocity(t, q):
        w, a = q[:-1], q[-1]
        error = sxx @ (target - a * w)
        return np.append(a * error, w @ error)

    q = solve_ivp(
        velocity, (0, ts[-1]), np.append(w, a), "DOP853", ts, rtol=1e-12, atol=1e-14
    ).y.T
    return q[:, :-1], q[:, -1]


def starts(delta):
    """A neuron with a > 0, its mirror image, and one with zero function."""
    one = theory.neuron_from_function(START, delta)
    yield one.w, one.a
    yield -one.w, -one.a
    if delta >= 0:
        yield jnp.zeros(3), jnp.sqrt(delta)
    else:
        yield one.w * jnp.sqrt(-delta) / jnp.linalg.norm(one.w), jnp.zeros(())


@pytest.mark.parametrize("delta", DELTAS)
def test_the_neuron_follows_its_flow(delta):
    for w, a in starts(delta):
        state = neuron(TS, w, a, TARGET)
        ws, as_ = integrated(np.asarray(w), float(a), TARGET)
        np.testing.assert_allclose(state.w, ws, atol=1e-9)
        np.testing.assert_allclose(state.a, as_, atol=1e-9)
        np.testing.assert_allclose(state.delta, delta, atol=1e-12 * (1 + abs(delta)))
        function = as_[:, None] * ws
        size = np.linalg.norm(ws, axis=1)
        np.testing.assert_allclose(state.function, function, atol=1e-9)
        np.testing.assert_allclose(state.magnitude, as_ * size, atol=1e-9)
        if size.min() > 0.1:
            cosine = ws @ TARGET / size / np.linalg.norm(TARGET)
            np.testing.assert_allclose(state.alignment(TARGET), cosine, atol=1e-9)
        # The neuron converges to the right one of both ends.
        stuck = not (w.any() or a)
        end = neuron(jnp.inf, w, a, TARGET)
        np.testing.assert_allclose(end.function, 0 if stuck else TARGET, atol=1e-12)
        growing = theory.SingleNeuron(w, a).growing_component(TARGET)
        assert jnp.sign(growing) == jnp.sign(end.a)


@pytest.mark.parametrize("delta", [-2.0, 0.0, 2.0])
def test_alignment_and_magnitude_obey_the_published_equations(delta):
    start = theory.neuron_from_function(START, delta)
    s, h = np.linalg.norm(TARGET), 1e-4
    ts = np.array([0.7 - h, 0.7, 0.7 + h])
    state = neuron(ts, start.w, start.a, TARGET)
    nu = state.w @ TARGET / state.a
    slope = (nu[2] - nu[0]) / (2 * h)
    np.testing.assert_allclose(slope, s**2 - delta * nu[1] - nu[1] ** 2, rtol=1e-6)
    if delta == 0:
        mu, phi = state.magnitude, state.alignment(TARGET)
        slope = (mu[2] - mu[0]) / (2 * h)
        np.testing.assert_allclose(slope, 2 * mu[1] * (s * phi[1] - mu[1]), rtol=1e-6)
        np.testing.assert_allclose(
            phi, np.tanh(s * ts + np.arctanh(start.alignment(TARGET))), rtol=1e-12
        )


def test_large_balances_are_lazy_in_their_own_way():
    errors, deltas = [], np.array([100.0, 300.0, 1000.0])
    for sign in (1, -1):
        for delta in deltas:
            start = theory.neuron_from_function(START, sign * delta)
            ts = np.array([0.5, 1.0, 3.0]) / delta
            network = lr.LinearNetwork((start.w[None], start.a[None, None]))
            task = lr.Task.from_correlation(TARGET[None])
            limit = theory.lazy_limit(ts, network, task).function[:, 0]
            ws, as_ = integrated(np.asarray(start.w), float(start.a), TARGET, ts)
            errors.append(np.abs(as_[:, None] * ws - limit).max())
    # The function moves to the target (delta > 0) or along the start (delta < 0).
    order = np.polyfit(np.log(deltas), np.log(np.array(errors).reshape(2, 3)).T, 1)[0]
    np.testing.assert_allclose(order, -2, atol=0.1)


def test_the_basin_boundary_decides_the_sign_of_the_end():
    for delta in (0.0, -2.0, -10.0):
        for a in (-4.0, 1.5):
            edge = float(theory.neuron_boundary(a, delta, TARGET))
            # One w is on the boundary, and one on each side.
            s = np.linalg.norm(TARGET)
            along = edge / s
            rest = a * a - delta - along**2
            across = np.cross(TARGET, [1.0, 0, 0])
            across *= np.sqrt(rest) / np.linalg.norm(across)
            for shift, sign in ((1e-3, 1), (-1e-3, -1)):
                w = TARGET / s * (along + shift) + across
                _, end = integrated(w, a, TARGET, np.array([0.0, 40.0]))
                assert np.sign(end[-1]) == sign
                state = theory.SingleNeuron(jnp.asarray(w), jnp.asarray(a))
                assert jnp.sign(state.growing_component(TARGET)) == sign
    # With a positive balance no neuron lies beyond the boundary.
    edge = abs(float(theory.neuron_boundary(1.5, 2.0, TARGET)))
    assert edge > 0.5 * np.linalg.norm(TARGET)  # |w|^2 = a^2 - delta = 1/4


def test_on_the_boundary_the_neuron_ends_at_a_saddle():
    # No weight lies along the growing mode.
    target = jnp.array([1.0, 0.0])
    state = neuron(
        jnp.array([1.0, 200.0, jnp.inf]), jnp.array([-1.0, 0.0]), 1.0, target
    )
    np.testing.assert_allclose(state.a, [1 / np.sqrt(2 * np.e**2 - 1), 0, 0], atol=1e-9)
    for target in ([3.0, 4.0], [1.0, 1.0], [1e-3, 0.0]):  # exact up to rounding
        w = np.array(target) / np.linalg.norm(target)
        assert neuron(jnp.inf, w, -1.0, np.array(target)).a == 0
        state = theory.SingleNeuron(jnp.asarray(w), jnp.asarray(-1.0))
        assert state.growing_component(np.array(target)) == 0
    across = neuron(jnp.inf, jnp.array([0.0, 1.0]), 0.0, jnp.zeros(2))
    np.testing.assert_array_equal(across.w, [0.0, 1.0])


@pytest.mark.parametrize("function", [(0.4, 0.05), (-0.6, 0.1), (0.1, -1.0)], ids=str)
def test_one_datum(function):
    x = np.array([0.5, 1.0])
    target, sxx = np.array([0.44, 0.88]), np.outer(x, x)
    for delta in (-40.0, -2.0, 0.0, 1.0, 40.0):
        start = theory.neuron_from_function(np.array(function), delta)
        ts = np.array([0.0, 60.0])
        ws, as_ = integrated(np.asarray(start.w), float(start.a), target, ts, sxx)
        end = theory.neuron_one_datum(np.array(function), delta, target)
        np.testing.assert_allclose(end, as_[-1] * ws[-1], atol=1e-9)
    for sign in (1, -1):
        limit = theory.neuron_one_datum(np.array(function), sign * jnp.inf, target)
        deltas, errors = np.array([1e3, 1e4, 1e5]), []
        for delta in deltas:
            start = theory.neuron_from_function(np.array(function), sign * delta)
            ts = np.array([0.0, 400.0 / delta])
            ws, as_ = integrated(np.asarray(start.w), float(start.a), target, ts, sxx)
            errors.append(np.abs(as_[-1] * ws[-1] - limit).max())
        order = np.polyfit(np.log(deltas), np.log(errors), 1)[0]
        # At delta < 0 the limit converges slowly far from the function's line.
        assert order < -0.9, (sign, errors)


def test_kernel_and_its_distance():
    start = theory.neuron_from_function(START, -2.0)
    state = neuron(TS, start.w, start.a, TARGET)
    network = start.network
    np.testing.assert_allclose(
        state.kernel[0], lr.kernels.ntk(network, jnp.eye(3)), atol=1e-12
    )
    # The distance of Kunin et al., with a(t)^2 in the second norm.
    w0, a0, w, a = state.w[0], state.a[0], state.w[2], state.a[2]
    d, n0, n = 3, w0 @ w0, w @ w
    product = d * a0**2 * a**2 + a0**2 * n + a**2 * n0 + (w0 @ w) ** 2
    norms = [np.sqrt(d * x**4 + 2 * x**2 * m + m**2) for x, m in ((a0, n0), (a, n))]
    np.testing.assert_allclose(
        lr.measures.kernel_distance(state.kernel[0], state.kernel[2]),
        1 - product / norms[0] / norms[1],
        rtol=1e-10,
    )


def test_gradients():
    w = jnp.array([0.4, -0.2, 0.3])

    @jax.jit
    def end(t, w, a, target):
        state = theory.single_neuron(t, w, a, target)
        return jnp.sum(state.function * jnp.arange(1.0, 4.0))

    slopes = jax.jit(jax.grad(end, argnums=(0, 1, 2, 3)))
    for a in (0.0, 0.7, float(jnp.linalg.norm(w))):  # the last has zero balance
        for t in (0.5, 2.0):
            args = (t, w, a, jnp.asarray(TARGET))
            slope = jnp.concatenate([jnp.ravel(x) for x in slopes(*args)])
            flat = np.concatenate([np.ravel(x) for x in args])

            def at(x):
                return float(end(x[0], x[1:4], x[4], x[5:]))

            near = [(at(flat + h) - at(flat - h)) / 2e-5 for h in 1e-5 * np.eye(8)]
            np.testing.assert_allclose(slope, near, atol=1e-7)
    for t, target in ((jnp.inf, TARGET), (0.0, TARGET), (1.0, 0 * TARGET)):
        for x in slopes(t, w, jnp.linalg.norm(w), jnp.asarray(target)):
            assert jnp.isfinite(x).all()
    single = neuron(jnp.float32(1), jnp.float32(w), jnp.float32(1), jnp.float32(TARGET))
    assert single.w.dtype == jnp.float32
    np.testing.assert_allclose(single.w, neuron(1.0, w, 1.0, TARGET).w, rtol=1e-5)


def test_derivatives_at_a_target_of_zero():
    @jax.jit
    def state(target, w, a):
        found = theory.single_neuron(2.0, w, a, target)
        of_mode = theory.SingleNeuron(w, a).growing_component(target)
        return jnp.append(found.w, jnp.array([found.a, jnp.where(a > 0.6, of_mode, 0)]))

    derivatives = jax.jit(jax.jacfwd(state, argnums=(0, 1, 2)))
    w, zero = jnp.array([0.3, -0.4]), jnp.zeros(2)
    # The balances are positive, negative and zero, with both signs of `a`.
    for a in (0.8, 0.2, 0.5, -0.5):
        args = zero, w, jnp.asarray(a)
        flat = np.concatenate([np.ravel(x) for x in args])
        near = [
            (state(x[:2], x[2:4], x[4]) - state(y[:2], y[2:4], y[4])) / 2e-5
            for x, y in ((flat + h, flat - h) for h in 1e-5 * np.eye(5))
        ]
        found = [x.reshape(4, -1) for x in derivatives(*args)]
        np.testing.assert_allclose(np.hstack(found), np.transpose(near), atol=1e-8)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: loose.single_neuron(-1.0, [1.0], 1.0, [1.0]), "`ts` must be non-neg"),
        (lambda: loose.single_neuron(1.0, [1.0], 1.0, [1, 2]), "vector of length 2"),
        (lambda: loose.single_neuron(1.0, [1.0], [1.0], [1]), "`a` must be a scalar"),
        (lambda: loose.neuron_from_function([0.0, 0], -1.0), "`function` must not be"),
        (lambda: loose.neuron_one_datum([1.0], 1.0, [0.0]), "`target` must not be"),
        (lambda: theory.neuron_boundary(1.0, 0.0, 1.0), "`target` must be a vector"),
        (lambda: loose.neuron_boundary(1.0, 2.0, [1.0]), "`delta` must be at most"),
        (lambda: loose.neuron_boundary(1, np.nan, [1.0]), "`delta` must be finite"),
        (lambda: loose.neuron_one_datum([0.0], -np.inf, [1.0]), "must not be zero"),
    ],
)
def test_bad_input_is_named(untyped, call, message):
    with pytest.raises(ValueError, match=message):
        call()
