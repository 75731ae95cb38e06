"""Linearised models, and the sharpness of the loss of real models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import lazyrich_jax as lr

from .test_kernel_products import KEY, by_hand, states


def test_the_linearised_model():
    start, end, x, _ = states()
    found = lr.richness.linearised(start, end, x, apply=by_hand)
    h = 1e-6
    near = {k: start[k] + h * (end[k] - start[k]) for k in start}
    f0, f1, f = (
        np.stack([by_hand(m, s).ravel() for s in x]) for m in (start, near, end)
    )
    np.testing.assert_allclose(found, f0 + (f1 - f0) / h, atol=1e-4)
    gap = lr.measures.linearisation_gap(f0, f, found)
    expected = np.linalg.norm(f - found) / np.linalg.norm(f - f0)
    np.testing.assert_allclose(gap, expected, rtol=1e-12)
    assert lr.measures.linearisation_gap(f0, f0, f0) == 0
    assert np.isinf(lr.measures.linearisation_gap(f0, f0, f))


def test_the_linearisation_gap_of_linear_networks():
    """f - f_lin is the product of both layers' changes: small for lazy networks."""
    task = lr.Task.random_regression(3, 2, 9, key=KEY).whitened()
    gaps = []
    for scale in (1.0, 30.0):
        keys = jax.random.split(KEY, 4)
        w1, w2, d1, d2 = (
            jax.random.normal(k, s)
            for k, s in zip(keys, [(4, 3), (2, 4)] * 2, strict=True)
        )
        start = lr.LinearNetwork((scale * w1, scale * w2))
        end = lr.LinearNetwork((scale * w1 + d1 / scale, scale * w2 + d2 / scale))
        linear = lr.richness.linearised(start, end, task.x)
        f0, f1 = (task.x @ n.function.T for n in (start, end))
        np.testing.assert_allclose(
            f1 - linear, task.x @ (d2 @ d1).T / scale**2, atol=1e-9
        )
        gaps.append(lr.measures.linearisation_gap(f0, f1, linear))
    assert gaps[1] < gaps[0] / 100


def test_sharpness_of_linear_networks_and_of_others():
    task = lr.Task.random_regression(3, 2, 9, key=KEY)
    network = lr.Gaussian(0.5)(3, 4, 2, key=KEY)
    expected = lr.measures.sharpness(network, task)
    for memory in (1e9, 1e3):  # in chunks too
        found = lr.richness.sharpness(network, task.x, task.y, rtol=1e-9, memory=memory)
        np.testing.assert_allclose(found, expected, rtol=1e-8)
    start, _, x, _ = states()
    flat, restored = ravel_pytree(jax.tree.map(jnp.asarray, start))
    labels = np.array([0, 3, 1, 2, 3, 3, 0])

    def loss(flat):
        logits = jax.vmap(lambda s: by_hand(restored(flat), s).ravel())(x)
        logs = jax.nn.log_softmax(logits)
        return -jnp.mean(logs[jnp.arange(7), labels])

    expected = np.linalg.eigvalsh(jax.jit(jax.hessian(loss))(flat))[-1]
    call = {"apply": by_hand, "rtol": 1e-9}
    found = lr.richness.sharpness(start, x, labels, loss="cross_entropy", **call)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    custom = lr.richness.sharpness(
        start, x, labels, loss=lambda f, y: -jax.nn.log_softmax(f)[y], **call
    )
    np.testing.assert_allclose(custom, expected, rtol=1e-8)


def test_sharpness_of_a_loss_without_curvature_or_value():
    zero = lr.LinearNetwork((jnp.zeros((3, 4)), jnp.zeros((3, 3)), jnp.zeros((2, 3))))
    task = lr.Task.random_regression(4, 2, 9, key=KEY)
    assert lr.richness.sharpness(zero, task.x, task.y) == 0
    assert lr.measures.sharpness(zero, task) == 0
    network, x, y = lr.Gaussian(0.5)(4, 3, 2, key=KEY), task.x, task.y
    cases: tuple = (
        ({"y": y * jnp.nan}, "`y` must be finite"),
        ({"loss": lambda f, y: f - y}, "`loss` must give one number per sample"),
        ({"loss": lambda f, y: jnp.log(-jnp.sum(f**2))}, "`loss.* must be finite"),
        ({"loss": lambda f, y: jnp.sum(abs(f - f)) ** 0.5}, "finite second deriv"),
    )
    for options, words in cases:
        with pytest.raises(ValueError, match=words):
            lr.richness.sharpness(network, x, **({"y": y} | options))
