"""The scalar loop against blocks, at the sizes of the scalar loop.

`python -m benchmarks.scalar_loop` prints the table of docs/speed.md: losses of 1000
networks at 100 times without decompositions, in double precision, in one run. It uses
the cores that the process may use (`taskset -c 0` for one).
`XLA_FLAGS=--xla_cpu_max_isa=AVX2` gives the table for machines without AVX-512.
"""

import os
import time

import jax
import jax.numpy as jnp

from lazyrich_jax._riccati.fast import scalar_loop, values
from lazyrich_jax._riccati.fast.constants import Constants, ScalarConstants
from lazyrich_jax.bench.problems import problem, solution
from lazyrich_jax.bench.report import instructions

SIZES = (1, 1, 1), (3, 2, 2), (3, 3, 3), (5, 2, 5), (4, 4, 4), (5, 5, 5)


def measured(function, *args):
    """Seconds of compilation, and of the fastest of 30 calls."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    first = time.perf_counter() - start
    seconds = []
    for _ in range(30):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        seconds.append(time.perf_counter() - start)
    return first, min(seconds)


def main():
    """Measure and print."""
    jax.config.update("jax_enable_x64", True)
    cores = len(os.sched_getaffinity(0))
    print(
        f"{instructions()}, cores: {cores}; µs for a network at a time, s to compile\n"
    )
    print("| sizes | scalar loop | blocks | ratio | compiled in | blocks in |")
    print("|---|---:|---:|---:|---:|---:|")
    for sizes in SIZES:
        p = problem(sizes, 1000, 100)
        frames = jax.jit(jax.vmap(solution))(p.w1, p.w2, p.sigma).frame
        ts = jnp.broadcast_to(p.ts, (1000, 100))
        rows = [
            measured(losses, jax.jit(jax.vmap(prepare))(frames), ts)
            for losses, prepare in (
                (scalar_loop.losses, ScalarConstants),
                (values.losses, Constants),
            )
        ]
        (first, loop), (other_first, blocks) = rows
        unit = 1e6 / p.evaluations
        print(
            f"| {'-'.join(map(str, sizes))} | {loop * unit:.3f} | {blocks * unit:.3f} "
            f"| {blocks / loop:.1f} | {first:.2f} | {other_first:.2f} |"
        )


if __name__ == "__main__":
    main()
