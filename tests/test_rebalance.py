"""Rebalanced pairs of layers, against their definition in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

loose: Any = lr  # for arguments that its annotations refuse
RNG = np.random.default_rng(0)
W1, W2 = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 4))
X = RNG.normal(size=(3, 20))
BY_UNIT = jax.jit(lambda w1, w2, lmda: lr.rebalance(w1, w2, lmda, per_unit=True))


def balance(w1, w2):
    """The balance of any two layers, summed over windows and channels."""
    w1 = np.reshape(w1, (len(w1), -1))
    w2 = np.moveaxis(w2, 1, 0).reshape(w2.shape[1], -1)
    return w2 @ w2.T - w1 @ w1.T


def through(w1, w2, phi):
    return w2 @ phi(w1 @ X)


def relu(z):
    return np.maximum(z, 0)


def leaky(z):
    return np.maximum(z, 0.1 * z)


@pytest.mark.parametrize("lmda", [-1e8, -2.0, 0.0, 0.3, 1e8])
def test_units_are_rescaled_and_the_function_stays(lmda):
    v1, v2 = map(np.asarray, BY_UNIT(W1, W2, lmda))
    scale = abs(lmda) + 10
    np.testing.assert_allclose(np.diag(balance(v1, v2)), lmda, atol=1e-14 * scale)
    for phi in (relu, leaky):
        expected = through(W1, W2, phi)
        np.testing.assert_allclose(through(v1, v2, phi), expected, atol=1e-12)
    # Every unit keeps its direction: the factors are positive.
    factors = v1 / W1
    np.testing.assert_allclose(factors, factors[:, :1] * np.ones(3), rtol=1e-13)
    assert (factors > 0).all()
    np.testing.assert_allclose(v2 * factors[:, 0], W2, rtol=1e-13)


def test_a_bias_is_a_column():
    b1 = RNG.normal(size=4)
    v, v2 = lr.rebalance(np.column_stack([W1, b1]), W2, 0.5, per_unit=True)
    v1, c1 = np.asarray(v[:, :3]), np.asarray(v[:, 3:])
    expected = W2 @ relu(W1 @ X + b1[:, None])
    np.testing.assert_allclose(v2 @ relu(v1 @ X + c1), expected, atol=1e-13)
    diagonal = np.diag(v2.T @ v2 - v1 @ v1.T - c1 @ c1.T)
    np.testing.assert_allclose(diagonal, 0.5, atol=1e-13)


@pytest.mark.parametrize("lmda", [-0.7, 0.0, 0.7])
def test_units_without_weights_in_a_layer(lmda):
    w1, w2 = W1.copy(), W2.copy()
    w1[0] = w2[:, 1] = 0
    w1[2], w2[:, 2] = 0, 0
    v1, v2 = map(np.asarray, BY_UNIT(w1, w2, lmda))
    np.testing.assert_allclose(np.diag(balance(v1, v2)), lmda, atol=1e-14)
    np.testing.assert_allclose(through(v1, v2, relu), through(w1, w2, relu), atol=1e-14)
    if lmda > 0:  # directions stay where there is one
        np.testing.assert_allclose(
            v2[:, 0], w2[:, 0] * 0.7**0.5 / np.linalg.norm(w2[:, 0])
        )
        np.testing.assert_allclose(v2[:, 1], 0.35**0.5)


def test_linear_pairs_are_those_of_networks():
    network = lr.LinearNetwork((W1, W2))
    for v, w in zip(
        lr.rebalance(W1, W2, 0.0), network.rebalanced(0.0).weights, strict=True
    ):
        np.testing.assert_allclose(v, w, atol=1e-14)


def test_convolutions_keep_their_composition():
    w1, w2 = RNG.normal(size=(4, 3, 2, 2)), RNG.normal(size=(2, 4, 3, 3))
    v1, v2 = lr.rebalance(w1, w2, -0.5)
    assert (v1.shape, v2.shape) == (w1.shape, w2.shape)
    np.testing.assert_allclose(balance(v1, v2), -0.5 * np.eye(4), atol=1e-13)
    image = RNG.normal(size=(1, 3, 7, 6))

    def convolved(w1, w2):
        hidden = jax.lax.conv(jnp.asarray(image), jnp.asarray(w1), (1, 1), "VALID")
        return jax.lax.conv(hidden, jnp.asarray(w2), (2, 2), "SAME")

    np.testing.assert_allclose(convolved(v1, v2), convolved(w1, w2), atol=1e-12)


def test_heads_keep_scores_and_values():
    query, key = RNG.normal(size=(2, 6, 5))
    k, q = lr.rebalance(key, query.T, 2.0, heads=2)
    for head in (slice(0, 3), slice(3, 6)):
        scores = query[head].T @ key[head]
        np.testing.assert_allclose(q[:, head] @ k[head], scores, atol=1e-12)
        np.testing.assert_allclose(
            balance(k[head], q[:, head]), 2 * np.eye(3), atol=1e-12
        )


def test_derivatives_by_unit_are_differences():
    w1, change = W1.copy(), RNG.normal(size=(4, 3))
    w1[0] = 0  # a unit on the smaller side alone

    def size(w1, lmda):
        return sum(jnp.sum(jnp.sin(w)) for w in BY_UNIT(w1, W2, lmda))

    step = 1e-5
    by_weights, by_lmda = jax.grad(size, (0, 1))(w1, 0.7)
    slope = size(w1 + step * change, 0.7) - size(w1 - step * change, 0.7)
    np.testing.assert_allclose(
        np.sum(by_weights * change), slope / (2 * step), rtol=1e-8
    )
    slope = size(w1, 0.7 + step) - size(w1, 0.7 - step)
    np.testing.assert_allclose(by_lmda, slope / (2 * step), rtol=1e-8)


def test_derivatives_that_do_not_exist_are_refused():
    w2 = W2.copy()
    w2[:, 0] = 0

    def size(w1):
        return jnp.sum(lr.rebalance(w1, w2, 0.7, per_unit=True)[0] ** 2)

    with pytest.raises(Exception, match="weights on its larger side"):
        jax.grad(size)(jnp.asarray(W1)).block_until_ready()


def test_precision_and_batches():
    single = (W1.astype(np.float32), W2.astype(np.float32))
    v1, v2 = lr.rebalance(*single, 1.0, per_unit=True)
    assert v1.dtype == v2.dtype == jnp.float32
    assert lr.rebalance(single[0], W2, 1, per_unit=True)[0].dtype == jnp.float64
    many = jax.vmap(BY_UNIT, (None, None, 0))(W1, W2, jnp.array([0.0, 0.3]))
    np.testing.assert_allclose(many[0][1], BY_UNIT(W1, W2, 0.3)[0], rtol=1e-13)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    "wrong, match",
    [
        (lambda: loose.rebalance(W2, W1, 1.0), "`w2` must have a column for each row"),
        (
            lambda: loose.rebalance(W1[0], W2, 1.0),
            "`w1` must be the weights of a layer",
        ),
        (lambda: loose.rebalance(W1[:0], W2[:, :0], 1.0), "without an empty side"),
        (lambda: loose.rebalance(W1, W2, 1.0), "needs `hidden_size <= out_size`"),
        (lambda: loose.rebalance(W1, W2, 0.0, heads=3), "`heads` must divide"),
        (lambda: loose.rebalance(W1, W2, [0.0]), "`lmda` must be a scalar"),
        (lambda: loose.rebalance(W1, np.nan * W2, 0.0), "`w2` must be finite"),
        (
            lambda: loose.rebalance(W1, W2, np.inf, per_unit=True),
            "`lmda` must be finite",
        ),
    ],
)
def test_refusals(wrong, match):
    with pytest.raises(ValueError, match=match):
        wrong()
