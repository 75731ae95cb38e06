"""The losses of wide starts, against a padded square and a numerical flow.

`python -m benchmarks.wide_starts` prints a table for docs/speed.md: microseconds for a
start and 100 times, in batches, of

- the balanced square of as many inputs, outputs and hidden units as the larger side,
- wide starts in `in + out` hidden units, as `Gaussian.compressed` draws them,
- wide starts in full width, and with `start="any"`,
- Diffrax at 1e-8, of compressed starts and in full width.

Each is the smallest time of five runs after the first. Every size has one task. The
errors of the losses are over the start's loss.
"""

import time

import jax
import jax.numpy as jnp

SIZES = ((5, 4), (20, 10))
WIDTHS = 64, 4096
TIMES, BATCH, FLOWS = 100, 1000, 16


def seconds(call, *arrays):
    """The smallest of five times."""
    return times(call, *arrays)[0]


def times(call, *arrays):
    """Five times after the first call, increasing."""
    jax.block_until_ready(call(*arrays))
    found = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(call(*arrays))
        found.append(time.perf_counter() - start)
    return sorted(found)


def exact(task, start):
    """The losses of a batch by the closed form."""
    import lazyrich_jax as lr

    def loss(network):
        return lr.ExactSolution(network, task, start=start, throw=False).loss(ts())

    return jax.jit(jax.vmap(loss))


def flow(task, *, in_full):
    """The losses of a batch by a numerical flow."""
    import lazyrich_jax as lr

    law = lr.GradientFlow(rtol=1e-8, atol=1e-8)
    call = law.simulate if in_full else law.run
    return jax.jit(jax.vmap(lambda network: call(network, task, ts()).loss))


def ts():
    """The times."""
    return jnp.linspace(0.05, 5.0, TIMES)


def row(n_in, width, n_out):
    """The cells of one size."""
    import lazyrich_jax as lr

    n, batch = max(n_in, n_out), BATCH if width * (n_in + n_out) < 5000 else BATCH // 10
    key = jax.random.key(0)
    task = lr.Task.random_regression(n_in, n_out, 4 * n_in, key=key).whitened()
    square = lr.Task.random_regression(n, n, 4 * n, key=key).whitened()

    @jax.jit
    @jax.vmap
    def drawn(key):
        wide = lr.WideOrthogonal(0.5, 1.0)(n_in, width, n_out, key=key)
        return lr.LambdaBalanced(1.5)(n, n, n, key=key), wide, wide.compressed()[0]

    balanced, wide, few = drawn(jax.random.split(key, batch))
    ours = exact(task, "wide")
    of_square = seconds(exact(square, "balanced"), balanced) / batch
    found = [seconds(ours, networks) / batch for networks in (few, wide)]
    of_any = seconds(exact(task, "any"), wide) / batch
    some, small = (jax.tree.map(lambda w: w[:FLOWS], x) for x in (wide, few))
    flows = [
        seconds(flow(task, in_full=full), networks) / FLOWS
        for full, networks in ((False, small), (True, some))
    ]
    expected = flow(task, in_full=False)(small)
    error = jnp.abs(ours(wide)[:FLOWS] - expected).max() / expected.max()
    ratios = ", ".join(f"{x / of_square:.1f}" for x in found)
    micro = [f"{1e6 * x:.3g}" for x in (of_square, *found, of_any, *flows)]
    sizes = f"{n_in}-{width}-{n_out}"
    return sizes, batch, *micro[:3], ratios, *micro[3:], f"{error:.1g}"


def rows_of_libraries(width):
    """A line on the decomposition of full weights by a library and by a loop."""
    import lazyrich_jax as lr
    from lazyrich_jax._xla import sizes

    batch = BATCH if width < 500 else BATCH // 10
    task = lr.Task.random_regression(5, 4, 20, key=jax.random.key(0)).whitened()
    keys = jax.random.split(jax.random.key(0), batch)
    wide = jax.jit(jax.vmap(lambda k: lr.WideOrthogonal(0.5, 1.0)(5, width, 4, key=k)))
    networks, usual, found = wide(keys), sizes.LIBRARY_ROWS, []
    for name, most in (("library", 10**6), ("loop", 0)):
        sizes.LIBRARY_ROWS = most
        jax.clear_caches()
        some = [1e6 * x / batch for x in times(exact(task, "wide"), networks)]
        found.append(f"{name} {some[0]:.3g} to {some[-1]:.3g}")
    sizes.LIBRARY_ROWS = usual
    return f"5-{width}-4, microseconds for a start: {'; '.join(found)}"


def main():
    """Print the table, and the times of both decompositions."""
    jax.config.update("jax_enable_x64", True)
    names = "sizes", "batch", "square", "compressed", "full width", "over the square"
    names = *names, "any", "Diffrax, compressed", "Diffrax, full width", "error"
    print(f"| {' | '.join(names)} |")
    print(f"|{'|'.join('---' for _ in names)}|")
    for n_in, n_out in SIZES:
        for width in WIDTHS:
            print(f"| {' | '.join(map(str, row(n_in, width, n_out)))} |", flush=True)
    for width in (64, 512, 4096):
        print(rows_of_libraries(width), flush=True)


if __name__ == "__main__":
    main()
