"""The limit of infinite width: its error, and the estimate of that error."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases, numerical_flow

pytestmark = pytest.mark.slow

TIMES = np.linspace(0, 1, 16)


def flow(network, task, ts):
    """Function and representations of the same weights by the units that they use."""
    w1, w2 = (np.asarray(w) for w in network.weights)
    r = np.linalg.qr(np.concatenate([w1, w2.T], axis=1))[1]
    n_in = w1.shape[1]
    return numerical_flow.states((r[:, :n_in], r[:, n_in:].T), task, ts)


@pytest.mark.parametrize(
    "initialiser, width, most",
    [
        (lr.Gaussian.lecun(), 64, 0.3),
        (lr.Gaussian.lecun(), 1024, 0.08),
        (lr.Gaussian.glorot(), 1024, 0.06),
        (lr.Gaussian(1e-3), 256, 0.06),
    ],
)
def test_the_error_is_estimated(initialiser, width, most):
    task = cases.make_task((5, 1, 4))
    network = initialiser(5, width, 4, key=jax.random.key(1))
    ts = TIMES * 6 / (float(network.effective_laziness) / 2 + 1)
    function, below, above = flow(network, task, ts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit = lr.learn(network, task, ts, dynamics=lr.WideLimit())
    assert limit.error_estimate is not None
    off = np.linalg.norm(limit.function - function, axis=(1, 2))
    assert off.max() <= most * np.linalg.norm(function[-1])
    assert 1 / 3 <= np.max(limit.error_estimate) / off.max() <= 3
    is_large = off > off.max() / 3
    ratio = np.asarray(limit.error_estimate)[is_large] / off[is_large]
    assert np.all((ratio > 1 / 3) & (ratio < 3))
    for found, expected in (
        (limit.input_representation, below),
        (limit.output_representation, above),
    ):
        np.testing.assert_allclose(found[0], expected[0], atol=1e-12 * width)
        size = np.abs(expected).max()
        assert np.abs(found - expected).max() <= 2 * np.sqrt(9 / width) * size


@pytest.mark.parametrize("scale, width", [(0.5, 16), (0.01, 256)])
def test_the_function_is_kept_where_representations_are_lifted(scale, width):
    """Start plus change can have negative eigenvalues; the function must not move."""
    task = cases.make_task((4, 1, 3))
    network = lr.Gaussian(scale)(4, width, 3, key=jax.random.key(1))
    ts = np.array([0.0, 0.3, 3.0, np.inf])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit = lr.learn(network, task, ts, dynamics=lr.WideLimit())
    assert limit.error_estimate is not None
    assert np.all(np.isfinite(limit.error_estimate)) and limit.error_estimate[-1] == 0
    losses = [numerical_flow.loss(f, task) for f in limit.function]
    np.testing.assert_allclose(limit.loss, losses, atol=1e-12)
    sigma = np.asarray(task.input_output_correlation) / task.input_variance
    np.testing.assert_allclose(limit.function[-1], sigma, atol=1e-10)


@jax.jit
def learned(network, task, ts):
    return lr.learn(network, task, ts, dynamics=lr.WideLimit(), throw=False)


@pytest.mark.parametrize("tiny", [0.0, 1e-20, 1e-9])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_start_with_a_tiny_layer_is_kept(tiny, dtype):
    """Rounding of the function is no negative eigenvalue beside a tiny layer."""
    task = jax.tree.map(lambda x: x.astype(dtype), cases.make_task((3, 1, 2)))
    stds = jnp.array([0.5, tiny], dtype)
    for given in (stds, stds[::-1]):
        network = lr.Gaussian(given)(3, 64, 2, key=jax.random.key(3))
        found = learned(network, task, jnp.array([0.0, 1e-15], dtype)).qqt
        most = 64 * np.max(network.qqt) * jnp.finfo(dtype).eps
        np.testing.assert_allclose(found[0], network.qqt, rtol=0, atol=most)
        np.testing.assert_allclose(found[1], network.qqt, rtol=0, atol=most)


def test_members_of_the_class_are_exact():
    task = cases.make_task((3, 6, 2), variance=0.5)
    ts = np.append(TIMES, np.inf)
    network = lr.WideOrthogonal(0.4, 1.7)(3, 6, 2, key=jax.random.key(0))
    limit = lr.learn(network, task, ts, dynamics=lr.WideLimit())
    exact = lr.learn(network, task, ts)
    np.testing.assert_allclose(limit.qqt, exact.qqt, atol=1e-12)
    np.testing.assert_allclose(limit.loss, exact.loss, atol=1e-12)
    assert limit.error_estimate is not None
    assert np.all(np.asarray(limit.error_estimate) < 1e-9)
    assert "estimated error of the function" in str(limit)
    assert exact.error_estimate is None


def test_narrow_networks_are_warned_of():
    task = cases.make_task((3, 2, 2))
    network = lr.Gaussian(0.5)(3, 2, 2, key=jax.random.key(0))
    with pytest.warns(UserWarning, match=r"estimated error .* with 2 hidden units"):
        lr.learn(network, task, TIMES, dynamics=lr.WideLimit())
    with pytest.raises(ValueError, match=r"wide class.*`dynamics=WideLimit\(\)`"):
        lr.learn(lr.Gaussian(0.5)(3, 9, 2, key=jax.random.key(0)), task, TIMES)
    with pytest.raises(ValueError, match="two layers"):
        three = lr.LinearNetwork([jnp.eye(3), jnp.eye(3), jnp.ones((2, 3))])
        lr.learn(three, task, TIMES, dynamics=lr.WideLimit())


def test_derivatives_are_the_formulas():
    task = cases.make_task((3, 6, 2))
    rng = np.random.default_rng(0)
    point = [
        np.asarray(w) for w in lr.Gaussian(0.5)(3, 8, 2, key=jax.random.key(3)).weights
    ]
    moved = [rng.normal(size=w.shape) for w in point]

    @jax.jit
    def along(size):
        def loss(size):
            weights = [w + size * dw for w, dw in zip(point, moved, strict=True)]
            network = lr.LinearNetwork(weights)
            law = lr.WideLimit()
            return lr.learn(network, task, jnp.array([0.5]), dynamics=law).loss[0]

        return jax.value_and_grad(loss)(size)

    ahead, behind = along(1e-5)[0], along(-1e-5)[0]
    np.testing.assert_allclose(along(0.0)[1], (ahead - behind) / 2e-5, rtol=1e-7)
