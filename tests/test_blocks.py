"""Many networks at many times, in blocks: numbers don't depend on maps and blocks.

test_scalar_loop.py tests that the numbers are right.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import lazyrich_jax as lr
from lazyrich_jax._riccati.batching import blocks
from lazyrich_jax._riccati.fast import scalar_loop, values
from lazyrich_jax._riccati.fast.constants import Constants, ScalarConstants
from lazyrich_jax._riccati.frame import Frame, Problem
from lazyrich_jax._riccati.reference.solution import solve
from lazyrich_jax._xla import sizes as tuned
from lazyrich_jax.sweeps.evaluate import _shard_map

from . import cases, compiled

TS = jnp.linspace(0.1, 8.0, 70)
PARTS = ("qqt", "inputs", "outputs", "function")


def frames(sizes, lmda, count):
    """A batch of frames of networks, each with its own task."""
    n_in, _, n_out = sizes
    targets = [cases.sigma(n_out, n_in, seed) for seed in range(count)]
    networks = [cases.balanced(sizes, lmda, 0.5, seed) for seed in range(count)]
    w1, w2 = (np.stack(w) for w in zip(*(n.weights for n in networks), strict=True))
    arrays = (jnp.asarray(x) for x in (w1, w2, np.stack(targets)))
    prepare = jax.vmap(lambda *x: Frame(Problem(*x, lmda=jnp.asarray(lmda))))
    return jax.jit(prepare)(*arrays)


@pytest.mark.parametrize(
    "sizes, lmda",
    [
        ((4, 2, 3), 1.0),
        pytest.param((2, 3, 4), 2.0, marks=pytest.mark.slow),
        pytest.param((4, 3, 2), -1.0, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_parts_of_qqt(sizes, lmda):
    """Values in lanes and as matrices equal the general form."""
    frame = jax.tree.map(lambda x: x[0], frames(sizes, lmda, 1))
    n = sizes[0]

    def general(t):
        return frame.factor_from_rows(solve(frame, t).q)

    q = np.asarray(jax.jit(jax.vmap(general))(TS))
    qqt = q @ np.swapaxes(q, 1, 2)
    slices = qqt, qqt[:, :n, :n], qqt[:, n:, n:], qqt[:, n:, :n]
    for part, expected in zip(PARTS, slices, strict=True):
        of_part = jax.jit(values.product, static_argnums=2)
        for few in (TS, TS[:9]) if part in ("qqt", "function") else (TS,):
            found = of_part(frame, few, part)
            np.testing.assert_allclose(found, expected[: few.size], atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("largest", [20, 1], ids=["lanes", "matrices"])
@pytest.mark.parametrize("networks, times", [(3, 37), (37, 3)], ids=str)
def test_many_small_blocks(monkeypatch, largest, networks, times):
    """Overlapping blocks of times or of networks give the right values."""
    frame = frames((3, 3, 3), 1.0, networks)
    ts = jnp.sort(jax.random.uniform(jax.random.key(0), (networks, times), maxval=5.0))
    whole = jax.jit(jax.vmap(values.excess))(frame, ts)
    monkeypatch.setattr(tuned, "CACHE_BYTES", 2500)
    monkeypatch.setattr(tuned, "LANE_COLUMNS", largest)
    found = jax.jit(jax.vmap(values.excess))(frame, ts)
    np.testing.assert_allclose(found, whole, rtol=1e-12)


@pytest.mark.slow
def test_mapped_in_any_order():
    """Maps over networks, times or both, nested in any order, give the right values."""
    frame = frames((2, 1, 1), 1.0, 4)
    ts = jax.random.uniform(jax.random.key(0), (3, 4, 5), maxval=5.0)
    alone = [jax.tree.map(lambda x, i=i: x[i], frame) for i in range(4)]
    one = jax.jit(values.excess)
    one_by_one = jnp.stack(
        [jnp.stack([one(alone[i], t[i]) for i in range(4)]) for t in ts]
    )

    @jax.jit
    def mapped(frame, ts):
        own = jax.vmap(values.excess)
        shared = jax.vmap(values.excess, in_axes=(0, None))
        first = jax.tree.map(lambda x: x[0], frame)
        of_first = jax.vmap(jax.vmap(lambda t: values.excess(first, t)))
        of_all = jax.vmap(lambda t: jax.vmap(lambda f: values.excess(f, t))(frame))
        return (
            (jax.vmap(own, in_axes=(None, 0))(frame, ts), one_by_one),
            (
                jax.vmap(own, in_axes=(None, 1))(frame, jnp.swapaxes(ts, 0, 1)),
                one_by_one,
            ),
            (shared(frame, ts[0, 0])[0], one_by_one[0, 0]),
            (of_first(ts)[:, 0], one_by_one[:, 0]),
            (of_all(ts[:, 0])[:, 0], one_by_one[:, 0]),
        )

    for found, expected in mapped(frame, ts):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("excess", [values.excess, scalar_loop.excess])
def test_where_there_is_more_than_a_cpu(excess):
    """A program for every platform uses the CPU's form on a CPU."""
    frame = frames((2, 1, 1), 1.0, 4)
    ts = jnp.broadcast_to(TS[None], (4, TS.size))
    of_all = jax.jit(jax.vmap(excess))
    for_both = export.export(of_all, platforms=("cpu", "cuda"))(frame, ts)
    found = jax.jit(for_both.call)(frame, ts)
    np.testing.assert_allclose(found, of_all(frame, ts), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(3, 2, 2), (5, 2, 5)], ids=str)
def test_blocks_of_a_card(monkeypatch, sizes):
    """A graphics card evaluates losses in lanes block by block."""
    frame = frames(sizes, 1.0, 40)
    ts = jnp.broadcast_to(TS[None], (40, TS.size))
    expected = jax.jit(jax.vmap(scalar_loop.excess))(frame, ts)
    monkeypatch.setattr(tuned, "CARD_BYTES", 50_000)

    for prepare, excess in (
        (Constants, values._excess),
        (ScalarConstants, scalar_loop._excess),
    ):
        of_card = functools.partial(blocks.evaluated, excess, lambda x: (), False)
        found = jax.jit(of_card)(jax.jit(jax.vmap(prepare))(frame), ts)
        np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_on_two_devices():
    """Each of two devices evaluates its own networks."""
    devices = jax.sharding.Mesh(jax.devices()[:2], ("network",))
    spec = jax.sharding.PartitionSpec("network")
    frame = frames((3, 2, 2), 1.0, 4)
    ts = jnp.broadcast_to(TS[None], (4, TS.size))
    of_all = jax.vmap(values.excess)
    sharded = _shard_map(of_all, devices, spec)
    found = jax.jit(sharded)(frame, ts)
    np.testing.assert_allclose(found, jax.jit(of_all)(frame, ts), rtol=1e-12)


def test_a_bad_network_does_not_touch_its_neighbours():
    """A NaN affects only its own network or time."""
    good = cases.balanced((3, 3, 3), 1.0, 0.5)
    bad = lr.LinearNetwork((good.weights[0] * 3, good.weights[1]))
    networks = jax.tree.map(lambda *x: jnp.stack(x), good, bad, good)
    task = lr.Task.from_correlation(cases.sigma(3, 3))
    ts = TS.at[3].set(jnp.nan)

    @jax.jit
    def functions(networks, ts):
        def one(network):
            return lr.ExactSolution(network, task, throw=False).function(ts)

        return jax.vmap(one)(networks)

    fine = np.isfinite(np.asarray(functions(networks, ts))).all((2, 3))
    expected = np.ones((3, TS.size), bool)
    expected[1], expected[:, 3] = False, False
    np.testing.assert_array_equal(fine, expected)


def test_a_sweep_keeps_little_but_its_results():
    """No array has a matrix for every network and time."""
    count, times = 10_000, 100
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype),
        frames((6, 6, 6), 1.0, 1),
    )
    ts = jax.ShapeDtypeStruct((times,), jnp.float64)
    losses = jax.jit(jax.vmap(values.excess, in_axes=(0, None)))
    memory = compiled.memory(losses, shapes, ts)
    output = count * times * 8
    assert memory.output_size_in_bytes == output
    assert memory.temp_size_in_bytes + output < 3 * output + 200e6
