"""Measurements on a card, printed by `python -m benchmarks.card`.

It measures the losses of a million 5-5-5 networks at 100 times in one call, in both
precisions: the whole, its parts, and several sizes of blocks. Functions and gradients
follow, in double precision. It takes about five minutes on a card. On a CPU it takes a
thousand networks, to test that it runs.
"""

import functools

import jax

from benchmarks.breakdown import best
from lazyrich_jax._singular import by_library, by_rotations
from lazyrich_jax._xla import sizes
from lazyrich_jax.bench import methods
from lazyrich_jax.bench.measure import difference, measure
from lazyrich_jax.bench.problems import problem, solution

BLOCKS = 10e6, 20e6, 40e6, 80e6, 320e6, 1280e6  # bytes of K


def losses(p, reference):
    """Print the time, memory and error of all losses in one call."""
    jax.clear_caches()
    arrays = p.w1, p.w2, p.sigma, p.ts
    compiled = methods.exact_of_arrays.lower(*arrays).compile()
    call = functools.partial(compiled, *arrays)
    row, found = measure("", "", call, p)
    memory = compiled.memory_analysis().temp_size_in_bytes
    error = difference(found[:100], reference)
    print(
        f"{row.dtype}, blocks of {sizes.CARD_BYTES / 1e6:g} MB: "
        f"{1e3 * row.best:.1f} ms, "
        f"{p.evaluations / row.best:.2g} losses per second, temporary memory "
        f"{memory / 1e9:.2f} GB, error {error:.0e}",
        flush=True,
    )


def main():
    """Measure and print."""
    jax.config.update("jax_enable_x64", True)
    device = jax.devices()[0]
    count = 1000 if device.platform == "cpu" else 1_000_000
    print(f"{device.device_kind}, jax {jax.__version__}, {count} networks")
    whole = problem((5, 5, 5), count, 100)
    reference = methods.formula()(whole.first(100))
    usual = sizes.CARD_BYTES
    for dtype in ("float32", "float64"):
        p = whole.rounded(dtype)
        for size in BLOCKS:
            sizes.CARD_BYTES = int(size)
            losses(p, reference)
        sizes.CARD_BYTES = usual
        parts = {
            "all decompositions": best(
                jax.vmap(solution), p.w1, p.w2, p.sigma, repeat=3
            ),
            "singular values by rotations": best(by_rotations, p.sigma, repeat=3),
            "the same by the library": best(by_library, p.sigma, repeat=3),
        }
        for name, seconds in parts.items():
            print(f"  {name}: {1e3 * seconds:.1f} ms", flush=True)
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
