"""Room for XLA's linear algebra on machines with few cores.

jaxlib runs a batched decomposition (`qr`, `svd`, `eigh`, `cholesky`) on the threads of
one pool, as many as there are cores, and the operation itself waits in one of them. Two
at the same time on two cores fill the pool with what waits: neither ever ends. XLA
reads NPROC, the size of the pool, when a CPU is first used.
"""

import os

LEAST = 4


def cores() -> int:
    """The number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if cores() < LEAST:
    os.environ.setdefault("NPROC", str(LEAST))
