"""Wide networks against their flow; derivatives and batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases, numerical_flow
from .differences import differences

KEY = jax.random.key(0)
TIMES = np.array([0.0, 0.1, 0.5, 2.0])


@pytest.mark.parametrize("drawn", [True, False])
def test_members_learn_as_the_flow_does(drawn):
    task = cases.make_task((3, 6, 2), variance=0.5)
    network = lr.wide_network(cases.sigma(2, 3), 0.4, 1.7, 6)
    if drawn:
        network = lr.WideOrthogonal(0.4, 1.7)(3, 6, 2, key=KEY)
    expected = numerical_flow.states(network.weights, task, TIMES)
    function = lr.theory.wide_function(TIMES, network.function, task, 2.1)
    represented = jax.jit(jax.vmap(lr.theory.wide_representations, (0, None, None)))
    found = represented(function, 0.4, 1.7)
    for x, y in zip(jax.tree.leaves(found), expected, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-11)


@pytest.mark.parametrize("laziness", [1e-3, 3.0, -3.0, 200.0])
def test_the_function_is_that_of_a_balanced_square_network(laziness):
    padded = [np.pad(cases.sigma(2, 3, seed), ((0, 1), (0, 0))) for seed in (1, 2)]
    u, strengths, vt = np.linalg.svd(padded[0])
    weights = cases.balanced_weights(u, strengths, vt, np.eye(3), laziness)
    square = lr.LinearNetwork(weights), lr.Task.from_correlation(padded[1])
    ts = np.append(TIMES, np.inf)
    expected = lr.ExactSolution(*square).function(ts)
    task = lr.Task.from_correlation(padded[1][:2])
    found = lr.theory.wide_function(ts, padded[0][:2], task, abs(laziness))
    np.testing.assert_allclose(found, expected[:, :2], atol=1e-12)
    np.testing.assert_allclose(expected[:, 2], 0 * expected[:, 2], atol=1e-12)


@pytest.mark.parametrize(
    "initialiser, bound",
    [(lr.Gaussian.lecun(), 0.02), (lr.Gaussian(0.005), 0.01)],
    ids=["fan-in", "small"],
)
def test_wide_random_networks(initialiser, bound):
    task = cases.make_task((5, 1, 4))
    network = initialiser(5, 1024, 4, key=KEY)
    # The flow of the same weights with only the hidden units that they use.
    w1, w2 = (np.asarray(w) for w in network.weights)
    r = np.linalg.qr(np.concatenate([w1, w2.T], axis=1))[1]
    ts = np.linspace(0, 3, 20) / network.effective_laziness
    functions, inputs, outputs = numerical_flow.states((r[:, :5], r[:, 5:].T), task, ts)
    scales = network.effective_scales
    found = lr.theory.wide_function(ts, network.function, task, sum(scales))
    losses, expected = (
        np.array([numerical_flow.loss(f, task) for f in of])
        for of in (found, functions)
    )
    assert np.max(np.abs(losses - expected)) < bound * expected[0]
    # Representations keep their fluctuations.
    end = lr.theory.wide_representations(found[-1], *scales)
    for x, y in (
        (end.input_representation, inputs[-1]),
        (end.output_representation, outputs[-1]),
    ):
        assert np.linalg.norm(x - y) < 2 * (9 / 1024) ** 0.5 * np.linalg.norm(y)
    assert lr.theory.wide_scales(network).residual < 2 / 1024**0.5


@pytest.mark.parametrize("n", [10, 30])
def test_the_nearest_balance_does_not_describe_wide_random_weights(n):
    initialiser, sizes = lr.Gaussian.lecun(), (n, 3 * n, 5 * n)
    spectrum = initialiser(*sizes, key=KEY).imbalance_spectrum
    variance = lr.theory.balance_variance(initialiser, *sizes)[0, 1]
    spread = jnp.std(spectrum)
    np.testing.assert_allclose(spread, (3 * n * variance) ** 0.5, rtol=0.1)
    assert spread > 3 * lr.theory.expected_balance(initialiser, *sizes)  # at every n


@pytest.mark.parametrize("width", [6, 40, 4096])
def test_scales_of_a_wide_layer_need_no_large_matrix(width):
    network = lr.Gaussian(1.0)(3, width, 2, key=KEY)
    program = jax.make_jaxpr(lambda n: (n.imbalance_spectrum, n.effective_scales))
    shapes = [
        variable.aval.shape
        for equation in _equations(program(network).jaxpr)
        for variable in equation.outvars
    ]
    assert max(np.prod(s, dtype=int) for s in shapes) <= 16 * max(width, 16)
    # Gaussian weights: width times the variance.
    if width == 4096:
        for scale in network.effective_scales:
            np.testing.assert_allclose(scale / width, 1, rtol=0.05)


def _equations(program):
    for equation in program.eqns:
        yield equation
        for value in equation.params.values():
            if hasattr(value, "jaxpr"):
                yield from _equations(value.jaxpr)


def test_batches_of_networks_and_traced_scales():
    functions = jnp.stack([cases.sigma(2, 3, seed) for seed in range(3)])
    scales = jnp.array([0.0, 0.5, 3.0]), jnp.array([2.0, 1.0, 0.1])
    networks = jax.jit(jax.vmap(lr.wide_network))(functions, *scales)
    for found, scale in zip(networks.effective_scales, scales, strict=True):
        np.testing.assert_allclose(found, scale, atol=1e-14)
    np.testing.assert_allclose(networks.effective_laziness, sum(scales), rtol=1e-13)
    np.testing.assert_allclose(networks.effective_side, scales[1] - scales[0])
    np.testing.assert_allclose(networks.function, functions, atol=1e-14)
    assert np.all(np.asarray(lr.theory.wide_scales(networks).residual) < 1e-15)
    one = lr.theory.wide_scales(jax.tree.map(lambda w: w[1], networks))
    np.testing.assert_allclose(
        (one.laziness, one.lmda, one.mu), (1.5, 0.5, 0.5**0.5), rtol=1e-13
    )

    def draw(first, second):
        return lr.WideOrthogonal(first, second)(3, 8, 2, key=KEY)

    drawn = jax.jit(jax.vmap(draw))(*scales)
    np.testing.assert_allclose(drawn.effective_scales[1], scales[1], rtol=1e-13)
    # Bad members are marked, the others are not.
    bad = jax.jit(jax.vmap(lambda x: lr.wide_network(functions[0], x, 0.0)))(
        jnp.array([-1.0, 0.0, 1.0])
    )
    finite = [bool(jnp.all(jnp.isfinite(w))) for w in bad.weights[0]]
    assert finite == [False, False, True]
    task = lr.Task.from_correlation(cases.sigma(2, 3, 9))
    learned = jax.jit(jax.vmap(lr.theory.wide_function, (None, None, None, 0)))
    found = learned(TIMES, functions[0], task, jnp.array([-1.0, 0.0, 1.0]))
    assert [bool(jnp.all(jnp.isfinite(f))) for f in found] == finite


FUNCTIONS = {
    "any": cases.sigma(3, 2),
    "repeated": np.eye(3, 2),
    "rank one": np.ones((3, 2)),
    "zero": np.zeros((3, 2)),
}


@jax.jit
def weights(x):
    function, first, second = x
    network = lr.wide_network(function, first, second, 6)
    parts = *network.weights, network.input_representation
    return jnp.concatenate([x.ravel() for x in parts])


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_derivatives_of_members(kind):
    x = jnp.asarray(FUNCTIONS[kind]), jnp.array(0.4), jnp.array(1.7)
    dx = jnp.asarray(cases.sigma(3, 2, seed=3)), jnp.array(0.3), jnp.array(-0.8)
    expected = differences(weights, x, dx)
    slope = jax.jit(lambda x, dx: jax.jvp(weights, (x,), (dx,))[1])
    np.testing.assert_allclose(slope(x, dx), expected, atol=1e-10)
    # Reverse mode and the second derivative along the same direction.
    along = jnp.linspace(-1, 1, expected.size)
    back = jax.jit(jax.grad(lambda x: jnp.sum(along * weights(x))))(x)
    total = sum(jnp.sum(a * b) for a, b in zip(back, dx, strict=True))
    np.testing.assert_allclose(total, jnp.sum(along * expected), atol=1e-9)
    second = jax.jit(lambda x: jax.jvp(lambda x: slope(x, dx), (x,), (dx,))[1])(x)
    twice = differences(lambda x: slope(x, dx), x, dx)
    np.testing.assert_allclose(second, twice, atol=1e-8)


def test_derivatives_of_effective_scales():
    x = jnp.asarray(FUNCTIONS["repeated"]), jnp.array(0.4), jnp.array(1.7)

    def found(x):
        network = lr.wide_network(x[0], x[1], x[2], 7)
        return jnp.stack(network.effective_scales)

    @jax.jit
    def random(weights):
        return jnp.stack(lr.LinearNetwork(weights).effective_scales)

    # Members have the scales that they were given: repeated eigenvalues do no harm.
    by_function, *by_scales = jax.jit(jax.jacfwd(found))(x)
    np.testing.assert_allclose(by_function, 0 * by_function, atol=1e-13)
    np.testing.assert_allclose(jnp.stack(by_scales, 1), np.eye(2), atol=1e-13)
    w = lr.Gaussian(1.0)(3, 9, 2, key=KEY).weights
    dw = lr.Gaussian(1.0)(3, 9, 2, key=jax.random.key(1)).weights
    slope = jax.jit(lambda w: jax.jvp(random, (w,), (dw,))[1])(w)
    np.testing.assert_allclose(slope, differences(random, w, dw), rtol=1e-9)
    back = jax.jit(jax.grad(lambda w: jnp.sum(random(w))))(w)
    total = sum(jnp.sum(a * b) for a, b in zip(back, dw, strict=True))
    np.testing.assert_allclose(total, jnp.sum(slope), rtol=1e-12)


@pytest.mark.parametrize("t", [0.0, 0.7, np.inf])
def test_derivatives_of_the_function(t):
    @jax.jit
    def learned(x):
        function, sigma, laziness = x
        task = lr.Task.from_correlation(sigma)
        return lr.theory.wide_function(t, function, task, laziness)

    x = cases.sigma(2, 3, 1), cases.sigma(2, 3, 2), np.array(1.3)
    dx = cases.sigma(2, 3, 3), cases.sigma(2, 3, 4), np.array(0.7)
    x, dx = jax.tree.map(jnp.asarray, (x, dx))
    slope = jax.jit(lambda x: jax.jvp(learned, (x,), (dx,))[1])(x)
    np.testing.assert_allclose(slope, differences(learned, x, dx), atol=1e-10)


@pytest.mark.parametrize("target", [np.eye(2, 3), np.ones((2, 3))], ids=["1 1", "1 0"])
def test_derivatives_of_the_function_at_repeated_and_zero_singular_values(target):
    task = lr.Task.from_correlation(target)

    @jax.jit
    def learned(x):
        function, laziness, t = x
        return lr.theory.wide_function(t, function, task, laziness)

    x = jnp.asarray(cases.sigma(2, 3, 1)), jnp.array(1.3), jnp.array(0.7)
    dx = jnp.asarray(cases.sigma(2, 3, 3)), jnp.array(0.7), jnp.array(1.0)
    slope = jax.jit(lambda x: jax.jvp(learned, (x,), (dx,))[1])(x)
    np.testing.assert_allclose(slope, differences(learned, x, dx), atol=1e-10)
    along = jnp.asarray(cases.sigma(2, 3, 5))
    back = jax.jit(jax.grad(lambda x: jnp.sum(along * learned(x))))(x)
    total = sum(jnp.sum(a * b) for a, b in zip(back, dx, strict=True))
    np.testing.assert_allclose(total, jnp.sum(along * slope), rtol=1e-10)

    def by_task(target):
        task = lr.Task.from_correlation(target)
        return lr.theory.wide_function(0.7, x[0], task, x[1])

    target = jnp.asarray(target)
    # Compiled: jax 0.4 may lose an error of operations that are not.
    slope = jax.jit(lambda x: jax.jvp(by_task, (x,), (x,))[1])
    with pytest.raises(Exception, match="singular values"):
        jax.block_until_ready(slope(target))


def test_single_precision():
    task = cases.make_task((3, 6, 2))
    single = jax.tree.map(lambda a: a.astype(jnp.float32), task)
    start = jnp.asarray(cases.sigma(2, 3), jnp.float32)
    found = lr.theory.wide_function(TIMES, start, single, 0.02)
    assert found.dtype == jnp.float32
    exact = lr.theory.wide_function(TIMES, start.astype(float), task, 0.02)
    np.testing.assert_allclose(found, exact, atol=1e-5)
