"""Second derivatives of the solution, against differences of first ones."""

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from lazyrich_jax._riccati.differentiable import excess, product

from . import cases
from .differences import fourth_order
from .frames import decomposed


def of_state(problem, frame, t):
    # At a fixed time: off the class, slopes by time are the flow's, not the formula's.
    (p,) = product(problem, frame, jnp.full(1, 0.7), part="qqt")
    (function,) = product(problem, frame, t[None], part="function")
    return jnp.sum(jnp.cos(function - problem.sigma)) + jnp.sum(jnp.sin(p))


def of_loss(problem, frame, t):
    (loss,) = excess(problem, frame, t[None])
    return 4 * loss


def smooth(w1, w2, sigma, t):
    """A function of everything."""
    problem, frame = decomposed(w1, w2, sigma)
    return of_state(problem, frame, t) + of_loss(problem, frame, t)


@eqx.filter_jit
def change_of_gradient(point, change):
    """The gradient of `smooth` by everything, and its change along `change`."""
    return jax.jvp(jax.grad(smooth, argnums=(0, 1, 2, 3)), point, change)


@pytest.mark.slow
def test_second_derivatives():
    """By weights, correlation and time together; refused at repeated modes."""
    point = (
        *cases.balanced((2, 3, 4), 1.0, 0.4).weights,
        cases.sigma(4, 2),
        np.array(0.7),
    )
    flat, unflatten = jax.flatten_util.ravel_pytree(point)

    def gradient_and_change(flat, move):
        found = change_of_gradient(unflatten(flat), unflatten(move))
        return jax.flatten_util.ravel_pytree(found)[0].reshape(2, 27)

    rng = np.random.default_rng(1)
    moves = np.zeros((4, 27))
    for i, part in enumerate((slice(0, 6), slice(6, 18), slice(18, 26), slice(26, 27))):
        moves[i, part] = rng.normal(size=27)[part]
    found = np.stack([gradient_and_change(flat, move)[1] for move in moves])
    products = found @ moves.T
    np.testing.assert_allclose(products, products.T, atol=1e-11)
    for one, move in zip(found, moves, strict=True):
        expected = fourth_order(
            lambda x, move=move: gradient_and_change(x, move)[0], flat, move
        )
        np.testing.assert_allclose(one, expected, rtol=1e-7, atol=1e-7)
    repeated = *point[:2], jnp.eye(4, 2), point[3]
    with pytest.raises(Exception, match=r"Second derivatives .* must be taken where"):
        jax.block_until_ready(change_of_gradient(repeated, unflatten(moves[2])))


@eqx.filter_jit
def by_weights_and_time(w1, w2, sigma, t, change):
    """The gradient of `smooth` by weights and time, and its change along `change`."""
    gradient = jax.grad(lambda w1, w2, t: smooth(w1, w2, sigma, t), argnums=(0, 1, 2))
    return jax.jvp(gradient, (w1, w2, t), change)


@jax.jit
def by_task(w1, w2, sigma, t):
    """Second derivatives of the parts of `smooth` by the task, along ones."""
    found = []
    for part in (of_state, of_loss):
        gradient = jax.grad(
            lambda m, part=part: part(*decomposed(w1, w2, m, throw=False), t)
        )
        found.append(jax.jvp(gradient, (sigma,), (jnp.ones_like(sigma),))[1])
    return found


@pytest.mark.slow
def test_second_derivatives_at_repeated_modes():
    """They are right by weights (and so the balance) and time, and NaN by the task."""
    w1, w2 = cases.network((3, 3, 3), 1.0, 0.4, np.eye(3)).weights
    t, repeated = jnp.float64(0.7), jnp.eye(3)

    def gradient(flat, change):
        v1, v2, t = unflatten(flat)
        slope, second = by_weights_and_time(v1, v2, repeated, t, unflatten(change))
        return jax.flatten_util.ravel_pytree((slope, second))[0].reshape(2, 19)

    flat, unflatten = jax.flatten_util.ravel_pytree((w1, w2, t))
    moves = np.zeros((3, 19))
    moves[0, :9] = np.cos(np.arange(9))
    moves[1, 9:18] = np.sin(np.arange(9))
    moves[2, 18] = 1
    for move in jnp.asarray(moves):
        found = gradient(flat, move)[1]
        expected = fourth_order(lambda x, m=move: gradient(x, m)[0], flat, move)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)
    w1, w2 = cases.network((2, 2, 2), 1.0, 0.4, np.eye(2)).weights
    for second in by_task(w1, w2, jnp.eye(2), t):
        assert np.all(np.isnan(second))
    for second in by_task(w1, w2, jnp.diag(jnp.array([1.0, 2.0])), t):
        assert np.all(np.isfinite(second))


@pytest.mark.slow
def test_second_derivatives_near_a_saddle_are_refused():
    w1, w2 = (jnp.asarray(w) for w in cases.near_saddle(1e-12))
    point = w1, w2, jnp.asarray(cases.MODES), jnp.float64(0.7)
    with pytest.raises(Exception, match="not near a saddle"):
        jax.block_until_ready(by_weights_and_time(*point, (w1, w2, jnp.zeros(()))))
