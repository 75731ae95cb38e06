"""Sweeps in separate processes: killed at any time, and sharing a store."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import lazyrich_jax as lr
from lazyrich_jax.sweeps import processes
from lazyrich_jax.sweeps.evaluate import Lanes
from lazyrich_jax.sweeps.identity import Plan
from lazyrich_jax.sweeps.processes import Heartbeat
from lazyrich_jax.sweeps.run import _opened
from lazyrich_jax.sweeps.store import Store

SCRIPT = """
    import os, sys, time
    import jax, jax.numpy as jnp, numpy as np
    import lazyrich_jax as lr

    if len(sys.argv) > 2:
        lr.sweeps.processes.STALE = 2.0
        jax.distributed.initialize(
            sys.argv[3], 2, int(sys.argv[2]), heartbeat_timeout_seconds=5
        )

    def fn(point):
        jax.debug.callback(lambda x: time.sleep(0.01), point["x"])
        return {"wave": jnp.sin(point["x"] * jnp.arange(300.0))}

    grid = lr.sweeps.Grid(x=np.linspace(0, 1, 320))
    print("ready", flush=True)
    lr.sweeps.run(fn, grid, chunk_size=2, store=sys.argv[1], progress=False)
    print("done", flush=True)
"""


def start(path, *args):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "NPROC": "4"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(path), *args],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "whole.zarr"
    out, err = start(path).communicate(timeout=120)
    assert "done" in out, err
    return lr.sweeps.load(path).load()


def done(path):
    return int((lr.sweeps.load(path).status == 1).sum()) if path.exists() else 0


def first_line(process):
    assert process.stdout is not None
    return process.stdout.readline()


def wait_for_more(path, before):
    limit = time.time() + 60
    while done(path) <= before:
        assert time.time() < limit
        time.sleep(0.02)


def test_killed_at_any_moment(tmp_path, undisturbed):
    path, rng, before = tmp_path / "a.zarr", random.Random(0), 0
    for kill in range(10):
        process = start(path)
        assert first_line(process) == "ready\n"
        if kill % 2:  # at the start, or during computation
            wait_for_more(path, before)
            time.sleep(rng.uniform(0, 0.2))
        else:
            time.sleep(rng.uniform(0.05, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        now = done(path)
        assert now >= before - 2  # at most the block in flight is lost
        before = now
    assert 10 <= before < 320
    out, err = start(path).communicate(timeout=120)
    assert "done" in out, err
    xarray.testing.assert_identical(lr.sweeps.load(path).load(), undisturbed)


def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_two_processes_share_a_sweep(tmp_path, undisturbed):
    path, address = tmp_path / "a.zarr", f"127.0.0.1:{free_port()}"
    both = [start(path, str(i), address) for i in range(2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert "done" in out, err
    result = lr.sweeps.load(path).load()
    np.testing.assert_array_equal(result.wave, undisturbed.wave)


def test_a_store_may_be_long_in_the_making(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "STALE", 0.5)
    dtype, grid = jnp.dtype("float64"), lr.sweeps.Grid(x=[1.0, 2.0])
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()[:1]), ("d",))
    lanes = Lanes(lambda p: {"y": p["x"]}, grid.template(dtype), mesh)
    plan = Plan(grid, None, dtype, lanes, {}, {}, chunk_size=1, memory=1e9)
    path, other = tmp_path / "a.zarr", tmp_path / "b.zarr"
    with Heartbeat(path, 0, 2):  # as during compilation
        timer = threading.Timer(1.5, Store.create, (path, plan))
        timer.start()
        assert _opened(path, plan, Heartbeat(path, 1, 2)).count_done() == 0
        timer.join()
    with pytest.raises(RuntimeError, match="process 0 of 2 must be alive"):
        _opened(other, plan, Heartbeat(other, 1, 2))


def test_a_killed_process_ends_the_other_and_the_sweep_goes_on(tmp_path, undisturbed):
    path, address = tmp_path / "a.zarr", f"127.0.0.1:{free_port()}"
    both = [start(path, str(i), address) for i in range(2)]
    for process in both:
        assert first_line(process) == "ready\n"
    wait_for_more(path, 0)
    both[1].send_signal(signal.SIGKILL)
    began = time.time()
    out, err = both[0].communicate(timeout=60)
    both[1].communicate()
    assert time.time() - began < 60 and "done" not in out
    assert "process 1 of 2 must be alive" in err, err
    out, err = start(path).communicate(timeout=120)
    assert "done" in out, err
    result = lr.sweeps.load(path).load()
    np.testing.assert_array_equal(result.wave, undisturbed.wave)
