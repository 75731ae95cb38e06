"""Sweeps in separate processes: killed at any time, and sharing a store."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid

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

# What takes longest is imported once, before any sweep starts threads: every line on
# the input is a sweep in a fork of this process.
SCRIPT = """
    import inspect, json, os, signal, sys, time
    import jax, jax.numpy as jnp, numpy as np, xarray, zarr
    import lazyrich_jax as lr

    def reap(*_):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    signal.signal(signal.SIGCHLD, reap)
    for line in sys.stdin:
        if not (process := os.fork()):
            break
        print(process, flush=True)
    else:
        sys.exit()

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out, err, path, *shared = json.loads(line)
    for stream, file in (1, out), (2, err):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream)
    if shared:
        lr.sweeps.processes.STALE = 2.0
        start, options = jax.distributed.initialize, {"heartbeat_timeout_seconds": 5}
        known = options.keys() <= inspect.signature(start).parameters.keys()
        start(shared[1], 2, shared[0], **(options if known else {}))  # new in jax 0.5

    def fn(point):
        jax.debug.callback(lambda x: time.sleep(0.01), point["x"])
        return {"wave": jnp.sin(point["x"] * jnp.arange(300.0))}

    grid = lr.sweeps.Grid(x=np.linspace(0, 1, 320))
    print("ready", flush=True)
    lr.sweeps.run(fn, grid, chunk_size=2, store=path, progress=False)
    print("done", flush=True)
"""


class Sweep:
    """A sweep in a process of its own."""

    def __init__(self, forks, logs, *args):
        self._out, self._err = (logs / f"{uuid.uuid4()}.{x}" for x in ("out", "err"))
        line = [str(self._out), str(self._err), *args]
        print(json.dumps(line), file=forks.stdin, flush=True)
        self._process = int(forks.stdout.readline())

    def wait_until_ready(self):
        limit = time.time() + 60
        while not (self._out.exists() and "ready" in self._out.read_text()):
            assert time.time() < limit
            time.sleep(0.01)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)

    def end(self, timeout=120):
        """Wait for its end; returns its output and its errors."""
        limit = time.time() + timeout
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(self._process, 0)
                assert time.time() < limit
                time.sleep(0.01)
        return self._out.read_text(), self._err.read_text()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "NPROC": "4"}
    logs = tmp_path_factory.mktemp("logs")
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as forks:
        yield lambda path, *args: Sweep(forks, logs, str(path), *args)


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "whole.zarr"
    out, err = start(path).end()
    assert "done" in out, err
    return lr.sweeps.load(path).load()


def done(path):
    return int((lr.sweeps.load(path).status == 1).sum()) if path.exists() else 0


def wait_for_more(path, before):
    limit = time.time() + 60
    while done(path) <= before:
        assert time.time() < limit
        time.sleep(0.02)


def test_killed_at_any_moment(tmp_path, start, undisturbed):
    path, rng, before = tmp_path / "a.zarr", random.Random(0), 0
    for kill in range(10):
        process = start(path)
        process.wait_until_ready()
        if kill % 2:  # at the start, or during computation
            wait_for_more(path, before)
            time.sleep(rng.uniform(0, 0.2))
        else:
            time.sleep(rng.uniform(0.05, 0.5))
        process.kill()
        process.end()
        now = done(path)
        assert now >= before - 2  # at most the block in flight is lost
        before = now
    assert 10 <= before < 320
    out, err = start(path).end()
    assert "done" in out, err
    xarray.testing.assert_identical(lr.sweeps.load(path).load(), undisturbed)


def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_two_processes_share_a_sweep(tmp_path, start, undisturbed):
    path, address = tmp_path / "a.zarr", f"127.0.0.1:{free_port()}"
    both = [start(path, i, address) for i in range(2)]
    for process in both:
        out, err = process.end()
        assert "done" in out, err
    result = lr.sweeps.load(path).load()
    np.testing.assert_array_equal(result.wave, undisturbed.wave)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_the_sweep_goes_on(
    tmp_path, start, undisturbed
):
    path, address = tmp_path / "a.zarr", f"127.0.0.1:{free_port()}"
    both = [start(path, i, address) for i in range(2)]
    for process in both:
        process.wait_until_ready()
    wait_for_more(path, 0)
    both[1].kill()
    began = time.time()
    out, err = both[0].end(timeout=60)
    both[1].end()
    assert time.time() - began < 60 and "done" not in out
    assert "process 1 of 2 must be alive" in err, err
    out, err = start(path).end()
    assert "done" in out, err
    result = lr.sweeps.load(path).load()
    np.testing.assert_array_equal(result.wave, undisturbed.wave)
