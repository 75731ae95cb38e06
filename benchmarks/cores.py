"""The exact solution and its rivals with one JAX device for each core of a CPU.

`JAX_NUM_CPU_DEVICES=2 python -m benchmarks.cores`, on two cores, prints a table of
microseconds for one network at one time. It compares one device, for which XLA uses all
cores where it can, with all devices, each with its share of the networks. Measurements
alternate, and the fastest counts.
"""

import time

import jax
import numpy as np

from lazyrich_jax.bench import methods
from lazyrich_jax.bench.problems import Problem, problem

LOSSES = {
    "exact": methods.exact,
    "LAPACK kernel": methods.cholesky,
    "diffrax 1e-8": lambda: methods.diffrax(1e-8),
}
GRADIENTS = {
    "exact": methods.exact_gradient,
    "diffrax 1e-8": lambda: methods.diffrax_gradient(1e-8),
}
CASES = (
    ("loss", (5, 5, 5), 1000, 100, LOSSES),
    ("loss", (8, 8, 8), 1000, 100, LOSSES),
    ("loss", (32, 32, 32), 60, 100, LOSSES),
    ("gradient", (5, 5, 5), 1000, 100, GRADIENTS),
)


def shares(p: Problem) -> list[Problem]:
    """The share of the networks for each device."""
    devices = jax.devices("cpu")
    parts = np.array_split(np.arange(len(p.w1)), len(devices))
    return [
        p._replace(
            **jax.device_put(
                {"w1": p.w1[k], "w2": p.w2[k], "sigma": p.sigma[k], "ts": p.ts}, device
            )
        )
        for k, device in zip(parts, devices, strict=True)
    ]


def main() -> None:
    """Measure and print."""
    jax.config.update("jax_enable_x64", True)
    cores = len(jax.devices("cpu"))
    if cores < 2:
        raise SystemExit("JAX_NUM_CPU_DEVICES must be the number of cores, 2 or more.")
    print(
        "| what | sizes | method | one device, µs | × exact | "
        f"{cores} devices, µs | × exact |"
    )
    print("|---|---|---|---:|---:|---:|---:|")
    for what, sizes, networks, times, rivals in CASES:
        p = problem(sizes, networks, times)
        problems = {1: [p], cores: shares(p)}
        calls = {name: make() for name, make in rivals.items()}
        fastest = {(name, k): np.inf for name in calls for k in problems}
        for repetition in range(6):
            for name, k in fastest:
                start = time.perf_counter()
                jax.block_until_ready([calls[name](share) for share in problems[k]])
                if repetition > 0:  # the first compiles
                    seconds = time.perf_counter() - start
                    fastest[name, k] = min(fastest[name, k], seconds)
        for name in calls:
            one, all_of_them = (
                f"{1e6 * fastest[name, k] / p.evaluations:.3g} | "
                f"{fastest[name, k] / fastest['exact', k]:.2g}"
                for k in problems
            )
            size = "-".join(map(str, sizes))
            print(f"| {what} | {size} | {name} | {one} | {all_of_them} |", flush=True)


if __name__ == "__main__":
    main()
