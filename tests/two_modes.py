"""A task of two modes, and a start aligned with it, for tests of designs."""

import jax
import numpy as np

import lazyrich_jax as lr

S = np.array([2.0, 1.0])
U, V = (np.asarray(jax.random.orthogonal(jax.random.key(i), 2)) for i in (0, 1))
TASK = lr.Task.from_correlation((U * S) @ V.T)
A = np.array([0.05, 0.1])
ALIGNED = lr.balanced_network((U * A) @ V.T, 0.0)


def weights_of(network):
    return [np.asarray(w) for w in network.weights]


def modes(t, s, a0, lmda):
    return np.asarray(lr.theory.aligned_modes(t, s, a0, lmda))
