"""Gradient flow of linear networks of any depth, in NumPy and SciPy alone."""

import functools

import numpy as np
from scipy.integrate import solve_ivp


def flow(weights, task, ts, method="DOP853", weight_decay=0.0):
    """The weights at increasing finite times `ts`: one list of matrices per time.

    Every layer may have a weight decay of its own. "LSODA" is faster where time scales
    are far apart.
    """
    x, y = np.asarray(task.x), np.asarray(task.y)
    sigma, sxx = y.T @ x / len(x), x.T @ x / len(x)
    shapes = [np.shape(w) for w in weights]
    ends = np.cumsum([np.prod(s) for s in shapes])
    decays = np.broadcast_to(weight_decay, len(weights))

    def split(flat):
        parts = np.split(flat, ends[:-1])
        return [p.reshape(s) for p, s in zip(parts, shapes, strict=True)]

    def velocity(t, flat):
        ws = split(flat)
        error = sigma - product(ws) @ sxx
        steps = []
        for i in range(len(ws)):
            above = product([np.eye(shapes[i][0]), *ws[i + 1 :]])
            below = product([np.eye(shapes[0][1]), *ws[:i]])
            steps.append(above.T @ error @ below.T - decays[i] * ws[i])
        return np.concatenate([s.ravel() for s in steps])

    start = np.concatenate([np.ravel(w) for w in weights])
    if ts[-1] == 0:
        return [split(start)] * len(ts)
    solution = solve_ivp(
        velocity, (0, ts[-1]), start, method, ts, rtol=1e-12, atol=1e-14
    )
    assert solution.success
    return [split(flat) for flat in solution.y.T]


def product(weights):
    """W_L ... W_1 of a list that starts at the input."""
    return functools.reduce(lambda below, w: w @ below, weights)


def states(weights, task, ts, method="DOP853", weight_decay=0.0):
    """Function, input and output representation at `ts`, stacked."""
    ws = flow(weights, task, ts, method, weight_decay)
    return tuple(
        np.stack([f(w) for w in ws])
        for f in (product, lambda w: w[0].T @ w[0], lambda w: w[-1] @ w[-1].T)
    )


def loss(function, task):
    """The loss of a linear map on a task."""
    x, y = np.asarray(task.x), np.asarray(task.y)
    return np.sum((y - x @ np.asarray(function).T) ** 2) / (2 * len(x))
