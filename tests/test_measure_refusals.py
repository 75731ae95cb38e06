"""Refusals of the measures, and their messages."""

from typing import Any

import jax
import numpy as np
import pytest

import lazyrich_jax as lr

measures: Any = lr.measures  # for arguments that its annotations refuse
ONE, EYE = np.ones((6, 1)), np.eye(6)
X = np.random.default_rng(0).normal(size=(4, 3))


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
        (lambda: measures.feature_alignment(X, X[:2]), "`x0` and `x1` must have a row"),
        (lambda: measures.feature_alignment(X[None], X), "`x0` must be a matrix"),
        (lambda: measures.feature_change(X, X[:, :2]), "`x0` and `x1` must have the"),
        (lambda: measures.dynamical_richness(X, X[:, 0]), "`outputs` must be a matrix"),
        (lambda: measures.dynamical_richness(X, X[:2]), "`features` and `outputs`"),
        (lambda: measures.dynamical_richness(X * np.nan, X), "`features` must be fini"),
        (lambda: measures.activation_flips(X, X[:2]), "`z0` and `z1` must have the s"),
        (lambda: measures.activation_flips([], []), "`z0` must hold a number"),
        (lambda: measures.update_rank(X, X.T), "`start` and `end` must have the same"),
        (lambda: measures.agop(X), "`jacobians` must have the axes"),
        (lambda: measures.neural_feature_alignment(X, np.eye(4)), "`agop` must have a"),
        (
            lambda: measures.neural_feature_alignment(X, np.triu(np.ones((3, 3)))),
            "`agop` must be symmetric",
        ),
        (
            lambda: measures.neural_feature_alignment(X, np.eye(3), power=0.0),
            "`power` must be finite and positive",
        ),
        (lambda: measures.neural_collapse(X, np.eye(4, dtype=int)), "labels.argmax"),
        (lambda: measures.neural_collapse(X, [0, 1, 2, -1]), "must be from 0 to 2, bu"),
        (lambda: measures.neural_collapse(X, [0, 1, 2, 3], X[:3]), "from 0 to 2, but"),
        (lambda: measures.neural_collapse(X, [0, 1, 0, 1], X[:, :2]), "`weight` must"),
        (lambda: measures.neural_collapse(X, [0, 1, 0, 1], bias=X[0]), "`weight` must"),
        (
            lambda: measures.neural_collapse(X, [0, 1, 0, 1], X[:2], X[0]),
            "`bias` must have the shape",
        ),
    ],
)
def test_bad_input_is_named(untyped, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_labels_that_are_not_integers(untyped):
    with pytest.raises(TypeError, match="`labels` must be integers"):
        measures.neural_collapse(X, np.array([0.0, 1.0, 0.0, 1.0]))
    with pytest.raises(TypeError, match="`classes` must be given for traced"):
        jax.jit(measures.neural_collapse)(X, np.array([0, 1, 0, 1]))
