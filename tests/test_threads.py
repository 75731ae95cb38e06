"""The pool of threads: room for decompositions, and all cores for a command."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import pytest

from lazyrich_jax._xla import threads as _threads


@pytest.mark.parametrize("devices", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_decompositions_at_the_same_time_end(devices):
    """Batched decompositions wait for each other for ever in too small a pool.

    The cases are one program in a pool of two, and as many devices as threads.
    """
    code = (
        "import jax; jax.config.update('jax_enable_x64', True); "
        "from lazyrich_jax.bench import problems; "
        "on = [jax.device_put(jax.random.key(0), d) for d in jax.devices()]; "
        f"assert len(on) == {devices}; "
        "draw = jax.jit(jax.vmap(lambda key: jax.numpy.linalg.svd("
        "jax.random.normal(key, (5, 5)))[0])); "
        "split = [jax.random.split(key, 3000) for key in on]; "
        "[jax.block_until_ready([draw(keys) for keys in split * 3]) "
        "for _ in range(5)]; "
        "problems.problem((5, 2, 5), 1000, 100).w1.block_until_ready()"
    )
    environment = {
        k: v
        for k, v in os.environ.items()
        if k not in ("NPROC", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    }
    flags = ["--xla_backend_optimization_level=0"]  # compiles faster
    if devices > 1:
        flags.append(f"--xla_force_host_platform_device_count={devices}")
    environment["XLA_FLAGS"] = " ".join(flags)
    run = [sys.executable, "-c", code]
    subprocess.run(run, check=True, timeout=120, env=environment)


@pytest.mark.parametrize(
    "environment, threads",
    [
        ({}, 4),
        ({"JAX_NUM_CPU_DEVICES": "8"}, 16),
        ({"XLA_FLAGS": "--a=1 --xla_force_host_platform_device_count=3 --b=2"}, 6),
        ({"JAX_NUM_CPU_DEVICES": "-1", "XLA_FLAGS": "--a=1"}, 4),
    ],
    ids=str,
)
def test_room_for_the_devices_that_are_asked_for(monkeypatch, environment, threads):
    for name in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _threads.threads() == threads


def test_importing_sets_one_variable_or_says_that_it_is_too_late(monkeypatch):
    for name in ("NPROC", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_threads, "cores", lambda: 2)
    jax.devices()
    named = sys.platform.startswith("linux") and jax.__version_info__ >= (0, 5)
    assert _threads.pool_runs() == named
    monkeypatch.setenv("LAZYRICH_JAX_NPROC", "0")
    _threads.make_room()
    monkeypatch.delenv("LAZYRICH_JAX_NPROC")
    with pytest.warns(RuntimeWarning, match="NPROC=4 in the environment"):
        monkeypatch.setattr(_threads, "pool_runs", lambda: True)
        _threads.make_room()
    assert "NPROC" not in os.environ
    before = dict(os.environ)
    monkeypatch.setattr(_threads, "pool_runs", lambda: False)
    _threads.make_room()
    monkeypatch.setenv("NPROC", os.environ["NPROC"])  # so that monkeypatch restores it
    assert dict(os.environ) == before | {"NPROC": "4"}
    _threads.make_room()
    assert os.environ["NPROC"] == "4"


def test_a_machine_with_many_cores_is_left_alone(monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setattr(_threads, "cores", lambda: 64)
    monkeypatch.setattr(_threads, "pool_runs", lambda: True)
    _threads.make_room()
    assert "NPROC" not in os.environ


@pytest.mark.parametrize(
    "cores, pool, programs",
    [(2, "4", 2), (2, None, 1), (8, None, 4), (8, "16", 8), (8, "1", 1), (1, "4", 1)],
    ids=str,
)
def test_programs_have_room_in_the_pool(monkeypatch, cores, pool, programs):
    monkeypatch.setattr(_threads, "cores", lambda: cores)
    monkeypatch.delenv("NPROC", raising=False)
    if pool is not None:
        monkeypatch.setenv("NPROC", pool)
    assert _threads.concurrent_programs() == programs
    with ThreadPoolExecutor(1) as other:  # may be one of many
        assert other.submit(_threads.concurrent_programs).result() == 1


@pytest.mark.parametrize("given, pool", [(False, "16"), (True, "3")])
def test_a_command_makes_room_for_all_cores(monkeypatch, given, pool):
    monkeypatch.setattr(_threads, "cores", lambda: 8)
    monkeypatch.setattr(_threads, "_POOL_IS_GIVEN", given)
    monkeypatch.setenv("NPROC", "3")
    _threads.make_room_for_all_cores()
    assert os.environ["NPROC"] == pool


@pytest.mark.slow
def test_a_sweep_of_decompositions_in_threads_ends():
    code = (
        "import jax, lazyrich_jax as lr, numpy as np; "
        "svd = lambda p: jax.numpy.linalg.svd("
        "jax.random.normal(jax.random.key(p['x']), (5, 5)))[1]; "
        "grid = lr.sweeps.Grid(x=np.arange(60_000)); "
        "lr.sweeps.run(svd, grid, chunk_size=6000, progress=False)"
    )
    given = ("NPROC", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    environment = {k: v for k, v in os.environ.items() if k not in given}
    run = [sys.executable, "-c", code]
    subprocess.run(run, check=True, timeout=120, env=environment)
