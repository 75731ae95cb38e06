"""The methods of `lazyrich bench`, one by one, under pytest-benchmark.

Run `python -m pip install ".[bench]"`, then `python -m pytest benchmarks`. The error
of each method is stored beside its times, and must be within the method's bound.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import lazyrich_jax as lr
from lazyrich_jax.bench import methods
from lazyrich_jax.bench.measure import difference
from lazyrich_jax.bench.measurements import SIZES
from lazyrich_jax.bench.problems import problem

pytest.importorskip("pytest_benchmark")
jax.config.update("jax_enable_x64", True)

LOSSES = {
    "exact": (methods.exact, 0.0),
    "LAPACK kernel": (methods.cholesky, 1e-11),
    "NumPy formula": (methods.formula, 1e-11),
    "diffrax 1e-6": (lambda: methods.diffrax(1e-6), 1e-3),
    "diffrax 1e-8": (lambda: methods.diffrax(1e-8), 1e-5),
    "diffrax 1e-10": (lambda: methods.diffrax(1e-10), 1e-7),
    "descent": (lambda: methods.descent(1e-2), 1e-1),
}
GRADIENTS = {
    "exact": (methods.exact_gradient, 0.0),
    "diffrax 1e-8": (lambda: methods.diffrax_gradient(1e-8), 1e-5),
    "diffrax 1e-8, forward": (lambda: methods.diffrax_forward(1e-8), 1e-5),
}


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("method", LOSSES)
def test_losses(benchmark, method, sizes):
    """The losses of 20 networks at 100 times."""
    make, most = LOSSES[method]
    some = problem(sizes, 20, 100)
    call = make()
    found = benchmark(lambda: jax.block_until_ready(call(some)))
    error = difference(found, methods.exact()(some))
    benchmark.extra_info["error"] = error
    assert error <= most


@pytest.mark.parametrize("method", GRADIENTS)
def test_gradients(benchmark, method):
    """The slopes of the losses of 10 networks at 20 times."""
    make, most = GRADIENTS[method]
    some = problem((3, 2, 2), 10, 20)
    call = make()
    found = benchmark(lambda: jax.block_until_ready(call(some)))
    # The slopes by the correlation are compared: slopes by the weights differ in
    # directions that break the balance.
    error = difference(found[2], methods.exact_gradient()(some)[2])
    benchmark.extra_info["error"] = error
    assert error <= most


@pytest.mark.parametrize("width, in_full", [(9, False), (4096, False), (4096, True)])
def test_wide_descent(benchmark, width, in_full):
    """The weights of a 5-w-4 network at 11 times of 10,000 steps of descent."""
    keys = jax.random.split(jax.random.key(0), 2)
    task = lr.Task.random_regression(5, 4, 20, key=keys[0])
    network = lr.Gaussian.lecun()(5, width, 4, key=keys[1])
    law, ts = lr.GradientDescent(1e-3), jnp.linspace(0.0, 10.0, 11)
    full, few = (eqx.filter_jit(f) for f in (law.simulate, law.run))
    call = full if in_full else few
    found = benchmark(lambda: jax.block_until_ready(call(network, task, ts)))
    expected = full(network, task, ts).network.weights
    pairs = zip(found.network.weights, expected, strict=True)
    error = max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in pairs)
    benchmark.extra_info["error"] = error
    assert error <= 1e-12
