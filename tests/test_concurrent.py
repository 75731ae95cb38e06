"""Programs side by side on one CPU device, and fits that run so."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lazyrich_jax import _xla
from lazyrich_jax._xla import concurrent
from lazyrich_jax.inference import least_squares, members

if hasattr(jax, "enable_x64"):  # since jax 0.8
    enable_x64 = jax.enable_x64
else:
    from jax.experimental import enable_x64  # pyright: ignore

ENDS = np.full(2, -9.0), np.full(2, 9.0)


@pytest.fixture
def three_programs(monkeypatch):
    monkeypatch.setattr(concurrent, "concurrent_programs", lambda: 3)


def test_results_have_the_order_of_their_shares():
    assert _xla.side_by_side(lambda x: x**2, [3, 1, 2]) == [9, 1, 4]
    with pytest.raises(ZeroDivisionError):
        _xla.side_by_side(lambda x: 1 / x, [1, 0])


def test_settings_of_one_thread_are_kept(three_programs):
    """Another thread does not have them: it would trace another program."""
    assert _xla.traced_side_by_side() == 3
    for own in (
        enable_x64(False),
        jax.default_matmul_precision("float32"),
        jax.default_device(jax.devices()[-1]),
        jax.disable_jit(),
    ):
        with own:
            assert _xla.traced_side_by_side() == 1
    assert _xla.traced_side_by_side() == 3


@pytest.mark.parametrize("count", [20, 55, 700])
def test_members_are_the_same_on_any_number_of_cores(monkeypatch, count):
    """One trace serves all threads, with several batches for each."""
    monkeypatch.setattr(least_squares, "BATCH", 150)
    starts = np.random.default_rng(0).uniform(-3, 3, (count, 2))

    @eqx.debug.assert_max_traces(max_traces=1)
    def residuals(u, row):
        return jnp.stack([u[0] ** 2 + row.astype(u.dtype) - 4.0, u[1] ** 3 + u[0]])

    found = []
    for programs in (40, 3, 1):
        monkeypatch.setattr(concurrent, "concurrent_programs", lambda n=programs: n)
        start = members.begin(starts, np.arange(count) % 3)
        found.append(least_squares.minimise(residuals, start, ENDS, 1e-20))
    for many, several, one in zip(*found, strict=True):
        np.testing.assert_allclose(many, one, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(several, one, rtol=1e-9, atol=1e-12)
    good = found[0].cost < 1e-16
    assert good.mean() > 0.9
    roots = np.sqrt(4.0 - found[0].row[good])
    np.testing.assert_allclose(np.abs(found[0].u[good, 0]), roots, rtol=1e-6)
