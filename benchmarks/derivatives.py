"""Costs of derivatives by one parameter over the cost of the value, in one run.

`python -m benchmarks.derivatives` prints them for the loss, the function and QQ^T of
networks of several sizes at 100 times, in double precision.
"""

import time

import jax
import jax.numpy as jnp

CASES = ((3, 2, 2), 200), ((5, 5, 5), 200), ((8, 8, 8), 200), ((32, 32, 32), 10)


def best(function, *args, runs=7):
    """The shortest of several runs, in seconds."""
    jax.block_until_ready(function(*args))
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return min(times)


def programs(quantity, sizes, task):
    """The value of a quantity, and its derivative in both modes, of many networks."""
    import lazyrich_jax as lr

    ts = jnp.linspace(0, 5, 100)

    def value(lmda, key):
        network = lr.LambdaBalanced(lmda, 0.5)(*sizes, key=key)
        solution = lr.ExactSolution(network, task, throw=False)
        return getattr(solution, quantity)(ts)

    def forward(lmda, key):
        return jax.jvp(lambda lmda: value(lmda, key), (lmda,), (1.0,))[1]

    def reverse(lmda, key):
        return jax.grad(lambda lmda: jnp.sum(value(lmda, key) ** 2))(lmda)

    return [jax.jit(jax.vmap(f)) for f in (value, forward, reverse)]


def main():
    """Print the table."""
    import lazyrich_jax as lr

    jax.config.update("jax_enable_x64", True)
    print("| sizes | quantity | value, ms | forward | reverse |\n|---|---|---|---|---|")
    for sizes, count in CASES:
        key, samples = jax.random.key(0), 3 * sizes[0]
        task = lr.Task.random_regression(sizes[0], sizes[2], samples, key=key)
        arguments = jnp.linspace(0.1, 2, count), jax.random.split(key, count)
        for quantity in ("loss", "function", "qqt"):
            found = programs(quantity, sizes, task.whitened())
            cost, *others = (best(f, *arguments) for f in found)
            ratios = " | ".join(f"{x / cost:.1f}" for x in others)
            size = "-".join(str(n) for n in sizes)
            print(f"| {size} | {quantity} | {1e3 * cost:.2f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
