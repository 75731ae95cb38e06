"""The error of laws for wide networks, against the gradient flow of the weights.

`python -m benchmarks.wide_convergence` prints the tables of `WideLimit` for
docs/theory.md and of `NearlyExact` for docs/beyond.md. Errors are
medians over draws of the largest error in time: of the loss over its start, of the
function over its largest norm, and of the representations over their largest entry.
"""

import functools
import itertools

import jax
import jax.numpy as jnp

WIDTHS = 64, 256, 1024, 4096
DRAWS = 8


def initialisers(n_in, n_out):
    """Functions of width and key by name."""
    import lazyrich_jax as lr

    def gaussian(initialiser):
        return lambda width, key: initialiser(n_in, width, n_out, key=key)

    def uniform(width, key):
        """PyTorch's default: uniform within one over the root of the fan-in."""
        first, second = jax.random.split(key)
        a, b = n_in**-0.5, width**-0.5
        w1 = jax.random.uniform(first, (width, n_in), minval=-a, maxval=a)
        w2 = jax.random.uniform(second, (n_out, width), minval=-b, maxval=b)
        return lr.LinearNetwork((w1, w2))

    return {
        "LeCun": gaussian(lr.Gaussian.lecun()),
        "He": gaussian(lr.Gaussian.he()),
        "Glorot": gaussian(lr.Gaussian.glorot()),
        "PyTorch": uniform,
        "small": gaussian(lr.Gaussian(1e-3)),
    }


@functools.partial(jax.jit, static_argnums=2)
@functools.partial(jax.vmap, in_axes=(0, None, None))
def errors(network, task, law):
    """Errors of the loss, the function, both representations and the estimate.

    `network` has the units that are used alone: one program serves all widths.
    """
    import lazyrich_jax as lr

    s = jnp.linalg.svd(task.input_output_correlation, compute_uv=False)
    end = 6 / (network.effective_laziness / 2 + s[0] / 2)
    ts = jnp.linspace(0, 1, 25) * end
    limit = lr.learn(network, task, ts, dynamics=getattr(lr, law)(), throw=False)
    flow = lr.learn(network, task, ts, dynamics=lr.GradientFlow())

    def off(one, other):
        return jnp.max(jnp.abs(one - other)) / jnp.max(jnp.abs(other))

    def norms(x):
        return jnp.sqrt(jnp.sum(x * x, axis=(1, 2)))

    true = jnp.max(norms(limit.function - flow.function))
    estimate = jnp.asarray(limit.error_estimate)
    return (
        jnp.max(jnp.abs(limit.loss - flow.loss)) / flow.loss[0],
        true / jnp.max(norms(flow.function)),
        off(limit.input_representation, flow.input_representation),
        off(limit.output_representation, flow.output_representation),
        jnp.max(estimate) / true,
    )


def main():
    """Print the table."""
    import lazyrich_jax as lr

    jax.config.update("jax_enable_x64", True)
    keys = jax.random.split(jax.random.key(0), DRAWS)
    for law, (n_in, n_out) in itertools.product(
        ("WideLimit", "NearlyExact"), ((5, 4), (20, 10))
    ):
        key, samples = jax.random.key(1), 3 * n_in
        task = lr.Task.random_regression(n_in, n_out, samples, key=key).whitened()
        print(f"\n{law}, {n_in}-w-{n_out}, median of {DRAWS} draws\n")
        print("| weights | w | loss | function | inputs | outputs | estimate / error |")
        print("|---|---|---|---|---|---|---|")
        for name, draw in initialisers(n_in, n_out).items():
            for width in WIDTHS:
                drawn = [draw(width, key).compressed()[0] for key in keys]
                networks = jax.tree.map(lambda *w: jnp.stack(w), *drawn)
                *found, ratio = (jnp.median(x) for x in errors(networks, task, law))
                numbers = [*[f"{x:.1e}" for x in found], f"{ratio:.2f}"]
                row = " | ".join([name, str(width), *numbers])
                print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
