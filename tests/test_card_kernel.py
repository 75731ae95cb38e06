"""One kernel of a card, interpreted on a CPU: its blocks, lanes and shared arrays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lazyrich_jax._riccati.batching import kernel
from lazyrich_jax._riccati.batching.blocks import more_times
from lazyrich_jax._riccati.batching.primitive import Operation
from lazyrich_jax._riccati.fast import scalar_loop
from lazyrich_jax._riccati.fast.constants import ScalarConstants
from lazyrich_jax._xla import has_kernels, sizes
from lazyrich_jax.bench.problems import problem, solution

triton = pytest.importorskip("jax.experimental.pallas.triton")
pytestmark = pytest.mark.skipif(
    not hasattr(triton, "CompilerParams"), reason="this JAX has no such kernels"
)

interpreted = functools.partial(
    kernel.in_one_kernel, scalar_loop._excess, interpret=True
)
operation = Operation(
    "interpreted_kernel",
    lambda x, ts: (ts.shape[1],),
    interpreted,
    interpreted,
    more_times,
)


def constants(size, count=3):
    p = problem(size, count, 1)
    return jax.jit(jax.vmap(lambda *a: ScalarConstants(solution(*a).frame)))(*p[:3])


@pytest.fixture(autouse=True)
def few_lanes(monkeypatch):
    """Twenty times are two blocks; the second is not full."""
    monkeypatch.setattr(sizes, "KERNEL_LANES", 16)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_kernel_equals_the_loop(dtype):
    x = jax.tree.map(
        lambda a: a if a.dtype == bool else a.astype(dtype), constants((3, 2, 2))
    )
    ts = jnp.linspace(0, 30, 20, dtype=dtype)
    of_each = ts[None] * jnp.arange(1, 4, dtype=dtype)[:, None]
    found = jax.jit(interpreted)(x, of_each)
    assert found.dtype == dtype and found.shape == (3, 20)
    want = scalar_loop.losses(x, of_each)
    np.testing.assert_allclose(
        found, want, rtol=0, atol=30 * float(jnp.finfo(dtype).eps)
    )
    assert np.ptp(want) > 0.1  # the losses differ between networks and times


def test_networks_share_times_and_times_share_networks():
    x, ts = constants((3, 2, 2)), jnp.linspace(0, 3, 20)
    of_all = jax.jit(jax.vmap(lambda x: operation(x, ts[None])[0]))
    at_all = jax.jit(jax.vmap(lambda t: operation(x, t[None])))
    some = jax.tree.map(lambda a: a[:, None], x)
    want = scalar_loop.losses(x, jnp.broadcast_to(ts, (3, 20)))
    np.testing.assert_allclose(of_all(some), want, atol=1e-15)
    apart = at_all(ts.reshape(2, 10))
    np.testing.assert_allclose(jnp.hstack(list(apart)), want, atol=1e-15)


def test_a_card_gets_one_kernel_and_an_exported_program_none(monkeypatch):
    monkeypatch.setattr(scalar_loop, "has_kernels", lambda: True)
    x, ts = constants((3, 2, 2)), jnp.linspace(0, 3, 20)
    losses = jax.jit(lambda x, ts: scalar_loop.losses(x, ts[None]))
    for_card = losses.trace(x, ts).lower(lowering_platforms=("cuda",)).as_text()
    assert for_card.count("xla.gpu.triton") == 1
    exported = jax.export.export(losses, platforms=("cuda",))(x, ts).mlir_module()
    assert "xla.gpu.triton" not in exported


def test_a_kernel_needs_known_times_that_fill_its_lanes():
    x = constants((3, 2, 2))
    assert kernel.fits(x, jnp.zeros((1, sizes.KERNEL_TIMES)))
    assert not kernel.fits(x, jnp.zeros((1, sizes.KERNEL_TIMES - 1)))
    none = jax.tree.map(lambda a: a[:0], x)
    assert not kernel.fits(none, jnp.zeros((0, sizes.KERNEL_TIMES)))
    if jax.default_backend() == "cpu":
        assert not has_kernels()
