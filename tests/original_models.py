"""Simulations of models, to which reductions are compared, in NumPy and SciPy."""

import numpy as np
from scipy.integrate import solve_ivp

from . import cases

SIZES = 3, 2, 2
TS = np.array([0.0, 0.2, 1.0, 2.5, 6.0])


def simulated(velocity, start, ts=TS):
    """Arrays that obey d(arrays)/dt = velocity(t, arrays), with the axis of `ts`."""
    shapes = [np.shape(x) for x in start]
    ends = np.cumsum([np.size(x) for x in start])

    def split(flat):
        parts = np.split(flat, ends[:-1], axis=-1)
        lead = flat.shape[:-1]
        return [p.reshape((*lead, *s)) for p, s in zip(parts, shapes, strict=True)]

    def flat(arrays):
        return np.concatenate([np.ravel(x) for x in arrays])

    solution = solve_ivp(
        lambda t, y: flat(velocity(t, *split(y))),
        (0, ts[-1]),
        flat(start),
        "DOP853",
        ts,
        rtol=1e-11,
        atol=1e-13,
    )
    return split(solution.y.T)


def gradients(w1, w2, error, x):
    """The velocity of two linear layers with the errors y - f of their outputs."""
    pull = error.T @ x / len(x)
    return w2.T @ pull, pull @ w1.T


def losses(functions, x, y):
    return [((y - x @ f.T) ** 2).sum() / (2 * len(x)) for f in functions]


def task_and_start(lmda=0.6, seed=0):
    return cases.make_task(SIZES, variance=1.5), cases.balanced(SIZES, lmda, 0.6, seed)


def arrays(*given):
    return tuple(np.asarray(x) for x in given)


def agrees(model, w1, w2, function, loss, *, within=1e-9, ts=TS):
    """The model's function, loss and weights are the simulated ones."""
    np.testing.assert_allclose(model.function(ts), function, atol=within)
    np.testing.assert_allclose(model.loss(ts), loss, atol=within)
    start = model.to_weights(model.network.weights)
    for found, expected in zip(start, (w1[0], w2[0]), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    # The weights up to a rotation of the hidden units.
    later = model.to_weights(model.solution().network(model.clock(ts[3])).weights)
    np.testing.assert_allclose(later[0].mT @ later[0], w1[3].T @ w1[3], atol=within)
    np.testing.assert_allclose(later[1] @ later[1].mT, w2[3] @ w2[3].T, atol=within)
