"""Bad input is refused; messages name the argument, the condition and the value."""

import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

pytestmark = pytest.mark.usefixtures("untyped")

loose: Any = lr  # for arguments that its annotations refuse
KEY = jax.random.key(0)
TASK = lr.Task(2.0 * jnp.eye(3), jnp.ones((3, 2)))
NETWORK = lr.LambdaBalanced(1.0)(3, 2, 2, key=KEY)
TS = jnp.array([0.0, 1.0])


def bent(**changes):
    """A task like `TASK` with other inputs or targets."""
    return lr.Task(changes.get("x", TASK.x), changes.get("y", TASK.y))


def learn(
    network: Any = NETWORK, task=TASK, ts: Any = TS, dynamics: Any = None, **options
):
    if dynamics is None:
        dynamics = lr.Exact()
    return lr.learn(network, task, ts, dynamics=dynamics, **options)


SKEWED = bent(x=jnp.diag(jnp.array([1.0, 2.0, 3.0])))
UNBALANCED = lr.Gaussian(1.0)(3, 2, 2, key=KEY)
DEEP = lr.Gaussian(1.0)(3, 2, 2, 2, key=KEY)
INITIALISE = loose.LambdaBalanced
NAN, INF = float("nan"), float("inf")

CASES = {
    "unbalanced": (
        lambda: learn(UNBALANCED),
        "`network` must be lambda-balanced.*`dynamics=GradientFlow()`.*rebalanced"
        ".* was 0.\\d+",
    ),
    "nearly balanced": (
        lambda: learn(lr.LinearNetwork([w + 0.01 for w in NETWORK.weights])),
        "`network` must be lambda-balanced.*It is near.*`dynamics=NearlyExact\\(\\)`",
    ),
    "nearly isotropic": (
        lambda: learn(task=bent(x=TASK.x + 0.01)),
        "`task` must have isotropic inputs.*near.*`dynamics=NearlyExact\\(\\)`",
    ),
    "neither": (lambda: learn(UNBALANCED), "the slowest rate.$"),
    "unbalanced solution": (
        lambda: lr.ExactSolution(UNBALANCED, TASK),
        "`network` must be lambda-balanced",
    ),
    "anisotropic": (
        lambda: learn(task=SKEWED),
        "`task` must have isotropic inputs.*GradientFlow.*whitened.* was 0.\\d+",
    ),
    "zero inputs": (
        lambda: learn(task=bent(x=0 * TASK.x)),
        "`task` must have isotropic inputs",
    ),
    "deep": (lambda: learn(DEEP), "must have two layers.*had 3: use.*GradientFlow"),
    "sign": (
        lambda: INITIALISE(1.0)(3, 3, 2, key=KEY),
        "`lmda` must not be positive for sizes 3-3-2, but it was 1.0.*hidden_size <=",
    ),
    "other sign": (
        lambda: INITIALISE(-2.0)(2, 3, 3, key=KEY),
        "`lmda` must not be negative for sizes 2-3-3, but it was -2.0",
    ),
    "rebalanced sign": (
        lambda: lr.Gaussian(1.0)(2, 3, 3, key=KEY).rebalanced(-1.0),
        "`lmda` must not be negative",
    ),
    "lmda nan": (lambda: INITIALISE(NAN), "`lmda` must be finite, but it was nan"),
    "lmda array": (lambda: INITIALISE(TS), "`lmda` must be a scalar.*jax.vmap"),
    "scale": (lambda: INITIALISE(0.0, -1.0), "`scale` must .*positive, but it was -1"),
    "zero size": (
        lambda: INITIALISE()(3, 0, 2, key=KEY),
        "`hidden_size` must be an integer of at least 1, but it was 0",
    ),
    "negative size": (
        lambda: lr.Gaussian(1.0)(-3, 2, 2, key=KEY),
        "`in_size` must be .*but it was -3",
    ),
    "fractional size": (lambda: INITIALISE()(3, 2.5, 2, key=KEY), "was 2.5"),
    "chain": (
        lambda: lr.LinearNetwork((jnp.ones((2, 3)), jnp.ones((2, 4)))),
        "`weights` must chain.*\\(2, 4\\) and \\(2, 3\\)",
    ),
    "empty weight": (
        lambda: lr.LinearNetwork((jnp.ones((0, 3)),)),
        "`weights\\[0\\]` must have no empty side",
    ),
    "no weights": (lambda: lr.LinearNetwork(()), "`weights` must hold at least one"),
    "vector weight": (
        lambda: lr.LinearNetwork((jnp.ones(3),)),
        "`weights\\[0\\]` must be a matrix, but its shape was \\(3,\\)",
    ),
    "fit": (
        lambda: learn(lr.LambdaBalanced(1.0)(4, 2, 2, key=KEY)),
        "`network` must have the task's 3 inputs and 2 outputs.*sizes were 4-2-2",
    ),
    "aligned fit": (
        lambda: lr.Aligned(TASK)(4, 2, 2, key=KEY),
        "`in_size` must be the task's, 3, but it was 4",
    ),
    "batch as sample": (lambda: NETWORK(TASK.x), "`x` must be one sample.*jax.vmap"),
    "nan weight": (
        lambda: lr.LinearNetwork((jnp.ones((2, 3)).at[1, 2].set(NAN),)),
        "`weights\\[0\\]` must be finite, but it was nan at index \\(1, 2\\)",
    ),
    "infinite data": (
        lambda: bent(y=TASK.y.at[0, 1].set(INF)),
        "`y` must be finite, but it was inf at index \\(0, 1\\)",
    ),
    "lengths": (
        lambda: bent(y=jnp.ones((4, 2))),
        "`x` and `y` must have as many samples.*3 and `y` had 4",
    ),
    "vector data": (lambda: bent(x=jnp.ones(3)), "`x` must be a matrix"),
    "few samples": (
        lambda: lr.Task.random_regression(5, 2, 5, key=KEY),
        "`samples` must be more than the number of inputs.*was 5 for 5",
    ),
    "few to whiten": (
        lambda: bent(x=jnp.ones((3, 4))).whitened(),
        "`x` must have at least as many samples as inputs.*3 samples of 4",
    ),
    "dependent to whiten": (
        lambda: bent(x=jnp.ones((3, 3))).whitened(),
        "`x` must have linearly independent inputs",
    ),
    "levels": (lambda: lr.Task.hierarchy(0), "`levels` must be .* at least 1"),
    "negative time": (
        lambda: learn(ts=jnp.array([-1.0, 0])),
        "`ts` must be non-negative \\(infinity is allowed\\).*`ts\\[0\\]` was -1.0",
    ),
    "nan time": (lambda: learn(ts=jnp.array([0, NAN])), "`ts\\[1\\]` was nan"),
    "unsorted times": (
        lambda: learn(ts=jnp.array([0.0, 2, 1])),
        "non-decreasing order \\(repeats are allowed\\).*was 2.0 and `ts\\[2\\]` was 1",
    ),
    "infinite flow": (
        lambda: learn(ts=jnp.array([0, INF]), dynamics=lr.GradientFlow()),
        "`ts` must be non-negative and finite.*was inf",
    ),
    "scalar time": (lambda: learn(ts=1.0), "`ts` must be a vector"),
    "negative solution time": (
        lambda: lr.ExactSolution(NETWORK, TASK).loss(-1.0),
        "`t` must be non-negative \\(infinity is allowed\\), but it was -1.0",
    ),
    "rate": (
        lambda: lr.GradientDescent(-1e-3),
        "`learning_rate` must be .*positive, but it was -0.001",
    ),
    "rtol": (lambda: lr.GradientFlow(rtol=0.0), "`rtol` must be .*positive"),
    "batch size": (
        lambda: learn(dynamics=lr.GradientDescent(1e-3, batch_size=4, key=KEY)),
        "`batch_size` must be at most the task's 3 samples, but it was 4",
    ),
    "batch key": (
        lambda: lr.GradientDescent(1e-3, batch_size=2),
        "`batch_size` and `key` must be given together",
    ),
    "std": (lambda: lr.Gaussian(-1.0), "`std` must be non-negative"),
    "std per layer": (
        lambda: lr.Gaussian(jnp.ones(3))(3, 2, 2, key=KEY),
        "`std` must be one number or one for each of 2 layers",
    ),
    "fan": (lambda: lr.Gaussian(1.0, fan="out"), "`fan` must be one of .*'out'"),
    "ntk inputs": (
        lambda: lr.kernels.ntk(NETWORK, jnp.ones((2, 4))),
        "`x` must have 3 inputs",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case):
    call, message = CASES[case]
    with pytest.raises(ValueError) as error:
        call()
    assert re.search(message.replace("()", "\\(\\)"), str(error.value), re.DOTALL)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: loose.Task("a", jnp.ones((1, 1))),
            "`x` must be a real number or array",
        ),
        (lambda: bent(x=TASK.x.astype(complex)), "`x` must be real, but .* complex"),
        (lambda: learn(network=TASK), "`network` must be a `LinearNetwork`"),
        (lambda: loose.ExactSolution(TASK, NETWORK), "`network` .* swap them"),
        (lambda: loose.ExactSolution(NETWORK, TASK.x), "`task` must be a `Task`"),
        (lambda: learn(dynamics="exact"), "`dynamics` must be a `AbstractDynamics`"),
    ],
)
def test_wrong_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_divergence_is_reported_never_returned_in_silence():
    descent = lr.GradientDescent(2.0)
    ts = jnp.array([0.0, 10.0, 1000.0])
    with (
        pytest.raises(RuntimeError, match=r"`learning_rate` must be.*It was 2\.$"),
        pytest.warns(UserWarning, match="`learning_rate` should be at most"),
    ):
        learn(ts=ts, dynamics=descent)
    with pytest.warns(UserWarning, match="`learning_rate` should be at most"):
        trajectory = learn(ts=ts, dynamics=descent, throw=False)
    assert trajectory.result == lr.RESULTS.diverged
    assert "reduce the learning rate" in str(trajectory)


def test_the_solver_giving_up_is_reported():
    flow = lr.GradientFlow(max_steps=3)
    with pytest.raises(
        RuntimeError, match=r"`max_steps` of `GradientFlow`.*It was 3\.$"
    ):
        learn(ts=jnp.array([0.0, 50.0]), dynamics=flow)
    trajectory = learn(ts=jnp.array([0.0, 50.0]), dynamics=flow, throw=False)
    assert trajectory.result == lr.RESULTS.solver_failed
    assert np.isfinite(trajectory.loss[0]) and np.isnan(trajectory.loss[1])


def test_traced_bad_input_raises_or_is_marked():
    def run(w2, throw):
        network = lr.LinearNetwork((NETWORK.weights[0], w2))
        return learn(network, throw=throw)

    good = NETWORK.weights[1]
    batch = jnp.stack([good, 2 * good, good.at[0, 0].set(NAN), good])
    trajectory = jax.jit(jax.vmap(lambda w2: run(w2, False)))(batch)
    expected = [
        lr.RESULTS.successful,
        lr.RESULTS.unbalanced_weights,
        lr.RESULTS.nonfinite_values,
        lr.RESULTS.successful,
    ]
    for i, result in enumerate(expected):
        assert jax.tree.map(lambda x, i=i: x[i], trajectory.result) == result
    np.testing.assert_array_equal(
        np.isnan(trajectory.loss).all(axis=1), [False, True, True, False]
    )
    np.testing.assert_allclose(trajectory.loss[0], learn().loss, rtol=1e-14)
    np.testing.assert_array_equal(trajectory.loss[0], trajectory.loss[3])
    with pytest.raises(RuntimeError, match="must be lambda-balanced"):
        jax.block_until_ready(jax.jit(lambda w2: run(w2, True).loss)(2 * good))


@pytest.mark.parametrize("dynamics", [lr.Exact(), lr.GradientFlow()])
def test_traced_bad_times_are_marked(dynamics):
    ts = jnp.array([[0.0, 1.0], [1.0, 0.5], [0.0, NAN]])
    trajectory = jax.vmap(lambda ts: learn(ts=ts, dynamics=dynamics, throw=False))(ts)
    np.testing.assert_array_equal(
        trajectory.result == lr.RESULTS.invalid_times, [False, True, True]
    )
    np.testing.assert_array_equal(
        np.isnan(trajectory.loss).any(axis=1), [False, True, True]
    )
    traced = jax.jit(lambda t: lr.ExactSolution(NETWORK, TASK).loss(t))
    assert np.isnan(traced(jnp.array(-1.0)))


def test_what_else_is_given_in_place_of_an_argument():
    def network():
        pass

    with pytest.raises(TypeError, match="it was the function `network`"):
        learn(network)
    with pytest.raises(TypeError, match=r"pass `network\.function`"):
        loose.theory.shallow_function(1.0, NETWORK, TASK)
    with pytest.raises(ValueError, match=r"one sample, of shape \(3,\), .* it failed"):
        lr.kernels.empirical_ntk(eqx.nn.Linear(2, 2, key=KEY), TASK.x)
