"""Sweeps without a bar of progress, and one that compiles in no time."""

import jax.numpy as jnp
import numpy as np

import lazyrich_jax as lr

XS, YS = np.linspace(-2, 2, 7), np.array([1.0, 2.0, 5.0])


def quiet(fn, grid, **kwargs):
    return lr.sweeps.run(fn, grid, progress=False, **kwargs)


def wave(point):
    x = point["x"] * jnp.arange(4.0)
    return {"wave": ("time", jnp.sin(x) * point["y"]), "sum": jnp.sum(x) + point["y"]}


def expected():
    """The results of `wave` over `XS` and `YS`."""
    x = XS[:, None, None] * np.arange(4.0)
    return np.sin(x) * YS[None, :, None], x.sum(-1) + YS[None]
