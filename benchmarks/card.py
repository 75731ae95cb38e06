"""Measurements on a card, printed by `python -m benchmarks.card`.

It measures the losses of a million 5-5-5 networks at 100 times in one call, in both
precisions: the whole and its parts, the loop as one kernel and by XLA. Sizes of blocks
and other quantities follow. It takes about five minutes on a card. On a CPU it takes a
thousand networks, to test that it runs.
"""

import functools
import time

import jax
import jax.numpy as jnp

from benchmarks.breakdown import best, fastest
from lazyrich_jax._riccati.fast import scalar_loop
from lazyrich_jax._riccati.fast.constants import ScalarConstants
from lazyrich_jax._singular import by_library, by_rotations
from lazyrich_jax._xla import has_kernels, sizes
from lazyrich_jax.bench import methods
from lazyrich_jax.bench.measure import difference, measure
from lazyrich_jax.bench.problems import problem, solution

LANES = 32, 64, 128, 256  # times in a block of one kernel
BLOCKS = 10e6, 20e6, 80e6  # bytes of K in a block of XLA's loop


def losses(p, reference):
    """Print the time, memory and error of all losses in one call."""
    jax.clear_caches()
    arrays = p.w1, p.w2, p.sigma, p.ts
    start = time.perf_counter()
    compiled = methods.exact_of_arrays.lower(*arrays).compile()
    seconds = time.perf_counter() - start
    call = functools.partial(compiled, *arrays)
    row, found = measure("", "", call, p)
    memory = compiled.memory_analysis().temp_size_in_bytes
    error = difference(found[:100], reference)
    print(
        f"{row.dtype}: {1e3 * row.best:.1f} ms, "
        f"{p.evaluations / row.best:.2g} losses per second, temporary memory "
        f"{memory / 1e9:.2f} GB, error {error:.0e}, compiled in {seconds:.1f} s",
        flush=True,
    )


def loop(name, function, x, ts):
    """Print the time of the loop over times alone."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(x, ts).compile()
    seconds = time.perf_counter() - start
    milliseconds = 1e3 * fastest(compiled, x, ts, repeat=5)
    print(
        f"  loop {name}: {milliseconds:.2f} ms, compiled in {seconds:.1f} s",
        flush=True,
    )


def parts(p):
    """Print the times of the parts of all losses."""
    of_one = jax.vmap(lambda *one: ScalarConstants(solution(*one).frame))
    pieces = {
        "decompositions and constants": best(of_one, p.w1, p.w2, p.sigma, repeat=3),
        "singular values by rotations": best(by_rotations, p.sigma, repeat=3),
        "the same by the library": best(by_library, p.sigma, repeat=3),
    }
    for name, seconds in pieces.items():
        print(f"  {name}: {1e3 * seconds:.1f} ms", flush=True)
    x, ts = jax.jit(of_one)(p.w1, p.w2, p.sigma), p.ts[None]
    usual = sizes.KERNEL_LANES, sizes.CARD_BYTES
    for lanes in LANES if has_kernels() else ():
        sizes.KERNEL_LANES = lanes
        loop(
            f"as one kernel, {lanes} lanes", lambda *a: scalar_loop._on_cuda(*a), x, ts
        )
    for size in BLOCKS if p.w1.dtype == jnp.float32 else BLOCKS[1:2]:
        sizes.CARD_BYTES = int(size)
        name = f"by XLA, blocks of {size / 1e6:g} MB"
        loop(name, lambda *a: scalar_loop._in_blocks(*a), x, ts)
    sizes.KERNEL_LANES, sizes.CARD_BYTES = usual


def few_times(whole):
    """Print the time of the loop at few times, by both."""
    p = whole.rounded("float32")
    x = jax.jit(jax.vmap(lambda *one: ScalarConstants(solution(*one).frame)))(*p[:3])
    for times in (4, 8, 16):
        ts = p.ts[None, :times]
        if has_kernels():
            usual, sizes.KERNEL_TIMES = sizes.KERNEL_TIMES, 1
            loop(
                f"at {times} times as one kernel",
                lambda *a: scalar_loop._on_cuda(*a),
                x,
                ts,
            )
            sizes.KERNEL_TIMES = usual
        loop(f"at {times} times by XLA", lambda *a: scalar_loop._in_blocks(*a), x, ts)


def main():
    """Measure and print."""
    jax.config.update("jax_enable_x64", True)
    device = jax.devices()[0]
    count = 1000 if device.platform == "cpu" else 1_000_000
    print(f"{device.device_kind}, jax {jax.__version__}, {count} networks")
    whole = problem((5, 5, 5), count, 100)
    reference = methods.formula()(whole.first(100))
    for dtype in ("float32", "float64"):
        losses(whole.rounded(dtype), reference)
    for dtype in ("float32", "float64"):
        print(dtype)
        parts(whole.rounded(dtype))
    few_times(whole)
    some = whole.first(count // 100)
    for name, call, p in (
        ("loss", methods.exact(), some),
        ("function", methods.exact_functions(), some),
        ("gradient", methods.exact_gradient(), some),
        ("gradient by diffrax 1e-8", methods.diffrax_gradient(1e-8), some.first(1000)),
    ):
        row, _ = measure("", "", functools.partial(call, p), p)
        print(
            f"{name}, {row.batch} networks: {row.microseconds:.2g} us a network at a "
            f"time, first result {row.first:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
