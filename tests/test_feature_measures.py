"""Measures of features, of updates, of collapse and of gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from .test_measures import centring, cosine, features, rotation

measures: Any = lr.measures  # for its results as arrays
PAIRS = {  # measures of two representations, or of features and outputs
    "feature_alignment": measures.feature_alignment,
    "feature_change": measures.feature_change,
    "dynamical_richness": measures.dynamical_richness,
}


def references(x, y):
    """The definitions, with kernels of all samples."""
    n = len(x)
    a, b, h = x @ x.T, y @ y.T, centring(n)
    # Definition 1 of Nam et al.: any positive a_1 and a_2.
    projection = 0.7 * np.ones((n, n)) / n + 1.3 * y @ np.linalg.pinv(y)
    return {
        "feature_alignment": cosine(h @ a @ h, h @ b @ h),
        "feature_change": np.linalg.norm(b - a) / np.linalg.norm(a),
        "dynamical_richness": 1 - cosine(h @ a @ h, h @ projection @ h),
    }


@pytest.mark.parametrize("samples, width", [(12, 3), (5, 7)])
def test_against_kernels_of_all_samples(samples, width):
    x, y = features(0, samples, width), features(1, samples, width) + 1.0
    low = y.copy()
    low[:, 2] = y[:, 0] - y[:, 1]
    for other in (y, low):
        for name, expected in references(x, other).items():
            f = PAIRS[name]
            np.testing.assert_allclose(
                f(x, other), expected, 1e-11, 1e-11, err_msg=name
            )
            single = f(*(jnp.asarray(a, jnp.float32) for a in (x, other)))
            assert single.dtype == jnp.float32
            np.testing.assert_allclose(single, expected, 1e-4, 1e-6, err_msg=name)


def whitened(samples, size):
    """Centred inputs whose covariance is the identity."""
    x = features(7, samples, size)
    return np.sqrt(samples) * np.linalg.qr(x - x.mean(0))[0]


def function(s):
    """A matrix with these singular values, and its row space."""
    s = np.asarray(s)
    u, v = rotation(1, 3)[:, : len(s)], rotation(2, 4)[:, : len(s)]
    return u @ np.diag(s) @ v.T


def test_linear_networks_have_closed_forms():
    x, s = whitened(20, 4), np.array([3.0, 2.0, 0.5])
    start = lr.LambdaBalanced(-2.0)(4, 4, 3, key=jax.random.key(0))
    rich = lr.balanced_network(function(s), 0.0)
    lazy = lr.balanced_network(function(s), -1e6, hidden_size=4)
    hidden = [x @ np.asarray(net.weights[0]).T for net in (start, rich, lazy)]
    r0, r1 = start.input_representation, rich.input_representation
    np.testing.assert_allclose(
        measures.feature_alignment(hidden[0], hidden[1]),
        measures.kernel_alignment(*(r - 0.0 for r in (r0, r1))),
        rtol=1e-10,
    )
    np.testing.assert_allclose(
        measures.feature_change(hidden[0], hidden[2]),
        measures.representational_change(r0, lazy.input_representation),
        rtol=1e-10,
    )
    outputs = x @ function(s).T
    value = measures.dynamical_richness(hidden[1], outputs)
    np.testing.assert_allclose(value, 1 - s.sum() / np.sqrt(3 * np.sum(s**2)), 1e-10)
    value = measures.dynamical_richness(hidden[2], outputs)
    np.testing.assert_allclose(value, 1 - np.sqrt(3 / 4), rtol=1e-5)
    equal = lr.balanced_network(function([2.0, 2.0]), 0.0)
    hidden, outputs = x @ np.asarray(equal.weights[0]).T, x @ function([2.0, 2.0]).T
    assert 0 <= measures.dynamical_richness(hidden, outputs) < 1e-28


def test_small_differences_keep_their_digits():
    x, y = features(0, 12, 3), features(1, 12, 3)
    slope = np.linalg.norm(x @ y.T + y @ x.T) / np.linalg.norm(x @ x.T)
    # The distance of features that leave the span of the outputs by a little.
    span = np.linalg.qr(x - x.mean(0))[0]
    out = y - y.mean(0) - span @ (span.T @ y)
    for size in (1e-5, 1e-9):
        change = measures.feature_change(x, x + size * y)
        np.testing.assert_allclose(change, size * slope, rtol=1e-4)
        distance = measures.dynamical_richness(span + size * out, span)
        expected = size**2 * np.sum(out**2) / 3
        np.testing.assert_allclose(distance, expected, rtol=1e-4)


def test_invariances():
    x, y = features(0, 12, 3), features(1, 12, 3)
    for name, f in PAIRS.items():
        value = f(x, y)
        turned = f(x @ rotation(3, 3), y @ rotation(4, 3))
        np.testing.assert_allclose(turned, value, 1e-9, err_msg=name)
        np.testing.assert_allclose(f(1e-150 * x, 1e-150 * y), value, 1e-9)
        np.testing.assert_allclose(f(1e150 * x, 1e150 * y), value, 1e-9)
        if name != "feature_change":
            np.testing.assert_allclose(f(3 * x + 5.0, y / 7), value, 1e-9, 1e-12)
    mixed = measures.dynamical_richness(x, y @ (features(5, 3, 3) + 4 * np.eye(3)))
    np.testing.assert_allclose(mixed, measures.dynamical_richness(x, y), 1e-9)


def test_slopes_and_batches():
    args = [jnp.asarray(features(k, 12, 3)) for k in (0, 1)]
    steps = [features(k, 12, 3) for k in (2, 3)]
    low = args[1].at[:, 2].set(args[1][:, 0])  # the rank stays two
    steps[1][:, 2] = steps[1][:, 0]
    h = 1e-5
    for f in PAIRS.values():
        one, both = jax.jit(f), (args[0], low)
        batch = jax.jit(jax.vmap(f))(*(jnp.stack([a, a]) for a in both))
        np.testing.assert_allclose(batch[1], one(*both), rtol=1e-10)
        slopes = jax.jit(jax.grad(f, argnums=(0, 1)))(*both)
        slope = sum(np.sum(a * b) for a, b in zip(slopes, steps, strict=True))
        near = [
            one(*(a + sign * h * b for a, b in zip(both, steps, strict=True)))
            for sign in (1, -1)
        ]
        np.testing.assert_allclose(slope, (near[0] - near[1]) / (2 * h), 1e-6)
    still = jax.jit(jax.grad(measures.feature_change))(args[0], args[0])
    np.testing.assert_array_equal(still, 0)


def test_values_without_a_direction():
    x, one, zero = features(0, 12, 3), np.full((12, 3), 2.0), np.zeros((12, 3))
    for f in (measures.feature_alignment, measures.dynamical_richness):
        for a, b in ((x, one), (one, x), (x, zero), (zero, x)):
            assert np.isnan(f(a, b))
    assert measures.feature_change(zero, zero) == 0
    assert measures.feature_change(zero, x) == np.inf
    assert measures.feature_change(x, zero) == 1


def test_flips_are_angles_of_the_weights():
    angle = 2 * np.pi * (np.arange(20000) + 0.5) / 20000
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)  # every direction once
    w0, w1 = features(0, 5, 2), features(1, 5, 2)
    between = [np.arccos(cosine(a, b)) for a, b in zip(w0, w1, strict=True)]
    share = measures.activation_flips(x @ w0.T, x @ w1.T)
    np.testing.assert_allclose(share, np.mean(between) / np.pi, rtol=1e-3)
    flips = measures.activation_flips(
        np.array([[0.0, -1, 1, 0]]), np.array([[0, 0, 0, 2]])
    )
    assert flips == 0.5 and flips.dtype == float
    assert np.isnan(measures.activation_flips(np.array([np.nan, 1]), np.ones(2)))
    slope = jax.grad(measures.activation_flips)(jnp.ones(3), jnp.ones(3))
    np.testing.assert_array_equal(slope, 0)


def test_the_rank_of_an_update():
    start = features(0, 6, 5)
    low = features(1, 6, 2) @ features(2, 2, 5)
    both = measures.update_rank(start, start + low), measures.effective_rank(low)
    np.testing.assert_allclose(*both, rtol=1e-10)
    assert measures.update_rank(start, start) == 0
    assert measures.update_rank(start, (1 + 1e-16) * start) == 0
    # Rounding of the weights does not count as a direction.
    weight = jnp.asarray(start, jnp.float32)
    step = jnp.outer(weight[:, 0], weight[0]) * 1e-4
    np.testing.assert_allclose(measures.update_rank(weight, weight + step), 1, 1e-6)
    # From small weights a balanced network learns the map alone.
    end = lr.balanced_network(function([2.0, 2.0]), 0.0).weights[0]
    rank = measures.update_rank(1e-9 * features(3, *end.shape), end)
    np.testing.assert_allclose(rank, 2, rtol=1e-6)


LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])


def papyan(h, labels, w, b):
    """The measures of Papyan et al. with covariances, for classes of one size."""
    kinds = np.unique(labels)
    count = len(kinds)
    means = np.stack([h[labels == c].mean(0) for c in kinds])
    m = means - h.mean(0)
    rest = h - means[np.searchsorted(kinds, labels)]
    within, between = rest.T @ rest / len(h), m.T @ m / count
    sizes = np.linalg.norm(m, axis=1)
    angles = [cosine(m[i], m[j]) for i in range(count) for j in range(count) if i != j]
    nearest = [int(kinds[np.argmin(np.linalg.norm(means - x, axis=1))]) for x in h]
    gap = w[kinds] / np.linalg.norm(w[kinds]) - m / np.linalg.norm(m)
    return (
        np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / count,
        np.std(sizes) / np.mean(sizes),
        np.mean(np.abs(np.array(angles) + 1 / (count - 1))),
        np.linalg.norm(gap) ** 2,
        np.mean(np.argmax(h @ w.T + b, axis=1) != nearest),
    )


def test_collapse_against_covariances():
    h, w, b = features(0, 12, 6) + 3.0, features(1, 4, 6), features(2, 4, 1)[:, 0]
    found = measures.neural_collapse(h, LABELS, w, b)
    np.testing.assert_allclose(found, papyan(h, LABELS, w, b), rtol=1e-9)
    assert 0 < found.nc4 < 1
    single = [jnp.asarray(a, jnp.float32) for a in (h, w, b)]
    found = measures.neural_collapse(single[0], LABELS, *single[1:])
    np.testing.assert_allclose(found, papyan(h, LABELS, w, b), rtol=1e-4)
    assert all(value.dtype == jnp.float32 for value in found)
    # An absent class counts nowhere.
    wide = np.insert(w, 2, 9.0, axis=0), np.insert(b, 2, -99.0)
    moved = np.where(LABELS > 1, LABELS + 1, LABELS)
    found = measures.neural_collapse(h, moved, *wide)
    np.testing.assert_allclose(found, papyan(h, moved, *wide), rtol=1e-9)
    np.testing.assert_allclose(found[:4], papyan(h, LABELS, w, b)[:4], rtol=1e-9)
    # Classes count equally: samples that are repeated change nothing.
    often = measures.neural_collapse(np.r_[h, h[:3]], np.r_[LABELS, LABELS[:3]], w, b)
    np.testing.assert_allclose(often[:4], papyan(h, LABELS, w, b)[:4], rtol=1e-9)


def test_collapsed_features():
    simplex = np.eye(4) - 0.25
    turn, shift = rotation(0, 6)[:4], features(1, 1, 6)
    h, weight = simplex[LABELS] @ turn + shift, 5 * simplex @ turn
    found = measures.neural_collapse(h, LABELS, weight, -(weight @ shift[0]))
    np.testing.assert_allclose(found, 0, atol=1e-13)
    assert measures.dynamical_richness(h, np.eye(4)[LABELS]) < 1e-28
    # A balanced network that learned centred one-hot targets from small weights.
    network = lr.balanced_network(simplex, 0.0)
    hidden = np.asarray(network.weights[0]).T[LABELS]
    found = measures.neural_collapse(hidden, LABELS, network.weights[1])
    np.testing.assert_allclose(found, 0, atol=1e-13)


def test_few_samples_and_few_classes():
    h = features(0, 4, 3)
    found = measures.neural_collapse(h, np.arange(4))
    assert found.nc1 < 1e-25 and found.nc3 is None and found.nc4 is None
    alone = measures.neural_collapse(h, np.zeros(4, int), features(1, 1, 3))
    assert np.isnan(alone[:4]).all() and alone.nc4 == 0
    two = jax.jit(lambda h, c: measures.neural_collapse(h, c, classes=2))
    slope = jax.grad(lambda h: two(h, jnp.array([0, 1, 0, 1])).nc1)(jnp.asarray(h))
    step, near = features(3, 4, 3), []
    for sign in (1, -1):
        near.append(two(h + sign * 1e-5 * step, np.array([0, 1, 0, 1])).nc1)
    expected = (near[0] - near[1]) / 2e-5
    np.testing.assert_allclose(np.sum(slope * step), expected, rtol=1e-5)
    assert np.isnan(two(h, np.array([0, 1, 2, 1]))[:3]).all()
    batch = jax.vmap(two)(np.stack([h, h]), np.array([[0, 1, 0, 1], [0, 0, 0, 0]]))
    assert np.isnan(batch.nc1[1]) and np.isfinite(batch.nc1[0])


def test_gradient_outer_products():
    a = features(0, 3, 4)
    jacobians = np.stack([a, 2 * a, features(1, 3, 4)])
    mean = sum(j.T @ j for j in jacobians) / 3
    np.testing.assert_allclose(measures.agop(jacobians), mean, rtol=1e-12)
    deep = [
        rotation(k, 4) @ np.diag([2.0, 1.5, 1, 0.1]) @ rotation(k + 1, 4).T
        for k in (3, 2, 1)
    ]
    for layers in (2, 3):  # zero-balanced networks of these layers
        linear = lr.LinearNetwork(deep[:layers])
        x = features(5, 3, 4)
        found = measures.agop(jax.vmap(jax.jacrev(linear))(x))
        np.testing.assert_allclose(found, linear.function.T @ linear.function, 1e-12)
        align = measures.neural_feature_alignment(deep[0], found, power=1 / layers)
        np.testing.assert_allclose(align, 1, rtol=1e-12)
        align = measures.neural_feature_alignment(deep[0], found, power=1)
        expected = cosine(deep[0].T @ deep[0], np.asarray(found))
        np.testing.assert_allclose(align, expected, rtol=1e-12)
    lazy = lr.balanced_network(function([3.0, 2, 1]), -1e6, hidden_size=4)
    align = measures.neural_feature_alignment(
        lazy.weights[0], lazy.function.T @ lazy.function
    )
    np.testing.assert_allclose(align, 6 / np.sqrt(14 * 4), rtol=1e-5)


def test_slopes_of_the_ansatz():
    weight, low = features(0, 3, 4), features(1, 2, 4)
    step = features(2, 2, 4)
    for power in (0.5, 1):

        def value(j, power=power):
            found = measures.agop(j[None])
            return measures.neural_feature_alignment(weight, found, power=power)

        slope = np.sum(jax.jit(jax.grad(value))(low) * step)
        near = value(low + 1e-5 * step) - value(low - 1e-5 * step)
        np.testing.assert_allclose(slope, near / 2e-5, rtol=1e-5)
    assert np.isnan(measures.neural_feature_alignment(0 * weight, np.eye(4)))
    assert np.isnan(measures.neural_feature_alignment(weight, np.zeros((4, 4))))
