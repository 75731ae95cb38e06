"""A breakdown of the time, printed by `python -m benchmarks.breakdown`.

Times are in microseconds for one network, or for one network at one time, in double
precision.
"""

import contextlib
import functools
import time

import jax
import numpy as np

from lazyrich_jax import _linalg
from lazyrich_jax._riccati.batching import blocks
from lazyrich_jax._riccati.echelon import eliminate
from lazyrich_jax._riccati.fast import scalar_loop, scalar_rows
from lazyrich_jax._singular import by_library, by_rotations, singular_basis
from lazyrich_jax.bench import methods
from lazyrich_jax.bench.measure import measure
from lazyrich_jax.bench.problems import problem, solution


def best(function, *args, repeat=10):
    """Seconds of the fastest call, without compilation."""
    return fastest(jax.jit(function).lower(*args).compile(), *args, repeat=repeat)


def fastest(compiled, *args, repeat=10):
    """Seconds of the fastest call of a compiled program."""
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def whole(p):
    """Microseconds for the loss of one network at one time, newly compiled."""
    jax.clear_caches()
    return (
        1e6 * best(methods.exact_of_arrays, p.w1, p.w2, p.sigma, p.ts) / p.evaluations
    )


def summed(p):
    """Microseconds per loss for the sum of each network's losses, newly compiled."""
    jax.clear_caches()

    def total(*arrays):
        return jax.numpy.sum(methods.exact_of_arrays(*arrays), axis=1)

    return 1e6 * best(total, p.w1, p.w2, p.sigma, p.ts) / p.evaluations


def without(name, measurement, p):
    """A measurement with `keeping` or `once` switched off."""
    rooms = blocks, scalar_loop, scalar_rows, _linalg
    places = [room for room in rooms if hasattr(room, name)]
    real = getattr(places[0], name)
    nothing = {"keeping": lambda _: contextlib.nullcontext(), "once": lambda x: x}[name]
    for place in places:
        setattr(place, name, nothing)
    try:
        return measurement(p)
    finally:
        for place in places:
            setattr(place, name, real)


def main():
    """Measure and print."""
    jax.config.update("jax_enable_x64", True)
    for sizes in ((3, 2, 2), (5, 2, 5), (5, 5, 5), (8, 8, 8)):
        p = problem(sizes, 1000, 100)
        arrays = p.w1, p.w2, p.sigma
        frame = jax.jit(jax.vmap(solution))(*arrays).frame
        rows = jax.vmap(lambda f, w1, w2: f.weights_to_rows(w1, w2))(frame, *arrays[:2])
        parts = {
            "singular values": best(jax.vmap(singular_basis), p.sigma),
            "the same by LAPACK": best(by_library, p.sigma),
            "the same by rotations": best(by_rotations, p.sigma),
            "echelon forms": best(
                jax.vmap(lambda x: eliminate(x, np.arange(len(x)))), rows
            ),
            "all decompositions": best(jax.vmap(solution), *arrays),
            "those of one task for all": best(
                jax.vmap(solution, in_axes=(0, 0, None)), *arrays[:2], p.sigma[0]
            ),
        }
        name = "-".join(map(str, sizes))
        print(f"{name}: {whole(p):.3f} a network at a time")
        for name, seconds in parts.items():
            print(f"  {name}: {1e6 * seconds / len(p.w1):.2f} a network")
    many = problem((8, 8, 8), 200, 136)
    print(
        f"8-8-8: {without('keeping', whole, many):.2f} without `kept`, "
        f"{whole(many):.2f} with it"
    )
    many = problem((5, 5, 5), 1000, 100)
    print(
        f"5-5-5, summed over times: {without('keeping', summed, many):.3f} without "
        f"`kept`, {summed(many):.3f} with it"
    )
    print(
        f"5-5-5: {without('once', whole, many):.3f} without `once`, "
        f"{whole(many):.3f} with it"
    )
    for n, count in ((32, 60), (64, 10)):
        p = problem((n, n, n), count, 100)
        rival = functools.partial(methods.cholesky(), p)
        row, _ = measure("", "", rival, p)
        print(
            f"{n}-{n}-{n}, {p.evaluations} at once: {whole(p):.0f}, "
            f"LAPACK kernel {row.microseconds:.0f}"
        )


if __name__ == "__main__":
    main()
