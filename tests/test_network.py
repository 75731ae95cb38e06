import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr


def gaussian(*sizes, seed=0):
    return lr.Gaussian(0.5)(*sizes, key=jax.random.key(seed))


@pytest.mark.parametrize("sizes", [(3, 2), (3, 4, 2), (3, 4, 5, 2)])
def test_call_is_the_function(sizes):
    weights = tuple(
        jax.random.normal(jax.random.key(i), (sizes[i + 1], sizes[i]))
        for i in range(len(sizes) - 1)
    )
    network = lr.LinearNetwork(weights)
    x = jax.random.normal(jax.random.key(9), (6, 3))
    np.testing.assert_allclose(jax.vmap(network)(x), x @ network.function.T, atol=1e-13)
    assert (network.depth, network.sizes) == (len(sizes) - 1, sizes)


def test_balance_of_any_weights_minimises_the_residual():
    network = gaussian(3, 4, 2)
    w1, w2 = network.weights
    balance = w2.T @ w2 - w1 @ w1.T

    def residual(lmda):
        return jnp.linalg.norm(balance - lmda * jnp.eye(4))

    np.testing.assert_allclose(network.balance_residual, residual(network.lmda))
    assert abs(jax.grad(residual)(network.lmda)) < 1e-14
    assert residual(network.lmda + 0.1) > residual(network.lmda)


def test_balance_of_deep_networks_has_a_value_per_hidden_layer():
    network = gaussian(3, 4, 5, 2)
    assert network.lmda.shape == network.balance_residual.shape == (2,)
    top = lr.LinearNetwork(network.weights[1:])
    np.testing.assert_allclose(network.lmda[1], top.lmda)
    np.testing.assert_allclose(network.balance_residual[1], top.balance_residual)


def test_qqt_holds_function_and_representations():
    network = gaussian(3, 4, 2)
    qqt = network.qqt
    np.testing.assert_allclose(qqt[3:, :3], network.function, atol=1e-15)
    np.testing.assert_allclose(qqt[:3, :3], network.input_representation, atol=1e-15)
    np.testing.assert_allclose(qqt[3:, 3:], network.output_representation, atol=1e-15)


def test_properties_follow_batch_axes():
    network = gaussian(3, 4, 2)
    batch = jax.tree.map(lambda w: jnp.stack([w, 2 * w]), network)
    for name in ("function", "lmda", "balance_residual", "qqt"):
        values = getattr(batch, name)
        np.testing.assert_allclose(values[0], getattr(network, name), rtol=1e-14)
        np.testing.assert_allclose(values[1], 4 * getattr(network, name), rtol=1e-14)


# (in, hidden, out): square, funnel, inverted funnel, between, bottleneck, wide, neuron.
SIZES = [(3, 3, 3), (4, 2, 2), (2, 2, 4), (5, 4, 3), (3, 4, 5), (4, 2, 3), (2, 4, 3)]
SIZES += [(5, 1, 1)]


def feasible(sizes, lmdas):
    n_in, n_hidden, n_out = sizes
    for lmda in lmdas:
        if (lmda <= 0 or n_hidden <= n_out) and (lmda >= 0 or n_hidden <= n_in):
            yield lmda


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_rebalanced_keeps_the_function(sizes):
    network = gaussian(*sizes)
    for lmda in feasible(sizes, [-1e6, -2.0, 0.0, 2.0, 1e6]):
        other = network.rebalanced(lmda)
        scale = abs(lmda) + sum(np.sum(np.asarray(w) ** 2) for w in other.weights)
        assert abs(other.lmda - lmda) < 1e-14 * scale
        assert other.balance_residual < 1e-14 * scale
        np.testing.assert_allclose(other.function, network.function, atol=1e-13)
        # Rebalancing a balanced network to its own balance changes nothing.
        again = other.rebalanced(lmda)
        for w, v in zip(again.weights, other.weights, strict=True):
            np.testing.assert_allclose(w, v, atol=1e-12 * (1 + abs(lmda) ** 0.5))


def test_rebalanced_under_jit_and_grad():
    network = gaussian(3, 2, 2)

    def size(lmda, weights):
        return jnp.sum(lr.LinearNetwork(weights).rebalanced(lmda).weights[0] ** 2)

    lmda, h = 0.7, 1e-5
    both = jax.jit(jax.value_and_grad(size, argnums=(0, 1)))
    _, (gradient, by_weights) = both(lmda, network.weights)
    slope = both(lmda + h, network.weights)[0] - both(lmda - h, network.weights)[0]
    np.testing.assert_allclose(gradient, slope / (2 * h), rtol=1e-7)
    assert all(jnp.all(jnp.isfinite(g)) for g in by_weights)
    infeasible = jax.jit(lambda lmda: gaussian(3, 3, 2).rebalanced(lmda))(
        jnp.array(1.0)
    )
    assert jnp.all(jnp.isnan(infeasible.weights[0]))
