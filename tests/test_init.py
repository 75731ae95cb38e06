import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from .test_network import SIZES, feasible

KEY = jax.random.key(0)
MAGNITUDES = (0.0, 1e-8, 1.0, 50.0, 1e3, 1e6)
LMDAS = sorted({sign * m for sign in (-1, 1) for m in MAGNITUDES})


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_lambda_balanced(sizes, dtype):
    eps = float(jnp.finfo(dtype).eps)
    expected = None
    for lmda in feasible(sizes, LMDAS):
        network = lr.LambdaBalanced(jnp.asarray(lmda, dtype), 0.7)(*sizes, key=KEY)
        assert all(w.dtype == dtype for w in network.weights)
        scale = abs(lmda) + sum(np.sum(np.asarray(w) ** 2) for w in network.weights)
        assert abs(float(network.lmda) - lmda) < 10 * eps * scale
        assert float(network.balance_residual) < 10 * eps * scale
        # The function's singular values don't depend on lambda.
        w1, w2 = (np.asarray(w, np.float64) for w in network.weights)
        s = np.linalg.svd(w2 @ w1)[1]
        expected = s if expected is None else expected
        # Products of weights of size sqrt(|lambda|) round relative to that size.
        assert np.abs(s - expected).max() < 10 * eps * (abs(lmda) ** 0.5 + s[0])


def test_scale_squares_into_the_function():
    one = lr.LambdaBalanced(2.0, 1.0)(3, 2, 4, key=KEY)
    three = lr.LambdaBalanced(2.0, 3.0)(3, 2, 4, key=KEY)
    np.testing.assert_allclose(three.function, 9 * one.function, rtol=1e-13)


def test_sweeps_without_recompiling():
    @jax.jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def lmdas(lmda, scale, keys):
        def draw(lmda, scale, key):
            return lr.LambdaBalanced(lmda, scale)(3, 2, 2, key=key).lmda

        return jax.vmap(draw)(lmda, scale, keys)

    for seed in range(3):
        lmda = jnp.linspace(-5, 5, 4) + seed
        scale = jnp.full(4, 0.1 + seed)
        drawn = lmdas(lmda, scale, jax.random.split(jax.random.key(seed), 4))
        np.testing.assert_allclose(drawn, lmda, atol=1e-13)


def test_infeasible_members_of_a_batch():
    def draw(lmda, throw):
        initialiser = lr.LambdaBalanced(lmda, throw=throw)
        return initialiser(2, 3, 3, key=KEY).weights[0]

    lmdas = jnp.array([1.0, -1.0])
    w1 = jax.vmap(lambda lmda: draw(lmda, False))(lmdas)
    assert jnp.all(jnp.isfinite(w1[0])) and jnp.all(jnp.isnan(w1[1]))
    with pytest.raises(RuntimeError, match="`lmda` must be finite and feasible"):
        jax.block_until_ready(eqx.filter_jit(draw)(lmdas[1], True))


def test_gradient_with_respect_to_lambda_and_scale():
    def value(lmda, scale):
        network = lr.LambdaBalanced(lmda, scale)(3, 2, 4, key=KEY)
        return jnp.sum(network.weights[0] ** 3) + jnp.sum(network.weights[1] ** 3)

    both = jax.jit(jax.value_and_grad(value, argnums=(0, 1)))
    for lmda in (-1.3, 0.0, 1.3):
        (x, y), h = (lmda, 0.8), 1e-5
        gradient = both(x, y)[1]
        slopes = (
            (both(x + h, y)[0] - both(x - h, y)[0]) / (2 * h),
            (both(x, y + h)[0] - both(x, y - h)[0]) / (2 * h),
        )
        np.testing.assert_allclose(gradient, slopes, rtol=1e-7)


@pytest.mark.parametrize("sizes", [(3, 3, 3), (4, 2, 3), (2, 4, 3)], ids=str)
def test_aligned_shares_the_tasks_singular_vectors(sizes):
    task = lr.Task.random_regression(sizes[0], sizes[2], 9, key=jax.random.key(1))
    network = lr.Aligned(task, 0.0, 0.5)(*sizes, key=KEY)
    u, _, vt = np.linalg.svd(task.input_output_correlation)
    modes = u.T @ network.function @ vt.T
    k = min(sizes)
    strengths = np.diagonal(modes)[:k]
    assert np.all(strengths > 0) and np.all(np.diff(strengths) < 0)
    rest = np.array(modes)
    rest[np.arange(k), np.arange(k)] = 0
    assert np.abs(rest).max() < 1e-14
    drawn = lr.LambdaBalanced(0.0, 0.5)(*sizes, key=KEY)
    np.testing.assert_allclose(
        strengths, np.linalg.svd(drawn.function)[1][:k], rtol=1e-13
    )


@pytest.mark.parametrize(
    "initialiser, variances",
    [
        (lr.Gaussian(0.3), (0.09, 0.09)),
        (lr.Gaussian([0.1, 0.2]), (0.01, 0.04)),
        (lr.Gaussian.lecun(), (1 / 60, 1 / 40)),
        (lr.Gaussian.he(), (2 / 60, 2 / 40)),
        (lr.Gaussian.glorot(), (2 / 100, 2 / 90)),
        (lr.Gaussian.scaled([1.0, 2.0]), (1 / 60, 4 / 40)),
    ],
)
def test_gaussian_variances(initialiser, variances):
    network = initialiser(60, 40, 50, key=KEY)
    for w, variance in zip(network.weights, variances, strict=True):
        # 2400 and 2000 draws: the variance is known to about 3 %.
        np.testing.assert_allclose(np.mean(np.square(w)), variance, rtol=0.12)
    assert initialiser(3, 2, 2, key=KEY).sizes == (3, 2, 2)


def test_gaussian_of_any_depth():
    assert lr.Gaussian.he()(3, 4, 5, 2, key=KEY).sizes == (3, 4, 5, 2)
