"""Weight decay of networks whose balance is known apart from their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from . import cases
from .decaying import KEY, close, of_flow, solved


@pytest.mark.slow
def test_networks_of_one_balance_share_its_solutions():
    task = lr.Task.from_correlation(cases.sigma(3, 3))
    draw = lr.LambdaBalanced(2.0, 0.4)
    networks = jax.vmap(lambda key: draw(3, 3, 3, key=key))(jax.random.split(KEY, 3))
    ts = jnp.array([0.0, 0.5, 5.0])

    def loss(network, lmda):
        given = {"weight_decay": 0.1, "lmda": lmda, "throw": False}
        return lr.ExactSolution(network, task, **given).loss(ts)

    shared = jax.vmap(loss, (0, None))
    expected = jnp.stack([loss(n, None) for n in unstacked(networks)])
    np.testing.assert_allclose(shared(networks, 2.0), expected, rtol=1e-11)
    assert np.isnan(shared(networks, 2.01)).all()
    with pytest.raises(ValueError, match=r"`lmda` must be the balance of `network`"):
        lr.ExactSolution(unstacked(networks)[0], task, lmda=1.0)
    wide = lr.WideOrthogonal(0.7, 1.5)(3, 8, 3, key=KEY)
    with pytest.raises(ValueError, match=r"`start` must be 'balanced' where `lmda`"):
        lr.ExactSolution(wide, task, weight_decay=0.1, lmda=1.0)


def test_a_balance_known_to_be_zero_shifts_the_rates():
    sigma = jnp.asarray(cases.sigma(3, 4))
    s = np.linalg.svd(sigma, compute_uv=False)
    network = lr.LambdaBalanced(0.0, 0.4)(4, 3, 3, key=KEY)
    ts = jnp.array([0.3, 3.0, 1e4, jnp.inf])

    def f(network, sigma, decay, later):
        task = lr.Task.from_correlation(sigma)
        solution = lr.ExactSolution(network, task, weight_decay=decay, lmda=0.0)
        times = ts + jnp.where(jnp.isinf(ts), 0.0, later)
        return jnp.concatenate([solution.loss(times), solution.qqt(times).ravel()])

    @jax.jit
    def with_slope(*args):
        scaled = jax.tree.map(lambda w: w / 2, args[0])  # its balance stays zero
        change = scaled, jnp.sin(1 + 3 * sigma), jnp.asarray(0.2), jnp.asarray(0.3)
        return *jax.jvp(f, args, change), change

    for decay in (1e-6, 0.3, s[1], 0.5 * (s[1] + s[2]), 2.0, 10.0):
        args = network, sigma, jnp.asarray(decay), jnp.asarray(0.0)
        found, slope, change = with_slope(*args)
        task = lr.Task.from_correlation(sigma)
        loss, qqt, _ = solved()(network, task, decay, np.asarray(ts))
        close((found[:4], found[4:]), (loss, qqt.ravel()), 1e-13)
        if decay in (1e-6, s[1]):
            continue  # the end has a corner, or large derivatives

        def at(h, args=args, change=change):
            return with_slope(*jax.tree.map(lambda x, dx: x + h * dx, args, change))[0]

        f1, f2 = ((at(h) - at(-h)) / (2 * h) for h in (1e-4, 2e-4))
        np.testing.assert_allclose(slope, (4 * f1 - f2) / 3, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(4, 2, 6), (9, 9, 9)])
def test_the_flow_from_a_balance_known_to_be_zero(sizes):
    task = lr.Task.from_correlation(cases.sigma(sizes[2], sizes[0]))
    task = lr.Task(1.3 * task.x, task.y)
    network = lr.LambdaBalanced(0.0, 0.4)(*sizes, key=KEY)
    ts = np.array([0.0, 0.1, 1.0, 4.0])

    @jax.jit
    def f(decay):
        given = {"lmda": 0.0, "start": "balanced"}
        solution = lr.ExactSolution(network, task, weight_decay=decay, **given)
        return solution.loss(ts), solution.qqt(ts)

    for decay in (1e-3, 0.5, 3.0):
        close(f(decay), of_flow(network, task, decay, ts), 2e-10)
    other = lr.LambdaBalanced(0.1, 0.4)(3, 2, 2, key=KEY)
    task = lr.Task.from_correlation(cases.sigma(2, 3))
    with pytest.raises(ValueError, match=r"`lmda` must be the balance of `network`"):
        lr.ExactSolution(other, task, weight_decay=0.1, lmda=0.0)


def unstacked(networks):
    """The members of a batch."""
    count = networks.weights[0].shape[0]
    return [jax.tree.map(lambda w, i=i: w[i], networks) for i in range(count)]
