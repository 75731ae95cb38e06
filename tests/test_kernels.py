"""Tangent kernels against the derivatives of networks, and similarities."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import lazyrich_jax as lr

from .numerical_flow import flow

kernels = lr.kernels
SIZES = {
    "shallow": (3, 2),
    "two": (3, 4, 2),
    "three": (3, 2, 4, 2),
    "four": (2, 3, 3, 2, 1),
}


def make(sizes, dtype=jnp.float64):
    rng = np.random.default_rng(0)
    shapes = [(n_out, n_in) for n_in, n_out in itertools.pairwise(sizes)]
    *weights, x = (
        jnp.asarray(rng.normal(size=shape), dtype) for shape in (*shapes, (5, sizes[0]))
    )
    return lr.LinearNetwork(weights), x


def by_differences(network, x):
    """J J^T in NumPy, with J by differences of the outputs."""
    weights = [np.array(w) for w in network.weights]

    def outputs():
        h = np.asarray(x).T
        for w in weights:
            h = w @ h
        return h.ravel()  # outputs before samples

    columns = []
    for w in weights:
        for i in np.ndindex(w.shape):
            value, h = w[i], 1e-3
            w[i] = value + h
            high = outputs()
            w[i] = value - h
            columns.append((high - outputs()) / (2 * h))
            w[i] = value
    j = np.stack(columns, axis=1)
    return j @ j.T


@pytest.mark.parametrize("kind", SIZES)
def test_the_closed_form_is_that_of_the_derivatives(kind):
    network, x = make(SIZES[kind])
    samples, n_out = x.shape[0], network.sizes[-1]
    ntk = kernels.ntk(network, x)
    np.testing.assert_allclose(ntk, by_differences(network, x), atol=1e-9)
    np.testing.assert_allclose(kernels.empirical_ntk(network, x), ntk, rtol=1e-10)
    blocks = kernels.ntk_blocks(network, x)
    split = np.asarray(ntk).reshape(n_out, samples, n_out, samples)
    np.testing.assert_allclose(blocks, split.transpose(0, 2, 1, 3), rtol=1e-12)
    trace = kernels.ntk_trace(network, x)
    np.testing.assert_allclose(trace, np.einsum("injm,ij->nm", split, np.eye(n_out)))
    operator = kernels.ntk_operator(network, x)
    vector = np.random.default_rng(1).normal(size=n_out * samples)
    np.testing.assert_allclose(operator.mv(vector), ntk @ vector, rtol=1e-10)
    np.testing.assert_allclose(operator.as_matrix(), ntk, atol=1e-12)
    np.testing.assert_allclose(operator.T.mv(vector), ntk @ vector, rtol=1e-10)


def test_the_exact_solution_has_the_kernel_of_the_flow():
    task = lr.Task.random_regression(3, 2, 9, key=jax.random.key(0))
    network = lr.LambdaBalanced(1.0)(3, 2, 2, key=jax.random.key(1))
    late = lr.LinearNetwork(flow(network.weights, task, [0, 2.0])[1])
    ntk = lr.ExactSolution(network, task).ntk(2.0, task.x)
    np.testing.assert_allclose(ntk, kernels.ntk(late, task.x), rtol=1e-9)


def test_the_operator_solves_at_sizes_where_no_matrix_fits():
    network = lr.LambdaBalanced(3.0)(20, 6, 30, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4000, 20))
    operator = kernels.ntk_operator(network, x)  # its matrix would take 115 GB
    vector = operator.mv(jax.random.normal(jax.random.key(2), (120_000,)))

    @jax.jit
    def solve(vector):
        return lineax.linear_solve(
            operator, vector, lineax.CG(1e-8, 1e-8, max_steps=900), throw=False
        ).value

    np.testing.assert_allclose(operator.mv(solve(vector)), vector, atol=1e-3)


def test_the_empirical_kernel_of_any_model():
    model = eqx.nn.MLP(2, 3, 4, 2, activation=jnp.tanh, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4, 2))
    kernel = jax.jit(lambda x: kernels.empirical_ntk(model, x))(x)
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(parameters)

    @jax.jit
    def outputs(flat):
        return jax.vmap(eqx.combine(unravel(flat), rest))(x).T.ravel()

    j = jax.jit(jax.jacfwd(outputs))(flat)
    np.testing.assert_allclose(kernel, j @ j.T, rtol=1e-10)
    # The first step of descent moves the outputs by the kernel.
    y = jax.random.normal(jax.random.key(2), kernel.shape[:1])
    step = 1e-6 * jax.jit(jax.grad(lambda f: outputs(f) @ y))(flat)
    moved = (outputs(flat + step) - outputs(flat)) / 1e-6
    np.testing.assert_allclose(moved, kernel @ y, rtol=1e-4, atol=1e-5)
    convolution = eqx.nn.Sequential(
        [eqx.nn.Conv1d(1, 2, 3, key=jax.random.key(3)), eqx.nn.Lambda(jnp.ravel)]
    )
    images = jax.random.normal(jax.random.key(4), (3, 1, 5))
    assert kernels.empirical_ntk(convolution, images).shape == (18, 18)


class Spectral(eqx.Module):
    """A model with complex parameters and real outputs."""

    weight: jax.Array
    shift: jax.Array

    def __call__(self, x):
        z = self.weight @ x.astype(complex) + self.shift
        return z.real**2 + z.imag**2 + z.real


def test_the_empirical_kernel_of_complex_parameters():
    keys = jax.random.split(jax.random.key(0), 3)
    model = Spectral(jax.random.normal(keys[0], (2, 3), complex), jnp.array([1j, 2]))
    x = jax.random.normal(keys[1], (2, 3))
    kernel = kernels.empirical_ntk(model, x)

    def outputs(flat):  # as a function of real parameters
        w = jax.lax.complex(flat[:6], flat[6:12]).reshape(2, 3)
        shift = jax.lax.complex(flat[12:14], flat[14:])
        return jax.vmap(Spectral(w, shift))(x).T.ravel()

    parts = [p for a in (model.weight, model.shift) for p in (a.real, a.imag)]
    j = jax.jit(jax.jacfwd(outputs))(np.concatenate([np.ravel(p) for p in parts]))
    np.testing.assert_allclose(kernel, j @ j.T, rtol=1e-10)


@pytest.mark.usefixtures("untyped")
def test_the_empirical_kernel_of_tokens():
    keys = jax.random.split(jax.random.key(0), 2)
    embedding = eqx.nn.Embedding(5, 3, key=keys[0])
    linear = eqx.nn.Linear(3, 2, key=keys[1])
    model = Tokens(embedding, linear)
    tokens = np.array([0, 3, 3])
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(parameters)

    def outputs(flat):
        return jax.vmap(eqx.combine(unravel(flat), rest))(tokens).T.ravel()

    j = jax.jit(jax.jacfwd(outputs))(flat)
    for x in tokens, tokens.tolist(), jnp.asarray(tokens, jnp.uint8):
        np.testing.assert_allclose(kernels.empirical_ntk(model, x), j @ j.T, rtol=1e-9)


class Tokens(eqx.Module):
    embedding: eqx.nn.Embedding
    linear: eqx.nn.Linear

    def __call__(self, token):
        return self.linear(self.embedding(token))


@pytest.mark.usefixtures("untyped")
def test_models_the_empirical_kernel_is_not_for():
    x, key = jnp.ones((2, 3)), jax.random.key(0)
    with jax.numpy_dtype_promotion("standard"):
        with pytest.raises(TypeError, match=r"`model\(x\[0\]\)` must be real.*complex"):
            kernels.empirical_ntk(eqx.nn.Linear(3, 2, dtype=complex, key=key), x)
    half = eqx.nn.Linear(3, 2, dtype=jnp.bfloat16, key=key)
    with pytest.raises(TypeError, match="`model` must be in single or double"):
        kernels.empirical_ntk(half, x)


def test_similarities():
    network, x = make((3, 2, 4))
    w1, w2 = (np.asarray(w) for w in network.weights)
    y = np.asarray(jax.random.normal(jax.random.key(7), (5, 4)))
    x = np.asarray(x)
    np.testing.assert_allclose(
        kernels.input_similarity(network, x), x @ w1.T @ w1 @ x.T, rtol=1e-12
    )
    # At rank two of four, the pseudo-inverse counts only the layer's range.
    published = y @ np.linalg.pinv(w2 @ w2.T, rcond=1e-10) @ y.T
    np.testing.assert_allclose(
        kernels.output_similarity(network, y), published, rtol=1e-9
    )
    # The similarity of the network's outputs equals that of the hidden activity.
    hidden = x @ w1.T
    np.testing.assert_allclose(
        kernels.output_similarity(network, hidden @ w2.T), hidden @ hidden.T, rtol=1e-9
    )


def test_transformations_and_precision():
    network, x = make((3, 4, 2), jnp.float32)
    for f in (kernels.ntk, kernels.ntk_blocks, kernels.ntk_trace):
        value = f(network, x)
        assert value.dtype == jnp.float32
        batch = jax.jit(jax.vmap(f, in_axes=(None, 0)))(network, x[None])
        np.testing.assert_allclose(batch[0], value, rtol=1e-5, atol=1e-5)
        slope = jax.jit(jax.grad(lambda n, f=f: jnp.sum(f(n, x))))(network)
        assert all(jnp.isfinite(w).all() for w in slope.weights)
    zero = jax.tree.map(jnp.zeros_like, network)
    assert (
        not kernels.ntk(zero, x).any() and not kernels.input_similarity(zero, x).any()
    )
    assert not kernels.output_similarity(zero, x[:, :2]).any()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda n: kernels.ntk(n, np.ones(3)), "`x` must be a matrix"),
        (lambda n: kernels.ntk_trace(n, np.ones((5, 2))), "`x` must have 3 inputs"),
        (lambda n: kernels.ntk_blocks(n, np.ones((5, 2))), "`x` must have 3 inputs"),
        (lambda n: kernels.ntk_operator(n, np.ones((5, 2))), "`x` must have 3 inputs"),
        (lambda n: kernels.input_similarity(n, np.ones((5, 2))), "must have 3 inputs"),
        (lambda n: kernels.output_similarity(n, np.ones((5, 3))), "have 2 outputs"),
        (lambda n: kernels.empirical_ntk(n, 1.0), "`x` must hold samples"),
        (
            lambda n: kernels.empirical_ntk(jnp.tanh, np.ones((2, 3))),
            "`model` must hold",
        ),
    ],
)
def test_bad_input_is_named(untyped, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(make((3, 4, 2))[0])
