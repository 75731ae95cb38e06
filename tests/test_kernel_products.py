"""Inner products of tangent kernels of real models."""

import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import lazyrich_jax as lr
from lazyrich_jax.richness import exact, jacobian, sketch
from lazyrich_jax.richness.chunks import in_chunks
from lazyrich_jax.richness.cost import cost_of
from lazyrich_jax.richness.model import pair_of

KEY = jax.random.key(0)
NAMES = ("kernel_distance", "rich_lazy_index", "kernel_alignment")


def by_hand(parameters, sample):
    """A plain model: two layers with a bias, and a matrix of outputs."""
    hidden = jnp.tanh(parameters["w"] @ sample + parameters["b"])
    return jnp.outer(parameters["v"] @ hidden, jnp.array([1, 2], hidden.dtype))


def states(size=0.4, dtype=float):
    rng = np.random.default_rng(0)
    shapes = {"w": (4, 3), "b": (4,), "v": (2, 4)}
    start = {k: rng.normal(size=s).astype(dtype) for k, s in shapes.items()}
    end = {
        k: (w + size * rng.normal(size=w.shape)).astype(dtype) for k, w in start.items()
    }
    x = rng.normal(size=(7, 3)).astype(dtype)
    return start, end, x, rng.normal(size=(7, 2, 2)).astype(dtype)


@pytest.fixture(scope="module")
def kernels():
    """Both kernels in NumPy, rows of outputs before samples, from plain Jacobians."""
    start, end, x, _ = states()
    found = []
    for model in (start, end):
        flat, restored = ravel_pytree(jax.tree.map(jnp.asarray, model))

        def outputs(flat, restored=restored):
            rows = jax.vmap(lambda s: by_hand(restored(flat), s).ravel())(x)
            return rows.T.ravel()

        j = np.asarray(jax.jit(jax.jacfwd(outputs))(flat))
        found.append(j @ j.T)
    return found


@pytest.mark.parametrize("memory", [1e9, 4e4, 1.5e4])
@pytest.mark.parametrize("by_parameters", [True, False])
def test_both_roads_give_the_products_of_the_kernels(kernels, by_parameters, memory):
    start, end, x, _ = states()
    k0, k1 = kernels
    before, after, samples = pair_of(start, end, x, by_hand)
    plan = exact.plans(before, samples, 4, memory)[not by_parameters]
    assert plan.by_parameters == by_parameters
    if plan.samples == 0:
        assert plan.least > memory
        return
    found = exact.exact_products(before, after, samples, plan)
    np.testing.assert_allclose(found.start_square, np.sum(k0**2), rtol=1e-12)
    np.testing.assert_allclose(found.end_square, np.sum(k1**2), rtol=1e-12)
    np.testing.assert_allclose(found.change_square, np.sum((k1 - k0) ** 2), rtol=1e-12)
    np.testing.assert_allclose(found.inner, np.sum(k0 * k1), rtol=1e-12)
    traces = found.start_trace, found.end_trace
    expected = np.trace(k0), np.trace(k1)
    np.testing.assert_allclose(np.asarray(traces), expected, rtol=1e-12)


def test_the_measures_that_follow(kernels):
    start, end, x, y = states()
    k0, k1 = kernels
    found = lr.richness.kernel_products(start, end, x, y=y, apply=by_hand)
    for name in NAMES:
        expected = getattr(lr.measures, name)(k0, k1)
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-11)
        assert found.standard_error(name) == 0
    for kernel, name in ((k0, "start"), (k1, "end")):
        for measure, expected in (
            ("target_alignment", lr.measures.target_alignment(kernel, y.reshape(7, 4))),
            ("participation_ratio", lr.measures.participation_ratio(kernel)),
        ):
            value = getattr(found, f"{name}_{measure}")
            np.testing.assert_allclose(value, expected, rtol=1e-11)
    assert str(found).count("\n") == 5
    # A network that did not move.
    still = lr.richness.kernel_products(start, start, x, apply=by_hand)
    assert (still.kernel_distance, still.rich_lazy_index) == (0, 0)
    assert still.start_target_alignment is None


def test_linear_networks_have_the_products_of_the_closed_form():
    task = lr.Task.random_regression(3, 2, 9, key=KEY).whitened()
    network = lr.LambdaBalanced(1.0)(3, 2, 2, key=KEY)
    end = lr.ExactSolution(network, task).network(jnp.inf)
    found: Any = lr.richness.kernel_products(network, end, task.x, y=task.y)
    k0, k1 = (lr.kernels.ntk(n, task.x) for n in (network, end))
    for name in NAMES:
        expected = getattr(lr.measures, name)(k0, k1)
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-9)
    expected = lr.measures.target_alignment(k1, task.y)
    np.testing.assert_allclose(found.end_target_alignment, expected, rtol=1e-9)
    # The trace is that of the kernel summed over outputs.
    trace = jnp.trace(lr.kernels.ntk_trace(network, task.x))
    np.testing.assert_allclose(found.start_trace, trace, rtol=1e-12)
    # By operators, whose columns are computed some at a time.
    operators = [lr.kernels.ntk_operator(n, task.x) for n in (network, end)]
    for name in NAMES:
        value = getattr(lr.measures, name)(*operators)
        np.testing.assert_allclose(value, getattr(found, name), rtol=1e-9)
    ratio = lr.measures.participation_ratio(operators[1])
    np.testing.assert_allclose(ratio, found.end_participation_ratio, rtol=1e-9)
    value = lr.measures.target_alignment(operators[1], task.y)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    mixed = lr.measures.kernel_distance(operators[0], k1)
    np.testing.assert_allclose(mixed, found.kernel_distance, rtol=1e-9)


def test_small_changes_keep_their_digits_in_single_precision():
    start, end, x, _ = states(1e-4)
    exactly = lr.richness.kernel_products(start, end, x, apply=by_hand)
    assert exactly.kernel_distance < 1e-7  # below the rounding of an angle's cosine
    first, last = (jax.tree.map(np.float32, tree) for tree in (start, end))
    found = lr.richness.kernel_products(first, last, np.float32(x), apply=by_hand)
    for name in NAMES[:2]:
        exact_value = getattr(exactly, name)
        np.testing.assert_allclose(getattr(found, name), exact_value, rtol=1e-2)


@pytest.mark.parametrize("size", [7, 3])
def test_kernels_times_vectors_in_chunks(kernels, size):
    start, end, x, _ = states()
    v = np.random.default_rng(3).normal(size=(7, 4))
    *functions, samples = pair_of(start, end, x, by_hand)
    chunks = in_chunks(samples, size)[0]
    for function, kernel in zip(functions, kernels, strict=True):
        gradient = jacobian.transposed(function, chunks, v)
        found = jacobian.along(function, gradient, chunks)[:7]
        np.testing.assert_allclose(found.T.ravel(), kernel @ v.T.ravel(), rtol=1e-11)


@pytest.mark.slow
def test_the_sketch_is_unbiased_and_states_its_error():
    """Over 40 sketches: means, and errors in units of the stated one."""
    start, end, x, y = states()
    exactly = lr.richness.kernel_products(start, end, x, y=y, apply=by_hand)
    before, after, samples = pair_of(start, end, x, by_hand)
    sketches = [
        sketch.sketched_products(before, after, samples, 4, 7, 30, key)
        for key in jax.random.split(jax.random.key(5), 40)
    ]
    names = ["start_square", "end_square", "change_square", "inner", "end_trace"]
    for name in (*names, "kernel_distance", "rich_lazy_index"):
        values = np.array([getattr(s, name) for s in sketches])
        errors = np.array([s.standard_error(name) for s in sketches])
        truth = getattr(exactly, name)
        if name in names:
            assert abs(values.mean() - truth) < 4 * values.std() / 40**0.5, name
        spread = np.sqrt(np.mean(errors**2)) / values.std()
        assert 0.8 < spread < 1.35, (name, spread)
        inside = np.mean(abs(values - truth) < 2 * errors)
        assert inside > 0.8, (name, inside)


def test_a_sketch_by_the_front_door():
    start, end, x, y = states()
    call = {"apply": by_hand, "method": "sketch", "directions": 40}
    found, again = (
        lr.richness.kernel_products(start, end, x, y=y, key=KEY, **call) for _ in "ab"
    )
    assert found.kernel_distance == again.kernel_distance
    exactly = lr.richness.kernel_products(start, end, x, y=y, apply=by_hand)
    assert found.start_target == exactly.start_target
    assert found.standard_error("start_target") == 0
    assert "±" in str(found)
    with pytest.raises(TypeError, match="`key` must be given"):
        lr.richness.kernel_products(start, end, x, **call)


def test_a_convolutional_network_in_little_memory():
    """Blocks of the kernel, a sample at a time, against the whole kernel."""
    keys = jax.random.split(KEY, 3)
    layers = [
        eqx.nn.Conv2d(1, 4, 3, key=keys[0]),
        eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.Lambda(jnp.ravel),
        eqx.nn.Linear(64, 2, key=keys[1]),
    ]
    start = eqx.nn.Sequential(layers)
    end = jax.tree.map(lambda w: 1.5 * w if eqx.is_array(w) else w, start)
    x = jax.random.normal(keys[2], (5, 1, 6, 6))
    k0, k1 = (lr.kernels.empirical_ntk(model, x) for model in (start, end))
    found = lr.richness.kernel_products(start, end, x, memory=1e5)
    expected = lr.measures.kernel_distance(k0, k1)
    np.testing.assert_allclose(found.kernel_distance, expected, rtol=1e-10)
    call: Any = {"method": "sketch", "key": KEY, "directions": 16, "memory": 3e4}
    estimate = lr.richness.kernel_products(start, end, x, **call)
    for name in NAMES[:2]:
        error = estimate.standard_error(name)
        off = abs(getattr(estimate, name) - getattr(found, name))
        assert off < 4 * error < 0.4, name
    words = r"`memory` must be at least (.*) bytes for 5 samples, 2 outputs and 170 par"
    with pytest.raises(ValueError, match=words) as raised:
        lr.richness.kernel_products(start, end, x, memory=1e3)
    match = re.search(words, str(raised.value))
    assert match is not None
    least = float(match[1])
    lr.richness.kernel_products(start, end, x, memory=1.06 * least)
    with pytest.raises(ValueError, match=r"`work` must be at least .*sketch"):
        lr.richness.kernel_products(start, end, x, work=10.0)


def test_costs_are_counted():
    a, b = jnp.ones((3, 4)), jnp.ones((4, 5))
    assert cost_of(jnp.matmul, a, b).operations == 2 * 3 * 4 * 5
    looped = cost_of(
        lambda a: jax.lax.scan(lambda c, _: (c @ b @ b.T, None), a, None, 6), a
    )
    assert looped.operations >= 6 * 2 * 2 * 3 * 4 * 5
    x, w = jnp.ones((1, 3, 8, 8)), jnp.ones((5, 3, 3, 3))
    conv = cost_of(lambda x, w: jax.lax.conv(x, w, (1, 1), "VALID"), x, w)
    assert conv == (2 * 5 * 6 * 6 * 27, 8 * 5 * 6 * 6)
    chunks, keep = in_chunks(jnp.arange(7), 3)
    assert keep.sum() == 7 and chunks.shape == (3, 3)
    np.testing.assert_array_equal(chunks[keep], np.arange(7))


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    "name, change, message",
    [
        ("kernel_products", {"method": "guess"}, "`method` must be"),
        (
            "kernel_products",
            {"y": np.ones((6, 4))},
            "`y` must have a row for each",
        ),
        ("kernel_products", {"y": np.ones((7, 3))}, "`y` must have a number for each"),
        ("kernel_products", {"y": np.full((7, 4), np.nan)}, "`y` must be finite"),
        ("kernel_products", {"memory": -1.0}, "`memory` must be finite and positive"),
        ("kernel_products", {"directions": 1}, "`directions` must be"),
        ("kernel_products", {"key": jax.random.split(KEY)}, "`key` must be one key"),
        ("kernel_products", {"x": np.ones((0, 3))}, "`x` must hold samples"),
        ("kernel_products", {"x": np.ones((7, 4))}, "`start` must map one sample"),
        ("linearised", {"end": {"w": np.ones((4, 3))}}, "`start` and `end` must have"),
        ("sharpness", {"y": np.ones((7, 3))}, "`y` must have a number for each"),
        ("sharpness", {"loss": "hinge"}, "`loss` must be one of 'mse'"),
        ("sharpness", {"loss": "cross_entropy"}, "`y` must hold labels"),
        (
            "sharpness",
            {"loss": "cross_entropy", "y": np.full(7, 4)},
            "one label from 0 to 3",
        ),
    ],
)
def test_bad_input_is_named(name, change, message):
    start, end, x, y = states()
    given = {"start": start, "end": end, "x": x, "y": y, "apply": by_hand} | change
    if name == "sharpness":
        given["model"] = given.pop("start")
        given.pop("end")
    elif name == "linearised":
        given.pop("y")
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(lr.richness, name)(**given)


@pytest.mark.usefixtures("untyped")
def test_operators_that_do_not_fit():
    import lineax

    tall = lineax.MatrixLinearOperator(jnp.ones((3, 2)))
    with pytest.raises(ValueError, match="`k0` must be an operator from vectors"):
        lr.measures.kernel_distance(tall, np.eye(3))
    square = lineax.MatrixLinearOperator(jnp.eye(3))
    with pytest.raises(ValueError, match="`k0` and `k1` must have the same size"):
        lr.measures.rich_lazy_index(square, np.eye(2))
    with pytest.raises(ValueError, match="`kernel` must have 2 or 4 rows"):
        lr.measures.target_alignment(square, np.ones((2, 2)))
    zero = lineax.MatrixLinearOperator(jnp.zeros((3, 3)))
    assert np.isnan(lr.measures.kernel_distance(zero, square))
    assert lr.measures.participation_ratio(zero) == 0
    np.testing.assert_allclose(lr.measures.participation_ratio(square), 3)
