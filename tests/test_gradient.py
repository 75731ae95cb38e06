"""The slopes of the loss in their two forms, and near convergence.

test_derivatives.py tests that few times, evaluated as matrices, are right. More times
have lanes on the last axes.
"""

import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax._riccati.fast import gradient, thin_qr, values
from lazyrich_jax._riccati.frame import Frame, Problem
from lazyrich_jax._xla import sizes as tuned

from . import cases, compiled, oracle

TS = jnp.array([1e-30, 1e-4, 0.02, 0.3, 0.9, 2.0, 5.0, 12.0])


@jax.jit
@jax.vmap
def forms(w1, w2, sigma):
    lmda = (jnp.sum(w2**2) - jnp.sum(w1**2)) / w1.shape[0]
    frame = Frame(Problem(w1, w2, sigma, lmda))
    ts = TS.astype(w1.dtype)
    many = jnp.tile(ts, tuned.FEW_LANES // ts.size + 1)
    found = gradient.slopes(frame, many)[: ts.size]
    return found, gradient.slopes(frame, ts)


@jax.jit
@jax.vmap
def prepared(w1, w2, sigma):
    problem = Problem(w1, w2, sigma, jnp.asarray(1.0))
    return problem, Frame(problem)


def many_problems(sizes, count):
    """Problems and frames of many networks, each with its own task."""
    n_in, _, n_out = sizes
    sigmas = np.stack([cases.sigma(n_out, n_in, seed) for seed in range(count)])
    networks = [cases.balanced(sizes, 1.0, 0.4, seed) for seed in range(count)]
    w1, w2 = (np.stack(w) for w in zip(*(n.weights for n in networks), strict=True))
    return prepared(w1, w2, sigmas)


all_slopes = jax.jit(jax.vmap(gradient.slopes))


def times_change(problem, frame, ts, change):
    """The product of the slopes at all times with a change."""
    one = jax.tree.map(lambda x: x[None], (problem, frame, ts, change[:, None]))
    return gradient.operations[False][0](*one)[0, :, 0]


def check(networks, sigmas, tolerance=1e-12, times=8, dtype=float):
    weights = zip(*(n.weights for n in networks), strict=True)
    arrays = (*(np.stack(w) for w in weights), np.stack(sigmas))
    found = jax.device_get(forms(*(x.astype(dtype) for x in arrays)))
    lanes, matrices = (x[:, :times] for x in found)
    assert np.all(np.isfinite(lanes))
    size = np.abs(matrices).max((1, 2), keepdims=True)
    assert np.all(np.abs(lanes - matrices) <= tolerance * size)


@pytest.mark.parametrize(
    "sizes, lmdas",
    [
        pytest.param((2, 3, 4), (0.0, 1.0, -1.0, 50.0), marks=pytest.mark.slow),
        pytest.param((4, 3, 2), (0.0, 1.0, -1.0, -50.0), marks=pytest.mark.slow),
        ((4, 1, 3), (0.0, 2.0, -2.0)),
    ],
    ids=str,
)
def test_lanes_and_matrices(sizes, lmdas):
    n_in, _, n_out = sizes
    target = cases.sigma(n_out, n_in)
    networks = [cases.balanced(sizes, lmda, 0.4) for lmda in lmdas]
    check(networks, [target] * len(lmdas))


@pytest.mark.slow
def test_degenerate_tasks_saddles_and_single_precision():
    special = [one for one in cases.special() if one[1].sizes == (3, 3, 3)]
    networks = [network for _, network, _ in special]
    sigmas = [np.asarray(task.input_output_correlation) for _, _, task in special]
    target = cases.sigma(3, 3)
    u, s, vt = np.linalg.svd(target)
    learned = lr.LinearNetwork((np.sqrt(s)[:, None] * vt, u * np.sqrt(s)))
    zero = jax.tree.map(jnp.zeros_like, learned)
    check([*networks, learned, zero], [*sigmas, 2 * target, target])
    # The times are before a saddle amplifies rounding.
    check([*networks, learned, zero], [*sigmas, -target, target], times=5)
    check([*networks, zero, zero], [*sigmas, target, target], 1e-4, dtype=jnp.float32)


@pytest.mark.parametrize(
    "sizes, lmda",
    [((3, 3, 3), -3.0), pytest.param((2, 3, 3), 1.0, marks=pytest.mark.slow)],
    ids=str,
)
def test_it_keeps_its_digits_as_it_vanishes(sizes, lmda):
    n_in, _, n_out = sizes
    sigma = cases.sigma(n_out, n_in)
    w1, w2 = cases.balanced(sizes, lmda, 0.4).weights
    late = np.array([6.0, 8.0, 10.0])
    ts = jnp.tile(late, 22)

    @jax.jit
    def slope(change):
        def losses(w1, w2, sigma, ts):
            task = lr.Task.from_correlation(sigma)
            return lr.ExactSolution(lr.LinearNetwork((w1, w2)), task).loss(ts)

        return jax.jvp(losses, (w1, w2, sigma, ts), change)[1]

    rng = np.random.default_rng(0)
    point = np.asarray(w1), np.asarray(w2), sigma, late
    for k in range(4):
        change = [np.zeros_like(x) for x in point]
        change[k] = rng.normal(size=point[k].shape) if k < 3 else np.ones(3)
        expected = oracle.slopes(*point, change)[1]
        found = slope((*change[:3], np.tile(change[3], 22)))[:3]
        # The slope at the optimum is 1e-33, not zero.
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "largest, networks, times", [(32, 3, 37), (32, 37, 3), (1, 3, 37)], ids=str
)
def test_products_are_those_of_all_slopes(monkeypatch, largest, networks, times):
    """Products in overlapping blocks equal products with all slopes."""
    problems, frames = many_problems((3, 2, 2), networks)
    rng = np.random.default_rng(0)
    ts = jnp.asarray(np.sort(rng.uniform(0.0, 5.0, (networks, times))))
    whole = np.asarray(all_slopes(frames, ts))
    changes = rng.normal(size=(networks, 2, whole.shape[2]))
    weights = rng.normal(size=(networks, 2, times))
    monkeypatch.setattr(tuned, "CACHE_BYTES", 5000)
    monkeypatch.setattr(tuned, "LANE_COLUMNS", largest)

    @jax.jit
    @jax.vmap
    def products(problem, frame, ts, changes, weights):
        of_one = problem, frame, ts

        def back(weights):
            along = jax.ShapeDtypeStruct(changes.shape[1:], changes.dtype)
            turn = jax.linear_transpose(lambda v: times_change(*of_one, v), along)
            return turn(weights)[0]

        along = jax.vmap(lambda v: times_change(*of_one, v))
        return along(changes), jax.vmap(back)(weights), back(weights[0])

    along, back, alone = products(problems, frames, ts, changes, weights)
    size = np.abs(whole).sum((1, 2), keepdims=True)
    expected = np.einsum("ntp,nvp->nvt", whole, changes)
    assert np.all(np.abs(along - expected) <= 1e-13 * size)
    expected = np.einsum("ntp,nvt->nvp", whole, weights)
    assert np.all(np.abs(back - expected) <= 1e-13 * size)
    assert np.all(np.abs(alone - expected[:, 0]) <= 1e-13 * size[:, 0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes",
    [pytest.param((3, 3, 3), marks=pytest.mark.slow), (4, 2, 3), (2, 5, 3)],
    ids=str,
)
def test_columns_in_groups(monkeypatch, sizes):
    """More than eight columns are made orthonormal by loops over groups."""
    problems, frames = many_problems(sizes, 2)
    ts = jnp.linspace(0.1, 6.0, 73)

    def both(problem, frame):
        size = jax.eval_shape(gradient.slopes, frame, ts).shape[1]
        slopes = times_change(problem, frame, ts, jnp.cos(jnp.arange(size)))
        return values.excess(frame, ts), slopes

    expected = jax.jit(jax.vmap(both))(problems, frames)
    monkeypatch.setattr(tuned, "QR_COLUMNS", 1)
    in_groups, calls = thin_qr._in_groups, []
    monkeypatch.setattr(
        thin_qr, "_in_groups", lambda *x: calls.append(x) or in_groups(*x)
    )
    found = jax.jit(jax.vmap(lambda *x: both(*x)))(problems, frames)
    assert calls
    for one, other in zip(found, expected, strict=True):
        largest = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13 * largest)


@pytest.mark.slow
def test_both_modes_and_all_at_once():
    """Jacobians by rows, by columns, and a gradient by the times too."""
    n_in, _, n_out = sizes = (3, 2, 2)
    sigma = jnp.asarray(cases.sigma(n_out, n_in))
    ts = jnp.linspace(0.1, 3.0, tuned.FEW_LANES + 6)

    def losses(weights, ts):
        task = lr.Task.from_correlation(sigma)
        return lr.ExactSolution(lr.LinearNetwork(weights), task).loss(ts)

    def total(weights, ts):
        return jnp.sum(losses(weights, ts) * jnp.cos(ts))

    @jax.jit
    def derivatives(weights):
        by_rows = jax.jacrev(losses)(weights, ts)
        by_columns = jax.jacfwd(losses)(weights, ts)
        by_time = jax.jacfwd(lambda t: losses(weights, t[None])[0])
        return by_rows, by_columns, jax.vmap(by_time)(ts), jax.grad(total)(weights, ts)

    found = derivatives(cases.balanced(sizes, 1.0, 0.4).weights)
    by_rows, by_columns, by_time, pulled = found
    assert np.all(np.asarray(by_time) < 0)
    for one, other, of_total in zip(by_rows, by_columns, pulled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-13)
        expected = np.einsum("t,tij->ij", np.cos(ts), one)
        np.testing.assert_allclose(of_total, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.slow
def test_a_sweep_of_gradients_keeps_no_slopes():
    """All slopes of 10,000 networks at 100 times would take a gigabyte."""
    count, times = 10_000, 100
    shapes = [(count, 5, 5)] * 3
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float64) for shape in shapes]
    ts = jnp.linspace(0.1, 5.0, times)

    def total(w1, w2, sigma):
        task = lr.Task.from_correlation(sigma)
        solution = lr.ExactSolution(lr.LinearNetwork((w1, w2)), task, throw=False)
        return jnp.sum(solution.loss(ts))

    slopes = jax.jit(jax.vmap(jax.grad(total, (0, 1, 2))))
    memory = compiled.memory(slopes, *arrays)
    assert memory.temp_size_in_bytes < 200e6


def test_a_program_has_every_part_once():
    """One decomposition, one loop of values and one of each derivative's products."""
    ts = jnp.linspace(0.1, 3.0, 9)
    task = lr.Task.from_correlation(cases.sigma(2, 3))

    def losses(weights, task):
        network = lr.LinearNetwork(weights)
        return lr.ExactSolution(network, task, throw=False).loss(ts)

    def total(weights, task):
        return jnp.sum(losses(weights, task))

    weights = cases.balanced((3, 2, 2), 1.0, 0.4).weights
    excess, by_columns, by_rows = (
        f"lazyrich_{name}" for name in ("excess_of_few", "jvp", "vjp")
    )
    for function, operations in (
        (losses, {excess: 1}),
        (jax.value_and_grad(total, (0, 1)), {excess: 1, by_rows: 1}),
        (jax.jacrev(losses, (0, 1)), {excess: 1, by_rows: 1}),
        (jax.jacfwd(losses), {excess: 1, by_columns: 1}),
    ):
        text = str(jax.make_jaxpr(function)(weights, task))
        found = collections.Counter(re.findall(r"\b(lazyrich_\w+|svd)\[", text))
        assert found == {**operations, "svd": 1}
