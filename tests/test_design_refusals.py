"""Designs name the aim or the range that they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax.inference import (
    Choice,
    Forgetting,
    Information,
    KernelDistance,
    LearningTime,
    LossAt,
    design,
    orders,
    sensitivity,
)

from .two_modes import ALIGNED, TASK

GOAL = LossAt(TASK, 1.0)
RANGE = {"lmda": (-5.0, 5.0)}
WIDER = lr.LambdaBalanced(-1.0)(2, 2, 1, key=jax.random.key(0))
ANISOTROPIC = lr.Task(jnp.array([[1.0, 0.0], [0.0, 3.0]]), jnp.ones((2, 2)))


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: KernelDistance(TASK, 1.0), "`target` must be at least 0 and below 1"),
        (lambda: KernelDistance(TASK, np.nan), "`target` must be at least 0"),
        (lambda: LossAt(TASK, 0.0), "`duration` must be positive and finite"),
        (lambda: LossAt(TASK, np.inf), "`duration` must be positive and finite"),
        (lambda: LearningTime(TASK, tolerance=1.0), "`tolerance` must be more than 0"),
        (lambda: LossAt(ANISOTROPIC, 1.0), "`task` must have isotropic inputs"),
        (lambda: Forgetting([TASK, ANISOTROPIC], 1.0), r"`tasks\[1\]` must have iso"),
        (lambda: Forgetting([TASK], 1.0), "`tasks` must hold at least two"),
        (lambda: Forgetting([TASK] * 2, [1.0]), "`durations` must be one number or"),
        (lambda: design(GOAL, ALIGNED, free={}), "`free` must name a variable"),
        (lambda: design(GOAL, ALIGNED, free={"lmda": 1.0}), "must be a pair"),
        (lambda: design(GOAL, ALIGNED, free={"lmda": (5.0, -5.0)}), "below its high"),
        (lambda: design(GOAL, ALIGNED, free={"lmda": (1.0, np.inf)}), "finite bounds"),
        (lambda: design(GOAL, ALIGNED, free={"lmda": (np.nan, 1.0)}), "finite bounds"),
        (lambda: design(GOAL, ALIGNED, free={"lamda": (0.0, 1.0)}), "had 'lamda'"),
        (lambda: design(GOAL, free={"duration": (1.0, 2.0)}), "'network' was missing"),
        (
            lambda: design(GOAL, ALIGNED, free={"strengths": (0.1, jnp.ones(3))}),
            "one range or one for each of 2 modes",
        ),
        (
            lambda: design(GOAL, ALIGNED, free={"scale": (0.0, 1.0)}),
            r"`free\['scale'\]` must be positive",
        ),
        (
            lambda: design(GOAL, ALIGNED, free={"duration": (0.0, 1.0)}),
            r"`free\['duration'\]` must be positive",
        ),
        (
            lambda: design(GOAL, WIDER, free=RANGE),
            r"`free\['lmda'\]` must not be positive for sizes 2-2-1",
        ),
        (
            lambda: design(GOAL, WIDER, free={"lmda": Choice([-1.0, 1.0])}),
            r"`free\['lmda'\]` must not be positive for sizes 2-2-1",
        ),
        (
            lambda: design(GOAL, ALIGNED, free={"lmda": (3.0, 5.0)}, norm=2.0),
            "`norm` must allow a balance",
        ),
        (
            lambda: design(GOAL, ALIGNED, free={"scale": (0.1, 1.0)}, norm=2.0),
            "must not have 'scale' where `norm`",
        ),
        (lambda: design(GOAL, lambda lmda: None, free=RANGE, norm=1.0), "`start` must"),
        (
            lambda: design(GOAL, ALIGNED, free=RANGE, learning_rate=0.5),
            "`learning_rate` must be below 0.5",
        ),
        (
            lambda: design(GOAL, ALIGNED, free={"lmda": (1e3, 1e4)}, learning_rate=0.1),
            "`learning_rate` must allow a balance",
        ),
        (lambda: design(GOAL, ALIGNED, free=RANGE, searches=0), "`searches` must be"),
        (lambda: design(GOAL, ALIGNED, free=RANGE, verify=1), "`verify` must be an"),
        (lambda: design(lambda x: x * np.nan, free={"x": (0.0, 1.0)}), "it was nan"),
        (lambda: design(lambda x: [x, x], free={"x": (0.0, 1.0)}), "give a scalar"),
        (lambda: orders(9), "362880; `most` allows more"),
        (lambda: Choice([]), "`options` must hold at least one"),
        (
            lambda: design(
                Forgetting([TASK] * 2, 1.0), ALIGNED, free={"order": Choice([[0, 0]])}
            ),
            r"`free\['order'\]` must be a permutation of 0 to 1",
        ),
        (
            lambda: design(
                Information(lambda p, t: p[0] * p[1] * t, [1.0, 2.0]),
                free={"times": (0.0, jnp.ones(1))},
            ),
            "`times` must give as many observations",
        ),
        (lambda: Information(lambda p, t: p, 1.0, noise=0.0), "`noise` must be"),
        (lambda: sensitivity(ALIGNED, TASK, [1.0], observe="los"), "`observe` must be"),
        (lambda: sensitivity(ALIGNED, TASK, 1.0), "`ts` must be a vector"),
        (lambda: sensitivity(ALIGNED, ANISOTROPIC, [1.0]), "isotropic"),
    ],
)
def test_what_is_refused_is_named(untyped, call, match):
    with pytest.raises(ValueError, match=match):
        call()
