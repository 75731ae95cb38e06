"""Derivatives of ends of learning by tasks and balances, also at repeated values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases
from .differences import differences

pytestmark = pytest.mark.slow

KEY = jax.random.key(1)


# Tasks with equal, zero and distinct singular values, by sizes.
ENDS = (
    ((3, 3, 3), (2.0, 2.0, 1.0), 0.5),
    ((3, 3, 3), (2.0, 2.0, 2.0), 0.0),
    ((3, 3, 3), (2.0, 0.0, 0.0), -0.5),
    ((3, 2, 3), (2.0, 2.0, 1.0), 0.0),
    ((4, 2, 2), (2.0, 2.0), -0.4),
    ((2, 3, 4), (2.0, 2.0), 0.8),
)


@functools.partial(jax.jit, static_argnums=0)
def ends_and_slopes(sizes, sigma, lmda, network, change, second):
    """Ends and saddle, slopes and second ones along changes, and the gradient."""
    n_in, hidden, n_out = sizes

    def ends(sigma):
        task = lr.Task.from_correlation(sigma)
        start = network if n_in < hidden < n_out else None
        end = lr.theory.converged_representations(task, lmda, hidden, start=start)
        distance = lr.theory.saddle_distance(network, task)
        found = jnp.concatenate([x.ravel() for x in jax.tree.leaves(end)])
        return jnp.append(found, distance)

    def slope(sigma):
        return jax.jvp(ends, (sigma,), (change,))

    found, (_, twice) = jax.jvp(slope, (sigma,), (second,))
    return *found, twice, jax.grad(lambda sigma: jnp.sum(ends(sigma)))(sigma)


@pytest.mark.parametrize("sizes, strengths, lmda", ENDS, ids=str)
def test_ends_and_saddles_by_tasks_with_equal_strengths(sizes, strengths, lmda):
    """To first and second order."""
    rng = np.random.default_rng(0)
    n_in, _, n_out = sizes
    u, v = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (n_out, n_in))
    k = len(strengths)
    sigma = u[:, :k] * np.array(strengths) @ v[:, :k].T
    change, second = rng.normal(size=(2, n_out, n_in))
    network = cases.balanced(sizes, lmda, 0.5)

    def at(sigma):
        given = sizes, sigma, lmda, network, change, second
        return jax.device_get(ends_and_slopes(*given))

    _, found, twice, by_reverse = at(sigma)
    expected = differences(lambda sigma: at(sigma)[0], sigma, change)
    np.testing.assert_allclose(found, expected, atol=2e-8)
    np.testing.assert_allclose(np.sum(by_reverse * change), np.sum(found), rtol=1e-10)
    expected = differences(lambda sigma: at(sigma)[1], sigma, second)[:-1]
    np.testing.assert_allclose(twice[:-1], expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("sizes", [(3, 3, 3), (4, 2, 3), (3, 7, 3)], ids=str)
def test_modes_without_a_rate_are_never_learned(sizes):
    task = lr.Task.from_correlation(np.outer(np.arange(1.0, 4), np.ones(sizes[0])))
    network = lr.LambdaBalanced(0.0)(*sizes, key=KEY)
    assert lr.theory.saddle_distance(network, task) == 0


def test_derivatives_by_lmda_of_ends_of_tasks_of_low_rank():
    """They exist, unlike derivatives by the task, unless surplus units are free."""
    function = np.diag([1.5, 0.7, 0.0, 0.0])[:3]

    def outputs(lmda):
        return lr.theory.balanced_representations(
            function, lmda, 3
        ).output_representation

    found = jax.jacfwd(outputs)(-0.7)
    np.testing.assert_allclose(found, differences(outputs, -0.7, 1.0), atol=1e-9)

    def inputs(lmda):
        end = lr.theory.balanced_representations(function[:2], lmda, 3)
        return end.input_representation

    with pytest.raises(Exception, match="with respect to `lmda`"):
        jax.block_until_ready(jax.jacfwd(inputs)(0.0))


def test_an_end_that_cuts_through_equal_strengths_is_refused():
    def learned(sigma):
        task = lr.Task.from_correlation(sigma)
        return jnp.sum(lr.theory.converged_representations(task, 0.5, 2).function)

    with pytest.raises(Exception, match="approximation of lower rank"):
        jax.block_until_ready(jax.grad(learned)(jnp.diag(jnp.array([2.0, 0.0, 0.0]))))


def test_rich_limit_at_equal_strengths_is_refused():
    task = lr.Task.from_correlation(2 * np.eye(2))

    def learned(function):
        return jnp.sum(lr.theory.rich_limit(1.0, function, task).output_representation)

    assert np.isfinite(learned(jnp.eye(2)))
    with pytest.raises(Exception, match="singular values are distinct"):
        jax.block_until_ready(jax.grad(learned)(jnp.eye(2)))


def test_second_derivatives_of_a_neuron_by_no_target_are_refused():
    def weight(target):
        neuron = lr.theory.single_neuron(1.0, jnp.array([0.3, 0.1]), 0.4, target)
        return neuron.a

    with pytest.raises(Exception, match="`single_neuron` with respect to `target`"):
        jax.block_until_ready(jax.hessian(weight)(jnp.zeros(2)))
