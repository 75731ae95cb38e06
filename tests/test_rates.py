"""Convergence rates, delays and saddles, against the numerical flow."""

import jax
import numpy as np
import pytest

import lazyrich_jax as lr

from .cases import make_task, start
from .numerical_flow import flow, states

theory = lr.theory


@pytest.mark.parametrize(
    "sizes, lmda",
    [
        ((3, 3, 3), 1.0),
        ((3, 3, 5), 6.0),  # delayed rich
        ((3, 3, 5), -6.0),
        ((4, 2, 2), -5.0),  # delayed rich
        ((2, 3, 4), 5.0),  # delayed rich, in between
        ((2, 4, 4), 0.5),
        ((4, 2, 3), 1.0),  # bottleneck
    ],
    ids=str,
)
def test_convergence_rates_are_those_of_the_flow(sizes, lmda):
    task = make_task(sizes)
    network = start(sizes, lmda)
    rates = theory.convergence_rates(task, lmda, sizes[1])
    slowest = float(rates.min())
    end = np.asarray(task.input_output_correlation) / 2
    if sizes[1] < min(sizes[0], sizes[2]):
        u, s, vt = np.linalg.svd(end)
        end = u[:, : sizes[1]] @ np.diag(s[: sizes[1]]) @ vt[: sizes[1]]
    ts = np.array([0.0, 10.0, 13.0]) / slowest
    function, _, _ = states(network.weights, task, ts, "LSODA")
    distance = np.linalg.norm(function - end, axis=(1, 2))
    measured = np.log(distance[1] / distance[2]) / (ts[2] - ts[1])
    np.testing.assert_allclose(measured, slowest, rtol=0.02)


def test_delayed_rich_learning_takes_the_time_it_should():
    sizes = (3, 3, 5)
    task = make_task(sizes)
    s = np.array([2.0, 1.4, 0.9])
    for lmda in (10.0, 30.0):
        delayed = theory.delayed_rich_time(task, lmda, 3)
        # kappa - c lambda / 2 = s^2 / (c lambda) for large lambda
        np.testing.assert_allclose(delayed, 2 * lmda / s**2, rtol=1e-2)
        network = start(sizes, lmda, 0.3)
        ts = np.array([0.0, 8 / lmda, 1.0 * float(delayed[2]), 9 * float(delayed[2])])
        function, _, _ = states(network.weights, task, ts, "LSODA")
        losses = [float(theory.loss(f, task)) for f in function]
        # A part is learned at once, the other part on the slow scale.
        assert losses[0] > 1.1 * losses[1] > 1.2 * losses[2] > 1e3 * losses[3]
        lazy = theory.lazy_limit(ts[1], network, task)
        np.testing.assert_allclose(function[1], lazy.function, atol=0.6 / lmda)
    # Square networks, and lambda that favours the other side, have no delay.
    for sizes, lmda in (((3, 3, 3), 9.0), ((3, 3, 5), -9.0), ((3, 5, 5), 9.0)):
        times = theory.delayed_rich_time(make_task(sizes), lmda, sizes[1])
        np.testing.assert_array_equal(times, 0.0)
    # The time is exact where subtraction would lose all digits.
    rate = 1 / float(theory.delayed_rich_time(task, 1e9, 3)[0])
    assert rate == pytest.approx(4 / 2e9, rel=1e-12)


def test_reversal_starts_at_a_saddle_unless_there_is_a_balance():
    for sizes in ((3, 3, 3), (4, 2, 2), (2, 4, 4)):
        task = make_task(sizes)
        s = 2.0  # the strongest mode is nearest to the saddle
        for lmda in (0.0, 1e-3, 2.0, -2.0):
            if lmda < 0 and sizes[1] > sizes[0]:
                continue
            network = start(sizes, lmda, task=task)
            (learned,) = flow(network.weights, task, [0, 80.0], "LSODA")[1:]
            learned = lr.LinearNetwork(learned)
            distance = float(theory.saddle_distance(learned, task.reversed()))
            c = 2 * abs(lmda)
            expected = c / (c * c + 4 * s * s) ** 0.25
            assert distance == pytest.approx(expected, abs=1e-6, rel=1e-3)
            assert float(theory.saddle_distance(learned, task)) > 1
    # The network stays at the saddle at lambda = 0 and leaves it otherwise.
    task = make_task((2, 2, 2))
    for lmda, end in ((0.0, 0.0), (0.5, -1.0)):
        sigma = task.input_output_correlation / 2
        state = lr.Aligned(task, lmda)(2, 2, 2, key=jax.random.key(0))
        learned = flow(state.weights, task, [0, 40.0])[1]
        function, _, _ = states(learned, task.reversed(), np.array([0.0, 8.0]))
        if lmda:
            np.testing.assert_allclose(function[1], end * sigma, atol=1e-3)
        else:
            assert np.linalg.norm(function[1]) < 1e-3
