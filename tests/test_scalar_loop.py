"""The fast forms of the loss, against the general one and 50 digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax._riccati.fast import scalar_loop, values
from lazyrich_jax._riccati.frame import Frame, Problem
from lazyrich_jax._riccati.reference.solution import function_error, solve
from lazyrich_jax._xla import sizes as tuned
from lazyrich_jax._xla.programs import CALLS_STAY

from . import cases, compiled, oracle

TS = np.array([1e-6, 1e-2, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0])


@jax.jit
@jax.vmap
def excesses(w1, w2, sigma, lmda):
    """The excess at all times by the general form, lanes, blocks, blocks of matrices.

    More than `tuned.FEW_LANES` times have lanes on the last axes; fewer are matrices.
    """
    frame = Frame(Problem(w1, w2, sigma, lmda))
    assert scalar_loop.fits(frame)

    def general(t):
        return jnp.sum(function_error(frame, solve(frame, t)) ** 2) / 2

    ts = jnp.asarray(TS, sigma.dtype)
    many = jnp.tile(ts, tuned.FEW_LANES // ts.size + 1)
    return (
        jax.vmap(general)(ts),
        scalar_loop.excess(frame, ts),
        values.excess(frame, many)[: ts.size],
        values.excess(frame, ts),
    )


def check(networks, sigmas, digits=True):
    """Compare all forms; with `digits` a vanishing excess must be right to 1e-11."""
    w1, w2 = (np.stack(w) for w in zip(*(n.weights for n in networks), strict=True))
    lmda = np.stack([n.lmda for n in networks])
    sigmas = np.stack(sigmas)
    general, *forms = map(np.asarray, excesses(w1, w2, sigmas, lmda))
    for found in forms:
        scale = np.maximum(found.max(1), 1e-3)[:, None]
        assert np.all(np.abs(found - general) <= 1e-12 * scale)
    if digits:
        for i in range(len(networks)):
            arrays = w1[i], w2[i], sigmas[i]
            expected = oracle.loss_excess(*arrays, lmda=float(lmda[i]), t=TS)
            for found in forms:
                np.testing.assert_allclose(found[i], expected, rtol=1e-11, atol=1e-300)


@pytest.mark.parametrize(
    "sizes, lmdas",
    [
        ((5, 5, 5), (1.0, -3.0)),
        pytest.param((3, 2, 2), (0.0, -10.0, 20.0), marks=pytest.mark.slow),
        pytest.param((2, 3, 4), (0.0, 1.0, 50.0), marks=pytest.mark.slow),
        pytest.param((4, 3, 2), (0.0, -1.0), marks=pytest.mark.slow),
        pytest.param((4, 2, 3), (0.0, 2.0, -2.0), marks=pytest.mark.slow),
        pytest.param((5, 1, 4), (0.0, -1.0), marks=pytest.mark.slow),
        ((2, 5, 3), (0.0, 0.0)),
        ((1, 1, 1), (0.0, 1.0)),
    ],
    ids=str,
)
def test_the_same_for_all_sizes(sizes, lmdas):
    n_in, _, n_out = sizes
    target = cases.sigma(n_out, n_in)
    networks = [cases.network(sizes, lmda, 0.4, target) for lmda in lmdas]
    check(networks, [target] * len(lmdas))


@pytest.mark.slow
def test_degenerate_tasks():
    special = [one for one in cases.special() if one[1].sizes == (3, 3, 3)]
    assert len(special) > 5
    sigmas = [task.input_output_correlation for _, _, task in special]
    check([network for _, network, _ in special], sigmas, digits=False)


@pytest.mark.slow
def test_saddles_and_bottlenecks_with_nothing_left_to_learn():
    target = cases.sigma(3, 3)
    u, s, vt = np.linalg.svd(target)
    learned = lr.LinearNetwork((np.sqrt(s)[:, None] * vt, u * np.sqrt(s)))
    # Some modes are zero, one of them in a direction without a target.
    low = u[:, :2] * s[:2] @ vt[:2]
    some = np.array([0.3, 0.0, 0.0])
    partly = lr.LinearNetwork((some[:, None] * vt, u * some))
    zero = jax.tree.map(jnp.zeros_like, learned)
    networks, sigmas = [learned, learned, partly, zero], [-target, target, low, target]
    check(networks, sigmas, digits=False)
    # For a teacher of the bottleneck's rank the loss vanishes, and keeps its digits.
    u, s, vt = np.linalg.svd(cases.sigma(3, 4))
    low = u[:, :2] * s[:2] @ vt[:2]
    check([cases.network((4, 2, 3), 1.0, 0.4, low)] * 3, [low] * 3)  # as above


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes, most",
    [((3, 3, 3), 1), ((10, 9, 11), tuned.QR_COLUMNS), ((3, 4, 5), 1)],
    ids=str,
)
def test_more_columns_than_are_written_out(monkeypatch, sizes, most):
    """Losses in lanes and as matrices agree, also near a saddle."""
    monkeypatch.setattr(tuned, "QR_COLUMNS", most)
    assert sizes[1] > most
    n_in, _, n_out = sizes
    target = cases.sigma(n_out, n_in)
    one = cases.network(sizes, 1.0, 0.4, target)
    u, _, vt = np.linalg.svd(target, full_matrices=False)
    modes = min(sizes)
    w1, w2 = np.zeros((sizes[1], n_in)), np.zeros((n_out, sizes[1]))
    strengths = np.append(0.3, np.full(modes - 1, 1e-9))
    w1[:modes] = strengths[:, None] * vt[:modes]
    w2[:, :modes] = u[:, :modes] * strengths
    ts = jnp.asarray(TS)
    many = jnp.tile(ts, tuned.FEW_LANES // ts.size + 1)

    @jax.jit
    def both(w1, w2, lmda):
        frame = Frame(Problem(w1, w2, jnp.asarray(target), lmda))
        return values.excess(frame, many)[: ts.size], values.excess(frame, ts)

    for arrays, atol in (((*one.weights, one.lmda), 0.0), ((w1, w2, 0.0), 1e-13)):
        w1, w2, lmda = arrays
        expected = oracle.loss_excess(w1, w2, target, float(lmda), TS)
        for found in both(*arrays):
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=atol)


@pytest.mark.slow
def test_single_precision():
    target = cases.sigma(3, 3)
    network = cases.network((3, 3, 3), 1.0, 0.4, target)
    arrays = (*network.weights, jnp.asarray(target), network.lmda)
    doubles = (np.asarray(x) for x in arrays[:3])
    expected = oracle.loss_excess(*doubles, lmda=float(network.lmda), t=TS)
    for found in excesses(*(x[None].astype(jnp.float32) for x in arrays)):
        assert found.dtype == np.float32
        error = np.abs(np.asarray(found[0]) - expected)
        assert error.max() < 1e-5 * expected.max()


def test_a_sweep_of_losses_keeps_little_but_its_losses():
    """A loss is one loop: it writes no other array as large as the output."""
    count, times = 20_000, 100  # large enough for XLA to use other strategies

    @jax.jit
    @jax.vmap
    def losses(w1, w2, sigma):
        solution = lr.ExactSolution(
            lr.LinearNetwork((w1, w2)), lr.Task.from_correlation(sigma), throw=False
        )
        return solution.loss(jnp.linspace(0.0, 10.0, times))

    shapes = [(count, 3, 3)] * 3
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float64) for shape in shapes]
    memory = compiled.memory(losses, *shapes)
    output = count * times * 8
    assert memory.output_size_in_bytes == output
    assert memory.temp_size_in_bytes + output < 3 * output


def test_what_is_made_of_losses_is_no_part_of_their_loop():
    """Otherwise a sum of losses would take several times as long."""
    network = cases.network((3, 2, 2), 1.0, 0.4, cases.sigma(2, 3))
    task = lr.Task.from_correlation(cases.sigma(2, 3))

    @jax.jit
    def total(w1):
        start = lr.LinearNetwork((w1, network.weights[1]))
        return jnp.sum(lr.ExactSolution(start, task, throw=False).loss(TS))

    text = compiled.text(total, network.weights[0])
    mark = 'inlineable="false"' if CALLS_STAY else " conditional("
    assert (mark in text) == (jax.default_backend() == "cpu")
