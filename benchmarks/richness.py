"""Time and memory of the measures of real models.

Run `python -m benchmarks.richness NAME`, a process per name for its peak of memory:
`digits` (exact products of 1797 samples and a 64-32-10 network), `convolution` (a
sketch for a convolutional network of ten million parameters and 256 samples), `whole`
(a report of this network), `rank` (the effective rank of a kernel of 1000 samples),
`sharpness` (of the digits network), `regimes` (the table of docs/richness.md: a lazy
and a rich training).
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

import lazyrich_jax as lr


def moved(model: PyTree, scale: float = 0.3) -> PyTree:
    """The model after a random change of its parameters, relative to their size."""
    leaves, structure = jax.tree.flatten(eqx.filter(model, eqx.is_array))
    keys = jax.random.split(jax.random.key(9), len(leaves))
    changed = [
        leaf + scale * jnp.std(leaf) * jax.random.normal(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    rest = eqx.filter(model, eqx.is_array, inverse=True)
    return eqx.combine(jax.tree.unflatten(structure, changed), rest)


def dense() -> tuple[PyTree, Array, Array]:
    """A 64-32-10 network, samples like the 8 x 8 digits, and targets."""
    model = eqx.nn.MLP(64, 10, 32, 1, key=jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (1797, 64))
    labels = jax.random.randint(jax.random.key(2), (1797,), 0, 10)
    return model, x, jax.nn.one_hot(labels, 10)


def convolutional() -> tuple[PyTree, Array]:
    """A network of ten million parameters, and 256 images of 32 x 32."""
    keys = jax.random.split(jax.random.key(0), 6)
    channels = 3, 64, 128, 256, 512
    layers = []
    for i, key in enumerate(keys[:4]):
        layers += [
            eqx.nn.Conv2d(channels[i], channels[i + 1], 3, 2, 1, key=key),
            eqx.nn.Lambda(jax.nn.relu),
        ]
    layers += [
        eqx.nn.Lambda(jnp.ravel),
        eqx.nn.Linear(2048, 4096, key=keys[4]),
        eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.Linear(4096, 10, key=keys[5]),
    ]
    x = jax.random.normal(jax.random.key(1), (256, 3, 32, 32))
    return eqx.nn.Sequential(layers), x


def measure(call: Callable[[], object]) -> None:
    """Print the result of a call, its time and the peak of memory."""
    before, own = time.time(), time.process_time()
    print(call())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    wall, cores = time.time() - before, time.process_time() - own
    print(f"{wall:.1f} s, {cores:.1f} s of all cores, {peak:.2f} GB at most")


def digits() -> None:
    """Exact products of all digits."""
    model, x, y = dense()
    measure(lambda: lr.richness.kernel_products(model, moved(model), x, y=y))


def convolution(directions: int = 16) -> None:
    """A sketch for a large network."""
    model, x = convolutional()
    end = moved(model)
    count = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_array)))
    print(f"{count} parameters, {directions} directions")
    options = {"method": "sketch", "key": jax.random.key(3), "directions": directions}
    measure(lambda: lr.richness.kernel_products(model, end, x, **options))


def whole(directions: int = 16) -> None:
    """A report of the large network after a change of its weights by 2 %."""
    model, x = convolutional()
    y = jax.random.randint(jax.random.key(5), (x.shape[0],), 0, 10)
    options = {"method": "sketch", "key": jax.random.key(3), "directions": directions}
    measure(lambda: lr.richness.report(model, moved(model, 0.02), x, y, **options))


def rank() -> None:
    """The effective rank of a kernel, compiled first."""
    x = jax.random.normal(jax.random.key(0), (1000, 300))
    kernel = x @ x.T
    lr.measures.effective_rank(kernel).block_until_ready()
    measure(lambda: lr.measures.effective_rank(kernel))


def sharpness() -> None:
    """The sharpness of the digits network."""
    model, x, y = dense()
    measure(lambda: lr.richness.sharpness(model, x, y))


def regimes(steps: int = 5000) -> None:
    """Reports of a ReLU network on 1000 digits, at a small and a large output scale.

    The outputs are those of the network less those of its start, times the scale. Large
    scales are lazy (Chizat et al. 2019).
    """
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    x, labels = jnp.asarray(digits.data[:1000] / 16, jnp.float32), digits.target[:1000]
    y = jax.nn.one_hot(labels, 10)
    start = eqx.nn.MLP(64, 10, 64, 1, key=jax.random.key(1))
    parameters, rest = eqx.partition(start, eqx.is_inexact_array)

    for scale in (1 / 8, 32.0):
        optimiser = optax.sgd(0.02 / scale**2, momentum=0.9)

        def apply(model: PyTree, x: Array, scale: float = scale) -> Array:
            return scale * (model(x) - start(x))

        def loss(parameters: PyTree, apply: Callable = apply) -> Array:
            model = eqx.combine(parameters, rest)
            outputs = jax.vmap(lambda sample: apply(model, sample))(x)
            return jnp.sum((outputs - y) ** 2) / (2 * x.shape[0])

        def step(carry: tuple, _: None, loss=loss, optimiser=optimiser) -> tuple:
            update, state = optimiser.update(jax.grad(loss)(carry[0]), carry[1])
            return (optax.apply_updates(carry[0], update), state), None

        first = parameters, optimiser.init(parameters)
        (last, _), _ = jax.lax.scan(step, first, length=steps)
        end = eqx.combine(last, rest)
        report = lr.richness.report(start, end, x, labels, apply=apply)
        print(f"output scale {scale}\n{report}", flush=True)


def main() -> None:
    """Run the benchmark that is named."""
    benchmarks = {
        f.__name__: f for f in (digits, convolution, whole, rank, sharpness, regimes)
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=benchmarks)
    benchmarks[parser.parse_args().name]()


if __name__ == "__main__":
    main()
