"""The time of losses for other values of `_xla.sizes`, on a CPU.

`python -m benchmarks.tuned_sizes` prints microseconds for the loss of one network at
one time in double precision, without compilation. Each size is varied on a problem that
depends on it. The middle value is the one in use.
"""

import time

import jax

from lazyrich_jax._xla import sizes
from lazyrich_jax.bench import methods
from lazyrich_jax.bench.problems import problem
from lazyrich_jax.bench.report import instructions

# (size, other values, sizes of the network, networks, times)
CASES = (
    ("SUM_TERMS", (0, 5, 8), (5, 5, 5), 1000, 100),
    ("TRIANGLE_COLUMNS", (4, 8, 16), (32, 32, 32), 4, 100),
    ("QR_COLUMNS", (4, 8, 16), (12, 12, 12), 50, 100),
    ("LANE_COLUMNS", (8, 16, 32), (16, 16, 16), 20, 100),
    ("LANE_COLUMNS", (8, 16, 32), (24, 24, 24), 10, 100),
    ("FEW_LANES", (16, 64, 256), (8, 8, 8), 1, 40),
    ("FEW_LANES", (16, 64, 256), (8, 8, 8), 1, 200),
    ("CACHE_BYTES", (60_000, 250_000, 1_000_000), (8, 8, 8), 200, 100),
    ("ROTATED_ON_CPU", ((0, 0), (2, 4), (5, 10)), (3, 2, 2), 1000, 10),
    ("ROTATED_ON_CPU", ((0, 0), (2, 4), (5, 10)), (5, 5, 5), 1000, 10),
    ("FEW_MATRICES", (4, 16, 64), (3, 2, 2), 32, 10),
)


def microseconds(p):
    """Microseconds for one network at one time, newly compiled."""
    jax.clear_caches()
    call = methods.exact()
    jax.block_until_ready(call(p))
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        jax.block_until_ready(call(p))
        seconds.append(time.perf_counter() - start)
    return 1e6 * min(seconds) / p.evaluations


def main():
    """Measure and print."""
    jax.config.update("jax_enable_x64", True)
    print(instructions())
    for name, values, network, networks, times in CASES:
        p, usual = problem(network, networks, times), getattr(sizes, name)
        found = []
        for value in values:
            setattr(sizes, name, value)
            found.append(f"{value}: {microseconds(p):.3g}")
        setattr(sizes, name, usual)
        where = f"{'-'.join(map(str, network))}, {networks} x {times}"
        print(f"{name:<17} {where:<22} {'; '.join(found)}", flush=True)


if __name__ == "__main__":
    main()
