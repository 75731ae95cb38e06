"""Reductions of networks aligned with their inputs, against the original models."""

import itertools

import jax
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax import reductions

from . import cases
from .original_models import TS, agrees, gradients, losses, simulated


def bases(seed=7):
    rng = np.random.default_rng(seed)
    return (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (3, 3, 3))


def aligned_weights(u, v, r, first, second):
    return (r * first) @ v.T, (u * second) @ r.T


@pytest.mark.slow
@pytest.mark.parametrize(
    "s, first, second",
    [
        ([1.0, 1.0, 0.2], [0.3, 0.2, 0.5], [0.1, 0.6, -0.2]),
        ([1.0, 0.0, 0.0], [0.3, 0.2, 0.2], [0.1, 0.4, 0.4]),  # only the inputs differ
    ],
)
def test_inputs_that_commute_with_the_task(s, first, second):
    u, v, r = bases()
    d = np.array([2.0, 0.7, 0.3])
    x = 3**0.5 * (np.diag(d**0.5) @ v.T)
    y = 3**0.5 * np.diag(s / d**0.5) @ u.T
    task = lr.Task(x, y)
    w1, w2 = aligned_weights(u, v, r, first, second)
    network = lr.LinearNetwork((w1, w2))

    def velocity(t, w1, w2):
        return gradients(w1, w2, y - x @ (w2 @ w1).T, x)

    a, b = simulated(velocity, (w1, w2))
    f = b @ a
    model = reductions.commuting_inputs(network, task)
    agrees(model, a, b, f, losses(f, x, y))
    own = model.weights(TS)
    np.testing.assert_allclose(own[0], a, atol=1e-9)
    np.testing.assert_allclose(own[1], b, atol=1e-9)
    other = cases.balanced((3, 3, 3), 0.5, 0.5)
    for bad in ((other, task), (network, lr.Task(x @ np.diag([1.0, 2.0, 1.0]), y))):
        with pytest.raises(ValueError, match="must share singular vectors"):
            reductions.commuting_inputs(*bad)


def test_targets_of_rounding_tell_no_direction():
    u, v, r = bases()
    d = np.array([2.0, 0.7, 0.3])
    q = 12**0.5 * np.linalg.qr(np.random.default_rng(3).normal(size=(12, 6)))[0]
    task = lr.Task((q[:, :3] * d**0.5) @ v.T, q[:, 3:])
    assert 0 < np.abs(task.input_output_correlation).max() < 1e-15
    network = lr.LinearNetwork(
        aligned_weights(u, v, r, [0.3, 0.2, 0.5], [0.1, 0.6, -0.2])
    )
    model = reductions.commuting_inputs(network, task)
    assert not model.task.input_output_correlation.any()
    np.testing.assert_allclose(
        model.to_function(model.network.function), network.function, atol=1e-14
    )
    gated = reductions.gated_pathways([network], task, np.ones((12, 1)))
    order = np.argsort(np.abs(gated.start[0]))
    np.testing.assert_allclose(gated.coactivation[0, 0][order], d[[0, 2, 1]])
    assert not gated.strengths.any()


def test_denoising_autoencoders():
    _, v, r = bases()
    sd = 0.5
    x = np.random.default_rng(8).normal(size=(10, 3))
    c = x.T @ x / 10
    v = np.linalg.eigh(c)[1]
    w1, w2 = aligned_weights(v, v, r, [0.3, 0.2, 0.5], [0.1, 0.6, 0.2])
    # Noise with its exact covariance: both signs along every axis, at every sample.
    noise = np.concatenate([np.eye(3), -np.eye(3)]) * 3**0.5 * sd
    noisy = (x[:, None] + noise[None]).reshape(-1, 3)
    clean = np.repeat(x, 6, axis=0)

    def velocity(t, w1, w2):
        return gradients(w1, w2, clean - noisy @ (w2 @ w1).T, noisy)

    a, b = simulated(velocity, (w1, w2))
    f = b @ a
    loss = losses(f, noisy, clean)
    model = reductions.denoising_autoencoder(lr.LinearNetwork((w1, w2)), x, sd)
    agrees(model, a, b, f, loss)
    white = 2 * np.eye(3)[[0, 1, 2, 0, 1, 2]] * np.array([1, 1, 1, -1, -1, -1])[:, None]
    model = reductions.denoising_autoencoder(
        cases.balanced((3, 3, 3), 0.5, 0.5), white, sd
    )
    assert model.start == "any"
    np.testing.assert_allclose(model.task.input_variance, 4 / 3 + sd**2, rtol=1e-12)

    def end(noise):  # the samples are known to be white
        model = reductions.denoising_autoencoder(
            cases.balanced((3, 3, 3), 0.5, 0.5), white, noise
        )
        assert model.start == "any"
        return model.task.input_variance

    np.testing.assert_allclose(jax.jit(end)(sd), 4 / 3 + sd**2, rtol=1e-12)
    zeros = np.zeros((4, 3))
    model = reductions.denoising_autoencoder(lr.LinearNetwork((w1, w2)), zeros, sd)
    assert model.start == "any"


@pytest.mark.slow
def test_gated_pathways():
    u, v, r = bases()
    rng = np.random.default_rng(9)
    # Every mode's input with every context, three times, of random strengths.
    mode, context = (z.ravel() for z in np.meshgrid(range(3), range(4), indexing="ij"))
    sizes, targets = rng.uniform(0.5, 1.5, size=(2, 12))
    x, y = (sizes * v[:, mode]).T, (targets * u[:, mode]).T
    gates = np.array([[1, 0], [0, 1], [1, 1], [0.5, -1]])[context]
    first, second = rng.normal(size=(2, 2, 3)) / 2
    starts = [aligned_weights(u, v, r, *z) for z in zip(first, second, strict=True)]

    def velocity(t, *w):
        pairs = list(zip(w[::2], w[1::2], strict=True))
        outputs = sum(
            gates[:, p, None] * (x @ (b @ a).T) for p, (a, b) in enumerate(pairs)
        )
        steps = [
            gradients(a, b, gates[:, p, None] * (y - outputs), x)
            for p, (a, b) in enumerate(pairs)
        ]
        return itertools.chain(*steps)

    w = simulated(velocity, list(itertools.chain(*starts)))
    expected = np.stack([w[1] @ w[0], w[3] @ w[2]], axis=1)
    networks = [lr.LinearNetwork(pair) for pair in starts]
    gated = reductions.gated_pathways(networks, lr.Task(x, y), gates)
    np.testing.assert_allclose(gated.functions(TS[::-1])[::-1], expected, atol=1e-8)
    assert gated.modes(1.0).shape == (2, 3)
    assert gated.modes(np.zeros((2, 0))).shape == (2, 0, 2, 3)
    late = np.full(TS.shape, 1e6)  # the compiled program of TS
    with pytest.raises(ValueError, match="`ts` must be times within"):
        gated.modes(late)
    with pytest.raises(ValueError, match="`pathways` and `task` must share singular"):
        bad = lr.Task(x, y + 0.1 * rng.normal(size=y.shape))
        reductions.gated_pathways(networks, bad, gates)
    with pytest.raises(ValueError, match="`gates` must have a row for every sample"):
        reductions.gated_pathways(networks, lr.Task(x, y), gates.T)
