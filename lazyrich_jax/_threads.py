"""Room for XLA's linear algebra on machines with few cores.

jaxlib runs a batched decomposition (`qr`, `svd`, `eigh`, `cholesky`) on the threads of
one pool, as many as there are cores, and the operation itself waits in one of them. Two
at the same time on two cores fill the pool with what waits: neither ever ends. Nor do
those of as many of JAX's devices as there are cores. XLA reads NPROC, the size of the
pool, when a CPU is first used.
"""

import os
import re

LEAST = 4
PER_DEVICE = 2


def cores() -> int:
    """The number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def devices() -> int:
    """How many devices the environment asks JAX to make of the CPU."""
    asked = os.environ.get("JAX_NUM_CPU_DEVICES", "")
    flags = os.environ.get("XLA_FLAGS", "")
    found = re.findall(r"--xla_force_host_platform_device_count=(\d+)", flags)
    return max([1, *map(int, found), *map(int, re.findall(r"^\d+$", asked))])


def threads() -> int:
    """The size of the pool that is needed."""
    return max(LEAST, PER_DEVICE * devices())


if cores() < threads():
    os.environ.setdefault("NPROC", str(threads()))
