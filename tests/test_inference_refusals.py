"""Bad input of experiments and fits: refused before anything is compiled."""

import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax import inference

from .experiments import TIMES, TRUTH, UNKNOWN, build


@pytest.fixture(scope="module")
def square():
    """A square network, whose loss is even in lambda."""
    return build((2, 2, 2))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"observe": "los"}, "`observe` must be one of 'loss', 'log excess'"),
        ({"observe": ()}, "`observe` must be different names, at least one"),
        ({"model": "rich"}, "`model` must be one of 'balanced'"),
        ({"observe": "ntk", "model": "lazy"}, "function alone in the lazy model"),
        ({"noise": [inference.Additive()] * 2}, "`noise` must be one law for each"),
        ({"noise": inference.Counts()}, '`noise` must be `Counts.*"choices"'),
        ({"start": jnp.zeros((3, 3))}, "`start` must fit the task"),
        ({"start": "random"}, "`start` must be one of 'aligned', 'any'"),
        ({"start": "aligned", "strengths": [1.0]}, "`strengths` must be one number"),
        ({"scale": 0.0}, "`scale` must be finite and positive, but it was 0.0"),
        ({"lmda": np.nan}, "`lmda` must be finite"),
        ({"model": "wide", "hidden_size": 3}, "`hidden_size` must be at least"),
        ({"x": jnp.eye(3)}, "`x` must have a column for each of the 2 inputs"),
    ],
)
def test_bad_experiments(untyped, options, message):
    with pytest.raises(ValueError, match=message):
        build((2, 2, 2), **options)


@pytest.mark.parametrize(
    "times, message",
    [
        ([0.0, 2.0, 1.0], "`times` must be non-negative and finite and in"),
        ([], "`times` must be a vector, not empty"),
        ([0.0, np.inf], "`times` must be .* it|`times\\[1\\]` was inf"),
    ],
)
def test_bad_times(untyped, times, message):
    task = lr.Task.hierarchy(levels=1)
    with pytest.raises(ValueError, match=message):
        inference.Experiment(task, jnp.array(times))


def test_inputs_that_are_not_isotropic(untyped):
    task = lr.Task(np.diag([1.0, 2.0]), np.eye(2))
    with pytest.raises(ValueError, match="`task` must have isotropic inputs"):
        inference.Experiment(task, TIMES)


def test_a_task_of_sizes_has_no_strengths_of_its_own(untyped):
    made = inference.Experiment((2, 2, 2), TIMES)
    with pytest.raises(ValueError, match="`unknown` must have 'task_strengths', of wh"):
        inference.fit(made, np.ones(40), ("lmda",))
    with pytest.raises(ValueError, match="`task_strengths` must be given to predict"):
        made.predict(lmda=1.0)
    assert np.isfinite(made.predict(task_strengths=[2.0, 1.0])).all()
    any_start = build((2, 2, 2), start="any")
    with pytest.raises(ValueError, match="`function` must be given to predict"):
        any_start.predict()


def test_sizes_know_no_frame(untyped):
    with pytest.raises(ValueError, match="`task` must be a `Task` to observe 'ntk'"):
        inference.Experiment((2, 2, 2), TIMES, observe="ntk")
    with pytest.raises(TypeError, match=r"`task` must be a `Task`.*or give sizes"):
        inference.Experiment("hierarchy", TIMES)  # pyright: ignore


def _bad(change):
    data = np.full(40, 2.0)
    data[3] = change
    return data


@pytest.mark.parametrize(
    "data, unknown, options, message",
    [
        (np.ones(39), UNKNOWN, {}, r"`data` must have the shape \(40,\), the times"),
        (np.ones((2, 40)), UNKNOWN, {}, "for many curves use"),
        (_bad(np.nan), UNKNOWN, {}, r"finite and non-negative, but it was nan at .*3"),
        (_bad(-1.0), UNKNOWN, {}, r"non-negative, but it was -1.0 at index \(3,\)"),
        (_bad(0.0), UNKNOWN, {}, "`data` must be positive with relative noise"),
        (
            np.ma.array(np.ones(40), mask=np.arange(40) > 1),
            UNKNOWN,
            {},
            "at least 3 observations",
        ),
        (np.ones(40), ("lambda",), {}, "`unknown` must be names of"),
        (np.ones(40), (), {}, "`unknown` must be different names, at least one"),
        (np.ones(40), ("scale", "function"), {}, "must not have .scale. beside"),
        (np.ones(40), UNKNOWN, {"starts": 0}, "`starts` must be an integer"),
        (np.ones(40), UNKNOWN, {"bounds": {"mu": (0, 1)}}, "must name unknown"),
        (np.ones(40), UNKNOWN, {"bounds": {"rate": (2, 1)}}, "must rise"),
        (np.ones(40), UNKNOWN, {"bounds": {"rate": (-2, 0)}}, "feasible numbers"),
        (np.ones(40), UNKNOWN, {"bounds": {"rate": 3}}, "must be a pair"),
    ],
)
def test_bad_data(untyped, square, data, unknown, options, message):
    with pytest.raises(ValueError, match=message):
        inference.fit(square, data, unknown, **options)


def test_a_key_is_a_random_key(untyped, square):
    for call in (
        lambda: square.simulate(key=3, **TRUTH),
        lambda: inference.fit(square, np.ones(40), UNKNOWN, key=3),  # pyright: ignore
        lambda: inference.fit_curves(square, np.ones((2, 40)), UNKNOWN, key=3),  # pyright: ignore
        lambda: inference.compare(square, np.ones(40), key=3),  # pyright: ignore
        lambda: lr.GradientDescent(0.1, batch_size=2, key=3),  # pyright: ignore
    ):
        with pytest.raises(TypeError, match=r"`key` must be a random key, .* it was 3"):
            call()


def test_bad_names(square):
    with pytest.raises(ValueError, match="a parameter must be one of 'lmda'"):
        square.predict(lamda=1.0)
    any_start = build((2, 2, 2), start="any")
    with pytest.raises(ValueError, match="must have 'function', of which"):
        inference.fit(any_start, np.ones(40), ("lmda",))
    with pytest.raises(ValueError, match=r'must be a dict with .*"?loss'):
        inference.fit(square, {"los": np.ones(40)})
