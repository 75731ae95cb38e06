"""White coordinates of real data, against NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

loose: Any = lr  # for arguments that its annotations refuse
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pixels():
    """Data of rank 3 in 6 columns: a zero one, a constant one and a repeated one."""
    x = RNG.normal(size=(30, 6)) * np.array([0.0, 0.0, 1.0, 5.0, 1.0, 0.0])
    x[:, 1] = 2.0
    x[:, 4] = x[:, 3]
    return lr.Task(x, RNG.normal(size=(30, 2)))


def test_directions_of_constant_and_repeated_columns(pixels):
    white, whitening = pixels.whitened(tol=0), pixels.whitening(tol=0)
    assert white.x.shape == (30, 3)
    np.testing.assert_allclose(white.input_correlation, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(whitening(pixels.x), white.x, atol=1e-13)
    np.testing.assert_allclose(whitening.share, 1.0)
    # The best linear map, and its loss, are the ones of all inputs.
    best = np.linalg.lstsq(np.asarray(pixels.x), np.asarray(pixels.y), rcond=None)[0]
    found = white.input_output_correlation
    np.testing.assert_allclose(found @ whitening.matrix, best.T, atol=1e-13)
    np.testing.assert_allclose(white.loss(found), pixels.loss(jnp.asarray(best.T)))
    assert white.y is pixels.y or np.array_equal(white.y, pixels.y)


def test_first_layers_go_there_and_back(pixels):
    whitening, white = pixels.whitening(tol=0), pixels.whitened(tol=0)
    w1 = RNG.normal(size=(2, 4, 6))  # at two times
    there = whitening.there(w1)
    np.testing.assert_allclose(
        white.x @ there[1].T, pixels.x @ w1[1].T, atol=1e-13
    )  # nothing is lost on the data
    np.testing.assert_allclose(
        whitening.there(whitening.back(there)), there, atol=1e-13
    )
    projector = np.linalg.pinv(np.asarray(pixels.x)) @ np.asarray(pixels.x)
    np.testing.assert_allclose(whitening.back(there), w1 @ projector, atol=1e-12)


def test_rank_keeps_the_leading_directions(pixels):
    u, s, _ = np.linalg.svd(np.asarray(pixels.x))
    for rank in (1, 2):
        white, whitening = pixels.whitened(rank=rank), pixels.whitening(rank)
        kernel = 30 * u[:, :rank] @ u[:, :rank].T
        np.testing.assert_allclose(white.x @ white.x.T, kernel, atol=1e-12)
        share = (s[:rank] ** 2).sum() / (s**2).sum()
        np.testing.assert_allclose(whitening.share, share)
        cut = float((s[rank - 1] + s[rank]) / 2 / s[0])
        assert pixels.whitened(tol=cut).in_size == rank
    few = lr.Task(pixels.x[:2], pixels.y[:2])
    assert few.whitened(tol=0.0).in_size == 2


def test_the_default_whitening_is_zero_phase():
    x = RNG.normal(size=(9, 3)) * np.array([1.0, 5.0, 9.0])
    task = lr.Task(x, np.ones((9, 1)))
    whitening = task.whitening()
    values, basis = np.linalg.eigh(x.T @ x / 9)
    root = basis * values**-0.5 @ basis.T
    np.testing.assert_allclose(whitening.matrix, root, atol=1e-13)
    np.testing.assert_allclose(whitening.inverse @ root, np.eye(3), atol=1e-13)
    np.testing.assert_allclose(whitening(task.x), task.whitened().x, atol=1e-13)


def test_weak_directions_in_single_precision_are_white():
    x = RNG.normal(size=(50, 4)) * np.array([1.0, 1.0, 1e-2, 1e-4])
    task = lr.Task(x.astype(np.float32), np.ones((50, 1), np.float32))
    for white in (task.whitened(), task.whitened(rank=4), task.whitened(tol=1e-5)):
        assert white.x.dtype == jnp.float32 and white.in_size == 4
        assert white.anisotropy < 1e-5


def test_traced_inputs(pixels):
    white = jax.jit(lambda x: lr.Task(x, pixels.y).whitened(rank=2).x)
    known = pixels.whitened(rank=2).x
    np.testing.assert_allclose(jnp.abs(white(pixels.x)), jnp.abs(known), atol=1e-12)
    assert jnp.isnan(white(0 * pixels.x)).all()
    with pytest.raises(ValueError, match="`tol` must choose directions of known"):
        jax.jit(lambda x: lr.Task(x, pixels.y).whitened(tol=0.1).x)(pixels.x)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    "options, match",
    [
        ({}, "independent inputs.*`tol=0` keeps"),
        ({"rank": 4}, "`rank` must be at most the rank of the inputs, 3, but"),
        ({"rank": 7}, "`rank` must be at most min.samples, in. = 6, but it was 7"),
        ({"rank": 0}, "`rank` must be an integer of at least 1"),
        ({"rank": 2.5}, "`rank` must be an integer"),
        ({"tol": -0.1}, r"`tol` must be in \[0, 1\), but it was -0.1"),
        ({"tol": 1.0}, r"`tol` must be in \[0, 1\)"),
        ({"tol": float("nan")}, r"`tol` must be in \[0, 1\)"),
        ({"rank": 1, "tol": 0.1}, "must not be given together"),
    ],
)
def test_refusals(pixels, options: dict[str, Any], match):
    with pytest.raises(ValueError, match=match):
        pixels.whitened(**options)


@pytest.mark.usefixtures("untyped")
def test_refusals_of_other_inputs(pixels):
    nothing = lr.Task(0 * pixels.x, pixels.y)
    choices: list[dict[str, Any]] = [{"rank": 1}, {"tol": 0.0}, {}]
    for options in choices:
        with pytest.raises(ValueError, match=r"rank of the|other than|independent"):
            nothing.whitened(**options)
    with pytest.raises(ValueError, match="`w1` must have 6 columns, but its shape"):
        loose.Task(pixels.x, pixels.y).whitening(tol=0).there(np.ones((2, 3)))
