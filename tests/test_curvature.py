"""The loss's curvature: its spectrum, its largest eigenvalue and stable steps."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg
from jax.flatten_util import ravel_pytree

import lazyrich_jax as lr
from lazyrich_jax.measures.curvature import largest_eigenvalue

KEY = jax.random.key(0)
CASES = [
    ((3, 2, 2), 1.0),
    ((3, 2, 2), -1.0),
    ((2, 3, 4), 1.5),
    ((4, 2, 3), 0.0),
    ((3, 6, 2), 0.0),
    ((3, 4, 5), 0.3),
    ((5, 1, 1), -0.7),
    ((1, 1, 1), 2.0),
]


def make_task(sizes):
    n_in, _, n_out = sizes
    return lr.Task.random_regression(n_in, n_out, 20, key=KEY).whitened()


@jax.jit
def hessian(network, task):
    """The Hessian of the loss, by JAX."""
    flat, restored = ravel_pytree(network)
    return jax.hessian(lambda x: task.loss(restored(x).function))(flat)


@pytest.mark.parametrize(
    "sizes, lmda",
    [*CASES[:4], *(pytest.param(*x, marks=pytest.mark.slow) for x in CASES[4:])],
)
def test_the_spectrum_along_training(sizes, lmda):
    """Against the whole Hessian, at a saddle, while learning and at the end."""
    task = make_task(sizes)
    network = lr.Aligned(task, lmda, 0.6)(*sizes, key=KEY)
    ts = np.array([0.0, 0.4, np.inf])
    there = lr.ExactSolution(network, task).network(ts)
    s, a = (
        np.linalg.svd(x, compute_uv=False)
        for x in (task.input_output_correlation, there.function)
    )
    a = a[:, : min(sizes)]
    found = lr.theory.hessian_spectrum(s, a, lmda, sizes)
    expected = jax.vmap(hessian, (0, None))(there, task)
    expected = np.linalg.eigvalsh(expected)
    np.testing.assert_allclose(found, expected, atol=1e-12 * np.abs(expected).max())
    top = lr.theory.sharpness(s, a, lmda, sizes)
    np.testing.assert_array_equal(top, found[:, -1])
    np.testing.assert_allclose(top[-1], lr.theory.final_sharpness(s, lmda))
    zero = np.zeros_like(a[0]), 0 * lmda
    start = lr.LinearNetwork(tuple(0 * w for w in network.weights))
    spectrum = np.linalg.eigvalsh(hessian(start, task))
    found = lr.theory.hessian_spectrum(s, *zero, sizes)
    np.testing.assert_allclose(found, spectrum, atol=1e-12)


@pytest.mark.parametrize("lmda", [0.0, 0.7, -3.0, 100.0])
def test_learning_sharpens_rich_networks_alone(lmda):
    """From a tiny start: twice at a balance of zero, not at a large one."""
    s = jnp.array([2.0, 1.5, 0.1])
    ends = lr.theory.aligned_modes(np.array([0.0, np.inf]), s, 1e-12, lmda)
    first, last = lr.theory.sharpness(s, ends, lmda, (3, 3, 3))
    np.testing.assert_allclose(last / first, 2 / (1 + abs(lmda) / last), rtol=1e-6)


def test_the_largest_eigenvalue_of_any_network():
    """The iteration against the whole matrix, and wide networks' closed form."""
    task = lr.Task.random_regression(3, 2, 9, key=KEY)  # anisotropic inputs
    for network in (
        lr.Gaussian.lecun()(3, 4, 4, 2, key=KEY),
        lr.LinearNetwork((jnp.ones((2, 3)),)),
        lr.LambdaBalanced(0.0, 1e-8)(3, 2, 2, key=KEY),
    ):
        expected = np.linalg.eigvalsh(hessian(network, task))[-1]
        found = lr.measures.sharpness(network, task)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    scalar = lr.Task(jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [0.5]]))
    one = lr.LinearNetwork((jnp.array([[0.5]]), jnp.array([[2.0]])))
    expected = np.linalg.eigvalsh(hessian(one, scalar))[-1]
    np.testing.assert_allclose(lr.measures.sharpness(one, scalar), expected)
    white = make_task((3, 7, 2))
    wide = lr.WideOrthogonal(0.5, 2.0)(3, 7, 2, key=KEY)
    last = lr.ExactSolution(wide, white).network(jnp.inf)
    s = np.linalg.svd(white.input_output_correlation, compute_uv=False)
    expected = lr.theory.final_sharpness(s, wide.effective_laziness)
    np.testing.assert_allclose(lr.measures.sharpness(last, white), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("memory", "vectors"), [(np.inf, 20), (8.0 * 300 * 10, 10), (1.0, 8)]
)
def test_few_vectors_give_the_same_eigenvalue(monkeypatch, memory, vectors):
    """ARPACK keeps as many as fit into the memory; these eigenvalues are close."""
    values = np.r_[np.linspace(-2, 0.1, 296), 0.97, 0.98, 0.99, 1.0]
    kept, own = [], scipy.sparse.linalg.eigsh

    def eigsh(*arguments, **options):
        kept.append(options["ncv"])
        return own(*arguments, **options)

    monkeypatch.setattr(scipy.sparse.linalg, "eigsh", eigsh)
    found = largest_eigenvalue(
        lambda v: jnp.asarray(values) * v, 300, jnp.dtype(float), 1e-8, memory
    )
    np.testing.assert_allclose(found, 1.0, rtol=1e-8)
    assert kept == [vectors]


def moved(network, task, rate):
    """The change of the weights' squares by descent, and the excess of its loss."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        law = lr.GradientDescent(rate)
        end = lr.learn(network, task, [1500 * rate], dynamics=law, throw=False)
    best = task.loss(task.input_output_correlation / task.input_variance)
    square = jnp.trace(end.qqt[-1]) - jnp.trace(network.qqt)
    return square, end.loss[-1] - best


@pytest.mark.parametrize("kind", ["balanced", "wide"])
def test_descent_is_stable_below_the_largest_step(kind):
    """Just below it descent stays at the minimum of the flow, just above it leaves."""
    task = make_task((3, 7, 2))
    task = lr.Task(1.5 * task.x, task.y)  # inputs of another variance
    variance = task.input_variance
    s = np.linalg.svd(task.input_output_correlation, compute_uv=False)
    if kind == "wide":
        network = lr.WideOrthogonal(0.5, 2.0)(3, 7, 2, key=KEY)
    else:
        network = lr.LambdaBalanced(1.2)(3, 2, 2, key=KEY)
    laziness = network.effective_laziness
    most = float(lr.theory.largest_stable_step(s / variance, laziness) / variance)
    w1, w2 = lr.ExactSolution(network, task).network(jnp.inf).weights
    near = lr.LinearNetwork((w1 + 1e-5, w2 - 1e-5))
    square, excess = moved(near, task, 0.97 * most)
    assert abs(square) < 1e-3 and abs(excess) < 1e-12
    # Above it the weights shrink until the minimum is flat enough.
    square, excess = moved(near, task, 1.03 * most)
    assert square < -1e-2 or not excess < 1e-6
    # `learn` knows the step of the start.
    words = rf"at most {most:.4g}, .* was {2 * most:.4g}"
    with pytest.warns(UserWarning, match=words) as warned:
        lr.learn(network, task, [2 * most], dynamics=lr.GradientDescent(2 * most))
    # The warning points to the caller of `learn` (in tests, their type checks).
    place = warned[0].filename
    assert "jaxtyping" in place or place == __file__
    lr.learn(network, task, [0.9 * most], dynamics=lr.GradientDescent(0.9 * most))


def test_the_bound_for_any_two_layers():
    """Descent above it leaves every minimum, also for anisotropic inputs."""
    task = lr.Task.random_regression(3, 2, 9, key=KEY)
    network = lr.Gaussian(0.5)(3, 4, 2, key=KEY)
    s = np.linalg.svd(task.input_output_correlation, compute_uv=False)
    last = lr.learn(network, task, [200.0], dynamics=lr.GradientFlow()).network
    last = jax.tree.map(lambda w: w[-1], last)
    assert 1 / s[0] > 2 / lr.measures.sharpness(last, task)
    with pytest.warns(UserWarning, match=rf"at most {1 / s[0]:.4g}"):
        law = lr.GradientDescent(1.01 / s[0])
        lr.learn(network, task, [float(1 / s[0])], dynamics=law, throw=False)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (([2.0], [1.0, 0.5], 1.0, (3, 2, 2)), r"`s` must have `min\(in, out\)` 2"),
        (([2.0, 1.0], [1.0], 1.0, (3, 2, 2)), r"`a` must have .* 2 values .* \(1,\)"),
        (
            ([2.0, 1.0], [1.0, -0.5], 1.0, (3, 2, 2)),
            "`a` must be finite and non-negative",
        ),
        (([2.0, 1.0], [1.0, 0.5], 1.0, (3, 4, 2)), "`lmda` must not be positive"),
        (([2.0, 1.0], [1.0, 0.5], 1.0, (3, 0, 2)), "`sizes` must be an integer"),
    ],
)
def test_bad_input(arguments, words):
    s, a, lmda, sizes = arguments
    with pytest.raises(ValueError, match=words):
        lr.theory.hessian_spectrum(jnp.array(s), jnp.array(a), lmda, sizes)


def test_bad_input_of_the_iteration():
    task = lr.Task.random_regression(3, 2, 9, key=KEY)
    network = lr.Gaussian(0.5)(3, 4, 2, key=KEY)
    with pytest.raises(ValueError, match="`rtol` must be finite and positive"):
        lr.measures.sharpness(network, task, rtol=0.0)
    with pytest.raises(TypeError, match="`network` must be concrete"):
        jax.jit(lr.measures.sharpness)(network, task)
