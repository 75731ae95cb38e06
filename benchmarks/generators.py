"""Running times of programs by XLA's two code generators for CPUs, in one run.

`python -m benchmarks.generators` prints microseconds for one network at one time: by
the newer generator, the default, and by the older one (docs/speed.md). Networks have
100 times and tasks of their own, in double precision. Calls alternate, and the fastest
counts.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from lazyrich_jax.bench.problems import problem, solution

CASES = (
    ("loss", (3, 2, 2), 1000),
    ("loss", (5, 5, 5), 1000),
    ("loss", (8, 8, 8), 1000),
    ("loss", (32, 32, 32), 60),
    ("function", (8, 8, 8), 500),
    ("qqt", (5, 5, 5), 1000),
    ("gradient", (5, 5, 5), 1000),
)


def one(name):
    """A quantity of one network, or the gradient of the sum of its losses."""

    def value(w1, w2, sigma, ts):
        return getattr(solution(w1, w2, sigma), name)(ts)

    def total(w1, w2, sigma, ts):
        return jnp.sum(solution(w1, w2, sigma).loss(ts))

    return jax.grad(total, argnums=(0, 1, 2)) if name == "gradient" else value


def main():
    """Print the table."""
    jax.config.update("jax_enable_x64", True)
    print("| what | sizes | newer, µs | older, µs | ratio |\n|---|---|---:|---:|---:|")
    for name, sizes, networks in CASES:
        p = problem(sizes, networks, 100)
        arguments = p.w1, p.w2, p.sigma, p.ts
        lowered = jax.jit(jax.vmap(one(name), (0, 0, 0, None))).lower(*arguments)
        programs = [
            lowered.compile(compiler_options={"xla_cpu_use_fusion_emitters": newer})
            for newer in (True, False)
        ]
        fastest = [np.inf, np.inf]
        for _ in range(12):
            for i, program in enumerate(programs):
                start = time.perf_counter()
                jax.block_until_ready(program(*arguments))
                fastest[i] = min(fastest[i], time.perf_counter() - start)
        newer, older = (1e6 * seconds / p.evaluations for seconds in fastest)
        size = "-".join(map(str, sizes))
        print(f"| {name} | {size} | {newer:.3g} | {older:.3g} | {older / newer:.2f} |")


if __name__ == "__main__":
    main()
