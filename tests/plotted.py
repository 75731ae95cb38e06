"""Trajectories and sweeps that tests of plots draw."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import xarray

import lazyrich_jax as lr

KEY = jax.random.key(0)
TASK = lr.Task.random_regression(3, 2, samples=4, key=KEY)


# Trajectories are made at their first use: every process of the tests imports this.
def learned(ts, **options):
    network = lr.LambdaBalanced(1.0, scale=0.3)(3, 2, 2, key=KEY)
    return lr.learn(network, TASK, jnp.array(ts), **options)


@functools.cache
def exact():
    return learned([0.0, 0.5, 2.0, jnp.inf])


@functools.cache
def descent():
    return learned([0.0, 0.5, 2.0], dynamics=lr.GradientDescent(0.1))


def batch():
    return jax.tree.map(lambda a: jnp.stack([a, a]), exact())


@functools.cache
def deep():
    network = lr.Gaussian(1.0)(3, 2, 2, 2, key=KEY)
    weights = jax.tree.map(lambda w: w[None], network)
    return lr.Trajectory(jnp.zeros(1), jnp.zeros(1), weights, exact().result)


LMDA, SCALE = np.array([-10.0, -0.1, 0.0, 0.1, 10.0]), np.array([0.01, 0.1, 1.0])
SWEEP = xarray.Dataset(
    {"richness": (("lmda", "scale", "key"), np.arange(30.0).reshape(5, 3, 2))},
    {"lmda": LMDA, "scale": SCALE},
)
