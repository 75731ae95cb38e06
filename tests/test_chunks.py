"""Samples some at a time give what all of them give."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import lazyrich_jax as lr
from lazyrich_jax.richness import chunks, probes
from lazyrich_jax.richness.model import function_of

KEY = jax.random.key(0)


def test_models_of_samples_in_chunks(monkeypatch):
    keys = jax.random.split(KEY, 3)
    layers = [
        eqx.nn.Conv2d(1, 2, 2, key=keys[0]),
        eqx.nn.Lambda(jnp.tanh),
        eqx.nn.Lambda(jnp.ravel),
        eqx.nn.Linear(8, 2, key=keys[1]),
    ]
    start = eqx.nn.Sequential(layers)
    end = jax.tree.map(lambda w: 1.5 * w if eqx.is_array(w) else w, start)
    x = jax.random.normal(keys[2], (7, 1, 3, 3))
    function, x = function_of("start", start, x, None)

    def found():
        return {
            "outputs": function.outputs(x),
            "linearised": lr.richness.linearised(start, end, x),
            "features": probes.last_features(function, x),
            "gradients": probes.gradient_products(function, x),
            **lr.richness.activations(start, x),
        }

    whole = found()
    monkeypatch.setattr(chunks, "CHUNK", 3)  # the last chunk is filled up
    parts = found()
    assert whole["layers[0]"].shape == (7, 2, 2, 2) and whole["gradients"][0] is None
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(b, a, 1e-9, 1e-12), whole, parts
    )
    np.testing.assert_allclose(whole["gradients"][1], np.eye(2), atol=1e-12)
    features, _ = function_of("model", eqx.nn.Sequential(layers[:3]), x, None)
    assert probes.gradient_products(features, x) == [None]
    np.testing.assert_allclose(whole["outputs"], jax.vmap(start)(x), rtol=1e-12)
