"""Experiments that tests of inference share."""

import jax
import jax.numpy as jnp

import lazyrich_jax as lr
from lazyrich_jax import inference

TIMES = jnp.linspace(0, 8, 40)
UNKNOWN = ("lmda", "scale", "rate")
TRUTH = {"lmda": 0.5, "scale": 0.4, "rate": 0.7}
BOTH_SIGNS = "ignore:The sign of lmda"


def build(sizes, **options):
    """An experiment with a random task and start function."""
    n_in, hidden, n_out = sizes
    options.setdefault("noise", inference.Relative(0.01))
    task = lr.Task.random_regression(n_in, n_out, 20, key=jax.random.key(1))
    start = lr.LambdaBalanced()(*sizes, key=jax.random.key(0)).function
    options = {"start": start, "scale": 0.3, "hidden_size": hidden} | options
    return inference.Experiment(task, TIMES, **options)
