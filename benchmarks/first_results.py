"""CPU seconds to trace, lower and compile programs of one network at 100 times.

`python -m benchmarks.first_results` prints them, each from a process of its own, in
double precision and without a persistent cache.
"""

import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp

import lazyrich_jax as lr

SIZES = "3-2-2", "5-5-5"
PROGRAMS = "loss", "gradient", "jacobian", "hessian"


def program(name):
    """A function of weights and task: losses, or their derivatives."""
    ts = jnp.linspace(0, 3, 100)

    def losses(network, task):
        return lr.ExactSolution(network, task).loss(ts)

    def by_three(parameters, network, task):
        lmda, scale, rate = parameters
        start = lr.balanced_network(scale * network.function, lmda)
        return lr.ExactSolution(start, task).loss(rate * ts)

    def total(parameters, network, task):
        return jnp.sum(by_three(parameters, network, task))

    one = jnp.ones(3)
    return {
        "loss": losses,
        "gradient": jax.value_and_grad(lambda *x: jnp.sum(losses(*x)), argnums=(0, 1)),
        "jacobian": lambda *x: jax.jacfwd(lambda p: by_three(p, *x))(one),
        "hessian": lambda *x: jax.hessian(lambda p: total(p, *x))(one),
    }[name]


def measure(name, sizes):
    """Print the seconds of one program."""
    jax.config.update("jax_enable_x64", True)
    n_in, hidden, n_out = sizes
    sigma = jax.random.normal(jax.random.key(0), (n_out, n_in))
    task = lr.Task.from_correlation(sigma)
    network = lr.LambdaBalanced(0.5)(n_in, hidden, n_out, key=jax.random.key(1))
    function = program(name)
    start = time.process_time()
    jax.jit(function).lower(network, task).compile()
    print(f"{time.process_time() - start:.1f}")


def main():
    """Print the table."""
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    print("| program | " + " | ".join(SIZES) + " |\n|---|" + "---:|" * len(SIZES))
    for name in PROGRAMS:
        found = []
        for sizes in SIZES:
            command = [sys.executable, "-m", "benchmarks.first_results", name, sizes]
            run = subprocess.run(
                command, env=environment, capture_output=True, check=True, text=True
            )
            found.append(run.stdout.split()[-1])
        print(f"| {name} | " + " | ".join(found) + " |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1], tuple(int(n) for n in sys.argv[2].split("-")))
    else:
        main()
