"""Refusals of the limits of learning, and their messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from .cases import make_task, start

theory = lr.theory


def test_what_the_forms_assume_is_checked(untyped):
    task, network = make_task((3, 3, 3)), start((3, 3, 3), 1.0)
    skewed = lr.Task(task.x @ np.diag([1.0, 2.0, 3.0]), task.y)
    unbalanced = lr.Gaussian(1.0)(3, 3, 3, key=jax.random.key(0))
    for call in (
        lambda t: theory.converged_representations(t, 1.0, 3),
        lambda t: theory.rich_limit(1.0, network.function, t),
        lambda t: theory.lazy_limit(1.0, network, t),
        lambda t: theory.convergence_rates(t, 1.0, 3),
        lambda t: theory.delayed_rich_time(t, 1.0, 3),
        lambda t: theory.saddle_distance(network, t),
    ):
        with pytest.raises(ValueError, match="`task` must have isotropic inputs"):
            call(skewed)
        assert all(jnp.isnan(x).all() for x in jax.tree.leaves(jax.jit(call)(skewed)))
    for call in (
        lambda: theory.lazy_limit(1.0, unbalanced, task),
        lambda: theory.saddle_distance(unbalanced, task),
        lambda: theory.converged_representations(task, 1.0, 3, start=unbalanced),
    ):
        with pytest.raises(ValueError, match="must be lambda-balanced"):
            call()
    with pytest.raises(ValueError, match="`start` must have the balance `lmda`, 2"):
        theory.converged_representations(task, 2.0, 3, start=network)


SIZES = (3, 3, 4)
ZERO = np.zeros((4, 3))


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda task: theory.converged_representations(task, 1.0, 5),
            "`lmda` must not be positive for sizes 3-5-4",
        ),
        (
            lambda task: theory.converged_representations(make_task((2, 3, 4)), 1.0, 3),
            "`start` must be given .* sizes 2-3-4",
        ),
        (
            lambda task: theory.converged_representations(
                make_task((2, 3, 4)), 1.0, 3, start=start((2, 2, 4), 1.0)
            ),
            "`start` must have sizes 2-3-4, but its sizes were 2-2-4",
        ),
        (
            lambda task: theory.converged_representations(
                lr.Task.from_correlation(np.eye(3)), 1.0, 2
            ),
            "`hidden_size` must not cut through equal singular values",
        ),
        (
            lambda task: theory.balanced_representations(np.ones((2, 4)), -1.0, 3),
            "`lmda` must be zero for sizes 4-3-2",
        ),
        (
            lambda task: theory.convergence_rates(task, -1.0, 4),
            "`lmda` must not be negative for sizes 3-4-4",
        ),
        (
            lambda task: theory.delayed_rich_time(task, 1.0, 0),
            "`hidden_size` must be an integer of at least 1",
        ),
        (
            lambda task: theory.rich_limit(-1.0, np.ones((4, 3)), task),
            "`ts` must be non-negative",
        ),
        (
            lambda task: theory.rich_limit(1.0, np.ones((3, 4)), task),
            "`function` must fit the task's 3 inputs and 4 outputs",
        ),
        (lambda task: theory.rich_limit(1.0, ZERO, task), "must have full rank"),
        (
            lambda task: theory.rich_limit(1.0, -task.input_output_correlation, task),
            "must not be at a saddle",
        ),
        (
            lambda task: theory.lazy_limit(1.0, start(SIZES, 0.0), task),
            "`network` must have a balance that is not zero for its lazy limit",
        ),
        (
            lambda task: theory.lazy_limit(1.0, start((3, 3, 3), 1.0), task),
            "`network` must have the task's 3 inputs and 4 outputs",
        ),
        (
            lambda task: theory.lazy_limit(1.0, lr.LinearNetwork((ZERO,)), task),
            "`network` must have two layers",
        ),
        (
            lambda task: theory.saddle_distance(lr.LinearNetwork((ZERO,)), task),
            "`network` must have two layers",
        ),
    ],
)
def test_bad_input_is_named(untyped, call, message):
    with pytest.raises(ValueError, match=message):
        call(make_task(SIZES))
