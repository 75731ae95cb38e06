"""Balances of the layers of real models, and what gradient flow conserves of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases

X = np.random.default_rng(0).normal(size=(7, 4))
IMAGES = np.random.default_rng(1).normal(size=(5, 1, 6, 6))


def identity(z):
    return z


def mlp(activation):
    return eqx.nn.MLP(4, 3, 5, 1, activation=activation, key=jax.random.key(0))


def drift(model, x, **options):
    """The velocity of every balance under gradient flow, by the chain rule alone."""
    arrays, rest = eqx.partition(model, eqx.is_array)

    def loss(arrays):
        outputs = jax.vmap(eqx.combine(arrays, rest))(jnp.asarray(x))
        return jnp.sum(jnp.sin(outputs))  # any loss

    def matrices(arrays):
        found = lr.richness.balances(eqx.combine(arrays, rest), **options)
        return [pair.matrix for pair in found]

    slope = jax.tree.map(jnp.negative, jax.grad(loss)(arrays))
    return [np.asarray(v) for v in jax.jvp(matrices, (arrays,), (slope,))[1]]


def test_dense_layers_with_biases():
    model = mlp(jax.nn.relu)
    (pair,) = lr.richness.balances(model)
    w1, w2 = (np.asarray(layer.weight) for layer in model.layers)
    b1 = np.asarray(model.layers[0].bias)
    matrix = w2.T @ w2 - w1 @ w1.T - np.outer(b1, b1)
    np.testing.assert_allclose(pair.matrix, matrix, atol=1e-14)
    np.testing.assert_allclose(pair.units, np.diag(matrix), atol=1e-14)
    np.testing.assert_allclose(pair.eigenvalues, np.linalg.eigvalsh(matrix), atol=1e-13)
    np.testing.assert_allclose(pair.lmda, np.trace(matrix) / 5, atol=1e-14)
    off = np.linalg.norm(matrix - np.trace(matrix) / 5 * np.eye(5))
    size = np.sum(w1**2) + np.sum(w2**2) + np.sum(b1**2)
    np.testing.assert_allclose(pair.residual, off / size)
    values = np.linalg.eigvalsh(matrix)
    np.testing.assert_allclose(pair.l_plus, values[values > 0].sum() / 3)
    np.testing.assert_allclose(pair.l_minus, values[values < 0].sum() / 5)
    assert pair.names == ("layers[0]", "layers[1]") and "not balanced" in str(pair)


def test_flow_conserves_all_of_a_linear_balance():
    np.testing.assert_allclose(drift(mlp(identity), X)[0], 0, atol=1e-13)


def test_flow_conserves_the_diagonal_of_a_relu_balance():
    (velocity,) = drift(mlp(jax.nn.relu), X)
    np.testing.assert_allclose(np.diag(velocity), 0, atol=1e-13)
    assert np.abs(velocity).max() > 1e-2


def test_flow_conserves_nothing_of_a_tanh_balance():
    (velocity,) = drift(mlp(jnp.tanh), X)
    assert np.abs(np.diag(velocity)).min() > 1e-4


def test_flow_conserves_the_diagonal_of_channels():
    keys = jax.random.split(jax.random.key(1), 3)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(1, 3, 3, key=keys[0]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Conv2d(3, 2, 2, key=keys[1]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(18, 2, key=keys[2]),
        ]
    )
    velocities = drift(model, IMAGES, channels="first")
    assert [len(v) for v in velocities] == [3, 2]
    for velocity in velocities:
        np.testing.assert_allclose(np.diag(velocity), 0, atol=1e-13)
        assert np.abs(velocity).max() > 1e-3
    with pytest.raises(ValueError, match="`channels` must be 'first'"):
        lr.richness.balances(model)
    with pytest.raises(ValueError, match="`channels` must be 'first' or 'last'"):
        lr.richness.balances(model, channels="both")
    with pytest.raises(ValueError, match="`x`, `apply`, `layout` must be None"):
        lr.richness.balances(lr.richness.layers(model), layout="in_out")
    whole, nan = (
        {"0.weight": np.ones((2, 2), int)},
        {"0.weight": np.full((2, 2), np.nan)},
    )
    with pytest.raises(TypeError, match="`model` must hold its parameters"):
        lr.richness.balances(whole)
    with pytest.raises(ValueError, match=r"`model\['0.weight'\]` must be finite"):
        lr.richness.balances(nan)


def test_convolutions_by_groups_have_zeros_between_the_groups():
    keys = jax.random.split(jax.random.key(2), 3)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(1, 4, 3, key=keys[0]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Conv2d(4, 6, 2, groups=2, key=keys[1]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Conv2d(6, 2, 3, key=keys[2]),
            eqx.nn.Lambda(jnp.ravel),
        ]
    )
    velocities = drift(model, IMAGES)
    assert [len(v) for v in velocities] == [4, 6]
    for velocity in velocities:
        np.testing.assert_allclose(np.diag(velocity), 0, atol=1e-13)
    weights = [np.asarray(model.layers[i].weight) for i in (0, 2, 4)]
    biases = [np.asarray(model.layers[i].bias).ravel() for i in (0, 2)]
    whole = np.zeros((6, 4, 2, 2))
    whole[:3, :2], whole[3:, 2:] = weights[1][:3], weights[1][3:]
    into = [weights[0].reshape(4, -1), whole.reshape(6, -1)]
    out_of = [
        np.moveaxis(w, 1, -1).reshape(-1, w.shape[1]) for w in (whole, weights[2])
    ]
    for found in (lr.richness.balances(model), lr.richness.balances(model, IMAGES)):
        for pair, w1, w2, bias in zip(found, into, out_of, biases, strict=True):
            matrix = w2.T @ w2 - w1 @ w1.T - np.outer(bias, bias)
            np.testing.assert_allclose(pair.matrix, matrix, atol=1e-14)


class Attention(eqx.Module):
    attention: eqx.nn.MultiheadAttention

    def __call__(self, x):
        return self.attention(x, x, x)


def test_flow_conserves_all_of_the_balances_of_heads():
    options = {f"use_{name}_bias": True for name in ("query", "key", "value", "output")}
    layer = eqx.nn.MultiheadAttention(2, 4, key=jax.random.key(2), **options)
    model = Attention(layer)
    x = X[:6].reshape(2, 3, 4)
    velocities = drift(model, x)
    assert len(velocities) == 4  # two heads, key with query and value with output
    for velocity in velocities:
        np.testing.assert_allclose(velocity, 0, atol=1e-13)
    first = lr.richness.balances(model)[0]
    q, k = (
        np.asarray(getattr(layer, f"{n}_proj").weight)[:2] for n in ("query", "key")
    )
    bq, bk = (
        np.asarray(getattr(layer, f"{n}_proj").bias)[:2] for n in ("query", "key")
    )
    matrix = q @ q.T + np.outer(bq, bq) - k @ k.T - np.outer(bk, bk)
    np.testing.assert_allclose(first.matrix, matrix, atol=1e-14)
    assert first.head == 0 and first.names == (
        "attention.key_proj",
        "attention.query_proj",
    )


class Embedded(eqx.Module):
    """Attention to embedded positions. Its values alone can be used."""

    positions: jax.Array
    attention: eqx.nn.MultiheadAttention
    head: eqx.nn.MLP
    values_alone: bool = eqx.field(static=True)

    def __call__(self, x):
        x = x + self.positions
        if self.values_alone:
            return self.head(jax.vmap(self.attention.value_proj)(x).mean(axis=0))
        return self.head(self.attention(x, x, x).mean(axis=0))


def test_pairs_of_attention_are_those_of_its_module():
    """A plain matrix beside it doesn't matter, nor an unused projection."""
    keys = jax.random.split(jax.random.key(4))
    attention = eqx.nn.MultiheadAttention(2, 4, key=keys[0])
    parts = jnp.ones((3, 4)), attention, eqx.nn.MLP(4, 2, 3, 1, key=keys[1])
    x = X[:6].reshape(2, 3, 4)
    pairs = lr.richness.balances(Embedded(*parts, False), x)
    assert [pair.head for pair in pairs] == [0, 1, 0, 1, None]
    model = Embedded(*parts, True)
    report = lr.richness.report(model, model, x, leave_out=["sharpness"])
    assert report.pair_names == ("head.layers[0] -> head.layers[1]",)
    words = "`attention.value_proj` must have a layer of kind 'output'"
    assert report.left_out["attention.value_proj"].startswith(words)
    with pytest.raises(ValueError, match=words):
        lr.richness.balances(model, x)


def test_pairs_are_those_of_the_computation():
    rng = np.random.default_rng(3)
    model = {name: rng.normal(size=(4, 4)) for name in "abcd"}

    def apply(model, x):
        left, right = model["a"] @ x, model["b"] @ x  # neighbours, but no pair
        h = jax.nn.relu(left * right)
        return x + model["d"] @ jax.nn.relu(model["c"] @ h)

    pairs = lr.richness.balances(model, X, apply=apply)
    assert [pair.names for pair in pairs] == [("c", "d")]

    def skip(model, x):
        h = model["a"] @ x
        return h + model["b"] @ jax.nn.relu(h)

    with pytest.raises(ValueError, match="two consecutive layers"):
        lr.richness.balances({k: model[k] for k in "ab"}, X, apply=skip)


def test_a_balanced_network():
    network = cases.balanced((4, 3, 3), 0.7, 0.5)
    (pair,) = lr.richness.balances(network)
    np.testing.assert_allclose(pair.lmda, 0.7)
    assert float(pair.residual) < 1e-14 and "(balanced)" in str(pair)
    np.testing.assert_allclose([pair.l_plus, pair.l_minus], [0.7, 0], atol=1e-14)


def test_balances_along_training():
    models = jax.tree.map(
        lambda a: jnp.stack([a, 2 * a]) if eqx.is_array(a) else a, mlp(jax.nn.relu)
    )
    (pair,) = eqx.filter_vmap(lr.richness.balances)(models)
    np.testing.assert_allclose(pair.lmda[1], 4 * pair.lmda[0])
    assert "several" in str(pair)
