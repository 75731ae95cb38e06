"""The size of XLA's thread pool on machines with few cores.

jaxlib runs a batched decomposition (`qr`, `svd`, `eigh`, `cholesky`) on one pool of
threads, as many as there are cores. The operation waits for its parts in one of these
threads. Two operations at the same time on two cores fill the pool with waiting
threads, and neither ever ends. Decompositions on as many JAX devices as there are cores
block each other too. XLA reads NPROC, the size of the pool, when a CPU is first used.

Importing the library therefore sets NPROC on machines with few cores. It sets nothing
else, and `LAZYRICH_JAX_NPROC=0` in the environment leaves NPROC alone. docs/upstream.md
has the text of a report.
"""

import glob
import os
import re
import threading
import warnings

SWITCH = "LAZYRICH_JAX_NPROC"

LEAST = 4
PER_DEVICE = 2
_POOL_IS_GIVEN = "NPROC" in os.environ


def cores() -> int:
    """The number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def devices() -> int:
    """The number of CPU devices that the environment asks JAX for."""
    asked = os.environ.get("JAX_NUM_CPU_DEVICES", "")
    flags = os.environ.get("XLA_FLAGS", "")
    found = re.findall(r"--xla_force_host_platform_device_count=(\d+)", flags)
    return max([1, *map(int, found), *map(int, re.findall(r"^\d+$", asked))])


def threads() -> int:
    """The smallest size of the pool that cannot block."""
    return max(LEAST, PER_DEVICE * devices())


def pool() -> int:
    """The size of XLA's pool."""
    given = os.environ.get("NPROC", "")
    return int(given) if given.isdecimal() else cores()


def concurrent_programs() -> int:
    """The number of programs that may run on one CPU device at the same time.

    It is the number of cores where the pool has room for their decompositions, and one
    outside the main thread: other threads may have programs of their own.
    """
    if threading.current_thread() is not threading.main_thread():
        return 1
    return max(1, min(cores(), pool() // PER_DEVICE))


def make_room_for_all_cores() -> None:
    """A pool with room for a program on each core, for a command before it computes.

    A pool that the environment sets stays.
    """
    if not _POOL_IS_GIVEN and os.environ.get(SWITCH) != "0":
        os.environ["NPROC"] = str(max(threads(), PER_DEVICE * cores()))


def pool_runs() -> bool:
    """Whether XLA has started its pool for the CPU.

    It is false outside Linux, and with jax 0.4, whose threads have no names.
    """
    names = glob.glob("/proc/self/task/*/comm")
    return any(name.startswith("tf_XLA") for name in map(_read, names))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:  # the thread has ended
        return ""


def make_room() -> None:
    """Set NPROC if the pool would be too small, unless the environment decides."""
    if os.environ.get(SWITCH) == "0" or "NPROC" in os.environ:
        return
    least = threads()
    if cores() >= least:
        return
    if pool_runs():
        warnings.warn(
            f"XLA was started with a pool of {cores()} threads, and two batched "
            "decompositions at the same time may wait for each other for ever. Import "
            "`lazyrich_jax` before the first computation, or set "
            f"NPROC={least} in the environment ({SWITCH}=0 silences this).",
            RuntimeWarning,
            stacklevel=2,
        )
    else:
        os.environ["NPROC"] = str(least)


make_room()
