"""Wide layers as narrow ones: the same network, trajectories and derivatives."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lazyrich_jax as lr

from .numerical_flow import flow

KEYS = jax.random.split(jax.random.key(0), 4)
SIZES = (3, 40, 2)
X = jax.random.normal(KEYS[0], (12, 3)) @ jnp.diag(jnp.array([1.0, 2.0, 0.5]))
TASK = lr.Task(X, jax.random.normal(KEYS[1], (12, 2)))  # anisotropic
RATE, STEPS = 0.02, np.array([0, 30, 30, 200])
TS = RATE * STEPS
WIDE = lr.Gaussian([0.3, 0.2])(*SIZES, key=KEYS[2])
NETWORKS = {
    "unbalanced": WIDE,
    # Two of the five directions of hidden units are used, and none.
    "balanced": lr.LambdaBalanced(0.0, 0.5)(*SIZES, key=KEYS[2]),
    "zero": lr.LinearNetwork((jnp.zeros((40, 3)), jnp.zeros((2, 40)))),
}
DESCENT = lr.GradientDescent(RATE)
learn = jax.jit(lr.learn, static_argnames=("throw",))


def descent(weights, steps):
    """The weights at `steps` of descent in full width, in NumPy alone."""
    x, y = np.asarray(TASK.x), np.asarray(TASK.y)
    w1, w2 = (np.array(w) for w in weights)
    found = {}
    for step in range(max(steps) + 1):
        found[step] = w1, w2
        gradient = (w2 @ w1 @ x.T - y.T) @ x / len(x)
        w1, w2 = w1 - RATE * w2.T @ gradient, w2 - RATE * gradient @ w1.T
    return [np.stack([found[step][i] for step in steps]) for i in range(2)]


def assert_near(found, expected, bound):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        difference = np.abs(np.asarray(a) - np.asarray(b)).max()
        assert difference <= bound * np.abs(np.asarray(b)).max()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_compressed_network_is_the_same(name, dtype):
    network = jax.tree.map(lambda w: w.astype(dtype), NETWORKS[name])
    small, rotation = network.compressed()
    assert small.sizes == (3, 5, 2) and rotation.shape == (40, 5)
    assert {w.dtype for w in jax.tree.leaves((small, rotation))} == {jnp.dtype(dtype)}
    back = rotation @ small.weights[0], small.weights[1] @ rotation.T
    bound = 30 * float(jnp.finfo(dtype).eps)
    assert_near(back, network.weights, bound)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(5), atol=bound)
    np.testing.assert_allclose(small.qqt, network.qqt, atol=20 * bound)


def test_narrow_networks_are_compressed_already():
    for sizes in ((3, 5, 2), (3, 1, 2)):
        network = lr.Gaussian(0.5)(*sizes, key=KEYS[2])
        small, rotation = network.compressed()
        assert small is network
        np.testing.assert_array_equal(rotation, np.eye(sizes[1]))
    for sizes in ((3, 2), (3, 9, 9, 2)):
        weights = [jnp.ones(s) for s in zip(sizes[1:], sizes[:-1], strict=True)]
        with pytest.raises(
            ValueError, match=r"`compressed` must be asked .* two layers"
        ):
            lr.LinearNetwork(weights).compressed()


def test_compression_maps_and_has_derivatives():
    batch = jax.tree.map(lambda w: jnp.stack([w, -2 * w]), WIDE)
    change = jax.tree.map(lambda w: jnp.cos(jnp.arange(w.size)).reshape(w.shape), WIDE)

    def compressed(network):
        small, rotation = network.compressed()
        return *small.weights, rotation

    v1, v2, r = jax.jit(jax.vmap(compressed))(batch)
    assert_near((r @ v1, v2 @ r.mT), batch.weights, 1e-14)

    @jax.jit
    def moved(h):
        return compressed(jax.tree.map(lambda w, d: w + h * d, WIDE, change))

    slopes = jax.jit(lambda h: jax.jvp(moved, (h,), (1.0,))[1])(0.0)
    for slope, after, before in zip(slopes, moved(1e-5), moved(-1e-5), strict=True):
        np.testing.assert_allclose(slope, (after - before) / 2e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["balanced", "zero"])
@pytest.mark.parametrize(
    "quantity", [lambda n: n.compressed()[1], lambda n: n.imbalance_spectrum]
)
def test_a_rotation_without_derivative_is_refused(name, quantity):
    network = NETWORKS[name]
    with pytest.raises(RuntimeError, match="linearly independent, but they were not"):
        slope = jax.jvp(quantity, (network,), (network,))[1]
        jax.block_until_ready(slope)


@pytest.mark.parametrize("name", NETWORKS)
def test_descent_in_few_units_is_descent_in_all(name):
    network = NETWORKS[name]
    trajectory = learn(network, TASK, TS, dynamics=DESCENT)
    expected = descent(network.weights, STEPS)
    assert trajectory.network.sizes == SIZES
    assert_near(trajectory.network.weights, expected, 1e-12)
    for own, w in zip(network.weights, trajectory.network.weights, strict=True):
        np.testing.assert_array_equal(w[0], own)
    functions = expected[1] @ expected[0]
    losses = jax.jit(jax.vmap(TASK.loss))(functions)
    np.testing.assert_allclose(trajectory.loss, losses, rtol=1e-12)


def test_few_units_are_simulated(monkeypatch):
    seen = []

    def run(network, law):
        whole = law.simulate

        def simulate(self, network, task, ts):
            seen.append(network.sizes)
            return whole(network, task, ts)

        with monkeypatch.context() as patch:
            patch.setattr(type(law), "simulate", simulate)
            eqx.filter_eval_shape(law.run, network, TASK, jnp.asarray(TS))

    for law in (DESCENT, lr.GradientFlow()):
        run(WIDE, law)
    assert seen == [(3, 5, 2)] * 2
    # An optimiser may treat every weight for itself, and three layers have no rotation.
    run(WIDE, lr.GradientDescent(optax.sgd(RATE)))
    run(WIDE, lr.GradientDescent(RATE, equivariant=False))
    run(WIDE, lr.GradientDescent(optax.sgd(RATE), equivariant=True))
    deep = lr.Gaussian(0.3)(3, 8, 7, 2, key=KEYS[2])
    run(deep, DESCENT)
    assert seen[2:] == [SIZES, SIZES, (3, 5, 2), deep.sizes]


def test_the_flow_in_few_units_is_the_flow_in_all():
    ts = np.unique(TS)
    law = lr.GradientFlow(rtol=1e-11, atol=1e-14)
    found = learn(WIDE, TASK, ts, dynamics=law)
    expected = flow(WIDE.weights, TASK, ts)
    for i, (own, w) in enumerate(zip(WIDE.weights, found.network.weights, strict=True)):
        assert_near(w, np.stack([weights[i] for weights in expected]), 1e-10)
        np.testing.assert_array_equal(w[0], own)


def test_minibatches_of_wide_networks():
    law = lr.GradientDescent(RATE, batch_size=5, key=KEYS[3])
    found, full = (
        jax.jit(lambda n, s=simulate: s(law, n, TASK.y))(WIDE)
        for simulate in (in_few, in_full)
    )
    assert_near(found.network.weights, full.network.weights, 1e-12)
    assert_near(found.loss, full.loss, 1e-12)


def test_momentum_commutes_with_the_rotation_and_adam_does_not():
    ts = jnp.arange(0.0, 60.0, 20.0)

    def both(optimiser):
        """The difference of few units and all in the weights of the full width."""
        wide, narrow = (
            lr.learn(
                WIDE, TASK, ts, dynamics=lr.GradientDescent(optimiser, equivariant=e)
            )
            for e in (False, True)
        )
        return np.abs(narrow.network.weights[0] - wide.network.weights[0]).max()

    with jax.numpy_dtype_promotion("standard"):  # optax counts in integers
        momentum = optax.sgd(RATE, momentum=0.9, nesterov=True)
        decaying = optax.chain(optax.add_decayed_weights(0.1), momentum)
        assert both(decaying) < 1e-13
        assert both(optax.adam(RATE)) > 1e-2


def test_bad_equivariance(untyped):
    with pytest.raises(ValueError, match="`equivariant` must be true, false or None"):
        lr.GradientDescent(RATE, equivariant=1)  # pyright: ignore (bad input)


def in_few(law, network, y):
    return lr.learn(network, lr.Task(X, y), TS, dynamics=law, throw=False)


def in_full(law, network, y):
    return law.simulate(network, lr.Task(X, y), jnp.asarray(TS))


def measured(run):
    """A number that changes under rotations of the hidden units."""
    w1, w2 = run.network.weights
    return jnp.sum(jnp.sin(w1[1:])) + jnp.sum(w2[2] ** 3) + jnp.sum(run.loss)


@pytest.mark.slow
def test_gradients_of_the_flow():
    law = lr.GradientFlow(rtol=1e-9, atol=1e-11, max_steps=256)
    few, full, by_targets = (
        jax.jit(jax.grad(lambda n, y, s=simulate: measured(s(law, n, y)), moving))
        for simulate, moving in ((in_few, (0, 1)), (in_full, (0, 1)), (in_few, 1))
    )
    # Balanced and zero weights would grow into directions that they don't use.
    for network in NETWORKS.values():
        expected = full(network, TASK.y)
        assert_near(few(network, TASK.y), expected, 1e-6)
        assert_near(by_targets(network, TASK.y), expected[1], 1e-6)


def test_slopes_of_descent():
    change = jax.tree.map(lambda w: jnp.cos(jnp.arange(w.size)).reshape(w.shape), WIDE)

    def slope(simulate, by_weights):
        def of(h, network):
            if by_weights:
                network = jax.tree.map(lambda w, d: w + h * d, network, change)
            law = lr.GradientDescent(RATE * (1 + 0.3 * h))
            return measured(simulate(law, network, TASK.y * (1 + h)))

        return jax.jit(
            lambda network: jax.jvp(lambda h: of(h, network), (0.0,), (1.0,))
        )

    for by_weights in (True, False):
        few, full = slope(in_few, by_weights), slope(in_full, by_weights)
        for network in NETWORKS.values():
            np.testing.assert_allclose(few(network), full(network), rtol=1e-10)


@pytest.mark.slow
def test_curvature_of_the_flow():
    options = {"rtol": 1e-5, "atol": 1e-7, "max_steps": 64}
    law = lr.GradientFlow(adjoint=diffrax.DirectAdjoint(), **options)

    def curvature(simulate):
        def of(h):
            moved = jax.tree.map(lambda w: w + h, NETWORKS["balanced"])
            return measured(simulate(law, moved, TASK.y))

        return jax.jit(lambda h: jax.jvp(jax.grad(of), (h,), (1.0,)))(0.0)

    np.testing.assert_allclose(curvature(in_few), curvature(in_full), rtol=1e-4)
