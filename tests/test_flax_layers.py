"""Layers in the trees of Flax, against computations by hand."""

from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import lazyrich_jax as lr

from .test_layers import KEY, alone, draw


def described(layers):
    return [(layer.name, layer.kind, layer.weight.shape) for layer in layers]


class ConvNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Conv(3, (3, 3), padding="VALID")(x))
        return nn.Dense(2)(x.reshape(-1))


def test_a_flax_convolutional_net():
    x = draw(4, 5, 4, 2).astype(np.float32)
    tree = ConvNet().init(KEY, x[0])
    tree = jax.tree.map(lambda leaf: leaf + 0.1, tree)  # biases, too
    kernel, bias = (np.asarray(tree["params"]["Conv_0"][k]) for k in ("kernel", "bias"))
    z = np.zeros((4, 3, 2, 3))
    for i in range(3):
        for j in range(2):
            z[:, i, j] = np.tensordot(x[:, i : i + 3, j : j + 3], kernel, 3) + bias
    found = lr.richness.activations(tree, x, apply=ConvNet().apply)
    assert found["Conv_0"].dtype == jnp.float32
    np.testing.assert_allclose(found["Conv_0"], z, atol=1e-5)
    dense = {k: np.asarray(v) for k, v in tree["params"]["Dense_0"].items()}
    y = np.tanh(z).reshape(4, -1) @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(found["Dense_0"], y, atol=1e-5)
    by_tree = lr.richness.layers(tree)
    by_trace = lr.richness.layers(tree, x, apply=ConvNet().apply)
    assert eqx.tree_equal(by_tree, alone(by_trace))
    assert described(by_tree) == [
        ("Conv_0", "convolution", (3, 2, 3, 3)),
        ("Dense_0", "dense", (2, 18)),
    ]
    np.testing.assert_array_equal(by_tree[0].weight[2, 1, 0, 2], kernel[0, 2, 1, 2])


class Deep(nn.Module):
    @nn.compact
    def __call__(self, x):
        for _ in range(11):
            x = nn.Dense(2, use_bias=False)(x)
        return x


def test_flax_layers_are_in_the_order_of_their_numbers():
    tree = Deep().init(KEY, jnp.ones(2, jnp.float32))
    tree = jax.tree.map(lambda leaf: leaf, tree)  # JAX sorts names as texts
    names = [layer.name for layer in lr.richness.layers(tree)]
    assert names == [f"Dense_{i}" for i in range(11)]
    x = draw(2).astype(np.float32)
    network = lr.LinearNetwork.from_layers(tree)
    y: Any = Deep().apply(tree, x)
    np.testing.assert_allclose(network(x), y, atol=1e-6)


def test_modules_states_and_flat_dicts_of_flax():
    """Variables of nnx are unwrapped; its running means are no parameters."""
    keys = [nnx.Rngs(seed) for seed in (0, 1)]

    def build(rngs):
        norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        return nnx.Sequential(
            nnx.Linear(3, 4, rngs=rngs), norm, nnx.relu, nnx.Linear(4, 3, rngs=rngs)
        )

    (definition, start), (_, end) = (nnx.split(build(rngs)) for rngs in keys)
    x = draw(5, 3)

    def apply(state, x):
        return nnx.merge(definition, state)(x)

    report = lr.richness.report(start, end, x, apply=apply)
    assert report.parameters == 3 * 4 + 4 + 8 + 4 * 3 + 3
    flat = {"a.kernel": draw(3, 4), "a.bias": draw(4), "b/c.kernel": draw(2, 2, 4, 1)}
    for model, names, kind in (
        (start, report.layer_names, "dense"),
        (flat, ("a", "b.c"), "convolution"),
    ):
        found = lr.richness.layers(model)
        assert tuple(layer.name for layer in found) == names
        assert found[0].weight.shape == (4, 3) and found[0].bias is not None
        assert found[1].kind == kind
    movement = lr.richness.report(start, end)["weight_movement"]
    np.testing.assert_allclose(movement, report["weight_movement"])
