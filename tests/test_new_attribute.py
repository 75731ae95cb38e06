"""A new attribute of items, learned with all else frozen, against SciPy's flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import lazyrich_jax as lr

from .numerical_flow import flow

ITEM = 1
EXTREMES = np.array([-300.0, 1e-3, 300.0])


@pytest.fixture(scope="module")
def items():
    task = lr.Task.hierarchy(2)
    network = lr.LambdaBalanced(0.5, 0.5)(4, 4, 4, key=jax.random.key(0))
    return network, task, np.linspace(0, 6, 7)


@pytest.mark.slow
def test_a_new_attribute_with_all_else_frozen(items):
    network, task, ts = items

    def run(network, **options):
        return lr.applications.new_attribute(
            network, task, ITEM, [-2.0, 0.3, 2.0], duration=4.0, ts=ts, **options
        )

    outcome = run(network)
    for i, lmda in enumerate((-2.0, 0.3, 2.0)):
        w1 = flow(network.rebalanced(lmda).weights, task, [0, 4.0])[1][0]
        hidden = np.asarray(task.x) @ w1.T
        row = solve_ivp(
            lambda t, a, h=hidden[ITEM]: (1 - a @ h) * h,
            (0, ts[-1]),
            np.zeros(4),
            "DOP853",
            ts,
            rtol=1e-12,
            atol=1e-14,
        ).y.T
        np.testing.assert_allclose(outcome.generalisation[i], row @ hidden.T, atol=1e-9)
        np.testing.assert_allclose(
            outcome.after.loss[i], (1 - row @ hidden[ITEM]) ** 2 / 2, atol=1e-9
        )
        similarity = hidden @ hidden[ITEM]
        np.testing.assert_allclose(
            outcome.predicted[i], similarity / similarity[ITEM], atol=1e-9
        )
    # The pattern of generalisation is fixed; its size depends on time.
    np.testing.assert_allclose(
        outcome.generalisation,
        outcome.predicted[:, None] * outcome.generalisation[:, :, [ITEM]],
        atol=1e-12,
    )
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    w1, w2 = network.weights
    rotated = run(lr.LinearNetwork((rotation @ w1, w2 @ rotation.T)))
    np.testing.assert_allclose(
        rotated.generalisation, outcome.generalisation, atol=1e-11
    )
    simulated = run(network, dynamics=lr.GradientFlow())
    np.testing.assert_allclose(
        simulated.generalisation, outcome.generalisation, atol=1e-8
    )


def test_transfer_is_structured_or_unstructured(items):
    network, task, _ = items
    outcome = lr.applications.new_attribute(
        network, task, ITEM, EXTREMES, duration=jnp.inf, ts=np.full(7, np.inf)
    )
    # At infinite time the generalisation equals the prediction.
    np.testing.assert_allclose(
        outcome.generalisation[:, -1], outcome.predicted, atol=1e-12
    )
    y = np.asarray(task.y)
    values, basis = np.linalg.eigh(y @ y.T)
    rich = ((basis * np.sqrt(np.maximum(values, 0))) @ basis.T)[ITEM]
    lazy = (y @ y.T)[ITEM]
    for i, expected in enumerate(
        (np.eye(4)[ITEM], rich / rich[ITEM], lazy / lazy[ITEM])
    ):
        np.testing.assert_allclose(outcome.predicted[i], expected, atol=2e-3)
    assert rich[0] / rich[ITEM] > 0.1  # the sibling differs from the cousins
    assert "4-4-4 network at 3 balances" in str(outcome)
