"""Starts of a search on their way."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

# NumPy's between calls, JAX's (also without the axis of members) inside a program.
Numbers = Any


class Members(NamedTuple):
    """Starts on their way: coordinates and the model around them, members first."""

    u: Numbers  # (members, unknowns)
    free: Numbers  # (members, unknowns): 1 or, for a fixed coordinate, 0
    row: Numbers  # (members,) of the data
    gradient: Numbers  # (members, unknowns)
    hessian: Numbers  # (members, unknowns, unknowns)
    cost: Numbers  # (members,), half the sum of squares
    size: Numbers  # (members, unknowns): the largest diagonal of the Hessian so far
    damping: Numbers  # (members,)
    done: Numbers  # (members,)
    steps: Numbers  # (members,)


def begin(
    u: np.ndarray, row: np.ndarray | int = 0, free: np.ndarray | None = None
) -> Members:
    """Members at these coordinates, with unknown costs and derivatives."""
    u = np.asarray(u)
    count, size = u.shape
    free = np.ones(size) if free is None else free
    return Members(
        u,
        np.broadcast_to(free, u.shape).astype(u.dtype),
        np.broadcast_to(np.asarray(row, np.int32), (count,)),
        np.zeros_like(u),
        np.broadcast_to(np.eye(size, dtype=u.dtype), (count, size, size)),
        np.full(count, np.inf, u.dtype),
        np.zeros_like(u),
        np.full(count, 1e-2, u.dtype),
        np.zeros(count, bool),
        np.zeros(count, np.int32),
    )


def lowest(members: Members, kinds: int) -> Members:
    """The member of least cost among `kinds` that follow each other in blocks."""
    cost = np.where(np.isfinite(members.cost), members.cost, np.inf)
    cost = cost.reshape(kinds, -1)
    count = cost.shape[1]
    best = np.argmin(cost, axis=0) * count + np.arange(count)
    return Members(*(x[best] for x in members))


def best_places(members: Members, curves: int) -> Int[np.ndarray, " curves"]:
    """The place of the member of least cost of each curve."""
    cost = np.where(np.isfinite(members.cost), members.cost, np.inf)
    cost = cost.reshape(curves, -1)
    return np.argmin(cost, axis=1) + cost.shape[1] * np.arange(curves)
