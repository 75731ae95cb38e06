"""The oracle of wide networks, against a matrix exponential and the flow of weights."""

import numpy as np
import pytest

from . import cases, numerical_flow, wide_oracle

TIMES = np.array([0.0, 0.7, 3.0])


@pytest.mark.parametrize(
    "input_scale, output_scale", [(0.3, 2), (2, 1e-9), (1e-6, 3e-6)]
)
def test_oracle_is_the_hamiltonian_systems_exponential(input_scale, output_scale):
    function, target = cases.sigma(3, 2, seed=1), cases.sigma(3, 2, seed=2)
    start = wide_oracle.member(function, input_scale, output_scale)
    found = wide_oracle.qqt(start, target, input_scale, output_scale, TIMES)
    for p, t in zip(found, TIMES, strict=True):
        expected = wide_oracle.by_exponential(
            start, target, input_scale, output_scale, t
        )
        np.testing.assert_allclose(p, expected, rtol=1e-15)
    end = wide_oracle.qqt(start, target, input_scale, output_scale, np.inf)
    np.testing.assert_allclose(end[2:, :2], target, rtol=1e-15)


def test_oracle_is_the_flow_of_weights():
    q = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]
    w1, w2 = 0.4**0.5 * q[:, :3], 1.7**0.5 * q[:, 3:5].T
    task = cases.make_task((3, 6, 2), variance=0.5)
    start = wide_oracle.of_weights(w1, w2)
    sigma = np.asarray(task.input_output_correlation)
    found = wide_oracle.qqt(start, sigma, 0.4, 1.7, TIMES, 0.5)
    states = numerical_flow.states((w1, w2), task, TIMES)
    parts = found[:, 3:, :3], found[:, :3, :3], found[:, 3:, 3:]
    for part, expected in zip(parts, states, strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-11)
