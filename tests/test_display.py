"""Objects introduce themselves: batched, traced and concrete ones, in text and HTML."""

import subprocess
import sys
from xml.etree import ElementTree

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

TASK = lr.Task(2.0 * jnp.eye(3), jnp.ones((3, 2)))
NETWORK = lr.LinearNetwork((jnp.eye(2, 3), jnp.eye(2)))


def batch(tree):
    return jax.tree.map(lambda a: jnp.stack([a] * 5), tree)


@pytest.fixture(scope="module")
def solution():
    return lr.ExactSolution(NETWORK, TASK)


@pytest.fixture(scope="module")
def trajectory():
    loss = jnp.array([4.0, 1.0, 0.5])
    weights = jax.tree.map(lambda w: jnp.stack([w] * 3), NETWORK)
    return lr.Trajectory(jnp.arange(3.0), loss, weights, lr.RESULTS.successful)


@pytest.fixture(scope="module")
def grid():
    keys = jax.random.split(jax.random.key(0), 3)
    return lr.sweeps.Grid(lmda=np.linspace(-5, 5, 11), key=keys)


LINES = {
    "task": "Task(3 inputs, 2 outputs, 3 samples, float64)",
    "network": "LinearNetwork(3-2-2, float64)",
    "solution": "ExactSolution(3-2-2, float64)",
    "trajectory": "Trajectory(3-2-2, 3 times, float64)",
}


@pytest.fixture
def objects(solution, trajectory):
    return {
        "task": TASK,
        "network": NETWORK,
        "solution": solution,
        "trajectory": trajectory,
    }


@pytest.mark.parametrize("name", LINES)
def test_a_line_for_one_a_batch_and_a_traced_object(name, objects):
    one, line = objects[name], LINES[name]
    assert repr(one) == line
    of_batch = line[:-1] + ", batch (5,))"
    assert repr(batch(one)) == of_batch
    assert batch(one)._repr_html_() is None
    single = jax.tree.map(
        lambda a: a.astype(jnp.float32) if a.dtype == jnp.float64 else a, one
    )
    assert repr(single) == line.replace("64", "32")
    seen = []

    @jax.jit
    @jax.vmap
    def look(member):
        seen.extend([repr(member), member._repr_html_(), repr(one)])
        assert one._repr_html_() == outside
        str(one)
        return member

    outside = one._repr_html_()
    look(batch(one))
    assert seen == [line[:-1] + ", traced)", None, line]


@pytest.mark.parametrize("name", LINES)
def test_trees_of_other_leaves_are_shown(name, objects):
    for leaf in (None, "a", object(), True):
        assert type(objects[name]).__name__ in repr(
            jax.tree.map(lambda _, leaf=leaf: leaf, objects[name])
        )
    shapes = eqx.filter_eval_shape(lambda x: x, objects[name])
    assert repr(shapes).startswith(f"{type(objects[name]).__name__}(")
    assert shapes._repr_html_() is None


def test_hidden_units_of_a_solution():
    wide = lr.WideOrthogonal(1.0, 2.0)(3, 9, 2, key=jax.random.key(0))
    assert repr(lr.ExactSolution(wide, TASK)) == "ExactSolution(3-9-2, float64)"
    deep = lr.Gaussian(1.0)(3, 4, 5, 2, key=jax.random.key(0))
    assert repr(deep) == "LinearNetwork(3-4-5-2, float64)"
    assert "λ of layers 2 and 3" in str(deep._repr_html_())


def texts(html):
    """All texts of a page, and the attributes of its shapes."""
    root = ElementTree.fromstring(html)
    shapes = [e.attrib for e in root.iter() if e.tag in ("rect", "polyline")]
    return [t for t in root.itertext() if t.strip()], shapes


def test_html_of_a_task_and_a_network():
    words, shapes = texts(TASK._repr_html_())
    assert words[:3] == [LINES["task"], "variance of the inputs", "1.333"]
    assert words[-1] == "input-output correlation: 2 x 3, at most 0.6667 in size"
    assert len(shapes) == 2 * 3 + 1 and shapes[0]["fill-opacity"] == "1.00"
    words, shapes = texts(NETWORK._repr_html_())
    assert "0, with a residual of 0" in words and "1, 1" in words
    assert [s["fill-opacity"] for s in shapes[:3]] == ["1.00", "0.00", "0.00"]


def test_html_of_a_trajectory(trajectory):
    words, (line,) = texts(trajectory._repr_html_())
    assert "4 at the first time, 0.5 at the last" in words and "successful" in words
    assert words[-1] == "loss: 0.5 to 4; time 0 to 2"
    assert line["points"] == "0.0,10.0 120.0,78.6 240.0,90.0"
    failed = eqx.tree_at(lambda t: t.loss, trajectory, trajectory.loss * jnp.nan)
    assert texts(failed._repr_html_())[1] == []


def test_html_of_a_solution_and_a_grid(solution, grid):
    words, _ = texts(solution._repr_html_())
    assert "balanced, without weight decay" in words
    assert repr(grid) == "Grid(lmda: 11, key: 3; 33 points)"
    words, _ = texts(grid._repr_html_())
    assert words[1:] == [
        "lmda",
        "11 values along lmda, -5 to 5",
        "key",
        "3 values along key",
    ]


def test_no_picture_of_a_large_matrix_or_of_nan():
    large = lr.LinearNetwork((jnp.ones((100, 1)),))
    assert texts(large._repr_html_())[1] == []
    nothing = jax.tree.map(lambda w: w * jnp.nan, NETWORK)
    assert nothing._repr_html_() is None


def test_an_introduction_does_not_import_matplotlib():
    program = (
        "import sys, lazyrich_jax as lr, jax.numpy as jnp\n"
        "task = lr.Task(jnp.eye(2), jnp.eye(2))\n"
        "repr(task), task._repr_html_()\n"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
