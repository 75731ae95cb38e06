"""The class of wide random layers: its members, in many digits, and refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases, wide_oracle

KEY = jax.random.key(0)
SIZES = [(3, 3), (4, 2), (2, 4), (1, 1)]  # in, out
SCALES = [(0.3, 2.0), (2.0, 1e-9), (1e-6, 3e-6), (1e4, 1.0), (0.0, 2.0), (1.5, 0.0)]
TIMES = np.array([0.0, 1e-6, 1e-3, 0.1, 1.0, 5.0, 20.0, 100.0, 1e4, np.inf])


def member(n_in, n_out, first, second, seed=0):
    function = cases.sigma(n_out, n_in, seed)
    return function, lr.wide_network(function, first, second, n_in + n_out + 2)


def numpy_spectrum(network):
    w1, w2 = (np.asarray(w, float) for w in network.weights)
    return np.linalg.eigvalsh(w2.T @ w2 - w1 @ w1.T)


def check_class(network, first, second, eps=2e-16):
    """The equation of the class, and the spectrum of the imbalance."""
    n_in, hidden, n_out = network.sizes
    p = np.asarray(network.qqt, float)
    j = np.diag([1.0] * n_in + [-1.0] * n_out)
    size = float(np.linalg.norm(p))
    fault = p @ j @ p + (second - first) * p - first * second * j
    assert np.linalg.norm(fault) < 30 * eps * size**2
    spectrum = [-first] * n_in + [0.0] * (hidden - n_in - n_out) + [second] * n_out
    for found in (numpy_spectrum(network), network.imbalance_spectrum):
        np.testing.assert_allclose(found, spectrum, atol=30 * eps * size)
    for found, scale in zip(network.effective_scales, (first, second), strict=True):
        assert abs(found - scale) < 30 * eps * size
    assert lr.theory.wide_scales(network).residual < 30 * eps


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("first, second", SCALES)
def test_drawn_members(first, second, dtype):
    eps = float(jnp.finfo(dtype).eps)
    scales = jnp.asarray(first, dtype), jnp.asarray(second, dtype)
    network = lr.WideOrthogonal(*scales)(3, 8, 2, key=KEY)
    assert all(w.dtype == dtype for w in network.weights)
    first, second = (float(x) for x in scales)
    for found, scale, n in (
        (network.input_representation, first, 3),
        (network.output_representation, second, 2),
    ):
        np.testing.assert_allclose(found, scale * np.eye(n), atol=10 * eps * scale)
    size = (first * second) ** 0.5
    np.testing.assert_allclose(network.function, np.zeros((2, 3)), atol=10 * eps * size)
    check_class(network, first, second, eps)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("first, second", SCALES)
@pytest.mark.parametrize("n_in, n_out", SIZES)
def test_members_of_a_function(n_in, n_out, first, second, dtype):
    eps = float(jnp.finfo(dtype).eps)
    given = jnp.asarray(cases.sigma(n_out, n_in), dtype)
    scales = jnp.asarray(first, dtype), jnp.asarray(second, dtype)
    network = lr.wide_network(given, *scales, n_in + n_out + 2)
    assert all(w.dtype == dtype for w in network.weights)
    first, second = (float(x) for x in scales)
    check_class(network, first, second, eps)
    exact = wide_oracle.member(given, first, second).astype(float)
    representations = lr.theory.wide_representations(given, *scales)
    for of, bound in ((network, 10), (representations, 10)):
        # Each block keeps its digits, however small.
        for found, block in (
            (of.function, exact[n_in:, :n_in]),
            (of.input_representation, exact[:n_in, :n_in]),
            (of.output_representation, exact[n_in:, n_in:]),
        ):
            error = np.linalg.norm(np.asarray(found, float) - block)
            assert error < bound * eps * np.linalg.norm(block)


def test_hidden_units_are_as_many_as_needed_or_asked_for():
    assert lr.wide_network(np.ones((2, 3)), 1.0, 2.0).sizes == (3, 5, 2)
    assert lr.wide_network(np.ones((2, 3)), 1.0, 2.0, 9).sizes == (3, 9, 2)
    assert lr.WideOrthogonal(1, 2)(3, 5, 2, key=KEY).sizes == (3, 5, 2)


@pytest.mark.parametrize("sizes", [(3, 3, 3), (5, 3, 3), (3, 4, 5), (4, 2, 5)], ids=str)
@pytest.mark.parametrize("lmda", [-2.0, 0.0, 3.0])
def test_effective_scales_of_balanced_networks(sizes, lmda):
    if not cases.feasible(sizes, lmda):
        return
    network = cases.balanced(sizes, lmda, 0.7)
    np.testing.assert_allclose(network.effective_laziness, abs(lmda), atol=1e-14)
    np.testing.assert_allclose(network.effective_side, lmda, atol=1e-14)
    np.testing.assert_allclose(network.imbalance_spectrum, lmda, atol=1e-13)
    assert lr.theory.wide_scales(network).residual < 1e-14


def draws():
    """Twenty tasks, starts and scales: any ratio, repeated and zero singular values."""
    rng = np.random.default_rng(7)
    kinds = ("any", "repeated", "rank one", "zero", "against")
    for kind, c in itertools.product(kinds, (1e-6, 1e-2, 2.0, 1e4)):
        n_in, n_out = SIZES[rng.integers(3)]
        target = rng.normal(size=(n_out, n_in))
        start = 0.5 * rng.normal(size=(n_out, n_in))
        if kind == "repeated":
            target = 1.3 * np.eye(n_out, n_in)
        elif kind == "rank one":
            target = np.ones((n_out, n_in))
        elif kind == "zero":
            start = 0 * start
        elif kind == "against":  # near a saddle of the rich limit
            start = -target
        share = rng.uniform()
        yield f"{kind} {c:g}", start, target, 2 * c * share, 2 * c * (1 - share)


represented = jax.jit(jax.vmap(lr.theory.wide_representations, (0, None, None)))


@pytest.mark.parametrize("start, target, first, second", [x[1:] for x in draws()])
def test_against_high_precision(start, target, first, second):
    task = lr.Task.from_correlation(target)
    n_in = target.shape[1]
    exact = wide_oracle.member(start, first, second)
    p = wide_oracle.qqt(exact, target, first, second, TIMES)
    found = lr.theory.wide_function(TIMES, start, task, first + second)
    found = represented(found, first, second)
    for name, expected in (
        ("function", p[:, n_in:, :n_in]),
        ("input_representation", p[:, :n_in, :n_in]),
        ("output_representation", p[:, n_in:, n_in:]),
    ):
        # The way past a saddle depends on the start's last digits over c.
        bound = 1e-13 + 1e-15 / (first + second)
        size = np.linalg.norm(expected, axis=(1, 2))
        size = np.maximum(size, np.linalg.norm(expected[-1]))  # the task's rounding
        error = np.linalg.norm(getattr(found, name) - expected, axis=(1, 2))
        assert np.all(error <= bound * size), (name, error / size)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda a: lr.WideOrthogonal(-1.0, 2.0),
            "`input_scale` must be finite and",
        ),
        (lambda a: lr.WideOrthogonal(1.0, -2.0), "`output_scale` must be finite and"),
        (
            lambda a: lr.WideOrthogonal(0.0, 0.0),
            "`output_scale` must be positive",
        ),
        (lambda a: lr.wide_network(a, 1.0, np.nan), "`output_scale` must be finite"),
        (lambda a: lr.wide_network(a, 1.0, 1.0, 4), "`hidden_size` must be at least `"),
        (
            lambda a: lr.WideOrthogonal(1.0, 2.0)(3, 4, 2, key=KEY),
            "`hidden_size` must be at least `in \\+ out`, 5, but it was 4",
        ),
        (
            lambda a: lr.theory.wide_function(1.0, a, cases.make_task((3, 6, 2)), 0.0),
            "`laziness` must be finite and positive",
        ),
        (
            lambda a: lr.theory.wide_function(1.0, a, cases.make_task((2, 6, 3)), 1.0),
            "`function` must fit the task's",
        ),
        (
            lambda a: lr.theory.wide_scales(lr.LinearNetwork((a,))),
            "`network` must have two layers",
        ),
        (
            lambda a: lr.LinearNetwork((a,)).effective_laziness,
            "must be asked of a network of two layers",
        ),
    ],
)
def test_refusals(untyped, call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((2, 3)))


@pytest.mark.parametrize("name", ["input_scale", "output_scale"])
def test_derivatives_by_a_scale_at_zero_are_refused(name):
    def scales(scale):
        both = {"input_scale": jnp.array(1.0), "output_scale": jnp.array(1.0)}
        both[name] = scale
        return both["input_scale"], both["output_scale"]

    def drawn(scale):
        return lr.WideOrthogonal(*scales(scale))(3, 6, 2, key=KEY).weights

    def given(scale):
        first, second = scales(scale)
        return lr.wide_network(np.ones((2, 3)), first, second).weights

    for f in (drawn, given):
        with pytest.raises(Exception, match=f"with respect to `{name}`"):
            jax.block_until_ready(jax.jvp(f, (0.0,), (1.0,))[1])
