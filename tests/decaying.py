"""Weight decay: the solution, and SciPy's flow, of a network and a task."""

import functools

import jax
import numpy as np

import lazyrich_jax as lr

from . import numerical_flow

KEY = jax.random.key(0)


@functools.cache
def solved(start="any"):
    """Loss and QQ^T at times, and the network's own QQ^T, compiled once a shape."""

    @jax.jit
    def f(network, task, decay, ts):
        solution = lr.ExactSolution(network, task, weight_decay=decay, start=start)
        own = jax.vmap(lambda n: n.qqt)(solution.network(ts))
        return solution.loss(ts), solution.qqt(ts), own

    return f


def of_flow(network, task, decay, ts):
    """The loss and QQ^T of SciPy's flow."""
    weights = [np.asarray(w) for w in network.weights]
    found = numerical_flow.flow(weights, task, ts, weight_decay=decay)
    q = [np.concatenate([w1.T, w2]) for w1, w2 in found]
    loss = [numerical_flow.loss(w2 @ w1, task) for w1, w2 in found]
    return np.array(loss), np.stack([x @ x.T for x in q])


def close(found, expected, rtol):
    """Every quantity within `rtol` of its largest entry."""
    for x, y in zip(found, expected, strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert np.max(np.abs(x - y)) <= rtol * np.max(np.abs(y))
