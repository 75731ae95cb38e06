"""A sweep on one CPU device: a program in each of several threads."""

import threading

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lazyrich_jax.sweeps import Grid, evaluate, run

if hasattr(jax, "enable_x64"):  # since jax 0.8
    enable_x64 = jax.enable_x64
else:
    from jax.experimental import enable_x64  # pyright: ignore

ONE = jax.sharding.Mesh(np.array(jax.local_devices()[:1]), ("points",))
XS = np.linspace(-2.0, 2.0, 7)


@pytest.fixture(params=[1, 2, 3])
def threads(request, monkeypatch):
    """The number of programs at the same time."""
    monkeypatch.setattr(evaluate, "concurrent_programs", lambda: request.param)
    return request.param


def sweep(fn, **options):
    return run(fn, Grid(x=XS), mesh=ONE, progress=False, **options)


@pytest.mark.parametrize("points", [1, 2, 5, 7, 16])
def test_every_point_has_its_values(threads, points):
    data = sweep(lambda p: {"y": p["x"] * jnp.arange(3.0)}, chunk_size=points)
    np.testing.assert_array_equal(data.y, XS[:, None] * np.arange(3.0))


def test_programs_run_at_the_same_time(threads):
    """Each program waits until all others run."""
    together = threading.Barrier(threads)

    def wait(x):
        together.wait(timeout=60)
        return x

    def fn(point):
        out = jax.ShapeDtypeStruct((), point["x"].dtype)
        return jax.pure_callback(wait, out, point["x"], vmap_method="sequential")

    few = Grid(x=np.arange(float(threads)))
    data = run(fn, few, mesh=ONE, progress=False)
    np.testing.assert_array_equal(data.value, np.arange(threads))


def test_a_failed_point_is_alone(threads):
    def risky(point):
        x = eqx.error_if(point["x"], point["x"] == XS[2], "`x` must not be this one.")
        return {"root": jnp.sqrt(x)}

    data = sweep(risky, chunk_size=6)
    names = np.array(data.status.attrs["flag_meanings"].split())[data.status]
    assert names.tolist() == ["nan", "nan", "error", "ok", "ok", "ok", "ok"]
    np.testing.assert_allclose(data.root[3:], np.sqrt(XS[3:]))
    assert data.attrs["error"] == "`x` must not be this one."


def test_settings_of_the_calling_thread_hold(threads):
    with enable_x64(False):
        data = sweep(lambda p: {"y": 2 * p["x"]})
    assert data.y.dtype == np.float32
    np.testing.assert_array_equal(data.y, 2 * XS.astype(np.float32))


def test_memory_counts_all_threads(threads):
    def fn(point):
        return {"y": point["x"] * jnp.ones(1000)}

    lanes = evaluate.Lanes(fn, Grid(x=XS).template(jnp.float64), ONE)
    for points in (threads, 6 * threads):
        np.testing.assert_allclose(
            lanes.memory(points), points * lanes.memory(1), rtol=0.01
        )
