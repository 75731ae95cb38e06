"""Measures of zero, rank-one, repeated and degenerate matrices, and their slopes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from .test_measures import KERNELS, N, features

measures = lr.measures


ZERO, ONE = np.zeros((N, N)), np.ones((N, 1))


RANK_ONE, EYE = ONE @ ONE.T, np.eye(N)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize(
    "name, args, value",
    [
        # A zero kernel has no direction; rank one and equal eigenvalues have one.
        ("kernel_alignment", (ZERO, EYE), np.nan),
        ("kernel_distance", (ZERO, ZERO), np.nan),
        ("kernel_distance", (RANK_ONE, EYE), 1 - N**-0.5),
        ("kernel_distance", (EYE, 3 * EYE), 0.0),
        ("centred_kernel_alignment", (ZERO, EYE), np.nan),
        ("centred_kernel_alignment", (RANK_ONE, EYE), np.nan),
        ("centred_kernel_alignment", (EYE, 2 * EYE), 1.0),
        ("unbiased_centred_kernel_alignment", (RANK_ONE, EYE), np.nan),
        ("bures_distance", (ZERO, ZERO), 0.0),
        ("bures_distance", (ZERO, EYE), N**0.5),
        ("bures_distance", (RANK_ONE, 4 * RANK_ONE), N**0.5),
        ("bures_distance", (EYE, 4 * EYE), N**0.5),
        ("representational_change", (ZERO, ZERO), 0.0),
        ("representational_change", (ZERO, EYE), np.inf),
        ("representational_change", (EYE, EYE), 0.0),
        ("rich_lazy_index", (ZERO, ZERO), 0.0),
        ("rich_lazy_index", (ZERO, RANK_ONE), 1.0),
        ("rich_lazy_index", (EYE, 3 * EYE), 0.5),
        ("effective_rank", (ZERO,), 0.0),
        ("effective_rank", (RANK_ONE,), 1.0),
        ("effective_rank", (EYE,), N),
        ("participation_ratio", (ZERO,), 0.0),
        ("participation_ratio", (RANK_ONE,), 1.0),
        ("participation_ratio", (EYE,), N),
        ("task_specificity", (ZERO, EYE), np.nan),
        ("task_specificity", (EYE, ZERO), np.nan),
        ("task_specificity", (EYE, EYE), 1.0),
        ("task_specificity", (RANK_ONE, RANK_ONE), 1.0),
        ("procrustes_distance", (ZERO, ZERO), 0.0),
        ("procrustes_distance", (EYE, -EYE), 0.0),
        ("procrustes_distance", (ONE, -2 * ONE), N**0.5),
        ("mode_strengths", (-EYE, np.diag([1.0, 0, 0, 0, 0, 0])), -np.ones(N)),
        ("target_alignment", (EYE, ZERO[:, :2]), np.nan),
        ("target_alignment", (RANK_ONE, ONE), 1.0),
        ("balance", (ZERO, EYE), (1.0, 0.0)),
        ("weight_movement", (EYE, EYE), 0.0),
        ("weight_movement", (ZERO, EYE), np.inf),
    ],
)
def test_zero_rank_one_and_repeated_values(name, args, value, dtype):
    args = [jnp.asarray(a, dtype) for a in args]
    result = getattr(measures, name)(*args)
    for got, expected in zip(
        result if isinstance(result, tuple) else [result],
        value if isinstance(value, tuple) else [value],
        strict=True,
    ):
        assert got.dtype == dtype
        if name == "mode_strengths":  # signs of null modes are arbitrary
            got, expected = jnp.abs(got), np.abs(expected)
        np.testing.assert_allclose(
            got,
            expected,
            rtol=1e-5,
            atol=2e-3 * (dtype == jnp.float32 and "bures" in name) + 1e-6,
        )


def test_derivatives_where_a_matrix_is_degenerate():
    rank_two = jnp.asarray(features(0, N, 2) @ features(1, 2, N))
    # The slope is zero at zero, and along singular values at rounding level.
    np.testing.assert_array_equal(jax.grad(measures.participation_ratio)(ZERO), ZERO)
    slope = jax.jit(jax.grad(measures.effective_rank))(rank_two)
    u, _, vt = jnp.linalg.svd(rank_two)
    assert jnp.abs(u[:, 2:].T @ slope @ vt[2:].T).max() < 1e-12
    turned = rank_two @ jnp.linalg.qr(jnp.asarray(features(2, N, N)))[0]
    distances = jax.jit(jax.value_and_grad(measures.procrustes_distance))
    distance, slope = distances(rank_two, turned)
    assert distance < 1e-13
    np.testing.assert_array_equal(slope, 0 * slope)
    # The derivative of NaN is NaN.
    for name in "centred_kernel_alignment", "unbiased_centred_kernel_alignment":
        for a, b in (ZERO, EYE), (ONE @ ONE.T, EYE):
            value, slopes = jax.value_and_grad(KERNELS[name], argnums=(0, 1))(
                jnp.asarray(a), jnp.asarray(b)
            )
            assert jnp.isnan(value) and jnp.isnan(slopes[0]).all()
    of_both = jax.jit(jax.grad(lambda x: measures.mode_strengths(x, x)[0]))
    for sigma in EYE, rank_two[:, :4], ZERO:
        slope = of_both(sigma)
        assert jnp.isnan(slope).all()
    single = jnp.diag(jnp.arange(4.0)[::-1])  # a square matrix with one zero value
    slope = jax.grad(lambda x: measures.mode_strengths(single, x)[0])(single)
    np.testing.assert_allclose(slope, 0 * single, atol=1e-12)
