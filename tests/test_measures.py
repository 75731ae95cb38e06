"""Measures against references in NumPy and SciPy, and their invariances."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

import lazyrich_jax as lr

measures = lr.measures
KERNELS = {  # measures of two kernels of the same samples
    "kernel_alignment": measures.kernel_alignment,
    "kernel_distance": measures.kernel_distance,
    "centred_kernel_alignment": measures.centred_kernel_alignment,
    "unbiased_centred_kernel_alignment": measures.unbiased_centred_kernel_alignment,
    "bures_distance": measures.bures_distance,
    "representational_change": measures.representational_change,
    "rich_lazy_index": measures.rich_lazy_index,
}
SPECTRA = {  # measures of one matrix
    "effective_rank": measures.effective_rank,
    "participation_ratio": measures.participation_ratio,
}
JITTED = {name: jax.jit(f) for name, f in (KERNELS | SPECTRA).items()}
N = 6


def features(seed, samples=N, count=4):
    return np.random.default_rng(seed).normal(size=(samples, count))


def kernel(seed, samples=N, count=4):
    x = features(seed, samples, count)
    return x @ x.T


def rotation(seed, n=N):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


def centring(n=N):
    return np.eye(n) - np.ones((n, n)) / n


def cosine(a, b):
    return np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)


def unbiased_hsic(k, m):
    """Song et al. (2012), equation 5, entry by entry."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    total = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / (n - 1) / (n - 2)
    return (total - 2 / (n - 2) * one @ k @ m @ one) / n / (n - 3)


def bures(a, b):
    root = scipy.linalg.sqrtm(a)
    return np.sqrt(np.trace(a + b - 2 * np.real(scipy.linalg.sqrtm(root @ b @ root))))


def test_against_references():
    a, b, h = kernel(0, count=8), kernel(1, count=7), centring()
    expected = {
        "kernel_alignment": cosine(a, b),
        "kernel_distance": 1 - cosine(a, b),
        "centred_kernel_alignment": cosine(h @ a @ h, h @ b @ h),
        "unbiased_centred_kernel_alignment": unbiased_hsic(a, b)
        / np.sqrt(unbiased_hsic(a, a) * unbiased_hsic(b, b)),
        "bures_distance": bures(a, b),
        "representational_change": np.linalg.norm(b - a) / np.linalg.norm(a),
        "rich_lazy_index": np.linalg.norm(b - a)
        / (np.linalg.norm(a) + np.linalg.norm(b)),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(JITTED[name](a, b), value, rtol=1e-9, err_msg=name)
    s = np.linalg.svd(a, compute_uv=False)
    p = s / s.sum()
    entropy = -np.sum(p * np.log(p))
    np.testing.assert_allclose(JITTED["effective_rank"](a), np.exp(entropy))
    np.testing.assert_allclose(
        JITTED["participation_ratio"](a), s.sum() ** 2 / np.sum(s**2)
    )
    x, y = features(2), features(3)
    turn, _ = scipy.linalg.orthogonal_procrustes(y, x)
    distance = measures.procrustes_distance(x, y)
    np.testing.assert_allclose(distance, np.linalg.norm(x - y @ turn), rtol=1e-12)
    np.testing.assert_allclose(measures.bures_distance(x @ x.T, y @ y.T), distance)
    # Linear CKA from features, as Kornblith et al. write it.
    x, y = x - x.mean(0), y - y.mean(0)
    published = np.linalg.norm(y.T @ x) ** 2
    published /= np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    np.testing.assert_allclose(
        JITTED["centred_kernel_alignment"](x @ x.T, y @ y.T), published
    )


def test_unbiased_alignment_is_unbiased():
    def pair(key):
        x, y = jax.random.normal(key, (2, 8, 20))
        a, b = x @ x.T, y @ y.T
        return jnp.stack([f(a, b) for f in alignments])

    alignments = (
        measures.centred_kernel_alignment,
        measures.unbiased_centred_kernel_alignment,
    )
    draws = jax.jit(jax.vmap(pair))(jax.random.split(jax.random.key(0), 2000))
    biased, unbiased = draws.mean(axis=0)
    assert biased > 0.5 and abs(unbiased) < 0.02


@settings(max_examples=25, deadline=None)
@given(
    seeds=st.tuples(st.integers(0, 1000), st.integers(1001, 2000)),
    scales=st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)),
    count=st.integers(2, 8),
)
def test_scale_and_rotation(seeds, scales, count):
    a, b = (kernel(seed, count=count) for seed in seeds)
    turn = rotation(sum(seeds))
    order = np.random.default_rng(seeds[0]).permutation(N)
    shift = np.outer(features(5, N, 1), np.ones(N))
    close: Any = dict(rtol=1e-6, atol=1e-9)
    for name in KERNELS:
        value = JITTED[name](a, b)
        if not name.startswith(("bures", "repr", "rich")):
            scaled = JITTED[name](scales[0] * a, scales[1] * b)
            np.testing.assert_allclose(scaled, value, **close, err_msg=name)
        both = JITTED[name](scales[0] * a, scales[0] * b)
        if name == "bures_distance":
            both = both / np.sqrt(scales[0])
        np.testing.assert_allclose(both, value, **close, err_msg=name)
        # Measures are invariant under permutations and, unless centred, rotations.
        shuffled = JITTED[name](a[order][:, order], b[order][:, order])
        np.testing.assert_allclose(shuffled, value, **close, err_msg=name)
        if "centred" in name:
            moved = JITTED[name](a + shift + shift.T + 3.0, b)
            np.testing.assert_allclose(moved, value, **close, err_msg=name)
        else:
            turned = JITTED[name](turn @ a @ turn.T, turn @ b @ turn.T)
            np.testing.assert_allclose(turned, value, **close, err_msg=name)
        if name != "representational_change":
            np.testing.assert_allclose(JITTED[name](b, a), value, **close, err_msg=name)
    for name in SPECTRA:
        turned = JITTED[name](scales[0] * turn @ a @ turn.T)
        np.testing.assert_allclose(turned, JITTED[name](a), **close, err_msg=name)
    assert 0 <= JITTED["rich_lazy_index"](a, b) <= 1
    assert 1 <= JITTED["effective_rank"](a) <= min(count, N) + 1e-6
    assert 1 <= JITTED["participation_ratio"](a) <= min(count, N) + 1e-6
    # Distances are metrics: positive definite, with the triangle inequality.
    c = kernel(seeds[0] + 5000, count=count)
    bures_ = JITTED["bures_distance"]
    assert bures_(a, c) <= bures_(a, b) + bures_(b, c) + 1e-9
    assert bures_(a, a) < 1e-6 * np.sqrt(np.trace(a))
    x, y = features(seeds[0]), features(seeds[1])
    np.testing.assert_allclose(
        measures.procrustes_distance(x, y @ rotation(seeds[0], 4)),
        measures.procrustes_distance(x, y),
        **close,
    )


def test_small_distances_keep_their_digits():
    a, b = kernel(0), kernel(1)
    small = b - np.sum(a * b) / np.sum(a * a) * a
    for size in (1e-4, 1e-9, 1e-12):
        distance = measures.kernel_distance(a, a + size * small)
        expected = np.sum((size * small) ** 2) / np.sum(a**2) / 2
        np.testing.assert_allclose(distance, expected, rtol=1e-3)
    x = features(2)
    assert measures.procrustes_distance(x, x @ rotation(1, 4)) < 1e-14


def test_gradients_and_batches():
    a, b = jnp.asarray(kernel(0, count=8)), jnp.asarray(kernel(1, count=7))
    change = features(4, N, N)
    change = change + change.T
    h = 1e-5
    for name, f in (KERNELS | SPECTRA).items():
        args = (a, b) if name in KERNELS else (a,)
        slope = jnp.sum(jax.jit(jax.grad(f))(*args) * change)
        value = JITTED[name]
        near = value(a + h * change, *args[1:]) - value(a - h * change, *args[1:])
        np.testing.assert_allclose(slope, near / (2 * h), rtol=1e-5, err_msg=name)
        batch = jax.jit(jax.vmap(f))(*(x[None] for x in args))
        np.testing.assert_allclose(batch[0], value(*args), rtol=1e-12, err_msg=name)
    # Slopes are right or finite where eigenvalues repeat or nothing has moved.
    slope = jax.jit(jax.grad(measures.bures_distance))(np.eye(N), 4 * np.eye(N))
    np.testing.assert_allclose(slope, -jnp.eye(N) / 24**0.5, rtol=1e-6)
    for f in (measures.rich_lazy_index, measures.representational_change):
        assert np.isfinite(jax.jit(jax.grad(f))(a, a)).all()
    x = jnp.asarray(features(1))
    for f in (measures.procrustes_distance, measures.weight_movement):
        assert np.isfinite(jax.jit(jax.grad(f))(x, x)).all()
        y = jnp.asarray(features(2))
        slope = np.sum(jax.jit(jax.grad(f))(x, y) * change[:, :4])
        near = f(x + h * change[:, :4], y) - f(x - h * change[:, :4], y)
        np.testing.assert_allclose(slope, near / (2 * h), rtol=1e-5)
    shifted = jax.jit(lambda e: measures.procrustes_distance(x + e * y, y))
    bend = jax.jit(jax.hessian(shifted))(0.0)
    near = sum(w * float(shifted(e)) for w, e in ((1, 1e-3), (-2, 0.0), (1, -1e-3)))
    np.testing.assert_allclose(bend, near / 1e-6, rtol=1e-4)


@pytest.mark.parametrize("size, dtype", [(1e-25, jnp.float32), (1e200, jnp.float64)])
def test_units_do_not_matter(size, dtype):
    one, other = (jnp.asarray(kernel(k, count=8), dtype) for k in (0, 1))
    y = jnp.asarray(features(2), dtype)
    for f, args in (
        *((KERNELS[name], (one, other)) for name in KERNELS if "bures" not in name),
        (measures.participation_ratio, (one,)),
        (measures.effective_rank, (one,)),
        (measures.task_specificity, (one, y.T)),
        (measures.target_alignment, (one, y)),
    ):
        scaled = f(*(jnp.asarray(size, dtype) * x for x in args))
        np.testing.assert_allclose(scaled, f(*args), rtol=1e-4)


def test_complex_parameters_count_as_two():
    start, end = jnp.array([1 + 2j, 2j]), jnp.array([1 + 1j, 0j])
    np.testing.assert_allclose(measures.weight_movement(start, end), (5 / 9) ** 0.5)
