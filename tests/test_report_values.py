"""Reports of convolutions and attention against plain Jacobians and NumPy."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import lazyrich_jax as lr


def by_jacobians(f, start, end, x, y):
    """The numbers of a model's functions, for its parameters as one vector."""
    (first, restored), (last, _) = ravel_pytree(start), ravel_pytree(end)

    def outputs(v):
        return jnp.stack([f(restored(v), sample) for sample in x])

    def loss(v):
        f, count = outputs(v), len(x)
        if y.ndim == 2:
            return jnp.sum((f - y) ** 2) / 2 / count
        return -jnp.sum(jax.nn.log_softmax(f)[np.arange(count), y]) / count

    norm, derivative = np.linalg.norm, jax.jacrev(outputs)
    f0, f1 = (np.asarray(outputs(v)) for v in (first, last))
    j0, j1 = (np.asarray(derivative(v)).reshape(f0.size, -1) for v in (first, last))
    k0, k1 = j0 @ j0.T, j1 @ j1.T
    line = f0 + (j0 @ np.asarray(last - first)).reshape(f0.shape)
    targets = (y if y.ndim == 2 else np.eye(f0.shape[1])[y]).ravel()
    both = k0, k1
    return {
        "loss": [loss(first), loss(last)],
        "weight_movement": norm(last - first) / norm(first),
        "linearisation_gap": norm(f1 - line) / norm(f1 - f0),
        "kernel_distance": 1 - np.sum(k0 * k1) / norm(k0) / norm(k1),
        "rich_lazy_index": norm(k1 - k0) / (norm(k0) + norm(k1)),
        "kernel_dimension": [np.trace(k) ** 2 / np.sum(k * k) for k in both],
        "target_alignment": [
            targets @ k @ targets / norm(k) / (targets @ targets) for k in both
        ],
    }


def centred(features):
    flat = features.reshape(len(features), -1)
    flat = flat - flat.mean(axis=0)[None]
    return flat @ flat.T


def cka(k0, k1):
    return np.sum(k0 * k1) / np.linalg.norm(k0) / np.linalg.norm(k1)


def require_features(report, start, end):
    """Compare the layers' numbers with pre-activations by name."""
    assert report.layer_names == tuple(start) == tuple(end)
    for i, name in enumerate(start):
        z0, z1 = start[name], end[name]
        expected = cka(centred(z0), centred(z1))
        np.testing.assert_allclose(report["feature_alignment"][i], expected)
        k0, k1 = (z.reshape(len(z), -1) @ z.reshape(len(z), -1).T for z in (z0, z1))
        change = np.linalg.norm(k1 - k0) / np.linalg.norm(k0)
        np.testing.assert_allclose(report["feature_change"][i], change)
        if i < len(start) - 1:
            flips = np.mean((z0 > 0) != (z1 > 0))
            np.testing.assert_allclose(report["activation_flips"][i], flips)


def lazy_rich(features, outputs):
    """D_LR, of the last features and the span of the outputs."""
    basis, s, _ = np.linalg.svd(outputs, full_matrices=False)
    basis = basis[:, s > 1e-10 * s[0]]
    return 1 - cka(centred(features), centred(basis))


class Convolutional(eqx.Module):
    layers: tuple

    def __init__(self, seed):
        keys = jax.random.split(jax.random.key(seed), 3)
        self.layers = (
            eqx.nn.Conv2d(2, 3, 3, key=keys[0]),
            eqx.nn.Conv2d(3, 4, 2, stride=2, key=keys[1]),
            eqx.nn.Linear(4, 3, key=keys[2]),
        )

    def __call__(self, x):
        x = jax.nn.relu(self.layers[1](jax.nn.relu(self.layers[0](x))))
        return self.layers[2](x.mean(axis=(1, 2)))


def convolved(x, layer, stride):
    weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
    size = weight.shape[-1]
    count = (x.shape[-1] - size) // stride + 1
    z = np.zeros((len(x), len(weight), count, count))
    for i in range(count):
        for j in range(count):
            rows, columns = (slice(k * stride, k * stride + size) for k in (i, j))
            patch = x[:, :, rows, columns].reshape(len(x), -1)
            z[:, :, i, j] = patch @ weight.reshape(len(weight), -1).T
    return z + bias[None]


def of_convolutions(model, x):
    first = convolved(x, model.layers[0], 1)
    second = convolved(np.maximum(first, 0), model.layers[1], 2)
    features = np.maximum(second, 0).mean(axis=(2, 3))
    head = model.layers[2]
    z = features @ np.asarray(head.weight).T + np.asarray(head.bias)[None]
    names = [f"layers[{i}]" for i in range(3)]
    return dict(zip(names, (first, second, z), strict=True)), features


@pytest.mark.slow
def test_a_convolutional_network():
    start, other = Convolutional(0), Convolutional(1)
    (p0, rest), (p1, _) = (eqx.partition(m, eqx.is_array) for m in (start, other))
    p1 = jax.tree.map(lambda a, b: a + 0.3 * b, p0, p1)
    end = eqx.combine(p1, rest)
    x, y = np.random.default_rng(0).normal(size=(7, 2, 7, 7)), np.arange(7) % 3
    report = lr.richness.report(start, end, x, y, leave_out=["sharpness"])
    expected = by_jacobians(lambda p, s: eqx.combine(p, rest)(s), p0, p1, x, y)
    for name, value in expected.items():
        np.testing.assert_allclose(report[name], value, rtol=1e-8, err_msg=name)
    (z0, h0), (z1, h1) = of_convolutions(start, x), of_convolutions(end, x)
    require_features(report, z0, z1)
    richness = [lazy_rich(h, [*z.values()][-1]) for h, z in ((h0, z0), (h1, z1))]
    np.testing.assert_allclose(report["dynamical_richness"], richness)


class Attending(nn.Module):
    @nn.compact
    def __call__(self, x):
        options = {"num_heads": 2, "qkv_features": 6, "deterministic": True}
        kind = nn.MultiHeadDotProductAttention
        x = x + kind(**options, param_dtype=jnp.float64, name="attention")(x)
        return nn.Dense(2, param_dtype=jnp.float64, name="head")(x.mean(axis=0))


def of_attention(variables, x):
    p = jax.tree.map(np.asarray, variables["params"])
    own, z = p["attention"], {}
    for name in ("query", "key", "value"):
        z[name] = np.einsum("nsd,dhe->nshe", x, own[name]["kernel"])
        z[name] = z[name] + own[name]["bias"][None, None]
    scores = np.exp(np.einsum("nshe,nShe->nhsS", z["query"], z["key"]) / np.sqrt(3))
    mixed = scores / scores.sum(axis=-1, keepdims=True)
    mixed = np.einsum("nhsS,nShe->nshe", mixed, z["value"])
    out = np.einsum("nshe,hed->nsd", mixed, own["out"]["kernel"])
    z["out"] = out + own["out"]["bias"][None, None]
    features = (x + z["out"]).mean(axis=1)
    last = features @ p["head"]["kernel"] + p["head"]["bias"][None]
    return {f"attention.{name}": v for name, v in z.items()} | {"head": last}, features


@pytest.mark.slow
def test_attention_of_flax():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(6, 3, 4)), random.normal(size=(6, 2))
    tree = Attending().init(jax.random.key(0), x[0])
    start = jax.tree.map(lambda a: a + 0.1 * random.normal(size=a.shape), tree)
    end = jax.tree.map(lambda a: a + 0.3 * random.normal(size=a.shape), tree)
    apply = Attending().apply
    report = lr.richness.report(start, end, x, y, apply=apply, leave_out=["sharpness"])
    expected = by_jacobians(apply, start, end, x, y)
    for name, value in expected.items():
        np.testing.assert_allclose(report[name], value, rtol=1e-8, err_msg=name)
    (z0, h0), (z1, h1) = of_attention(start, x), of_attention(end, x)
    z0, z1 = ({name: z[name] for name in report.layer_names} for z in (z0, z1))
    require_features(report, z0, z1)
    richness = [lazy_rich(h, z["head"]) for h, z in ((h0, z0), (h1, z1))]
    np.testing.assert_allclose(report["dynamical_richness"], richness)
    for when, variables in enumerate((start, end)):
        own = jax.tree.map(np.asarray, variables["params"]["attention"])
        for i, name in enumerate(report.pair_names):
            head = int(name[-1])
            lower, upper = (n.split(",")[0].split(".")[-1] for n in name.split(" -> "))
            into = [
                np.column_stack([own[n]["kernel"][:, head].T, own[n]["bias"][head]])
                for n in ("query", "key", "value")
            ]
            if (lower, upper) == ("key", "query"):
                matrix = into[0] @ into[0].T - into[1] @ into[1].T
            else:
                assert (lower, upper) == ("value", "out")
                output = own["out"]["kernel"][head]
                matrix = output @ output.T - into[2] @ into[2].T
            np.testing.assert_allclose(report["lmda"][i, when], np.trace(matrix) / 3)
