"""Compiled programs outlive the process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

from lazyrich_jax._xla import cache
from lazyrich_jax.sweeps.spec import EXAMPLE

COUNTS = """
import collections, json, jax
from lazyrich_jax.__main__ import main
seen = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: seen.update([name]))
jax.monitoring.register_event_duration_secs_listener(
    lambda name, _, **__: seen.update([name])
)
status = main({arguments!r})
compiled = seen["/jax/core/compile/backend_compile_duration"]
loaded = seen["/jax/compilation_cache/cache_hits"]
print(json.dumps([status, compiled - loaded, loaded]))
"""


def command(arguments, home):
    """Status, programs compiled and programs loaded, of a command in a new process."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("JAX_ENABLE_COMPILATION_CACHE", "XDG_CACHE_HOME")
    }
    environment["XDG_CACHE_HOME"] = str(home)
    script = COUNTS.format(arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_second_command_compiles_nothing(tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text(EXAMPLE)
    few = "axes.lmda=[-1, 2]", "axes.seed=2", 'measure.names=["loss"]'
    options = ["sweep", str(spec), *(x for one in few for x in ("--set", one))]
    first, second = (
        command([*options, "--store", str(tmp_path / store)], tmp_path / "caches")
        for store in ("one.zarr", "two.zarr")
    )
    assert first[0] == second[0] == 0
    assert first[1] > 0 and first[2] == 0
    assert second[1] == 0 and second[2] == first[1]


def test_the_users_choice_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config: Any = jax.config
    assert not config.jax_enable_compilation_cache  # the tests' choice
    cache.keep_programs()
    assert config.jax_compilation_cache_dir is None
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(cache, "directory", lambda: Path(tmp_path / "file" / "x"))
    (tmp_path / "file").write_text("")
    jax.config.update("jax_enable_compilation_cache", True)
    try:
        cache.keep_programs()  # a disk that can't be written
        assert config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_enable_compilation_cache", False)
