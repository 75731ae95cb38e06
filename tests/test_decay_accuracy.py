"""Modes, losses and functions under weight decay keep their digits, early and late."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax._riccati.decaying.pairs import pairs

STRENGTHS = (2.0, 1.0, 0.5)


def bessel(s, lmda, decay, t, digits=50):
    """The quantities of `pairs` from modified Bessel functions in many digits."""
    mp.mp.dps = digits
    s, lmda, decay, t = (mp.mpf(x) for x in (s, lmda, decay, t))
    half, order = lmda / 2, s / (2 * decay) - mp.mpf(1) / 2
    first, now = half / (2 * decay), half / (2 * decay) * mp.exp(-2 * decay * t)
    i0, i1 = (lambda z, k=k: mp.besseli(order + k, z) for k in (0, 1))
    k0, k1 = (lambda z, k=k: mp.besselk(order + k, z) for k in (0, 1))
    root, rest = mp.sqrt(first * now), mp.exp(-decay * t)
    fall = mp.sqrt(now / first) * i0(now) / i0(first) * rest
    grow = root * (i0(first) * k1(now) + k0(first) * i1(now)) * rest
    across = root * (i0(first) * k0(now) - k0(first) * i0(now)) * rest
    tilt, tilt0 = i1(now) / i0(now), i1(first) / i0(first)
    square = grow * across / half / rest**2
    both = across * tilt * fall / half / rest**2
    last = tilt0 / half - tilt * fall**2 / half / rest**2
    root = mp.sqrt(square)
    return grow, across, fall, tilt, root, both / root, mp.sqrt(last - both**2 / square)


@pytest.mark.parametrize(
    "s, lmda, decay, t",
    [
        (1.0, 2.0, 0.1, 1.0),
        (0.5, 30.0, 0.05, 3.0),  # decays slowly from far
        (0.0, 3.0, 0.2, 4.0),
        (0.3, 1e-4, 0.3, 20.0),  # the strength is the decay
        (1e-3, 0.5, 2.0, 30.0),  # the mode dies
        (2.0, 90.0, 5.0, 10.0),
        (0.2, 60.0, 0.4, 54.0),  # two time scales
        (1.0, 40.0, 1.0, 100.0),  # a plateau between two edges
        (10.0, 100.0, 10.0, 10.0),
        (0.98, 40.0, 1.0, 100.0),
        (1e-5, 3e-3, 7e-4, 2.5e-6),  # long before its own time scale
        (3.0, 1e-3, 1e-2, 50.0),
        (1e-4, 5e-3, 8.0, 1e-3),
    ],
)
def test_solutions_of_a_mode_are_bessel_functions(s, lmda, decay, t):
    found = jax.jit(pairs)(jnp.array([s]), *map(jnp.asarray, (lmda, decay, t)))

    def value(x):
        return float(jnp.exp(x.rate * t + x.rest)[0])

    found = [
        value(found.grow),
        float(found.across[0]) * value(found.turn),
        value(found.fall),
        float(found.tilt[0]),
        value(found.root),
        float(found.mixed[0]),
        float(found.last[0]),
    ]
    # Exponents of up to some hundred lose digits.
    expected = [float(x) for x in bessel(s, lmda, decay, t)]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-300)


@functools.cache
def solved(hidden):
    """Loss, function and QQ^T on diagonal tasks, compiled once a shape."""

    @jax.jit
    def f(network, s, decay, ts):
        task = lr.Task.from_correlation(jnp.diag(s))
        solution = lr.ExactSolution(network, task, weight_decay=decay)
        return solution.loss(ts), solution.function(ts), solution.qqt(ts)

    return f


def network_of(lmda, hidden=3, scale=0.3):
    return lr.LambdaBalanced(lmda, scale)(3, hidden, 3, key=jax.random.key(2))


def error_in_digits(network, strengths, lmda, decay, t):
    """The task's correlation less the function, by Bessel functions in many digits."""
    # Exponents of both solutions cancel.
    rate = float(mp.hypot(max(strengths), lmda / 2))
    mp.mp.dps = digits = int(60 + 2 * rate * min(t, 1 / decay))
    w1, w2 = (mp.matrix(np.asarray(w).tolist()) for w in network.weights)
    rows = (w1.T + w2) / mp.sqrt(2), (w1.T - w2) / mp.sqrt(2)
    hidden, n = w1.rows, len(strengths)
    sign, size = (1, lmda) if lmda > 0 else (-1, -lmda)
    y, b = mp.matrix(2 * n, hidden), mp.eye(hidden)
    for i, s in enumerate(strengths):
        grow, across, fall, tilt, root, mixed, last = bessel(s, size, decay, t, digits)
        order, z = mp.mpf(s) / (2 * decay) - 0.5, size / (4 * mp.mpf(decay))
        first = mp.besseli(order + 1, z) / mp.besseli(order, z)
        down = rows[1][i, :]
        up = rows[0][i, :] - sign * first * down
        for k in (root * up + sign * mixed * down, last * down):
            b += k.T * k
        y[i, :] = grow * up + sign * tilt * fall * down
        y[n + i, :] = fall * down - sign * across * up
    p = y * b**-1 * y.T
    of = mp.matrix(n, n)
    for i in range(n):
        for j in range(n):
            of[i, j] = (p[i, j] + p[i, n + j] - p[n + i, j] - p[n + i, n + j]) / 2
        of[i, i] -= strengths[i]
    return -of


@pytest.mark.parametrize(
    "lmda, decay, t, tolerance",
    [
        (0.0, 1e-6, 1.0, 1e-14),
        (0.0, 1e-6, 10.0, 1e-13),
        (0.0, 1e-6, 20.0, 1e-13),  # the loss is 1e-12
        (0.0, 0.5, 3.0, 1e-13),  # a strength is the decay
        (1.0, 0.01, 10.0, 1e-12),
        (100.0, 0.01, 0.1, 1e-12),
        (-100.0, 0.01, 0.3, 1e-12),  # the loss is 1e-7, QQ^T is 100
        (100.0, 1e-3, 0.2, 1e-12),  # the loss is 1e-9
        (-100.0, 1.0, 0.3, 2e-11),  # 1.02e-11 with jax 0.4.38
        (100.0, 1.0, 1.0, 1e-11),
        (100.0, 10.0, 0.1, 1e-11),
    ],
)
def test_losses_have_their_digits(lmda, decay, t, tolerance):
    network = network_of(lmda)
    found = solved(3)(network, jnp.array(STRENGTHS), decay, jnp.full(3, t))
    error = error_in_digits(network, STRENGTHS, lmda or mp.mpf(10) ** -40, decay, t)
    loss = mp.fsum(e**2 for e in error) / 2
    assert abs(float(found[0][0]) - loss) <= tolerance * loss
    expected = np.diag(STRENGTHS) - np.array(error.tolist(), float)
    np.testing.assert_allclose(found[1][0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lmda", [0.0, 1.0, -100.0])
def test_functions_of_dying_networks_have_their_digits(lmda):
    ts = jnp.array([0.3, 1.0, 2.0])  # the last function is below 1e-13
    found = solved(3)(network_of(lmda), jnp.array(STRENGTHS), 10.0, ts)[1]
    for t, function in zip(np.asarray(ts), found, strict=True):
        balance = lmda or mp.mpf(10) ** -40
        error = error_in_digits(network_of(lmda), STRENGTHS, balance, 10.0, float(t))
        expected = np.array((mp.diag(STRENGTHS) - error).tolist(), float)
        size = np.max(np.abs(expected))
        np.testing.assert_allclose(function, expected, rtol=0, atol=1e-12 * size)


def adiabatic_error(s, lmda, decay, t):
    """s - a of a learned mode at a balance that hardly decays, from its equation.

    It is e' = -2 (kappa + decay) e + 2 decay s, kappa the root of l^2 + a^2.
    """
    mp.mp.dps = 40
    s, lmda, decay = (mp.mpf(x) for x in (s, lmda, decay))

    def kappa(t, a):
        return mp.sqrt((lmda / 2 * mp.exp(-2 * decay * t)) ** 2 + a**2)

    def first(t):
        return decay * s / (kappa(t, s) + decay)

    slope = mp.diff(first, mp.mpf(t))
    return (2 * decay * s - slope) / (2 * (kappa(t, s - first(t)) + decay))


@pytest.mark.parametrize("lmda", [-100.0, 3.0, 100.0])
def test_late_losses_at_a_tiny_decay(lmda):
    ts = np.array([60.0, 1e3, 1e4])
    found = solved(3)(network_of(lmda), jnp.array(STRENGTHS), 1e-6, ts)[0]
    for t, loss in zip(ts, found, strict=True):
        errors = [adiabatic_error(s, lmda, 1e-6, t) for s in STRENGTHS]
        expected = float(sum(e**2 for e in errors) / 2)
        np.testing.assert_allclose(loss, expected, rtol=1e-10)


def without_task(network, lmda, decay, t):
    """Loss, function and representations on a task of zeros, in many digits."""
    mp.mp.dps = 60
    w1, w2 = (mp.matrix(np.asarray(w).tolist()) for w in network.weights)
    lmda, decay, t = mp.mpf(lmda or mp.mpf(10) ** -40), mp.mpf(decay), mp.mpf(t)
    total, rest = -lmda * mp.expm1(-2 * decay * t) / (2 * decay), mp.exp(-2 * decay * t)
    with mp.workdps(60 + int(abs(total))):
        gains = -mp.expm1(-total) / lmda, mp.expm1(total) / lmda
        square = mp.eye(w1.rows) + gains[0] * w1 * w1.T + gains[1] * w2.T * w2
        inverse = rest * square**-1
        function = w2 * inverse * w1
        inputs = mp.exp(-total) * w1.T * inverse * w1
        outputs = mp.exp(total) * w2 * inverse * w2.T
    return mp.fsum(x**2 for x in function) / 2, function, inputs, outputs


@pytest.mark.parametrize("decay", [1e-3, 1.0, 10.0])
@pytest.mark.parametrize("lmda", [0.0, 1.0, 100.0, -100.0])
def test_all_digits_without_a_task(lmda, decay):
    ts = np.array([0.1, 2.0, 30.0])
    loss, function, qqt = solved(3)(network_of(lmda), jnp.zeros(3), decay, ts)
    found = loss, function, qqt[:, :3, :3], qqt[:, 3:, 3:]
    for i, t in enumerate(ts):
        expected = without_task(network_of(lmda), lmda, decay, t)
        for x, y in zip(found, expected, strict=True):
            y = np.array(y.tolist() if isinstance(y, mp.matrix) else y, float)
            size = 1e-12 * np.abs(y).max() + 1e-290
            np.testing.assert_allclose(x[i], y, rtol=0, atol=size)
