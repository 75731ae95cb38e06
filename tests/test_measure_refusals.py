"""Refusals of the measures, and their messages."""

from typing import Any

import numpy as np
import pytest

import lazyrich_jax as lr

measures: Any = lr.measures  # for arguments that its annotations refuse
ONE, EYE = np.ones((6, 1)), np.eye(6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: measures.kernel_distance(ONE, ONE), "`k0` must be a square matrix"),
        (lambda: measures.kernel_distance(EYE, np.eye(3)), "`k0` and `k1` must have"),
        (lambda: measures.kernel_alignment(EYE, [[np.nan]]), "`k1` must be finite"),
        (
            lambda: measures.unbiased_centred_kernel_alignment(np.eye(3), np.eye(3)),
            "at least 4 samples",
        ),
        (lambda: measures.participation_ratio(ONE), "`kernel` must be a square"),
        (lambda: measures.procrustes_distance(ONE, EYE), "`x0` and `x1` must have the"),
        (lambda: measures.target_alignment(EYE, np.ones((4, 2))), "4 or 8 rows"),
        (lambda: measures.task_specificity(EYE, np.ones((6, 2))), "`sigma` must have"),
        (lambda: measures.mode_strengths(EYE, ONE), "`function` and `sigma` must have"),
        (lambda: measures.balance(EYE, ONE), "`w2` must have as many columns"),
        (lambda: measures.weight_movement(ONE, [ONE]), "parameters of the same shapes"),
        (lambda: measures.weight_movement(ONE, EYE), "parameters of the same shapes"),
        (
            lambda: measures.convergence_time([0.0, -1.0], [1.0, 0], 0.1),
            "`ts\\[1\\]` was -1",
        ),
        (lambda: measures.convergence_time([0.0, 1], [1.0], 0.1), "`ts` and `loss`"),
        (lambda: measures.convergence_time(0.0, 1.0, 0.1), "`ts` must be a vector"),
        (lambda: measures.effective_rank(np.zeros((0, 2))), "`matrix` must have no"),
    ],
)
def test_bad_input_is_named(untyped, call, message):
    with pytest.raises(ValueError, match=message):
        call()
