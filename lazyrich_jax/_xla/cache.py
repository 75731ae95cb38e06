"""Compiled programs that outlive the process: JAX's persistent cache, for the command.

The library never sets it. A user's own choice, `JAX_COMPILATION_CACHE_DIR` or
`JAX_ENABLE_COMPILATION_CACHE=false` in the environment, comes first.
"""

import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import jax

from .generator import compile_quickly


def directory() -> Path:
    """The command's cache on this kind of machine.

    Programs hold instructions that another processor may lack: a home directory that
    machines share has one cache for each kind.
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    kind = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    return Path(root) / "lazyrich_jax" / f"{platform.machine()}-{kind}"


def _processor() -> str:
    """Its instructions, where the system lists them, or else its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    found = (x for x in lines if x.lower().startswith(("flags", "features")))
    return next(found, platform.processor())


def keep_programs() -> None:
    """Keep what this process compiles, unless the user or the disk says otherwise."""
    config: Any = jax.config
    is_chosen = config.jax_compilation_cache_dir is not None
    if is_chosen or not config.jax_enable_compilation_cache:
        return
    try:
        path = directory()
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or one that can't be written
        return
    config.update("jax_compilation_cache_dir", str(path))
    # By default programs that took less than a second are dropped: most of them.
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def prepare() -> None:
    """Settings of the command that draws figures, and of its processes.

    They compute in double precision, compile in less time and keep programs. All
    versions of jax draw the random numbers of jax 0.5: the figures' seeds are chosen
    for them. Not in `__main__`, which processes of `python -m lazyrich_jax` can't
    import.
    """
    compile_quickly()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_threefry_partitionable", True)
    keep_programs()
