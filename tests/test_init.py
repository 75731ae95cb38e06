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


@pytest.mark.parametrize("sizes", [(4, 4, 4), (3, 5, 6), (6, 2, 3)], ids=str)
def test_aligned_with_balances_and_strengths_of_its_modes(sizes):
    k = min(sizes)
    task = lr.Task.random_regression(sizes[0], sizes[2], 9, key=jax.random.key(1))
    u, _, vt = np.linalg.svd(task.input_output_correlation, full_matrices=False)
    lmdas, strengths = np.array([2.0, -3.0, 0.0, 1e3])[:k], np.array([0, 1, 0.2, 3])[:k]

    @jax.jit
    def draw(lmda, strengths):
        initialiser = lr.Aligned(task, lmda, 0.5, strengths=strengths)
        return initialiser(*sizes, key=KEY).weights

    w1, w2 = draw(lmdas, strengths)
    modes = u[:, :k].T @ w2 @ w1 @ vt[:k].T
    np.testing.assert_allclose(modes, np.diag(strengths / 4), atol=1e-12)
    # One hidden unit for every mode, in a rotated basis; further ones have no weights.
    p11 = vt[:k] @ w1.T @ w1 @ vt[:k].T
    p22 = u[:, :k].T @ w2 @ w2.T @ u[:, :k]
    np.testing.assert_allclose(p22 - p11, np.diag(lmdas), atol=1e-11)
    spectrum = np.linalg.eigvalsh(w2.T @ w2 - w1 @ w1.T)
    every = np.concatenate([lmdas, np.zeros(sizes[1] - k)])
    np.testing.assert_allclose(spectrum, np.sort(every), atol=1e-11)
    # One number stands for all modes.
    one = draw(jnp.full(k, -0.5), jnp.full(k, 0.3))
    other = draw(jnp.full(k, -0.5), jnp.asarray(0.3))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


TASK = lr.Task.random_regression(4, 5, 9, key=jax.random.key(1))
BAD = {
    "balances": ({"lmda": [1.0, 2.0]}, r"`lmda` must .* 3 modes of .* 4-3-5, .*\(2,\)"),
    "shape": (
        {"lmda": [[1.0]]},
        r"`lmda` must be one number or one for each mode, but",
    ),
    "nan": (
        {"lmda": [0.0, np.nan, 1]},
        r"`lmda` must be finite, .* nan at index \(1,\)",
    ),
    "strengths": ({"strengths": np.ones(4)}, r"`strengths` must be one .* was \(4,\)"),
    "negative": (
        {"strengths": [1, -1, 1.0]},
        r"`strengths` must be finite and non-neg",
    ),
    "infinite": ({"strengths": np.inf}, "`strengths` must be finite and non-negative"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_balances_and_strengths_are_named(untyped, case):
    options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        lr.Aligned(TASK, **options)(4, 3, 5, key=KEY)


def test_bad_traced_balances_and_strengths():
    def draw(value, name, throw):
        options = {name: jnp.array([1.0, 1.0, 1.0]) * value, "throw": throw}
        return lr.Aligned(TASK, **options)(4, 3, 5, key=KEY).weights[0]

    for name in ("lmda", "strengths"):
        values = jnp.array([1.0, jnp.nan])
        w1 = jax.vmap(lambda x, name=name: draw(x, name, False))(values)
        assert jnp.isfinite(w1[0]).all() and jnp.isnan(w1[1]).all()
        with pytest.raises(RuntimeError, match=f"`{name}` must be finite"):
            jax.block_until_ready(eqx.filter_jit(draw)(values[1], name, True))


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
