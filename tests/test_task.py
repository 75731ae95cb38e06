import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

HIERARCHY = np.array(
    [
        [1, 1, 1, 0, 1, 0, 0, 0],
        [1, 1, 1, 0, -1, 0, 0, 0],
        [1, 1, -1, 0, 0, 1, 0, 0],
        [1, 1, -1, 0, 0, -1, 0, 0],
        [1, -1, 0, 1, 0, 0, 1, 0],
        [1, -1, 0, 1, 0, 0, -1, 0],
        [1, -1, 0, -1, 0, 0, 0, 1],
        [1, -1, 0, -1, 0, 0, 0, -1],
    ]
)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_random_regression_inputs_are_white(dtype):
    scale = jnp.asarray(10.0, dtype)
    task = lr.Task.random_regression(
        5, 3, 12, target_scale=scale, key=jax.random.key(0)
    )
    assert task.x.dtype == task.y.dtype == dtype
    eps = float(jnp.finfo(dtype).eps)
    assert jnp.abs(task.input_correlation - jnp.eye(5, dtype=dtype)).max() < 8 * eps
    assert jnp.abs(jnp.mean(task.x, axis=0)).max() < 8 * eps
    assert 3 < jnp.std(task.y) < 30


def test_teacher_without_noise_has_the_teachers_correlation():
    function = jax.random.normal(jax.random.key(0), (2, 4))
    task = lr.Task.teacher(function, 9, key=jax.random.key(1))
    np.testing.assert_allclose(task.input_output_correlation, function, atol=1e-14)
    assert task.loss(function) < 1e-28
    noisy = lr.Task.teacher(function, 9, noise=0.1, key=jax.random.key(1))
    assert 1e-4 < noisy.loss(function) < 0.1


def test_hierarchy_is_the_published_matrix():
    task = lr.Task.hierarchy()
    np.testing.assert_array_equal(task.y, HIERARCHY)
    np.testing.assert_array_equal(task.x, np.eye(8))
    np.testing.assert_allclose(task.input_variance, 1 / 8)
    s = np.linalg.svd(task.input_output_correlation)[1]
    expected = np.sqrt([8, 8, 4, 4, 2, 2, 2, 2]) / 8
    np.testing.assert_allclose(s, expected, rtol=1e-14)
    np.testing.assert_allclose(task.loss(jnp.zeros((8, 8))), 2.0, rtol=1e-15)


def test_separate_breaks_the_repeated_singular_values():
    s = np.linalg.svd(lr.Task.hierarchy(separate=True).input_output_correlation)[1]
    published = [3.111270, 2.969848, 2.066667, 2.05]
    published += [1.442498, 1.437784, 1.434417, 1.431891]
    np.testing.assert_allclose(8 * s, published, atol=5e-7)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_hierarchy_of_any_depth(levels):
    y = np.asarray(lr.Task.hierarchy(levels).y)
    assert y.shape == (2**levels, 2**levels)
    gram = y.T @ y
    np.testing.assert_array_equal(gram, np.diag(np.diag(gram)))
    assert np.linalg.matrix_rank(y) == 2**levels


def test_from_correlation_is_traceable():
    sigma = jax.random.normal(jax.random.key(0), (2, 3))
    task = lr.Task.from_correlation(sigma)
    np.testing.assert_allclose(task.input_output_correlation, sigma, rtol=1e-15)
    np.testing.assert_allclose(task.input_correlation, np.eye(3), atol=1e-15)

    def zero_loss(sigma):
        return lr.Task.from_correlation(sigma).loss(jnp.zeros((2, 3)))

    gradient = jax.jit(jax.vmap(jax.grad(zero_loss)))(sigma[None])[0]
    np.testing.assert_allclose(gradient, sigma, rtol=1e-14)


def test_whitened():
    x = jax.random.normal(jax.random.key(0), (7, 3)) @ jnp.diag(jnp.array([1, 5, 9.0]))
    y = jax.random.normal(jax.random.key(1), (7, 2))
    white = lr.Task(x, y).whitened()
    np.testing.assert_allclose(white.input_correlation, np.eye(3), atol=1e-14)
    # Zero phase: rotating the inputs rotates the whitened inputs.
    r = jax.random.orthogonal(jax.random.key(2), 3)
    turned = lr.Task(x @ r, y).whitened()
    np.testing.assert_allclose(turned.x, white.x @ r, atol=1e-13)
    # White inputs of another variance are only rescaled.
    again = lr.Task(3 * white.x, y).whitened()
    np.testing.assert_allclose(again.x, white.x, atol=1e-14)


def test_reversed_flips_the_correlation():
    task = lr.Task.random_regression(3, 2, 6, key=jax.random.key(0))
    np.testing.assert_array_equal(
        task.reversed().input_output_correlation, -task.input_output_correlation
    )


def test_loss_and_its_gradient():
    task = lr.Task.random_regression(3, 2, 6, key=jax.random.key(0))
    function = jax.random.normal(jax.random.key(1), (2, 3))
    by_hand = np.mean(
        [
            0.5 * np.sum((y - np.asarray(function) @ x) ** 2)
            for x, y in zip(np.asarray(task.x), np.asarray(task.y), strict=True)
        ]
    )
    np.testing.assert_allclose(task.loss(function), by_hand, rtol=1e-14)
    np.testing.assert_allclose(
        task.loss_gradient(function), jax.grad(task.loss)(function), atol=1e-14
    )
