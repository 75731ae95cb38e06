"""Layers and pre-activations of real models against computations by hand."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax.richness.model import function_of, pair_of

KEY = jax.random.key(0)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def alone(layers):
    """Layers as a tree has them, without their neighbours."""
    return tuple(dataclasses.replace(p, after=None, into=None) for p in layers)


def relu(x):
    return np.maximum(x, 0)


@pytest.fixture(scope="module")
def mlp():
    return eqx.nn.MLP(3, 2, 4, 2, key=KEY, dtype=jnp.float64)


def test_an_equinox_mlp(mlp):
    x = draw(300, 3)  # more than one chunk
    found = lr.richness.activations(mlp, x)
    hidden = x
    for i, layer in enumerate(mlp.layers):
        z = hidden @ np.asarray(layer.weight).T + np.asarray(layer.bias)[None]
        np.testing.assert_allclose(found[f"layers[{i}]"], z, atol=1e-12)
        hidden = relu(z)
    assert list(found) == ["layers[0]", "layers[1]", "layers[2]"]
    by_tree, by_trace = lr.richness.layers(mlp), lr.richness.layers(mlp, x)
    assert eqx.tree_equal(by_tree, alone(by_trace))
    names = [layer.name for layer in by_tree]
    assert [layer.after for layer in by_trace] == [(), *((n,) for n in names[:-1])]
    assert [layer.into for layer in by_trace] == [*((n,) for n in names[1:]), ("",)]
    for layer, own in zip(by_tree, mlp.layers, strict=True):
        assert layer.kind == "dense" and layer.heads == 0
        np.testing.assert_array_equal(layer.weight, own.weight)
        np.testing.assert_array_equal(layer.bias, own.bias)


def block(p, tokens):
    """A transformer block on tokens, with two heads and a tied readout."""
    h = p["embedding"][tokens]
    q, k, v = (jnp.einsum("sd,dhe->she", h, p[name]) for name in ("wq", "wk", "wv"))
    scores = jnp.einsum("she,She->hsS", q, k) / np.sqrt(2)
    mixed = jnp.einsum("hsS,She->she", jax.nn.softmax(scores), v)
    h = h + jnp.einsum("she,hed->sd", mixed, p["wo"])
    w1 = p["mlp"][0] / np.sqrt(4)
    z = jax.checkpoint(lambda h: h @ w1 + p["mlp"][1][None])(h)
    h = h + jax.jit(jnp.tanh)(z) @ p["mlp"][2]
    return jax.vmap(lambda row: p["embedding"] @ row)(h)


def test_a_transformer_block_of_a_plain_dict():
    p = {
        "embedding": draw(7, 4),
        **{f"w{n}": draw(4, 2, 2, seed=i) for i, n in enumerate("qkv")},
        "wo": draw(2, 2, 4, seed=4),
        "mlp": [draw(4, 6, seed=5), draw(6, seed=6), draw(6, 4, seed=7)],
    }
    tokens = np.array([[0, 3, 6], [5, 5, 1]])
    found = lr.richness.activations(p, tokens, apply=block)
    sizes = {"wq": 4, "wk": 4, "wv": 4, "wo": 4, "mlp[0]": 6, "mlp[2]": 4}
    sizes["embedding"] = 7
    assert list(found) == [*sizes]
    assert all(found[k].shape == (2, 3, size) for k, size in sizes.items())
    h = p["embedding"][tokens]
    q, k, v = (h @ p[n].reshape(4, 4) for n in ("wq", "wk", "wv"))
    np.testing.assert_allclose(found["wk"], k, atol=1e-12)
    scores = np.einsum(
        "nshe,nShe->nhsS", q.reshape(2, 3, 2, 2), k.reshape(2, 3, 2, 2)
    ) / np.sqrt(2)
    attention = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    mixed = np.einsum("nhsS,nShe->nshe", attention, v.reshape(2, 3, 2, 2))
    out = mixed.reshape(2, 3, 4) @ p["wo"].reshape(4, 4)
    np.testing.assert_allclose(found["wo"], out, atol=1e-12)
    z = (h + out) @ p["mlp"][0] / 2 + p["mlp"][1][None, None]
    np.testing.assert_allclose(found["mlp[0]"], z, atol=1e-12)
    layers = {layer.name: layer for layer in lr.richness.layers(p, tokens, apply=block)}
    np.testing.assert_array_equal(layers["mlp[0]"].weight, p["mlp"][0].T)  # not halved
    np.testing.assert_array_equal(layers["mlp[0]"].bias, p["mlp"][1])
    np.testing.assert_array_equal(layers["wo"].weight, p["wo"].reshape(4, 4).T)


def test_attention_of_equinox():
    model = eqx.nn.MultiheadAttention(2, 4, use_query_bias=True, key=KEY)
    x = draw(3, 5, 4)
    layers = lr.richness.layers(model, x, apply=lambda m, x: m(x, x, x))
    assert eqx.tree_equal(alone(layers), lr.richness.layers(model))
    assert layers[3].after == ("query_proj", "key_proj", "value_proj")
    assert [layer.kind for layer in layers] == ["query", "key", "value", "output"]
    assert {layer.heads for layer in layers} == {2}
    found = lr.richness.activations(model, x, apply=lambda m, x: m(x, x, x))
    q = x @ np.asarray(layers[0].weight).T + np.asarray(layers[0].bias)[None, None]
    np.testing.assert_allclose(found["query_proj"], q, atol=1e-6)


def test_tied_weights_are_two_layers_and_loops_are_left_out():
    p = {"w": draw(3, 3), "loop": draw(3, 3, seed=1), "g": draw(3, 3, seed=2)}

    def apply(p, x):
        x = p["w"].T @ jnp.tanh(p["w"] @ x)
        step = lambda h, _: (jnp.tanh(p["loop"] @ h), None)  # noqa: E731
        x, _ = jax.lax.scan(step, x, length=2)
        return (p["g"] * p["w"]) @ x

    x = draw(2, 3)
    with pytest.warns(UserWarning, match=r"`loop` \(inside `scan`\).*`g` \(computed"):
        first, second = lr.richness.layers(p, x, apply=apply)
    assert (first.name, second.name) == ("w", "w:2")
    np.testing.assert_array_equal(first.weight, second.weight.T)


def test_convolutions_stacked_by_vmap_are_left_out():
    p = {"stacked": draw(3, 4, 2, 2), "w": draw(2, 4)}

    def apply(p, x):
        def one(kernel):
            return jax.lax.conv(x[None], kernel, (1,), "VALID")[0].mean(axis=1)

        return p["w"] @ jax.vmap(one)(p["stacked"]).mean(axis=0)

    with pytest.warns(UserWarning, match="`stacked` .another weight for each part"):
        (layer,) = lr.richness.layers(p, draw(2, 2, 5), apply=apply)
    assert layer.name == "w"


def test_a_torch_state_dict():
    state = {
        "net.0.weight": draw(3, 2),
        "net.0.bias": np.zeros(3),
        "net.10.weight": draw(3, 3, seed=1),
        "net.10.bias": np.zeros(3),
        "net.2.weight": draw(3, 3, seed=2),
        "steps": np.array(3),
    }
    names = [layer.name for layer in lr.richness.layers(state)]
    assert names == ["net.0", "net.2", "net.10"]
    network = lr.LinearNetwork.from_layers(state)
    product = state["net.10.weight"] @ state["net.2.weight"] @ state["net.0.weight"]
    np.testing.assert_allclose(network.function, product)
    with pytest.raises(ValueError, match=r"`net.0.bias` were not all zero"):
        lr.LinearNetwork.from_layers(state | {"net.0.bias": np.ones(3)})
    with pytest.raises(ValueError, match=r"kind of `conv` was convolution"):
        lr.LinearNetwork.from_layers({"conv.weight": draw(3, 2, 3, 3)})


def test_weights_in_another_layout_than_their_names_say():
    square = {"0.weight": draw(3, 3), "1.weight": draw(3, 3, seed=1)}
    in_out = {"0.weight": draw(3, 8), "0.bias": np.zeros(8)}
    for read in (lr.LinearNetwork.from_layers, lr.richness.layers):
        with pytest.raises(ValueError, match=r"layers of PyTorch, such as `0\.weight`"):
            read(square, layout="in_out")
        with pytest.raises(ValueError, match=r"the weight was \(3, 8\), and the bias"):
            read(in_out)


def test_plain_matrices_need_a_layout():
    w1, w2 = draw(3, 3), draw(3, 3, seed=1)
    with pytest.raises(ValueError, match=r"`layout` must be .* `\[0\]`, of shape"):
        lr.LinearNetwork.from_layers([w1, w2])
    np.testing.assert_allclose(
        lr.LinearNetwork.from_layers([w1, w2], "out_in").function, w2 @ w1
    )
    network = lr.LinearNetwork.from_layers([w1, w2], "in_out")
    np.testing.assert_allclose(network.function, (w1 @ w2).T)
    again = lr.LinearNetwork.from_layers(network)
    assert eqx.tree_equal(again, network)
    with pytest.raises(ValueError, match="layers of Flax, such as `Dense_0`"):
        lr.LinearNetwork.from_layers({"Dense_0": {"kernel": w1}}, "out_in")
    with pytest.raises(ValueError, match="none was found"):
        lr.LinearNetwork.from_layers([], "out_in")
    with pytest.raises(ValueError, match=r"`layout` must be .* it was 'rows'"):
        lr.richness.layers([w1], layout="rows")


def test_bad_models_are_refused(mlp):
    x = draw(2, 3)
    linear = eqx.nn.Linear(3, 3, key=KEY)
    dropout = eqx.nn.Sequential([linear, eqx.nn.Dropout(0.5)])
    keyed = lambda m, x: m(x, key=KEY)  # noqa: E731
    for apply in (None, keyed):
        with pytest.raises(ValueError, match="Dropout must be off"):
            lr.richness.activations(dropout, x, apply=apply)
    off = eqx.nn.inference_mode(dropout)
    assert [*lr.richness.activations(off, x, apply=keyed)] == ["layers[0]"]
    with pytest.raises(TypeError, match="pass `apply`"):
        lr.richness.layers({"w": draw(3, 3)}, x)
    with pytest.raises(TypeError, match="had none"):
        lr.richness.layers(jnp.tanh, x)
    with pytest.raises(ValueError, match="must hold samples"):
        lr.richness.layers(mlp, x[:0])
    with pytest.raises(ValueError, match=r"one sample, of shape \(\)"):
        lr.richness.layers(mlp, x[0])
    with pytest.raises(ValueError, match=r"`model\['w'\]` must be finite"):
        function_of("model", {"w": np.full((2, 2), np.nan)}, x, lambda p, x: x)
    with pytest.raises(ValueError, match="product with a weight"):
        lr.richness.layers({"w": draw(3)}, x, apply=lambda p, x: p["w"] * x)


def test_pairs_have_one_structure(mlp):
    x = draw(2, 3)
    start, end, _ = pair_of(mlp, jax.tree.map(lambda p: p, mlp), x, None)
    assert jax.tree.structure(start) == jax.tree.structure(end)
    for change, message in (
        ({"width_size": 5}, r"`layers\[0\].weight` was an array of shape \(4, 3\)"),
        ({"depth": 3}, r"`layers\[3\].weight` is in `end`"),
        ({"use_bias": False}, r"`layers\[0\].bias` is in `start`"),
        ({"activation": jnp.tanh}, "`activation` was relu in `start` and tanh"),
    ):
        sizes = {"in_size": 3, "out_size": 2, "width_size": 4, "depth": 2}
        other = eqx.nn.MLP(**{**sizes, **change}, key=KEY)
        with pytest.raises(ValueError, match=message):
            pair_of(mlp, other, x, None)


def test_running_means_are_no_parameters():
    tree = {"params": {"w": draw(2, 3)}, "batch_stats": {"mean": draw(2)}}

    def apply(p, x):
        return p["params"]["w"] @ x - p["batch_stats"]["mean"]

    function, x = function_of("model", tree, draw(4, 3), apply)
    assert len(jax.tree.leaves(function.parameters)) == 1
    assert [layer.name for layer in lr.richness.layers(tree, layout="out_in")] == ["w"]
    expected = x @ tree["params"]["w"].T - tree["batch_stats"]["mean"][None]
    np.testing.assert_allclose(function.outputs(x), expected)
