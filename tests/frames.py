"""Frames of networks and tasks."""

import jax.numpy as jnp

from lazyrich_jax._riccati.frame import Frame, Problem


def decomposed(w1, w2, sigma, throw=True):
    """Without the balance check: differences fail it."""
    lmda = jnp.trace(w2.T @ w2 - w1 @ w1.T) / w1.shape[0]
    problem = Problem(w1, w2, sigma, lmda, throw)
    return problem, Frame(problem)
