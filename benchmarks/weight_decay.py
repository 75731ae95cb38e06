"""The losses of balanced starts under weight decay, against a numerical flow.

`python -m benchmarks.weight_decay` prints a table for docs/speed.md: microseconds for a
start and a time, for batches of one task at 100 times up to 5, and up to 100, of

- the exact solution, each start with its own balance,
- the exact solution of starts that share a given balance,
- the exact solution of starts whose balance is known to be zero, and without decay,
- Diffrax at 1e-8 and at 1e-10.

Each is the smallest time of five runs after the first. The error of the losses is over
the start's loss, against Diffrax at 1e-10.
"""

import jax
import jax.numpy as jnp

from .wide_starts import seconds

SIZES = ((3, 2, 2), (5, 5, 5))
ENDS = 5.0, 100.0
TIMES, BATCH, LMDA, DECAY = 100, 200, 1.0, 0.1


def row(sizes, end):
    """The cells of one size and last time."""
    import lazyrich_jax as lr

    key, ts = jax.random.key(0), jnp.linspace(0.0, end, TIMES)
    n_in, _, n_out = sizes
    task = lr.Task.random_regression(n_in, n_out, 4 * n_in, key=key).whitened()

    def drawn(lmda):
        draw, keys = lr.LambdaBalanced(lmda, 0.3), jax.random.split(key, BATCH)
        return jax.jit(jax.vmap(lambda key: draw(*sizes, key=key)))(keys)

    def exact(weight_decay=DECAY, **given):
        given = {"weight_decay": weight_decay, "throw": False, **given}
        return lambda network: lr.ExactSolution(network, task, **given).loss(ts)

    def flow(tolerance):
        law = lr.GradientFlow(rtol=tolerance, atol=tolerance, weight_decay=DECAY)
        return lambda network: law.run(network, task, ts).loss

    networks, zero = drawn(LMDA), drawn(0.0)
    known = exact(lmda=0.0, start="balanced"), exact(weight_decay=0.0)
    calls = exact(), exact(lmda=LMDA), *known, flow(1e-8), flow(1e-10)
    calls = [jax.jit(jax.vmap(call)) for call in calls]
    starts = networks, networks, zero, zero, networks, networks
    pairs = zip(calls, starts, strict=True)
    micro = [f"{1e6 * seconds(f, x) / BATCH / TIMES:.2g}" for f, x in pairs]
    own, expected = calls[0](networks), calls[-1](networks)
    error = jnp.abs(own - expected).max() / expected.max()
    return "-".join(map(str, sizes)), f"{end:g}", *micro, f"{error:.1g}"


def main():
    """Print the table."""
    jax.config.update("jax_enable_x64", True)
    names = "sizes", "last time", "own balance", "shared balance"
    names = *names, "zero balance", "zero balance, no decay"
    names = *names, "Diffrax 1e-8", "Diffrax 1e-10", "error"
    print(f"| {' | '.join(names)} |")
    print(f"|{'|'.join('---' for _ in names)}|")
    for sizes in SIZES:
        for end in ENDS:
            print(f"| {' | '.join(map(str, row(sizes, end)))} |", flush=True)


if __name__ == "__main__":
    main()
