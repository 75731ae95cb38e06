"""CPU seconds to trace, lower and compile programs of one network at 100 times.

`python -m benchmarks.first_results` prints them, each from a process of its own, in
double precision and without a persistent cache: by XLA's newer code generator for CPUs,
the default, and by the older one (docs/speed.md).
"""

import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp

import lazyrich_jax as lr

SIZES = "3-2-2", "5-5-5"
PROGRAMS = "loss", "gradient", "jacobian", "hessian", "reversal"
GENERATORS = "newer", "older"


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

    def time_of_reversal(lmda, network, task):
        found = lr.applications.reversal(
            network, task, lmda, duration=3.0, ts=ts, throw=False
        )
        return found.time[0]

    one = jnp.ones(3)
    return {
        "loss": losses,
        "gradient": jax.value_and_grad(lambda *x: jnp.sum(losses(*x)), argnums=(0, 1)),
        "jacobian": lambda *x: jax.jacfwd(lambda p: by_three(p, *x))(one),
        "hessian": lambda *x: jax.hessian(lambda p: total(p, *x))(one),
        "reversal": lambda *x: jax.grad(time_of_reversal)(one[:1], *x),
    }[name]


def measure(name, sizes, generator):
    """Print the seconds of one program by the newer or older code generator."""
    jax.config.update("jax_enable_x64", True)
    n_in, hidden, n_out = sizes
    sigma = jax.random.normal(jax.random.key(0), (n_out, n_in))
    task = lr.Task.from_correlation(sigma)
    network = lr.LambdaBalanced(0.5)(n_in, hidden, n_out, key=jax.random.key(1))
    function = program(name)
    options = {"xla_cpu_use_fusion_emitters": generator == "newer"}
    start = time.process_time()
    jax.jit(function, compiler_options=options).lower(network, task).compile()
    print(f"{time.process_time() - start:.1f}")


def main():
    """Print the table."""
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    columns = [(sizes, generator) for sizes in SIZES for generator in GENERATORS]
    titles = " | ".join(", ".join(column) for column in columns)
    print(f"| program | {titles} |\n|---|" + "---:|" * len(columns))
    for name in PROGRAMS:
        found = []
        for column in columns:
            command = [sys.executable, "-m", "benchmarks.first_results", name, *column]
            run = subprocess.run(
                command, env=environment, capture_output=True, check=True, text=True
            )
            found.append(run.stdout.split()[-1])
        print(f"| {name} | " + " | ".join(found) + " |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        name, sizes, generator = sys.argv[1:]
        measure(name, tuple(int(n) for n in sizes.split("-")), generator)
    else:
        main()
