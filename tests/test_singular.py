"""Singular values of many small matrices of all kinds, by rotations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lazyrich_jax._singular import by_rotations, singular_basis
from lazyrich_jax._xla import sizes as tuned

EACH = 20  # matrices of each kind


def matrices(m, n):
    """Kinds of matrices that are hard to decompose, by name."""
    rng = np.random.default_rng(0)
    k = min(m, n)

    def draw():
        return rng.normal(size=(EACH, m, n))

    def with_values(s):
        u, v = (np.linalg.qr(rng.normal(size=(EACH, x, x)))[0] for x in (m, n))
        return (u[..., :k] * s) @ np.swapaxes(v[..., :k], 1, 2)

    last = np.zeros((EACH, m, n))
    last[:, -1, -1] = 1.0
    return {
        "any": draw(),
        "all equal": with_values(np.ones(k)),
        "in pairs": with_values(np.repeat([3.0, 1.0, 1e-3], 2)[:k]),
        "equal but for rounding": with_values(1 + 1e-15 * np.arange(k)),
        "falling": with_values(10.0 ** -np.linspace(0, 18, k)),
        "one": with_values(np.eye(k)[0]),
        "all but one": with_values(np.append(np.ones(k - 1), 0.0)),
        "zero": np.zeros((EACH, m, n)),
        "ones": np.ones((EACH, m, n)),
        "identity": np.broadcast_to(np.eye(m, n), (EACH, m, n)),
        "the last entry": last,
        "whole numbers": rng.integers(-1, 2, size=(EACH, m, n)).astype(float),
        "sparse": draw() * (rng.random((EACH, m, n)) < 0.3),
        "rows of many sizes": draw() * 10.0 ** rng.uniform(-9, 9, size=(EACH, m, 1)),
        "columns of many sizes": draw() * 10.0 ** rng.uniform(-9, 9, (EACH, 1, n)),
        "entries of many sizes": 10.0 ** rng.uniform(-30, 0, size=(EACH, m, n)),
        "small": draw() * 1e-30,
        "large": draw() * 1e30,
    }


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("m, n", [(5, 5), (2, 4), (5, 1), (4, 3)], ids=str)
def test_any_matrix(m, n, dtype):
    """Errors against NumPy are a few units of rounding of the largest entry."""
    kinds = matrices(m, n)
    x = jnp.asarray(np.concatenate(list(kinds.values())), dtype)
    u, s, v = (np.asarray(a, float) for a in jax.jit(by_rotations)(x))
    x = np.asarray(x, float)
    size = np.abs(x).max((1, 2))
    size = np.where(size > 0, size, 1.0)
    x, s = x / size[:, None, None], s / size[:, None]
    k = min(m, n)
    errors = {
        "values": np.abs(s - np.linalg.svd(x, compute_uv=False)).max(1),
        "product": np.abs(
            (u[..., :k] * s[:, None]) @ np.swapaxes(v[..., :k], 1, 2) - x
        ).max((1, 2)),
    }
    for name, basis in (("left", u), ("right", v)):
        square = np.swapaxes(basis, 1, 2) @ basis
        errors[name] = np.abs(square - np.eye(basis.shape[-1])).max((1, 2))
    assert np.all(s >= 0) and np.all(np.diff(s, axis=1) <= 0)
    for name, error in errors.items():
        by_kind = np.max(error.reshape(-1, EACH), axis=1) / np.finfo(dtype).eps
        assert np.all(by_kind < 40), (name, dict(zip(kinds, by_kind, strict=True)))


def test_mapped_over_axes_in_any_order():
    """The library, one by one, and rotations, all at once, agree."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4, 3, 2)))

    def product(sigma):
        u, s, v = singular_basis(sigma)
        return (u[:, :2] * s[None]) @ v[:, :2].T, s

    twice = jax.jit(jax.vmap(jax.vmap(product), in_axes=1, out_axes=1))
    found, s = twice(x)
    np.testing.assert_allclose(found, x, atol=1e-14)
    expected = [[singular_basis(sigma)[1] for sigma in row] for row in x]
    np.testing.assert_allclose(s, expected, atol=1e-14)


@pytest.mark.parametrize(
    "shape, rotated",
    [
        ((20, 4, 2), True),
        ((20, 2, 2), True),
        ((20, 5, 2), False),
        ((20, 3, 3), False),
        ((9, 2, 2), False),
    ],
    ids=str,
)
def test_which_matrices_are_rotated_on_a_cpu(monkeypatch, shape, rotated):
    def rotates(count):
        x = jax.ShapeDtypeStruct((count, *shape[1:]), jnp.float32)
        return "while" in str(jax.make_jaxpr(jax.vmap(singular_basis))(x))

    assert rotates(shape[0]) == rotated
    # A program for every platform includes rotations. (A new shape avoids old traces.)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert rotates(shape[0] + 1) == (shape[0] > tuned.FEW_MATRICES)
