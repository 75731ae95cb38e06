"""Values that are refused when concrete are refused or marked when traced."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lazyrich_jax as lr
from lazyrich_jax import applications, measures, theory

KEYS = jax.random.split(jax.random.key(0), 3)
TASK, SECOND = (lr.Task.random_regression(3, 2, 8, key=k) for k in KEYS[:2])
NETWORK = lr.LambdaBalanced(1.0, 0.3)(3, 2, 2, key=KEYS[2])
UNBALANCED = lr.Gaussian(1.0)(3, 2, 2, key=KEYS[0])
BENT = TASK.x * jnp.array([[1.0, 2.0, 3.0]])
TS = jnp.array([0.0, 1.0])
INF, NAN = float("inf"), float("nan")


def descent(rate):
    dynamics = lr.GradientDescent(rate)
    return lr.learn(NETWORK, TASK, TS, dynamics=dynamics, throw=False)


def steps(step_time):
    dynamics = lr.GradientDescent(optax.sgd(0.1), step_time=step_time)
    return lr.learn(NETWORK, TASK, TS, dynamics=dynamics, throw=False)


def flow(rtol, atol=None):
    dynamics = lr.GradientFlow(rtol=rtol, atol=atol)
    return lr.learn(NETWORK, TASK, TS, dynamics=dynamics, throw=False)


def transferred(duration=1.0, tolerance=0.1):
    return applications.transfer(
        NETWORK,
        TASK,
        SECOND,
        [1.0],
        duration=duration,
        ts=TS,
        tolerance=tolerance,
        throw=False,
    ).time


# A function of a number, an allowed number, and bad ones.
MARKED = {
    "scale": (
        lambda s: lr.LambdaBalanced(1.0, s, throw=False)(3, 2, 2, key=KEYS[0]).function,
        0.3,
        (-1.0, 0.0, INF, NAN),
    ),
    "aligned scale": (
        lambda s: lr.Aligned(TASK, 1.0, s, throw=False)(3, 2, 2, key=KEYS[0]).function,
        0.3,
        (-1.0, 0.0),
    ),
    "std": (
        lambda s: lr.Gaussian(s)(3, 2, 2, key=KEYS[0]).function,
        0.3,
        (-1.0, INF),
    ),
    "target scale": (
        lambda s: lr.Task.random_regression(2, 1, 4, target_scale=s, key=KEYS[0]).y,
        0.3,
        (INF, NAN),
    ),
    "noise": (
        lambda s: lr.Task.teacher(jnp.eye(2), 4, noise=s, key=KEYS[0]).y,
        0.3,
        (-1.0, INF),
    ),
    "descent": (lambda s: descent(s).loss, 0.1, (-1.0, 0.0, INF)),
    "step time": (lambda s: steps(s).loss, 0.5, (-1.0, 0.0, INF)),
    "rtol": (lambda s: flow(s).loss, 1e-6, (-1.0, 0.0, INF)),
    "atol": (lambda s: flow(1e-6, s).loss, 1e-6, (-1.0, 0.0)),
    "weights": (
        lambda s: lr.ExactSolution(NETWORK, TASK).flow_network(1.0, rtol=s).weights[0],
        1e-6,
        (-1.0, 0.0),
    ),
    "duration": (
        lambda s: (
            applications.continual(NETWORK, [TASK], s, points=2, throw=False).losses
        ),
        1.0,
        (-1.0, 0.0, INF),
    ),
    "first duration": (transferred, 1.0, (-1.0, 0.0)),
    "tolerance": (lambda s: transferred(tolerance=s), 0.1, (-1.0, 0.0, 1.0)),
    "change": (
        lambda s: applications.low_rank_change(TASK, 1, s, key=KEYS[0]).y,
        0.1,
        (-1.0, 0.0, INF),
    ),
    "shared": (
        lambda s: applications.related_task(TASK, s, key=KEYS[0]).y,
        0.5,
        (-0.1, 1.1, NAN),
    ),
    "threshold": (lambda s: measures.convergence_time(TS, TS[::-1], s), 0.5, (NAN,)),
    "modes": (lambda s: theory.aligned_modes(TS, s, 0.1, 0.3), 1.0, (INF, NAN)),
    "balance": (lambda s: theory.aligned_modes(TS, 1.0, 0.1, s), 1.0, (INF,)),
    "fraction": (
        lambda s: theory.time_to_reach(s, 1.0, 0.1, 0.3),
        0.5,
        (-0.1, 1.0),
    ),
    "deep": (
        lambda s: theory.deep_modes(TS, s, 0.1, jnp.zeros(2)),
        1.0,
        (INF, NAN),
    ),
    "deep rtol": (
        lambda s: theory.deep_modes(TS, 1.0, 0.1, jnp.zeros(2), rtol=s),
        1e-6,
        (-1.0, 0.0),
    ),
    "shallow excess": (
        lambda s: theory.shallow_steps(s, 0.1, 0.1),
        1.0,
        (-1.0, 0.0, INF),
    ),
    "shallow rate": (lambda s: theory.shallow_steps(1.0, 0.1, s), 0.5, (0.0, 1.0)),
    "ratio": (
        lambda s: theory.wide_balance(lr.Gaussian.he(), s, 1.0),
        1.0,
        (-1.0, NAN),
    ),
    "boundary": (
        lambda s: theory.neuron_boundary(1.0, s, jnp.ones(2)),
        0.5,
        (1.5, INF),
    ),
    "datum": (
        lambda s: theory.neuron_one_datum(jnp.ones(2), 1.0, s * jnp.ones(2)),
        1.0,
        (0.0, INF),
    ),
}


@pytest.mark.parametrize("case", MARKED)
def test_a_bad_member_is_marked_and_its_neighbours_stay(case):
    function, good, bad = MARKED[case]
    function = jax.jit(jax.vmap(function))
    found = np.asarray(function(np.array([good, *bad, good])))
    among_good = np.asarray(function(np.full(len(found), good)))
    for i in 0, -1:
        np.testing.assert_allclose(found[i], among_good[i], rtol=1e-6, equal_nan=False)
    assert np.all(np.isnan(found[1:-1]))


@pytest.mark.parametrize("case", MARKED)
def test_the_same_is_refused_where_it_is_concrete_or_differentiated(case):
    if case == "threshold":
        return  # NaN gives NaN
    function, _, bad = MARKED[case]
    for value in bad:
        with pytest.raises(ValueError, match=r"must (not )?be"):
            function(value)
        with pytest.raises(ValueError, match=r"must (not )?be"):
            jax.grad(lambda x: function(x).sum())(value)


@pytest.mark.parametrize("of", [descent, steps, flow])
def test_a_bad_setting_is_a_result_of_its_own(of):
    result = jax.jit(of)(-1.0).result
    assert result == lr.RESULTS.invalid_setting


def test_a_traced_scale_stops_the_program():
    def drawn(scale):
        return lr.LambdaBalanced(1.0, scale)(3, 2, 2, key=KEYS[0]).function

    with pytest.raises(RuntimeError, match="`scale` must be finite and positive"):
        eqx.filter_jit(drawn)(jnp.asarray(-1.0))


def loss(w=None, x=None):
    network = UNBALANCED if w is not None else NETWORK
    w = network.weights[0] if w is None else w
    task = TASK if x is None else lr.Task(x, TASK.y)
    return lr.LinearNetwork((w, network.weights[1])), task


WORDS = {
    "solution": (
        lambda w: lr.ExactSolution(*loss(w)).loss(1.0),
        UNBALANCED.weights[0],
        r"must be lambda-balanced.* was \d",
    ),
    "learn": (
        lambda w: lr.learn(*loss(w), TS).loss[-1],
        UNBALANCED.weights[0],
        r"must be lambda-balanced.* was \d",
    ),
    "inputs": (
        lambda x: lr.ExactSolution(*loss(x=x)).loss(1.0),
        BENT,
        r"must have isotropic inputs.* was 0\.\d",
    ),
    "stages": (
        lambda x: transfer_from(x),
        BENT,
        r"must have isotropic inputs.* was 0\.\d+ .*`lmda\[0\]`, 1\.",
    ),
    "saddle": (
        lambda w: theory.saddle_distance(*loss(w)),
        UNBALANCED.weights[0],
        r"must be lambda-balanced.* was \d",
    ),
    "rates": (
        lambda x: theory.convergence_rates(lr.Task(x, TASK.y), 1.0, 2).sum(),
        BENT,
        r"must have isotropic inputs.* was 0\.\d",
    ),
    "rank": (
        lambda f: theory.rich_limit(1.0, f, TASK).function.sum(),
        jnp.ones((2, 3)),
        r"must have full rank.* was \d",
    ),
    "start": (
        lambda s: theory.converged_representations(
            TASK, s, 2, start=NETWORK
        ).function.sum(),
        0.3,
        "`start` must have the balance `lmda`, 0.3, but it was 1",
    ),
    "tie": (
        lambda y: theory.converged_representations(
            lr.Task(3**0.5 * jnp.eye(3), y), 0.0, 1
        ).function.sum(),
        jnp.eye(3),
        "`hidden_size` must not cut",
    ),
    "whitened": (
        lambda x: lr.Task(x, jnp.ones((3, 1))).whitened().x.sum(),
        jnp.ones((3, 2)),
        r"must have linearly independent inputs.* to \d",
    ),
    "spans": (
        lambda x: applications.related_task(
            lr.Task(x, jnp.ones((3, 1))), 0.5, key=KEYS[0]
        ).y.sum(),
        jnp.ones((3, 2)),
        "must have inputs that span every direction",
    ),
    "nan": (
        lambda w: lr.LinearNetwork((w,)).function.sum(),
        jnp.full((1, 2), NAN),
        r"`weights\[0\]` must be finite, but it was nan at index \(0, 0\)",
    ),
    "time": (
        lambda t: lr.ExactSolution(NETWORK, TASK).loss(t),
        -1.0,
        "`t` must be non-negative.* was -1",
    ),
    "rate": (
        lambda w: lr.learn(
            lr.LinearNetwork((w, NETWORK.weights[1])),
            TASK,
            TS,
            dynamics=lr.GradientFlow(max_steps=2),
        ).loss[-1],
        NETWORK.weights[0],
        r"`max_steps`.* It was 2\.",
    ),
}


def transfer_from(x):
    task = lr.Task(x, TASK.y)
    return applications.transfer(
        NETWORK, task, SECOND, [1.0], duration=1.0, ts=TS
    ).time.sum()


@pytest.mark.parametrize("case", WORDS)
def test_refusals_need_no_concrete_values(case):
    function, at, message = WORDS[case]
    with pytest.raises((ValueError, RuntimeError)) as error:
        jax.grad(function)(at)
    assert re.search(message, str(error.value))


def test_divergence_is_told_in_forward_mode():
    def last(rate):
        dynamics = lr.GradientDescent(rate)
        return lr.learn(NETWORK, TASK, jnp.array([400.0]), dynamics=dynamics).loss[0]

    with pytest.raises(RuntimeError, match=r"`learning_rate` must.* It was 4\."):
        jax.jvp(last, (4.0,), (1.0,))
