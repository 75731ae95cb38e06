"""Kernel distances of real models against published closed forms, at both ends."""

import jax.numpy as jnp
import lineax
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax.figures import neuron
from lazyrich_jax.richness import exact
from lazyrich_jax.richness.model import pair_of


def of_neuron(parameters, x):
    return parameters["a"] * (parameters["w"] @ x)


def neuron_alignment(w0, a0, w, a):
    """The cosine of both kernels $a^2 I + w w^T$ of two inputs (Kunin et al. 2024)."""
    n0, n = w0 @ w0, w @ w
    product = 2 * a0**2 * a**2 + a0**2 * n + a**2 * n0 + (w0 @ w) ** 2
    norms = [2 * b**4 + 2 * b**2 * m + m**2 for b, m in ((a0, n0), (a, n))]
    return product / np.sqrt(norms[0] * norms[1])


def test_the_single_neuron_of_kunin():
    target, deltas, ts = jnp.array([0.0, 1.0]), [-2.0, 0.0, 2.0], [0.0, 0.6, 20.0]
    starts = neuron.starts(jnp.array([-1.0, 0.0]), jnp.array(deltas))
    flows = neuron.solve(starts, target, jnp.array(ts))
    drawn = np.asarray(neuron.kernel_distances(flows))  # by the figure
    w, a = np.asarray(flows.w), np.asarray(flows.a)
    for i in range(len(deltas)):
        states = [{"w": w[i, k], "a": a[i, k, None]} for k in range(len(ts))]
        for k in (1, 2):
            found = lr.richness.kernel_products(
                states[0], states[k], np.eye(2), apply=of_neuron
            )
            expected = 1 - neuron_alignment(w[i, 0], a[i, 0], w[i, k], a[i, k])
            assert expected > 1e-3
            np.testing.assert_allclose(found.kernel_distance, expected, rtol=1e-12)
            np.testing.assert_allclose(drawn[i, k], expected, rtol=1e-10)


def student(scale, delta, hidden=8):
    """Kunin's symmetrised student: |w| and |a| of this scale and balance."""
    rng = np.random.default_rng(100)
    half = np.sqrt((np.sqrt(4 + (delta / scale**2) ** 2) - delta / scale**2) / 2)
    w = rng.normal(size=(hidden // 2, 2))
    w *= scale * half / np.linalg.norm(w, axis=1, keepdims=True)
    a = scale / half * rng.choice([-1.0, 1.0], hidden // 2)
    return {"w": np.concatenate([w, w]), "a": np.concatenate([a, -a])}


def relu_kernel(state, x):
    """The tangent kernel, summed over neurons by hand."""
    z = x @ state["w"].T
    on = (z > 0).astype(float)
    return on * z @ (on * z).T + x @ x.T * ((on * state["a"] ** 2) @ on.T)


def test_the_two_layer_network_of_kunin():
    """Full-batch descent from the symmetrised start, on a teacher of three neurons."""
    rng = np.random.default_rng(15)
    teacher = rng.normal(size=(3, 2))
    teacher /= np.linalg.norm(teacher, axis=1, keepdims=True)
    x = rng.normal(size=(20, 2))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.maximum(x @ teacher.T, 0) @ np.array([1.0, -1.0, 1.0])

    def relu(parameters, x):
        return parameters["a"] @ jnp.maximum(parameters["w"] @ x, 0)

    distances = []
    for scale, delta in ((0.1, 0.0), (2.0, 0.0)):
        start = student(scale, delta)
        balance = start["a"] ** 2 - np.sum(start["w"] ** 2, axis=1)
        np.testing.assert_allclose(balance, delta, atol=1e-12)
        w, a = start["w"], start["a"]
        for _ in range(4000):
            z = x @ w.T
            slope = 2 / 20 * (np.maximum(z, 0) @ a - y)
            back = slope[:, None] * (z > 0) * a
            w, a = w - 0.01 * back.T @ x, a - 0.01 * slope @ np.maximum(z, 0)
        end = {"w": w, "a": a}
        products = lr.richness.kernel_products(start, end, x, apply=relu)
        k0, k1 = relu_kernel(start, x), relu_kernel(end, x)
        cosine = np.sum(k0 * k1) / np.linalg.norm(k0) / np.linalg.norm(k1)
        np.testing.assert_allclose(products.kernel_distance, 1 - cosine, rtol=1e-9)
        distances.append(products.kernel_distance)
    assert distances[1] < 0.2 * distances[0]  # large weights are lazy


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nearly_orthogonal_kernels_keep_their_digits(dtype):
    small = dtype(2e-6)
    x0, x1 = np.array([1, 2, 0, 0, small]), np.array([0, 0, 3, 1, 1], dtype)
    x0 = x0.astype(dtype)
    expected = float(small) ** 2 / (5 * 11)
    assert expected < 1e-12
    k0, k1 = np.outer(x0, x0), np.outer(x1, x1)
    operators = [lineax.MatrixLinearOperator(jnp.asarray(k)) for k in (k0, 1e3 * k1)]
    for kernels in ((k0, k1), (k1, k0), operators, operators[::-1]):
        found = lr.measures.kernel_alignment(*kernels)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        found = lr.measures.kernel_distance(*kernels)
        np.testing.assert_allclose(found, 1, rtol=1e-6)
    found = lr.measures.target_alignment(k0, x1[:, None])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Two states of a neuron, whose input weights are orthogonal.
    w0, w, a = np.array([1, 0], dtype), np.array([0, 1], dtype), dtype(5e-7)
    states = [{"w": v, "a": np.array([a])} for v in (w0, w)]
    truth = neuron_alignment(w0.astype(float), float(a), w.astype(float), float(a))
    start, end = states
    before, after, x = pair_of(start, end, np.eye(2, dtype=dtype), of_neuron)
    for plan in exact.plans(before, x, 1, 1e6):  # both roads
        products = exact.exact_products(before, after, x, plan)
        np.testing.assert_allclose(products.kernel_alignment, truth, rtol=1e-5)
