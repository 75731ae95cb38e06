"""Derivatives are the flow's along the class, and on request in every direction."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases

TS = jnp.array([0.0, 0.1, 0.5, 1.0, 3.0])


def exact(start, flow_derivatives):
    network, task = start
    solution = lr.ExactSolution(network, task, flow_derivatives=flow_derivatives)
    return solution.loss(TS), solution.qqt(TS)


def flow(start):
    law = lr.GradientFlow(adjoint=diffrax.ForwardMode())
    trajectory = lr.learn(*start, ts=TS, dynamics=law)
    return trajectory.loss, trajectory.qqt


def agree(found, expected, rtol):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize(
    "sizes, lmda",
    [((3, 2, 2), 1.0), ((4, 2, 5), -0.7), ((3, 5, 4), 0.0)],
    ids=str,
)
def test_every_direction_of_weights_inputs_and_targets(sizes, lmda):
    task = cases.make_task(sizes)
    start = cases.start(sizes, lmda, 0.6), task
    rng = np.random.default_rng(0)
    change = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), start)
    values, found = jax.jvp(lambda x: exact(x, True), (start,), (change,))
    expected = jax.jvp(flow, (start,), (change,))[1]
    agree(found, expected, 2e-8)  # the solver's error
    # The formula has another derivative off the class.
    same, formula = jax.jvp(lambda x: exact(x, False), (start,), (change,))
    agree(values, same, 1e-14)
    for a, b in zip(formula, expected, strict=True):
        assert np.abs(a - b).max() > 0.05 * np.abs(b).max()


def test_in_reverse_and_mapped():
    task = cases.make_task((3, 2, 2))
    starts = [cases.start((3, 2, 2), x, 0.6) for x in (-0.5, 1.0)]

    def loss(network, x):
        of_x = lr.Task(x, task.y)
        return lr.ExactSolution(network, of_x, flow_derivatives=True).loss(TS).sum()

    def by_flow(network, x):
        trajectory = lr.learn(
            network, lr.Task(x, task.y), TS, dynamics=lr.GradientFlow()
        )
        return trajectory.loss.sum()

    many = jax.tree.map(lambda *w: jnp.stack(w), *starts)
    slopes = jax.vmap(jax.grad(loss, (0, 1)), in_axes=(0, None))(many, task.x)
    expected = jax.tree.leaves(jax.grad(by_flow, (0, 1))(starts[1], task.x))
    agree([x[1] for x in jax.tree.leaves(slopes)], expected, 1e-7)


def test_along_the_class_the_formula_has_the_derivatives_of_the_flow():
    key = jax.random.key(0)
    task = cases.make_task((3, 2, 2))

    def start(x):
        """A balanced start for all `x`, and white inputs rotated and scaled by `x`."""
        lmda, scale, angle = x
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        turn = scale * jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])
        inputs = jnp.concatenate([task.x[:, :2] @ turn, scale * task.x[:, 2:]], axis=1)
        network = lr.LambdaBalanced(lmda, 0.5 * scale)(3, 2, 2, key=key)
        return network, lr.Task(inputs, task.y)

    x, dx = (0.3, 1.0, 0.2), (1.0, -0.4, 0.7)
    expected = jax.jvp(lambda x: flow(start(x)), (x,), (dx,))[1]
    for flow_derivatives in (False, True):
        found = jax.jvp(lambda x, f=flow_derivatives: exact(start(x), f), (x,), (dx,))
        agree(found[1], expected, 2e-8)


def test_at_infinity_and_of_refused_members():
    task = cases.make_task((3, 2, 2))
    network = cases.start((3, 2, 2), 1.0, 0.6)

    def function(network, t):
        solution = lr.ExactSolution(network, task, throw=False, flow_derivatives=True)
        return solution.function(t)

    # At infinity everything is learned from any weights.
    slope = jax.jacfwd(function)(network, jnp.inf)
    assert all(jnp.abs(x).max() < 1e-8 for x in jax.tree.leaves(slope))
    bad = jax.tree.map(lambda w: w + 0.1, network)
    slope = jax.jacrev(function)(bad, 1.0)
    assert all(jnp.all(jnp.isnan(x)) for x in jax.tree.leaves(slope))


def test_a_bad_time_leaves_the_others_alone():
    solution = lr.ExactSolution(
        cases.start((3, 2, 2), 1.0, 0.6), cases.make_task((3, 2, 2))
    )
    found = jax.jit(lambda ts: solution.weights(ts).function)(jnp.array([-1.0, 0.5]))
    assert jnp.all(jnp.isnan(found[0]))
    np.testing.assert_allclose(found[1], solution.function(0.5), atol=1e-13)


def test_others_are_refused():
    task = cases.make_task((3, 2, 2))
    network = cases.start((3, 2, 2), 1.0, 0.6)

    def solution(weights):
        start = lr.LinearNetwork(weights)
        return lr.ExactSolution(start, task, flow_derivatives=True)

    for call in (
        lambda: jax.hessian(lambda w: solution(w).loss(1.0))(network.weights),
        lambda: jax.jacfwd(lambda w: solution(w).network(1.0).qqt)(network.weights),
        lambda: jax.jacrev(lambda w: solution(w).weights(1.0).qqt)(network.weights),
    ):
        with pytest.raises(TypeError, match="`flow_derivatives=True` must be first"):
            call()
