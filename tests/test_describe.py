"""Whether theory describes a training: its assumptions, and the gaps that remain."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases

TIME, RATE = 1.5, 1e-3
TASK = lr.Task.random_regression(3, 2, 12, target_scale=2.0, key=jax.random.key(0))
START = cases.balanced((3, 2, 2), 0.5, 0.7)


def descent(start, task):
    """The network after plain gradient descent, in NumPy."""
    return recorded(start, task).end


def recorded(start, task):
    """Plain gradient descent in NumPy, with a record of its states."""
    recorder = lr.richness.Recorder(task.x, task.y, steps=500)
    w1, w2 = (np.array(w) for w in start.weights)
    x, y = np.asarray(task.x), np.asarray(task.y)
    for step in range(round(TIME / RATE) + 1):
        recorder(step, lr.LinearNetwork((w1, w2)) if recorder.wants(step) else None)
        error = (x @ (w2 @ w1).T - y) / len(x)
        g1, g2 = w2.T @ error.T @ x, error.T @ x @ w1.T
        w1, w2 = w1 - RATE * g1, w2 - RATE * g2
    return recorder


@pytest.fixture(scope="module")
def end():
    return descent(START, TASK)


@pytest.fixture(scope="module")
def described(end):
    found: Any = lr.richness.describe(START, end, TASK, TIME)
    return found


def values(gaps):
    return np.array(jax.tree.leaves(gaps))


@pytest.mark.slow
def test_theory_describes_descent_from_balanced_weights(described):
    assert described.kind == "balanced" and described.law == "Exact"
    assert described.failing == () and described.checked
    assert values(described.theory_and_flow).max() < 1e-7
    assert values(described.theory_and_trained).max() < 5 * RATE
    assert values(described.flow_and_trained).min() > 0
    assert described.drift < RATE
    text = str(described)
    assert "weights: balanced (lambda 0.5" in text and "theory: Exact" in text
    assert "The theory describes the training to" in text


def test_gaps_are_relative_distances(described, end):
    solution = lr.ExactSolution(START, TASK)
    gaps = described.theory_and_trained

    def share(found, reference, start):
        return np.linalg.norm(found - reference) / np.linalg.norm(reference - start)

    kernels = [lr.kernels.ntk(n, TASK.x) for n in (solution.network(TIME), end, START)]
    functions = solution.function(TIME), end.function, START.function
    inputs = [n.input_representation for n in (solution.network(TIME), end, START)]
    np.testing.assert_allclose(gaps.kernel, share(*kernels), rtol=1e-6)
    np.testing.assert_allclose(gaps.function, share(*functions), rtol=1e-6)
    np.testing.assert_allclose(gaps.input_representation, share(*inputs), rtol=1e-6)


@pytest.mark.slow
def test_all_states_of_a_record_are_compared(described):
    found: Any = lr.richness.describe(START, recorded(START, TASK), TASK, TIME)
    assert found.theory_and_trained.function >= described.theory_and_trained.function
    assert values(found.theory_and_trained).max() < 5 * RATE
    with pytest.raises(ValueError, match="`end` must have at least two states"):
        lr.richness.describe(START, lr.richness.Recorder(TASK.x), TASK, TIME)


def test_agreement_of_the_loss_alone_is_no_evidence(end):
    other = lr.balanced_network(end.function, -3.0, 2)  # the same function
    found: Any = lr.richness.describe(START, other, TASK, TIME)
    gaps = found.theory_and_trained
    assert gaps.loss < 5 * RATE and gaps.function < 5 * RATE
    assert gaps.input_representation > 0.5 and gaps.output_representation > 0.5
    assert found.drift > 0.5
    assert gaps.worst()[0] in str(found).splitlines()[-1]


def test_inputs_that_are_not_isotropic(end):
    task = lr.Task(np.asarray(TASK.x) * [1.0, 2.0, 3.0], TASK.y)
    found: Any = lr.richness.describe(START, descent(START, task), task, TIME)
    assert found.law is None and found.theory_and_flow is None
    assert "The inputs are not isotropic" in found.failing[0]
    assert values(found.flow_and_trained).max() < 0.05
    assert "no closed form applies" in str(found)


def test_directions_without_inputs_do_not_count(described, end):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0][:, :3]
    task = lr.Task(np.asarray(TASK.x) @ turn.T, TASK.y)
    start, last = (
        lr.LinearNetwork((np.asarray(n.weights[0]) @ turn.T, n.weights[1]))
        for n in (START, end)
    )
    found: Any = lr.richness.describe(start, last, task, TIME)
    assert found.in_size == 5 and found.task.in_size == 3
    np.testing.assert_allclose(
        values(found.theory_and_trained),
        values(described.theory_and_trained),
        rtol=1e-5,
    )
    assert "rank 3 of 5" in str(found)


@pytest.mark.slow
def test_wide_random_weights():
    start = lr.Gaussian.lecun()(3, 64, 2, key=jax.random.key(1))
    found: Any = lr.richness.describe(start, descent(start, TASK), TASK, TIME)
    assert found.kind == "neither" and found.law == "WideLimit"
    assert 0 < found.estimate < 0.2
    assert found.theory_and_flow.function < 2 * found.estimate + 1e-3
    assert "estimate of its own error" in str(found)


def test_models_must_be_linear(untyped):
    model = eqx.nn.MLP(3, 2, 4, 1, use_bias=False, use_final_bias=False, key=KEY)
    with pytest.raises(ValueError, match="`start` must be linear, the product of"):
        lr.richness.describe(model, model, TASK, TIME)


KEY = jax.random.key(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": -1.0}, "`time` must be"),
        ({"time": np.inf}, "`time` must be"),
        ({"end": cases.balanced((3, 1, 2), 0.0, 0.7)}, "must have the same sizes"),
        ({"task": lr.Task.hierarchy(2)}, "task"),
        ({"start": lr.LinearNetwork((jnp.ones((2, 3)),))}, "two layers"),
    ],
)
def test_bad_input(untyped, change, message):
    given: Any = {"start": START, "end": START, "task": TASK, "time": TIME} | change
    with pytest.raises(ValueError, match=message):
        lr.richness.describe(**given)
