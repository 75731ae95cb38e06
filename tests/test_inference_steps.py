"""The law of finite steps of descent in fits."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax import inference
from lazyrich_jax.fitting.steps import said_of_steps

from .experiments import BOTH_SIGNS

UNKNOWN = ("lmda", "scale")
TASK = lr.Task.from_correlation(jnp.diag(jnp.array([2.0, 1.0])))


def descent(rate, lmda=1.5, **options):
    """An experiment of 31 numbers of steps, and losses of gradient descent."""
    steps = np.linspace(0, round(6 / rate), 31).astype(int)
    made = inference.Experiment(TASK, steps, rate=rate, scale=0.3, **options)
    law = lr.GradientDescent(learning_rate=rate)
    network = made.network(lmda=lmda)
    return made, lr.learn(network, TASK, steps * rate, dynamics=law).loss


@pytest.mark.filterwarnings(BOTH_SIGNS)
def test_estimates_from_descent_are_right_to_second_order():
    errors = []
    for rate in (0.02, 0.01):
        made, losses = descent(rate, steps=True)
        found = inference.fit(made, losses, UNKNOWN, starts=8)
        errors.append(abs(abs(found.values["lmda"]) - 1.5))
    assert errors[0] < 1e-3 and 3.5 < errors[0] / errors[1] < 4.5
    flow, losses = descent(0.01)
    found = inference.fit(flow, losses, UNKNOWN, starts=8)
    assert abs(abs(found.values["lmda"]) - 1.5) > 50 * errors[1]


@pytest.mark.parametrize("variance", [1.0, 2.5])
@pytest.mark.parametrize("lmda", [-0.7, 0.0, 1.5])
def test_predictions_are_those_of_descent(lmda, variance):
    """Inputs of variance c learn c times as fast."""
    task = lr.Task(np.sqrt(2 * variance) * np.eye(2), np.diag([2.0, 0.8]))
    errors = []
    for rate in (0.02, 0.01):
        steps = np.linspace(0, round(4 / rate), 9).astype(int)
        made = inference.Experiment(task, steps, rate=rate, scale=0.5, steps=True)
        law = lr.GradientDescent(learning_rate=rate)
        network = made.network(lmda=lmda)
        losses = lr.learn(network, task, steps * rate, dynamics=law).loss
        errors.append(np.max(np.abs(made.predict(lmda=lmda) - losses)))
    assert errors[0] < 1e-3 and 3.5 < errors[0] / errors[1] < 4.5


@pytest.mark.parametrize(
    "options",
    [
        {"start": np.ones((2, 2))},
        {"model": "shallow"},
        {"model": "wide"},
        {"observe": "input representation"},
        {"weight_decay": 0.1},
    ],
    ids=str,
)
def test_steps_without_a_law_are_refused(untyped, options):
    with pytest.raises(ValueError, match="`steps` must be false for all but aligned"):
        inference.Experiment(TASK, np.arange(2.0), steps=True, **options)


def test_what_has_no_law_of_steps_is_no_unknown():
    made = inference.Experiment(TASK, np.arange(4.0), rate=0.1, steps=True)
    with pytest.raises(ValueError, match="but it had 'weight_decay'"):
        inference.fit(made, np.ones(4), ("weight_decay",))
    with pytest.raises(ValueError, match="`experiment` must be one without `steps`"):
        inference.fit(made, np.ones(4), ("model", "lmda"))


def test_a_report_says_what_it_knows_of_steps(untyped):
    def said(**options):
        given = {"rate": 0.01, "lmda": 1.0, **options}
        made = inference.Experiment(TASK, np.arange(2.0), **given)
        found = SimpleNamespace(unknown=(), values={}, experiment=made)
        return said_of_steps(SimpleNamespace(clock="step"), found)  # pyright: ignore

    assert said(steps=True) == [
        "The theory has descent in steps of 0.01, to first order in them."
    ]
    # z / 2 with z = rate * sqrt(lmda**2 + 4 strength**2) = 0.01 * sqrt(17)
    (text,) = said(start=np.ones((2, 2)))
    assert "change the speed of learning by up to 2.1 %" in text
