"""Derivatives of the modes' solutions under weight decay at special values."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax._riccati.decaying.adiabatic import adiabatic
from lazyrich_jax._riccati.decaying.falling import falling
from lazyrich_jax._riccati.decaying.pairs import pairs
from lazyrich_jax._riccati.decaying.uncoupled import uncoupled

from .test_decay_accuracy import bessel


def slopes(f):
    """Compiled: the derivatives of orders one and two by the decay."""

    def first(s, more, decay):
        return jax.jvp(functools.partial(f, s, more), (decay,), (1.0,))[1]

    def both(s, more, decay):
        return jax.jvp(functools.partial(first, s, more), (decay,), (1.0,))

    return jax.jit(both)


def values(x, t):
    """The entries of `pairs` in the order of `bessel`, of one mode."""

    def of(y):
        return jnp.exp(y.rate * t + y.rest)

    across = x.across * of(x.turn)
    found = of(x.grow), across, of(x.fall), x.tilt, of(x.root), x.mixed, x.last
    return jnp.concatenate(found)


TIME = 3.0


@functools.cache
def of_pairs():
    def of(s, lmda, decay):
        return values(pairs(s, lmda, decay, jnp.asarray(TIME)), TIME)

    return slopes(of)


def test_a_strength_that_is_the_decay():
    s, lmda, t = 0.7, 0.4, TIME
    found = of_pairs()(jnp.array([s]), jnp.array(lmda), s)
    mp.mp.dps = 50
    # Not at zero itself: Bessel functions of integer order take long.
    step, middle = mp.mpf(10) ** -12, s + mp.mpf(10) ** -25
    below, here, above = (
        [mp.mpf(x) for x in bessel(s, lmda, middle + k * step, t)] for k in (-1, 0, 1)
    )
    each = list(zip(below, here, above, strict=True))
    first = [float((c - a) / (2 * step)) for a, _, c in each]
    second = [float((a - 2 * b + c) / step**2) for a, b, c in each]
    np.testing.assert_allclose(found[0], first, rtol=1e-11)
    np.testing.assert_allclose(found[1], second, rtol=1e-9)


def without_strength(half, decay):
    """`values` of a mode of strength zero, to second order in the decay."""
    t = TIME
    grown = half * (t - decay * t**2 + 2 * decay**2 * t**3 / 3)
    root = mp.sqrt(mp.cosh(grown) * mp.sinh(grown) / half)
    mixed = mp.exp(-grown) * mp.sinh(grown) / half / root
    last = mp.sqrt((1 - mp.exp(-2 * grown)) / half - mixed**2)
    rest = mp.exp(-decay * t)
    moved = [rest * f(grown) for f in (mp.cosh, mp.sinh)]
    return *moved, rest * mp.exp(-grown), mp.mpf(1), root, mixed, last


@pytest.mark.parametrize("s", [0.0, 1e-15])
def test_no_strength_and_no_decay(s):
    mp.mp.dps = 50
    lmda = 0.8
    found = of_pairs()(jnp.array([s]), jnp.array(lmda), 0.0)
    for order in (1, 2):
        expected = [
            float(mp.diff(lambda y, i=i: without_strength(lmda / 2, y)[i], 0, order))
            for i in range(7)
        ]
        np.testing.assert_allclose(found[order - 1], expected, rtol=1e-11, atol=1e-11)


def test_a_strength_that_is_the_decay_at_a_balance_of_zero():
    t = 3.0

    def root(s, t, decay):
        x = uncoupled(s, decay, t).root
        return jnp.exp(x.rate * t + x.rest)[0]

    found = slopes(root)(jnp.array([0.7]), jnp.asarray(t), 0.7)
    # The root of (e^{2rt} - 1) / 2r by powers of r = s - decay.
    expected = t**0.5 * np.array([-t / 2, 5 * t**2 / 12])
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@functools.cache
def slow():
    def of(s, half, decay):
        found = adiabatic(s, half, decay)
        ratio = falling(s, half, decay).ratio
        return jnp.concatenate([found.lack, found.rise, ratio])

    return slopes(of)


@pytest.mark.parametrize("decay", [0.0, 1e-300, 1e-18, 1e-13])
@pytest.mark.parametrize("s, half", [(1.0, 2.0), (0.02, 5.0), (2.0, 1e-3), (0.0, 1.0)])
def test_no_decay(s, half, decay):
    """The equations of a and of the ratio, by powers of the decay."""
    h = np.hypot(s, half)
    first, second = slow()(jnp.array([s]), jnp.asarray(half), decay)
    lack, rise, ratio = s / h, -s * (s + h) / h**2, -s / (h**2 * (s + h))
    np.testing.assert_allclose(first[:2], [lack, rise], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(first[2], ratio, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(second[0], -4 * s * half**2 / h**4, atol=1e-11)
    by_half = -ratio * half / h * (2 / h + 1 / (s + h))
    bent = -2 * (ratio + half * by_half + half**2 * ratio**2 / 2) / h
    np.testing.assert_allclose(second[2], bent, rtol=1e-10, atol=1e-11)


@pytest.mark.slow
def test_a_strength_of_zero_and_a_balance_of_rounding():
    """The slope at no decay is refused, and right where the balance is known."""
    task = lr.Task.from_correlation(jnp.diag(jnp.array([2.0, 0.0])))
    network = lr.LambdaBalanced(0.0, 0.4)(2, 2, 2, key=jax.random.key(1))

    def loss(decay, lmda):
        given = {"weight_decay": decay, "lmda": lmda, "throw": False}
        return lr.ExactSolution(network, task, **given).loss(jnp.array(1.5))

    value, slope = jax.value_and_grad(loss)(0.0, None)
    known, slope_of_known = jax.value_and_grad(loss)(0.0, 0.0)
    assert jnp.isnan(slope)
    np.testing.assert_allclose(value, known, rtol=1e-13)
    np.testing.assert_allclose(slope_of_known, 0.0837891917, rtol=1e-8)  # of the flow
