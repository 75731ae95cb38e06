"""Solvers, adjoints and optimisers of the simulated laws, and their derivatives."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lazyrich_jax as lr

KEYS = jax.random.split(jax.random.key(0), 2)
TASK = lr.Task.random_regression(3, 2, 8, key=KEYS[0])
NETWORK = lr.LambdaBalanced(1.0, 0.3)(3, 2, 2, key=KEYS[1])
TS = jnp.array([0.0, 1.0])


def last_loss(w1, dynamics):
    network = lr.LinearNetwork((w1, NETWORK.weights[1]))
    return lr.learn(network, TASK, TS, dynamics=dynamics).loss[-1]


@pytest.mark.slow
def test_each_mode_has_its_adjoint():
    def of(**options):
        options = {"rtol": 1e-7, "atol": 1e-9, "max_steps": 64} | options
        return lambda w: last_loss(w, lr.GradientFlow(**options))

    w1 = NETWORK.weights[0]
    slope = jax.jit(jax.grad(of()))
    gradient = slope(w1)
    by_forward = jax.jit(jax.jacfwd(of(adjoint=diffrax.ForwardMode())))(w1)
    np.testing.assert_allclose(by_forward, gradient, rtol=1e-6)
    step = 1e-4 * jnp.ones_like(w1)
    near = (slope(w1 + step) - slope(w1 - step)) / 2
    of_slope = jax.grad(of(adjoint=diffrax.DirectAdjoint()))
    direct, along = jax.jit(lambda w: jax.jvp(of_slope, (w,), (step,)))(w1)
    np.testing.assert_allclose(direct, gradient, rtol=1e-6)
    np.testing.assert_allclose(along, near, rtol=1e-4)


@pytest.mark.parametrize("derivative", [jax.jacfwd, jax.hessian])
def test_the_wrong_mode_is_told_what_to_type(derivative):
    with pytest.raises(TypeError) as error:
        of_loss = derivative(lambda w: last_loss(w, lr.GradientFlow()))
        jax.eval_shape(of_loss, NETWORK.weights[0])
    for word in (
        "`adjoint` of `GradientFlow` must be",
        "`diffrax.ForwardMode()`",
        "`diffrax.DirectAdjoint()`",
        "but it was `RecursiveCheckpointAdjoint`",
    ):
        assert word in str(error.value)


def by_hand(optimiser, steps):
    """The losses of full-batch descent by optax alone."""
    w = NETWORK.weights
    sigma, sxx = TASK.input_output_correlation, TASK.input_correlation
    rest = jnp.sum(TASK.y**2) / (2 * TASK.samples)

    def loss(w):
        f = w[1] @ w[0]
        return jnp.sum(f * (f @ sxx / 2 - sigma)) + rest

    @jax.jit
    def step(w, state):
        value, grad = jax.value_and_grad(loss)(w)
        updates, state = optimiser.update(
            grad, state, w, value=value, grad=grad, value_fn=loss
        )
        return optax.apply_updates(w, updates), state

    state, losses = optimiser.init(w), [loss(w)]
    for _ in range(steps):
        w, state = step(w, state)
        losses.append(loss(w))
    return jnp.stack(losses)


OPTIMISERS = {
    "lbfgs": optax.lbfgs(),
    "polyak": optax.polyak_sgd(),
    "plateau": optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()),
    "adam": optax.adam(0.05),
}


@pytest.fixture
def promoting():
    """Standard promotion: optax adds numbers of several dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.usefixtures("promoting")
@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_get_what_they_ask_for(name):
    optimiser = OPTIMISERS[name]
    dynamics = lr.GradientDescent(optimiser)
    trajectory = lr.learn(NETWORK, TASK, jnp.arange(5.0), dynamics=dynamics)
    wanted = by_hand(optax.with_extra_args_support(optimiser), 4)
    np.testing.assert_allclose(trajectory.loss, wanted, rtol=1e-8)


@pytest.mark.usefixtures("promoting")
def test_line_searches_see_the_minibatch():
    dynamics = lr.GradientDescent(optax.lbfgs(), batch_size=4, key=KEYS[0])
    single = jax.tree.map(lambda x: x.astype(jnp.float32), (NETWORK, TASK))
    trajectory = lr.learn(*single, ts=jnp.arange(3.0), dynamics=dynamics)
    assert trajectory.loss.dtype == jnp.float32
    assert trajectory.result == lr.RESULTS.successful


loose: Any = lr  # for arguments that its annotations refuse
CASES = {
    "class": (
        lambda: loose.GradientFlow(diffrax.Tsit5),
        r"`solver` must be a `AbstractSolver`.* the class `Tsit5`; type `Tsit5\(\)`",
    ),
    "name": (
        lambda: loose.GradientFlow("dopri5"),
        r"`solver` must .* the text 'dopri5'; type `diffrax.Dopri5\(\)`",
    ),
    "unknown name": (
        lambda: loose.GradientFlow("rk4"),
        r"`solver` must .* the text 'rk4'; type `diffrax.Dopri8\(\)`",
    ),
    "other kind": (
        lambda: loose.GradientFlow(diffrax.ForwardMode()),
        "`solver` must be a `AbstractSolver`, but it was a `ForwardMode`",
    ),
    "class of adjoints": (
        lambda: loose.GradientFlow(adjoint=diffrax.ForwardMode),
        r"`adjoint` must .* the class `ForwardMode`; type `ForwardMode\(\)`",
    ),
    "name of an adjoint": (
        lambda: loose.GradientFlow(adjoint="directadjoint"),
        r"`adjoint` must .*; type `diffrax.DirectAdjoint\(\)`",
    ),
    "optimiser not made": (
        lambda: loose.GradientDescent(optax.adam),
        "`learning_rate` must be a number or an .* the function `adam`; pass what it",
    ),
    "class of optimisers": (
        lambda: loose.GradientDescent(optax.GradientTransformation),
        "`learning_rate` must be .* the class `GradientTransformation`",
    ),
    "schedule": (
        lambda: loose.GradientDescent(optax.constant_schedule(0.1)),
        "`learning_rate` must be a number or an .* the function ",
    ),
    "name of an optimiser": (
        lambda: loose.GradientDescent("adam"),
        r"`learning_rate` must .* the text 'adam'; such as `optax.adam\(1e-3\)`",
    ),
    "law not made": (
        lambda: loose.learn(NETWORK, TASK, TS, dynamics=lr.GradientFlow),
        r"`dynamics` must .* the class `GradientFlow`; type `GradientFlow\(\)`",
    ),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("case", CASES)
def test_what_is_not_made_yet_is_refused_by_name(case):
    call, message = CASES[case]
    with pytest.raises(TypeError, match=message):
        call()
