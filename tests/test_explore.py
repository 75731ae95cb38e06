"""`explore`: the widget's numbers are the exact solution's."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr


def numbers(course, name):
    return np.frombuffer(course[name])


@pytest.fixture(scope="module")
def task():
    return lr.Task.from_correlation(jnp.array([[2.0, 0.5], [0.0, 1.0]]))


@pytest.fixture(scope="module")
def widget(task):
    # Without a kernel ipywidgets talks to a comm that takes all messages.
    return lr.explore(task)


@pytest.mark.slow
def test_the_course_is_the_exact_solution(task, widget):
    state = widget.course["state"]
    assert state["lmda"] == 0.0 and state["hidden"] == 2
    network = lr.LambdaBalanced(0.0, state["scale"])(2, 2, 2, key=jax.random.key(1))
    ts = jnp.array(widget.course["ts"])
    assert ts[0] == 0.0 and ts[-1] == state["duration"]
    found = lr.learn(network, task, ts)
    qqt = numbers(widget.course, "qqt").reshape(-1, 4, 4)
    np.testing.assert_allclose(numbers(widget.course, "loss"), found.loss, atol=1e-12)
    np.testing.assert_allclose(qqt, found.qqt, atol=1e-12)
    assert found.loss[-1] < 0.01 * found.loss[0]


def test_a_message_of_the_view_moves_the_course(widget):
    before = widget.course
    # As the view sends it.
    widget.set_state({"state": before["state"] | {"lmda": 3.0, "early": True}})
    after = widget.course
    assert after["state"]["lmda"] == 3.0
    assert after["ts"][1] < before["ts"][1]
    first = numbers(after, "qqt").reshape(-1, 4, 4)[0]
    trace = np.trace(first[2:, 2:]) - np.trace(first[:2, :2])
    np.testing.assert_allclose(trace, 2 * 3.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings, loss",
    [
        ({"start": "aligned", "lmda": -1.0}, None),
        ({"start": "reversed", "lmda": 0.0}, 4 * 2.625),
        ({"width": "wide", "start": "aligned"}, 2.625),
        ({"width": "wide", "start": "reversed"}, 4 * 2.625),
    ],
    ids=str,
)
def test_every_start_is_drawn(widget, settings, loss):
    widget.set_state({"state": settings})
    losses = numbers(widget.course, "loss")
    assert np.isfinite(losses).all()
    if loss is not None:
        np.testing.assert_allclose(losses[0], loss)


def test_a_balance_that_the_sizes_forbid_is_taken_to_zero(widget):
    widget.set_state({"state": {"hidden": 3, "lmda": -2.0}})
    assert widget.course["state"]["lmda"] == 0.0
    assert np.isfinite(numbers(widget.course, "loss")).all()


def test_without_anywidget_the_error_says_what_to_install(task, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(ImportError, match=r"pip install .lazyrich_jax\[jupyter\]"):
        lr.explore(task)


@pytest.mark.parametrize(
    "bad, error, words",
    [
        (lambda: jnp.eye(2), TypeError, "`task` must be a `Task`"),
        (lambda: lr.Task.from_correlation(jnp.ones((1, 17))), ValueError, "at most 16"),
        (
            lambda: lr.Task(jnp.diag(jnp.array([1.0, 2.0])), jnp.eye(2)),
            ValueError,
            "iso",
        ),
    ],
)
def test_bad_tasks_are_refused(untyped, bad, error, words):
    with pytest.raises(error, match=words):
        lr.explore(bad())
