"""Reductions refuse bad arguments by name."""

from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lazyrich_jax import reductions

from . import cases

SIZES = 3, 2, 2


def test_bad_arguments(untyped):
    task, network = (
        cases.make_task(SIZES, variance=1.5),
        cases.balanced(SIZES, 0.6, 0.6, 0),
    )
    for call, message in (
        (
            lambda: reductions.output_scale(network, task, -1.0),
            "`scale` must be finite",
        ),
        (lambda: reductions.layer_rates(network, task, (1.0,)), "`rates` must be two"),
        (
            lambda: reductions.layer_rates(network, task, (1.0, 0.0)),
            r"`rates\[1\]` must",
        ),
        (
            lambda: reductions.schedule(network, task, lambda k: -k, 5),
            "`learning_rate`",
        ),
        (lambda: reductions.heavy_ball(network, task, 0.1, 1.0), "`momentum` must be"),
        (lambda: reductions.linear_attention(np.eye(2), 1.0, 0), "`examples` must be"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    short = reductions.schedule(network, task, optax.constant_schedule(0.1), 5)
    with pytest.raises(ValueError, match="`ts` must be at most the schedule's 5 steps"):
        short.function(6)
    with pytest.raises(TypeError, match="`learning_rate` must be a schedule"):
        reductions.schedule(network, task, 0.1, 5)  # pyright: ignore
    with pytest.raises(ValueError, match="`key_query` must be a square matrix"):
        reductions.linear_attention(np.ones((2, 3)), 1.0, 4)
    x = np.ones((4, 2, 3))
    with pytest.raises(ValueError, match="`recurrence` must be a scalar"):
        reductions.linear_recurrent(network, x, np.ones((4, 2)), np.eye(2))
    with pytest.raises(ValueError, match="`x` must be sequences"):
        reductions.linear_recurrent(network, x[0], np.ones((4, 2)), 0.5)
    with pytest.raises(ValueError, match="`recurrence` must be finite, but"):
        reductions.linear_recurrent(network, x, np.ones((4, 2)), np.nan)
    with pytest.raises(ValueError, match="`x` must have no empty axis, but"):
        reductions.linear_recurrent(network, x[:, :0], np.ones((4, 2)), 0.5)


def test_bad_types(untyped):
    task, network = (
        cases.make_task(SIZES, variance=1.5),
        cases.balanced(SIZES, 0.6, 0.6, 0),
    )
    weights: Any = network.weights

    def scheduled(rate: Any):
        return reductions.schedule(network, task, rate, 5)

    wrong: Any = network
    for call, message in (
        (lambda: reductions.layer_rates(wrong, task, cast(Any, 0.1)), "`rates` must"),
        (lambda: reductions.antisymmetric_relu(wrong, task), "`weights` must be a seq"),
        (lambda: reductions.antisymmetric_relu(weights, wrong), "`task` must be a"),
        (
            lambda: reductions.gated_pathways(wrong, task, np.ones((10, 1))),
            "`pathways` must be a sequence of networks, but it was a `LinearNetwork`",
        ),
        (
            lambda: reductions.output_scale(
                network, task, 2.0, centred=cast(Any, "no")
            ),
            "`centred` must be a `bool`, but it was the text 'no'",
        ),
        (lambda: scheduled(lambda k: None), r"`learning_rate\(k\)` must be a real"),
        (lambda: scheduled(lambda k: "x"), r"`learning_rate\(k\)` must be a real"),
    ):
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(ValueError, match=r"`learning_rate\(k\)` must be a scalar, but"):
        scheduled(lambda k: jnp.ones(2))
    by_python = scheduled(lambda k: 0.1 if k < 3 else 0.01)
    np.testing.assert_allclose(
        by_python.clock(np.arange(6.0)), [0, 0.1, 0.2, 0.3, 0.31, 0.32], rtol=1e-12
    )
