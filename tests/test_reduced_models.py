"""Reductions of other models, against simulations of the original models."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax import reductions

from .original_models import (
    TS,
    agrees,
    arrays,
    simulated,
    task_and_start,
)


@pytest.mark.slow
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_antisymmetric_relu_networks(slope):
    half, network = task_and_start()
    rng = np.random.default_rng(4)
    # More samples than inputs, and targets that are no linear function of them.
    x = np.concatenate([half.x, 0.7 * half.x + 0.5 * rng.normal(size=half.x.shape)])
    x = x @ np.linalg.cholesky(np.linalg.inv(x.T @ x / len(x)))
    y = np.concatenate([half.y, -half.y[::-1]]) + rng.normal(size=(len(x), 2))
    mirrored = np.concatenate([x, -x]), np.concatenate([y, -y])
    rows = rng.permutation(len(mirrored[0]))
    x, y = (z[rows] for z in mirrored)
    task = lr.Task(x, y)
    w1, w2 = arrays(*network.weights)
    units = rng.permutation(4)
    w1 = np.concatenate([w1, -w1])[units]
    w2 = np.concatenate([w2, -w2], axis=1)[:, units]

    def outputs(w1, w2, x):
        z = x @ w1.T
        return np.where(z > 0, z, slope * z) @ w2.T

    def velocity(t, w1, w2):
        z = x @ w1.T
        error = (y - outputs(w1, w2, x)) / len(x)
        active = np.where(z > 0, 1, slope)
        return ((error @ w2) * active).T @ x, error.T @ (z * active)

    a, b = simulated(velocity, (w1, w2))
    tests = rng.normal(size=(20, 3))
    model = reductions.antisymmetric_relu((w1, w2), task, slope)
    f = model.function(TS)
    found = np.stack([outputs(*pair, tests) for pair in zip(a, b, strict=True)])
    np.testing.assert_allclose(np.einsum("toi,ni->tno", f, tests), found, atol=1e-8)
    loss = [
        ((y - outputs(*p, x)) ** 2).sum() / 2 / len(x) for p in zip(a, b, strict=True)
    ]
    agrees(model, a, b, np.asarray(f), loss, within=1e-8)
    if slope:
        own = model.weights(TS)  # without a rotation
        np.testing.assert_allclose(own[0], a, atol=1e-8)
        np.testing.assert_allclose(own[1], b, atol=1e-8)


def test_what_is_not_antisymmetric_is_refused():
    half, network = task_and_start()
    w1, w2 = network.weights
    pairs = jnp.concatenate([w1, -w1]), jnp.concatenate([w2, -w2], axis=1)
    x, y = (jnp.concatenate([z, -z]) for z in (half.x, half.y))
    task = lr.Task(x, y)
    for weights, bad, fault in (
        (network.weights, task, "a unit had none"),
        (pairs, half, "a sample had none"),
        (pairs, lr.Task(x, y + 0.1), "a sample had none"),
        ((0 * pairs[0], pairs[1]), task, "a unit had no input weights"),
    ):
        with pytest.raises(ValueError, match=f"must consist of mirror images.*{fault}"):
            reductions.antisymmetric_relu(weights, bad)
    with pytest.raises(ValueError, match="`slope` must be above -1, but"):
        reductions.antisymmetric_relu(pairs, task, -1.0)


def test_relu_units_orthogonal_to_a_sample_are_refused():
    """At w x = 0 a sample and its mirror image have the same slope."""
    eye, y = np.eye(2), np.array([[1, 0.5], [0.5, 2]])
    task = lr.Task(np.r_[eye, -eye] * 2**0.5, np.r_[y, -y])
    weights = 0.3 * np.r_[eye, -eye], 0.3 * np.c_[eye, -eye]
    with pytest.raises(ValueError, match="input weights were orthogonal to a sample"):
        reductions.antisymmetric_relu(weights, task)
    traced = jax.jit(lambda *w: reductions.antisymmetric_relu(w, task).network.weights)
    assert np.isnan(traced(*weights)[0]).all()
    # A sample of zeros has no effect.
    x, y = (np.r_[z, np.zeros((2, 2))] for z in (task.x, task.y))
    turned = weights[0] @ np.array([[0.8, 0.6], [-0.6, 0.8]]), weights[1]
    reductions.antisymmetric_relu(turned, lr.Task(x, y))


def sequences(d, examples):
    """Sequences of a quadrature, and their weights: exact for moments to order 5."""
    nodes, shares = np.array([-(3**0.5), 0, 3**0.5]), np.array([1, 4, 1]) / 6
    grid = np.array(list(itertools.product(range(3), repeat=d * examples)))
    x = nodes[grid].reshape(-1, examples, d)
    share = shares[grid].prod(1)
    axes = d**0.5 * np.eye(d)  # second moments are enough for tasks and queries
    number, w, q = np.meshgrid(np.arange(len(x)), range(d), range(d), indexing="ij")
    number, w, q = (z.ravel() for z in (number, w, q))
    return x[number], axes[w], axes[q], share[number] / d**2


def test_linear_attention_in_context():
    d, examples = 2, 2
    x, task, query, share = sequences(d, examples)
    y = np.einsum("snd,sd->sn", x, task)
    # Tokens (x, y), the query's with y = 0, of all sequences.
    tokens = np.concatenate([x, query[:, None]], axis=1)
    labels = np.concatenate([y, np.zeros((len(y), 1))], axis=1)
    target = np.einsum("sd,sd->s", query, task)
    rng = np.random.default_rng(5)
    u, v = 0.4 * rng.normal(size=(d, d)), np.array(0.3)

    def attended(u):
        """The values that the query's head attends to, and what it attends with."""
        scores = np.einsum("snd,de,se->sn", tokens, u, query) / examples
        return np.einsum("sn,sn->s", labels, scores)

    def velocity(t, u, v):
        mixed = attended(u)
        error = share * (target - v * mixed)
        by_scores = (error * v)[:, None] * labels / examples
        return np.einsum("sn,snd,se->de", by_scores, tokens, query), error @ mixed

    us, vs = simulated(velocity, (u, v))
    model = reductions.linear_attention(u, v, examples)
    found = model.function(TS)
    np.testing.assert_allclose(found, vs[:, None, None] * us, atol=1e-9)
    loss = [
        share @ (target - v * attended(u)) ** 2 / 2 for u, v in zip(us, vs, strict=True)
    ]
    np.testing.assert_allclose(model.loss(TS), loss, atol=1e-9)
    own = model.to_weights(model.network.weights)
    np.testing.assert_array_equal(own[0], u)
    np.testing.assert_array_equal(own[1], v)


def test_linear_recurrent_networks():
    network = task_and_start()[1]
    rng = np.random.default_rng(6)
    steps, r = 3, 0.7
    # Inputs white over units and time, of more samples than that.
    flat = np.linalg.qr(rng.normal(size=(12, 3 * steps)))[0] * 12**0.5
    x, y = flat.reshape(12, steps, 3), rng.normal(size=(12, 2))

    def states(w1):
        h = [np.zeros((12, 2))]
        for t in range(steps):
            h.append(r * h[-1] + x[:, t] @ w1.T)
        return h

    def velocity(t, w1, w2):
        h = states(w1)
        error = (y - h[-1] @ w2.T) / 12
        back, first = error @ w2, 0
        for t in range(steps - 1, -1, -1):  # through time
            first = first + back.T @ x[:, t]
            back = r * back
        return first, error.T @ h[-1]

    a, b = simulated(velocity, arrays(*network.weights))
    loss = [
        ((y - states(w1)[-1] @ w2.T) ** 2).sum() / 24
        for w1, w2 in zip(a, b, strict=True)
    ]
    model = reductions.linear_recurrent(network, x, y, r)
    np.testing.assert_allclose(model.task.input_variance, 1 + r**2 + r**4, rtol=1e-12)
    agrees(model, a, b, b @ a, loss)
