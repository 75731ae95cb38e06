"""Predictions of experiments, and their derivatives by differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax import inference
from lazyrich_jax.inference.coordinates import Coordinates
from lazyrich_jax.inference.differences import linearised
from lazyrich_jax.inference.lanes import entered, evaluated
from lazyrich_jax.inference.least_squares import minimise
from lazyrich_jax.inference.members import begin

from .experiments import TIMES, TRUTH, UNKNOWN, build


@pytest.fixture(scope="module")
def wide_input():
    """A network whose loss depends on the sign of lambda."""
    return build((3, 2, 2))


def test_predictions_are_those_of_the_exact_solution(wide_input):
    network = wide_input.network(**TRUTH)
    task, start = wide_input.task, wide_input.known["function"]
    np.testing.assert_allclose(network.function, 0.16 * start, atol=1e-15)
    np.testing.assert_allclose(network.lmda, 0.5, atol=1e-14)
    solution = lr.ExactSolution(network, task)
    np.testing.assert_allclose(
        wide_input.predict(**TRUTH), solution.loss(0.7 * TIMES), rtol=1e-12
    )


def test_observables_are_those_of_the_trajectory():
    names = (
        *("loss", "log excess", "function", "modes", "input representation"),
        *("output representation", "ntk", "choices", "accuracy"),
    )
    noise = [inference.Additive(0.1)] * 7 + [inference.Counts(), inference.Counts(9)]
    made = build((3, 2, 2), observe=names, noise=noise, slope=1.5)
    seen = made.predict(lmda=0.5)
    network, task = made.network(lmda=0.5), made.task
    path = lr.learn(network, task, TIMES)
    u, _, vt = np.linalg.svd(task.input_output_correlation, full_matrices=False)
    best = float(task.loss(task.input_output_correlation))
    np.testing.assert_allclose(seen["loss"], path.loss, rtol=1e-10)
    np.testing.assert_allclose(
        np.exp(seen["log excess"]), path.loss - best, rtol=1e-8, atol=1e-12
    )
    function = np.asarray(path.function)
    np.testing.assert_allclose(seen["function"], function, atol=1e-12)
    modes = np.abs([np.diag(u.T @ f @ vt.T) for f in function])
    np.testing.assert_allclose(np.abs(seen["modes"]), modes, atol=1e-12)
    for name in ("input_representation", "output_representation"):
        np.testing.assert_allclose(
            seen[name.replace("_", " ")], getattr(path, name), atol=1e-12
        )
    ntk = jax.vmap(lambda network: lr.kernels.ntk(network, task.x))(path.network)
    np.testing.assert_allclose(seen["ntk"], ntk, atol=1e-11)
    outputs = 1.5 * np.einsum("tod,nd->tno", function, task.x)
    chances = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    np.testing.assert_allclose(seen["choices"], chances, atol=1e-12)
    right = np.argmax(task.y, axis=1)
    np.testing.assert_allclose(
        seen["accuracy"], chances[:, np.arange(20), right].mean(1), atol=1e-12
    )


@pytest.mark.parametrize(
    "sizes, model, lmda",
    [
        ((3, 2, 2), "balanced", -0.7),
        ((3, 1, 2), "balanced", 0.0),
        ((2, 4, 2), "wide", 1),
    ],
    ids=str,
)
def test_an_aligned_start_is_solved_by_its_modes(sizes, model, lmda):
    """The closed form of the modes against the exact solution of the network."""
    names = ("loss", "function", "log excess")
    strengths = np.array([0.5, 0.2])[: min(sizes)]
    made = build(
        sizes, start="aligned", strengths=strengths, model=model, observe=names
    )
    values = {"lmda": float(lmda), "scale": 0.8, "rate": 0.7}
    if model == "wide":
        values["mu"] = 0.4
    seen = made.predict(**values)
    path = lr.learn(made.network(**values), made.task, 0.7 * TIMES)
    np.testing.assert_allclose(seen["loss"], path.loss, rtol=1e-11)
    np.testing.assert_allclose(seen["function"], path.function, atol=1e-12)
    best = made.task.loss(made.predict(**(values | {"rate": 1e4}))["function"][-1])
    np.testing.assert_allclose(
        np.exp(seen["log excess"]), path.loss - best, rtol=1e-7, atol=1e-12
    )


def test_unknown_task_strengths_keep_the_frame_and_the_noise_of_the_task():
    made = build((2, 2, 2), start="aligned", strengths=[0.5, 0.2], scale=1.0)
    task = made.task
    s = jnp.linalg.svd(task.input_output_correlation, compute_uv=False)
    np.testing.assert_allclose(
        made.predict(task_strengths=s, lmda=1.0), made.predict(lmda=1.0), rtol=1e-12
    )


def test_the_other_models():
    start, task = 0.09 * build((2, 2, 2)).known["function"], build((2, 2, 2)).task
    shallow = build((2, 2, 2), model="shallow").predict(rate=0.5)
    expected = lr.theory.shallow_function(0.5 * TIMES, start, task)
    np.testing.assert_allclose(shallow, jax.vmap(task.loss)(expected), rtol=1e-12)
    # The limit of a large balance, in units of its rate.
    lazy = build((2, 2, 2), model="lazy").predict(rate=0.5)
    far = build((2, 2, 2)).predict(lmda=1e6, rate=0.5e-6)
    np.testing.assert_allclose(lazy, far, rtol=1e-5)
    wide = build((2, 2, 2), model="wide", hidden_size=6)
    network = wide.network(lmda=-0.3, mu=0.2)
    c = np.hypot(0.15, 0.2)
    np.testing.assert_allclose(network.effective_scales, [c + 0.15, c - 0.15])
    np.testing.assert_allclose(
        wide.predict(lmda=-0.3, mu=0.2),
        lr.ExactSolution(network, task).loss(TIMES),
        rtol=1e-12,
    )


def test_differences_are_the_derivatives(wide_input):
    coordinates = Coordinates(wide_input, UNKNOWN)
    u = jnp.asarray(coordinates.encode(TRUTH))
    np.testing.assert_allclose(coordinates.decode(u, wide_input.known)["lmda"], 0.5)

    def predict(u):
        return wide_input.predicted(coordinates.decode(u, wide_input.known))[0]

    exact = jax.jit(jax.jacfwd(predict))(u)
    value, jacobian = jax.jit(lambda u: linearised(predict, u))(u)
    np.testing.assert_allclose(value, predict(u), rtol=1e-12)
    np.testing.assert_allclose(jacobian, exact, atol=1e-8 * np.abs(exact).max())
    error = np.linalg.norm(jacobian - exact, axis=0)
    assert np.all(error <= 1e-7 * np.linalg.norm(exact, axis=0))
    # One-sided differences, where members begin.
    bounds = coordinates.bounds

    def residuals(u, row):
        return predict(u)

    ends = jnp.asarray(bounds[0]), jnp.asarray(bounds[1])
    member = jax.tree.map(lambda x: jnp.asarray(x[0]), begin(np.asarray(u)[None]))
    lane = entered(jnp.array(0), member, jnp.array(1), value.size)
    evaluate = jax.jit(lambda lane: evaluated(lane, residuals, ends, jnp.array(0.0)))
    for _ in range(u.size + 1):
        lane = evaluate(lane)
    np.testing.assert_allclose(lane.r, value, rtol=1e-12)
    np.testing.assert_allclose(lane.jacobian.T, exact, atol=1e-6 * np.abs(exact).max())
    error = np.linalg.norm(lane.jacobian.T - exact, axis=0)
    assert np.all(error <= 1e-5 * np.linalg.norm(exact, axis=0))
    # A search has the same.
    member = minimise(residuals, begin(np.asarray(u)[None]), bounds, 0.0, steps=1)
    np.testing.assert_allclose(member.cost, np.sum(value**2)[None] / 2, rtol=1e-12)
    for found, right in (
        (member.gradient[0], exact.T @ value),
        (member.hessian[0], exact.T @ exact),
    ):
        np.testing.assert_allclose(found, right, atol=1e-6 * np.abs(right).max())
    size = np.diagonal(exact.T @ exact)
    np.testing.assert_allclose(np.diagonal(member.hessian[0]), size, rtol=1e-5)
