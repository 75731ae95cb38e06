"""Bad input of the closed forms of modes is refused, or gives NaN if it is traced."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

theory = lr.theory
loose: Any = theory  # for arguments that its annotations refuse


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: theory.aligned_modes(-1.0, 1, 1, 1), "`ts` must be non-negative"),
        (lambda: loose.aligned_modes([0.0, np.nan], 1, 1, 1), "`ts\\[1\\]` was nan"),
        (lambda: loose.aligned_modes(1.0, [1, 2], [1, 2, 3], 1), "of one shape"),
        (lambda: loose.aligned_modes(1.0, 1, 1, [1.0, 2]), "`lmda` must be a scalar"),
        (
            lambda: loose.aligned_modes(1.0, [1, 2], 1, [1.0, 2, 3]),
            r"`lmda` must be a scalar or have the modes' shape \(2,\), .* was \(3,\)",
        ),
        (
            lambda: loose.time_to_reach(0.5, 1, [1, 2], [1.0, np.nan]),
            r"`lmda` must be finite, but it was nan at index \(1,\)",
        ),
        (lambda: theory.aligned_modes(1.0, np.inf, 1, 1.0), "`s` must be finite"),
        (lambda: theory.aligned_modes(1.0, 1, -np.inf, 1.0), "`a0` must be finite"),
        (lambda: theory.aligned_modes(1.0, 1, 1, np.nan), "`lmda` must be finite"),
        (lambda: theory.time_to_reach(1.0, 1, 0.1, 1), "`fraction` must be at least 0"),
        (lambda: loose.deep_modes(np.inf, 1, 1, [0.0]), "and finite"),
        (lambda: theory.deep_modes(1.0, 1, 1, 0.0), "`lmda` must hold the balance"),
        (lambda: loose.deep_modes(1.0, 1, 1, []), "`shallow_modes`"),
        (lambda: loose.deep_modes(1.0, [1, 2], [1.0], [0.0]), "vectors of one length"),
        (lambda: loose.deep_modes(1, 1, 1, [0.0], rtol=0.0), "`rtol` must be finite"),
        (
            lambda: theory.shallow_function(
                1.0, np.ones((3, 2)), lr.Task.from_correlation(np.ones((2, 3)))
            ),
            "`function` must fit the task's 3 inputs and 2 outputs",
        ),
        (lambda: theory.shallow_steps(1.0, 0.0, 0.1), "`tolerance` must be finite"),
        (lambda: theory.shallow_steps(1.0, 0.1, 1.0), "`learning_rate` must be less"),
    ],
)
def test_bad_input_is_named(untyped, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_traced_times_that_are_negative_give_nan():
    ts = jnp.array([-1.0, 1.0])
    for modes in (
        jax.jit(lambda ts: theory.aligned_modes(ts, 1.0, 0.1, 1.0)),
        jax.jit(lambda ts: theory.sigmoidal_modes(ts, 1.0, 0.1)),
        jax.jit(lambda ts: theory.exponential_modes(ts, 1.0, 0.1, 1.0)),
        jax.jit(lambda ts: theory.time_to_reach(ts / 2, 1.0, 0.1, 1.0)),
    ):
        assert jnp.isnan(modes(ts)).tolist() == [True, False]
