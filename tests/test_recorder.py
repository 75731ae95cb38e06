"""A recorder in training loops, and its files."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest

import lazyrich_jax as lr

from .test_measures import features

Recorder: Any = lr.richness.Recorder  # for arguments that its annotations refuse
X, Y = features(0, 7, 3), features(1, 7, 2)
MODEL = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
RULE = optax.sgd(0.05, momentum=0.9)


@eqx.filter_jit(donate="all-except-first")
def step_of(data, model, state):
    def loss(model):
        return jnp.mean((jax.vmap(model)(data[0]) - data[1]) ** 2)

    change, state = RULE.update(eqx.filter_grad(loss)(model), state)
    return eqx.apply_updates(model, change), state


def copied(tree):
    return jax.tree.map(lambda x: x.copy() if eqx.is_array(x) else x, tree)


def trained(recorder, steps, start=None):
    """A jitted loop of Equinox and Optax that gives its buffers away."""
    first = MODEL, RULE.init(eqx.filter(MODEL, eqx.is_inexact_array))
    model, state = copied(first if start is None else start)
    by_hand, resume = {}, {}
    for step in steps:
        recorder(step, model)
        by_hand[step] = copied(model)
        resume[step] = copied((model, state))
        model, state = step_of((X, Y), model, state)
    return by_hand, resume


def equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if eqx.is_array(a):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype and isinstance(a, jax.Array)


@pytest.fixture(scope="module")
def run():
    recorder = Recorder(X, Y, steps={0, 2, 3, 6, 9})
    return recorder, *trained(recorder, range(8))


def test_states_are_those_of_the_loop(run):
    recorder, by_hand, _ = run
    assert recorder.steps.tolist() == [0, 2, 3, 6] and len(recorder) == 4
    for step, model in zip(recorder.steps, recorder.models, strict=True):
        equal(model, by_hand[int(step)])
    equal(recorder.start, by_hand[0])
    equal(recorder.end, by_hand[6])
    assert recorder.end.activation is MODEL.activation
    assert repr(recorder) == "Recorder(4 states of 26 numbers, steps 0 to 6)"
    outputs = recorder.outputs()
    assert outputs.shape == (4, 7, 2)
    np.testing.assert_allclose(outputs[3], jax.vmap(by_hand[6])(X), rtol=1e-12)
    steps, losses = recorder.losses()
    assert steps.tolist() == [0, 2, 3, 6]
    squares = [np.sum((np.asarray(out) - Y) ** 2) for out in outputs]
    np.testing.assert_allclose(losses, np.array(squares) / 14, rtol=1e-12)


def test_a_stopped_run_continues_as_if_it_had_not_stopped(run, tmp_path):
    whole, _, resume = run
    stopped = Recorder(X, Y, steps={0, 2, 3, 6, 9})
    trained(stopped, range(4))
    stopped.save(tmp_path / "record.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["record.npz"]
    for checkpoint in (4, 2):  # the second one is older than the record's end
        again = Recorder.load(tmp_path / "record.npz", like=MODEL)
        np.testing.assert_array_equal(again.x, X)
        np.testing.assert_array_equal(again.y, Y)
        trained(again, range(checkpoint, 8), resume[checkpoint])
        assert again.steps.tolist() == whole.steps.tolist()
        for one, other in zip(again.models, whole.models, strict=True):
            equal(one, other)
    with np.load(tmp_path / "record.npz") as file:
        assert file["state.layers[0].weight"].shape == (3, 4, 3)
    again.save(tmp_path / "record.npz")  # in place of the earlier one
    again = Recorder.load(tmp_path / "record.npz", like=MODEL)
    assert again.steps.tolist() == whole.steps.tolist()


@pytest.mark.parametrize(
    "steps, kept",
    [
        (4, [0, 4, 8]),
        ("doubling", [0, 1, 2, 4, 8]),
        ([7, 3], [3, 7]),
        (range(2, 9, 3), [2, 5, 8]),
        (np.array([1, 1, 5]), [1, 5]),
        (frozenset({6}), [6]),
    ],
)
def test_chosen_steps_and_their_file(steps, kept, tmp_path):
    recorder = Recorder(X, steps=steps)
    weights = {"w": np.zeros(2), "n": np.int64(1)}
    done = [step for step in range(10) if recorder(step, weights)]
    assert done == kept and recorder.steps.tolist() == kept
    recorder.save(tmp_path / "a.npz")
    again = Recorder.load(tmp_path / "a.npz", like=weights)
    assert again.y is None and again.steps.tolist() == kept
    assert [s for s in range(40) if again.wants(s)] == [
        s for s in range(40) if recorder.wants(s)
    ]
    assert recorder.wants(np.int64(kept[-1])) and recorder.wants(jnp.array(kept[-1]))


def test_arrays_of_every_kind_are_copies(tmp_path):
    tree = {
        "a": np.ones(2, np.float32),
        "half": jnp.ones(2, jnp.bfloat16),
        "count": jnp.array(3),
        "key": jax.random.key(0),
        "f": jax.nn.relu,
    }
    recorder = Recorder(X, steps=[1])
    recorder.keep(0, tree)
    tree["a"] += 1
    recorder(1, tree)
    recorder.save(tmp_path / "a")
    assert (tmp_path / "a").exists()
    again = Recorder.load(tmp_path / "a", like=tree)
    for record in (recorder, again):
        assert record.start["a"].tolist() == [1, 1]
        end = record.end
        assert isinstance(end["a"], np.ndarray) and end["a"].tolist() == [2, 2]
        assert end["half"].dtype == jnp.bfloat16 and end["half"].tolist() == [1, 1]
        assert int(end["count"]) == 3 and end["f"] is jax.nn.relu
        end["a"][:] = 7  # a copy, again
        assert record.end["a"].tolist() == [2, 2]
        record.keep(2, tree | {"a": jnp.full(2, 5, jnp.float32)})  # of JAX, now
        assert isinstance(record.end["a"], np.ndarray) and record.end["a"][0] == 5
    empty = Recorder(X)
    empty.save(tmp_path / "b")
    assert len(Recorder.load(tmp_path / "b", like=tree)) == 0


@pytest.mark.slow
def test_a_linear_network_is_drawn_and_fitted():
    task = lr.Task.hierarchy(2)
    network = lr.Aligned(task, lmda=1.0, scale=0.3)(4, 4, 4, key=jax.random.key(0))
    slope = jax.jit(jax.grad(lambda network: task.loss(network.function)))
    recorder = Recorder(task.x, task.y, steps=40)
    rate, pairs = 0.005, Recorder(task.x, task.y, steps=40)
    for step in range(401):
        recorder(step, network)
        pairs(step, network.weights)
        change = slope(network)
        network = jax.tree.map(lambda w, g: w - rate * g, network, change)
    trajectory = recorder.trajectory(learning_rate=rate)
    again = pairs.trajectory(task, learning_rate=rate)
    np.testing.assert_array_equal(again.function, trajectory.function)
    steps, losses = recorder.losses()
    np.testing.assert_allclose(trajectory.loss, losses, rtol=1e-10)
    solution = lr.ExactSolution(recorder.start, task)
    exact = solution.loss(rate * jnp.asarray(steps, float))
    np.testing.assert_allclose(losses, exact, rtol=2e-2)
    np.testing.assert_allclose(trajectory.ts, rate * steps, rtol=1e-12)
    lr.plot.loss(trajectory)
    plt.close("all")
    experiment = lr.inference.Experiment(
        task, steps, rate=rate, start=recorder.start.function
    )
    predicted = experiment.predict(lmda=1.0)
    np.testing.assert_allclose(predicted, losses, rtol=2e-2)


KEY, W1, W2 = jax.random.key(0), features(2, 4, 3), features(3, 2, 4)
UNBIASED: Any = {"use_bias": False, "use_final_bias": False, "key": KEY}


@pytest.mark.parametrize(
    "model, options",
    [
        (eqx.nn.MLP(3, 2, 4, 1, jnp.positive, **UNBIASED), {}),
        ({"0.weight": W1, "1.weight": W2, "1.bias": np.zeros(2)}, {}),
        ({"Dense_0": {"kernel": W1.T}, "Dense_1": {"kernel": W2.T}}, {}),
        ((W1.T, W2.T), {"layout": "in_out"}),
    ],
)
def test_models_of_linear_layers_have_a_trajectory(model, options):
    recorder = Recorder(X, Y)
    recorder.keep(0, model)
    recorder.keep(3, jax.tree.map(lambda w: 2 * w if eqx.is_array(w) else w, model))
    trajectory = recorder.trajectory(learning_rate=0.5, **options)
    network = lr.LinearNetwork.from_layers(model, **options)
    assert trajectory.network.sizes == (3, 4, 2)
    np.testing.assert_allclose(trajectory.function[0], network.function)
    np.testing.assert_allclose(trajectory.function[1], 4 * network.function)
    np.testing.assert_array_equal(trajectory.ts, [0.0, 1.5])


def test_other_steps_cost_nothing():
    class Untouched:
        """A model that fails if anyone looks at it."""

        def __getattribute__(self, name):
            raise AssertionError(name)

    recorder = Recorder(X, steps=2)
    assert not recorder(1, Untouched())
