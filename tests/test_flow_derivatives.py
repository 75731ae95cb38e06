"""Derivatives are the flow's along the class, and on request in every direction."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases, numerical_flow

pytestmark = pytest.mark.slow

TS = np.array([0.0, 0.1, 0.5, 1.0, 3.0])
BOTH = True, False  # derivatives of the flow, and of the formula


def exact(start, flow_derivatives):
    network, task = start
    solution = lr.ExactSolution(
        network, task, throw=False, flow_derivatives=flow_derivatives
    )
    return solution.loss(TS), solution.qqt(TS)


@functools.partial(jax.jit, static_argnames="kinds")
def exact_changes(start, change, kinds):
    """Values and their changes, of the flow's derivatives and of the formula's."""
    return [
        jax.jvp(lambda x, kind=kind: exact(x, kind), (start,), (change,))
        for kind in kinds
    ]


def flow_change(start, change):
    """The change of the loss and of QQ^T of the integrated flow: a complex step."""
    size = 1e-30
    network, task = jax.tree.map(
        lambda x, dx: np.asarray(x) + 1j * size * np.asarray(dx), start, change
    )
    function, below, above = numerical_flow.states(network.weights, task, TS)
    loss = np.stack([numerical_flow.loss(a, task) for a in function])
    qqt = np.block([[below, function.swapaxes(1, 2)], [function, above]])
    return np.imag(loss) / size, np.imag(qqt) / size


def agree(found, expected, rtol):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize(
    "sizes, lmda, kinds",
    [
        ((3, 2, 2), 1.0, BOTH),
        ((4, 2, 5), -0.7, (True,)),
        ((3, 5, 4), 0.0, (True,)),
    ],
    ids=str,
)
def test_every_direction_of_weights_inputs_and_targets(sizes, lmda, kinds):
    task = cases.make_task(sizes)
    start = cases.start(sizes, lmda, 0.6), task
    rng = np.random.default_rng(0)
    change = jax.tree.map(lambda x: rng.normal(size=x.shape), start)
    (values, found), *others = exact_changes(start, change, kinds)
    expected = flow_change(start, change)
    agree(found, expected, 2e-8)  # the solver's error
    # The formula has another derivative off the class.
    for same, formula in others:
        agree(values, same, 1e-14)
        for a, b in zip(formula, expected, strict=True):
            assert np.abs(a - b).max() > 0.05 * np.abs(b).max()


def test_in_reverse_and_mapped():
    task = cases.make_task((3, 2, 2))
    starts = [cases.start((3, 2, 2), x, 0.6) for x in (-0.5, 1.0)]

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    @functools.partial(jax.grad, argnums=(0, 1))
    def slopes(network, x):
        of_x = lr.Task(x, task.y)
        return lr.ExactSolution(network, of_x, flow_derivatives=True).loss(TS).sum()

    found = slopes(jax.tree.map(lambda *w: np.stack(w), *starts), task.x)
    flat, unflatten = jax.flatten_util.ravel_pytree((starts[1], task.x))
    expected = []
    for direction in jnp.eye(flat.size):
        network, x = unflatten(direction)
        change = network, lr.Task(x, jnp.zeros_like(task.y))
        expected.append(flow_change((starts[1], task), change)[0].sum())
    expected = jax.tree.leaves(unflatten(jnp.array(expected)))
    agree([x[1] for x in jax.tree.leaves(found)], expected, 1e-7)


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
    both = jax.jit(lambda x, dx: jax.jvp(start, (x,), (dx,)))(x, dx)
    expected = flow_change(*both)
    for _, found in exact_changes(*both, BOTH):
        agree(found, expected, 2e-8)


def test_at_infinity_and_of_refused_members():
    task = cases.make_task((3, 2, 2))
    network = cases.start((3, 2, 2), 1.0, 0.6)

    @jax.jit
    @jax.jacrev
    def slope(network, t):
        solution = lr.ExactSolution(network, task, throw=False, flow_derivatives=True)
        return solution.function(t)

    # At infinity everything is learned from any weights.
    found = slope(network, np.inf)
    assert all(jnp.abs(x).max() < 1e-8 for x in jax.tree.leaves(found))
    bad = jax.tree.map(lambda w: w + 0.1, network)
    found = slope(bad, 1.0)
    assert all(jnp.all(jnp.isnan(x)) for x in jax.tree.leaves(found))


def test_a_bad_time_leaves_the_others_alone():
    solution = lr.ExactSolution(
        cases.start((3, 2, 2), 1.0, 0.6), cases.make_task((3, 2, 2))
    )
    found = jax.jit(lambda ts: solution.flow_network(ts).function)(
        jnp.array([-1.0, 0.5])
    )
    assert jnp.all(jnp.isnan(found[0]))
    np.testing.assert_allclose(found[1], solution.function(0.5), atol=1e-13)


def test_others_are_refused():
    task = cases.make_task((3, 2, 2))
    network = cases.start((3, 2, 2), 1.0, 0.6)

    def solution(weights):
        start = lr.LinearNetwork(weights)
        return lr.ExactSolution(start, task, flow_derivatives=True)

    for call in (
        jax.hessian(lambda w: solution(w).loss(1.0)),
        jax.jacfwd(lambda w: solution(w).network(1.0).qqt),
        jax.jacrev(lambda w: solution(w).flow_network(1.0).qqt),
    ):
        with pytest.raises(TypeError, match="`flow_derivatives=True` must be first"):
            jax.eval_shape(call, network.weights)
