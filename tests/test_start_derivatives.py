"""Derivatives of starts, against differences, also at repeated and zero values."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from .differences import differences

pytestmark = pytest.mark.slow

KEY = jax.random.key(1)
TASK = lr.Task.random_regression(3, 2, 10, key=jax.random.key(0))

# Sizes with and without surplus hidden units, also with further directions.
CASES = (
    ((3, 3, 3), 0.5),
    ((3, 3, 3), 0.0),
    ((3, 2, 4), -0.7),
    ((3, 2, 4), 0.0),
    ((3, 4, 6), 0.8),
    ((3, 4, 4), 0.8),
    ((6, 4, 3), -0.8),
    ((3, 5, 4), 0.0),
)


def flat(network):
    return jnp.concatenate([w.ravel() for w in (*network.weights, network.qqt)])


def random(sizes, kind, seed=0):
    """Weights whose product has random or equal singular values, and a change."""
    rng = np.random.default_rng(seed)
    shapes = (sizes[1], sizes[0]), (sizes[2], sizes[1])
    weights, change = (tuple(rng.normal(size=s) for s in shapes) for _ in range(2))
    if kind == "equal":
        k = min(sizes)
        u, v, r = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in sizes[::-1])
        v, r = r, v
        weights = 0.2 * r[:, :k] @ v[:, :k].T, u[:, :k] @ r[:, :k].T
    return weights, change


@pytest.mark.parametrize("sizes, lmda", CASES, ids=str)
@pytest.mark.parametrize("kind", ["random", "equal"])
def test_rebalanced(sizes, lmda, kind):
    weights, change = random(sizes, kind)
    surplus = sizes[1] > min(sizes)
    if kind == "equal" and surplus:
        pytest.skip("the further units are zero: refused below")

    def both(x):
        other = lr.LinearNetwork(x[0]).rebalanced(lmda + x[1])
        # With equal ones, the hidden basis stays near the given weights.
        return other.qqt if kind == "equal" else flat(other)

    x, dx = (weights, 0.0), (change, 0.0 if surplus and lmda == 0 else 1.0)

    def moved(x):
        if dx[1] == 0:  # not traced: it has no derivative
            return jax.jvp(lambda w: both((w, x[1])), x[:1], dx[:1])[1]
        return jax.jvp(both, (x,), (dx,))[1]

    @jax.jit
    def all_orders(x):
        if dx[1] == 0:
            return both(x), moved(x)
        return both(x), *jax.jvp(moved, (x,), (dx,))

    # Second derivatives equal derivatives of first ones.
    found = all_orders(x)
    for i, rtol in enumerate((1e-8, 1e-7)[: len(found) - 1]):
        expected = differences(lambda x, i=i: all_orders(x)[i], x, dx)
        atol = rtol * np.abs(expected).max()
        np.testing.assert_allclose(found[i + 1], expected, atol=atol)


def test_rebalanced_in_reverse():
    network = lr.LinearNetwork((0.2 * jnp.eye(2), jnp.eye(2)))

    def size(factor, lmda):
        w1, w2 = network.weights
        return lr.LinearNetwork((factor * w1, w2)).rebalanced(lmda).qqt.sum()

    # The size is trace(sqrt(lmda^2 + 4 s^2)) + 2 trace(s), s = 0.2 factor.
    by_factor, by_lmda = jax.jit(jax.grad(size, (0, 1)))(1.0, 0.5)
    root = np.sqrt(0.25 + 0.16)
    np.testing.assert_allclose(by_factor, 2 * 0.16 / root + 0.8, rtol=1e-12)
    np.testing.assert_allclose(by_lmda, 2 * 0.5 / root, rtol=1e-12)


def test_rebalanced_zero_network():
    zero = lr.LinearNetwork((jnp.zeros((2, 2)), jnp.zeros((2, 2))))

    def trace(factor, lmda):
        weights = tuple(w + factor * jnp.eye(2) for w in zero.weights)
        return jnp.trace(lr.LinearNetwork(weights).rebalanced(lmda).qqt)

    # The trace is 2 sqrt(lmda^2 + 4 factor^4).
    by_factor, by_lmda = jax.grad(trace, (0, 1))(0.0, 0.5)
    np.testing.assert_allclose((by_factor, by_lmda), (0.0, 2.0), atol=1e-12)
    with pytest.raises(
        RuntimeError, match="must be taken where no hidden unit is zero"
    ):
        jax.grad(trace, 1)(0.0, 0.0)
    with pytest.raises(RuntimeError, match="singular values are positive"):
        jax.grad(trace, 0)(0.0, 0.0)


def test_rebalanced_zero_network_with_a_unit_for_every_output():
    def trace(factor, lmda):
        w1, w2 = factor * jnp.eye(2, 1), factor * jnp.eye(2)
        return jnp.trace(lr.LinearNetwork((w1, w2)).rebalanced(lmda).qqt)

    # The trace is sqrt(lmda^2 + 4 factor^4) + lmda. Second ones, forward over reverse.
    given, along = (jnp.zeros(()), jnp.array(0.5)), (jnp.ones(()), jnp.zeros(()))
    slope = jax.jit(jax.grad(trace, (0, 1)))
    found = jax.jvp(slope, given, along)
    np.testing.assert_allclose(found, ((0.0, 2.0), (0.0, 0.0)), atol=1e-12)
    with pytest.raises(RuntimeError, match="no hidden unit is zero"):
        jax.grad(trace, 1)(1.0, 0.0)


def test_further_units_along_no_direction_are_refused():
    weights, change = random((3, 4, 6), "equal")

    @eqx.filter_jit
    def slope(w):
        def trace(w):
            return jnp.trace(lr.LinearNetwork(w).rebalanced(0.8).qqt)

        return jax.jvp(trace, (w,), (change,))

    with pytest.raises(RuntimeError, match="along which outputs"):
        slope(jax.tree.map(jnp.asarray, weights))


@pytest.mark.parametrize("sizes", [(2, 3, 5), (1, 4, 6)], ids=str)
def test_further_units_at_zero_lmda(sizes):
    """Units grow as sqrt(lmda): representations have one-sided slopes, weights none."""

    def trace(lmda, throw=True):
        start = lr.LambdaBalanced(lmda, 0.3, throw=throw)
        return jnp.trace(start(*sizes, key=KEY).output_representation)

    modes = min(sizes)
    slope = eqx.filter_jit(jax.jacfwd(trace))
    near = slope(jnp.float64(1e-8))
    np.testing.assert_allclose(near, modes / 2 + sizes[1] - modes, rtol=1e-6)
    with pytest.raises(
        RuntimeError, match="must be taken where no hidden unit is zero"
    ):
        slope(jnp.zeros(()))
    assert jnp.isnan(jax.jit(jax.grad(lambda x: trace(x, throw=False)))(0.0))
    # A fixed argument has no derivative to refuse.
    assert jnp.isfinite(
        jax.grad(
            lambda scale: lr.LambdaBalanced(0.0, scale)(*sizes, key=KEY).qqt.sum()
        )(0.3)
    )


@pytest.mark.parametrize("lmda", [0.0, 1.0])
def test_lambda_balanced_by_lmda_and_scale(lmda):
    def qqt(x):
        return lr.LambdaBalanced(lmda + x[0], x[1])(3, 2, 2, key=KEY).qqt

    x, dx = (0.0, 0.3), (1.0, 0.7)
    found = jax.jvp(qqt, (x,), (dx,))[1]
    np.testing.assert_allclose(found, differences(qqt, x, dx), atol=1e-8)


@pytest.mark.parametrize("lmda", [0.0, 1.0, -2.0])
def test_aligned_by_the_task(lmda):
    change = np.random.default_rng(0).normal(size=TASK.y.shape)

    def qqt(y):
        start = lr.Aligned(lr.Task(TASK.x, y), lmda, 0.3)
        return start(3, 2, 2, key=KEY).qqt

    found = jax.jvp(qqt, (TASK.y,), (change,))[1]
    expected = differences(qqt, TASK.y, change)
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.abs(expected).max())


def test_aligned_with_equal_strengths_is_refused():
    def total(y, throw=True):
        start = lr.Aligned(lr.Task(jnp.eye(3), y), 1.0, 0.3, throw=throw)
        return start(3, 3, 3, key=KEY).qqt.sum()

    with pytest.raises(RuntimeError, match="singular values are distinct"):
        jax.grad(total)(jnp.eye(3))
    assert jnp.all(jnp.isnan(jax.grad(lambda y: total(y, throw=False))(jnp.eye(3))))
    # The derivative by the balance exists.
    task = lr.Task(jnp.eye(3), jnp.eye(3))
    slope = jax.grad(lambda x: lr.Aligned(task, x, 0.3)(3, 3, 3, key=KEY).qqt.sum())
    assert jnp.isfinite(slope(1.0))


@pytest.mark.parametrize("each", [False, True], ids=["one balance", "of every mode"])
def test_aligned_modes_without_strength_and_balance(each):
    """They are refused by both; by the scale they have a derivative, zero."""
    task = lr.Task(jnp.eye(2), jnp.diag(jnp.array([2.0, 1.0])))
    strengths, lmda = jnp.array([0.5, 0.0]), jnp.zeros(2 if each else ())

    def trace(lmda, scale, strengths, throw=True):
        start = lr.Aligned(task, lmda, scale, strengths=strengths, throw=throw)
        return jnp.trace(start(2, 2, 2, key=KEY).qqt)

    given = lmda, 0.7, strengths
    for i, name in ((0, "`lmda`"), (2, "`strengths`")):
        with pytest.raises(RuntimeError, match=f"with respect to {name}"):
            jax.grad(trace, i)(*given)
    slope = jax.jit(jax.value_and_grad(lambda *x: trace(*x, throw=False), (0, 1, 2)))
    value, (by_lmda, by_scale, by_strengths) = slope(*given)
    np.testing.assert_allclose((value, by_scale), (2 * 0.49 * 0.5, 4 * 0.7 * 0.5))
    expected = [0.0, np.nan] if each else np.nan
    np.testing.assert_allclose(by_lmda, expected, atol=1e-14)
    np.testing.assert_allclose(by_strengths, [2 * 0.49, np.nan])
    # The trace is the sum of 2 sqrt(lmda^2 / 4 + (scale^2 strength)^2) twice.
    _, (by_lmda, by_scale, by_strengths) = slope(lmda + 0.6, 0.7, strengths)
    root = np.sqrt(0.36 + 4 * (0.49 * strengths) ** 2)
    expected = 0.6 / root if each else np.sum(0.6 / root)
    np.testing.assert_allclose(by_lmda, expected)
    np.testing.assert_allclose(by_strengths, 4 * 0.49**2 * strengths / root)
    np.testing.assert_allclose(by_scale, np.sum(8 * 0.7**3 * strengths**2 / root))


def test_aligned_by_a_task_with_a_mode_of_no_sign_is_refused():
    def total(y, strength):
        start = lr.Aligned(lr.Task(jnp.eye(2), y), strengths=strength)
        return start(2, 2, 2, key=KEY).function.sum()

    y = jnp.diag(jnp.array([1.0, 0.0]))
    with pytest.raises(RuntimeError, match="modes have positive singular values"):
        jax.grad(total)(y, 0.5)
    with pytest.raises(RuntimeError, match="singular values are distinct"):
        jax.grad(total)(jnp.eye(2), 0.5)
