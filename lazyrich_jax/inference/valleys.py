"""The valley of the best member: it may have several optima."""

import numpy as np

from .data import Misfit
from .least_squares import (
    PATIENCE,
    ROUND,
    STEPS,
    go_on,
    minimise,
)
from .members import Members, begin, best_places
from .screening import MERGED, after_step

SAME = 1e-2  # distance of two members that have reached one optimum
ALONG = (-3.0, -1.0, 1.0, 3.0)  # from an optimum along its valley
FIRST, BEST = 2, 2  # of many curves: after so many steps so many go on


def along_valleys(
    misfit: Misfit,
    members: Members,
    curves: int,
    box: tuple[np.ndarray, np.ndarray],
    least: float,
    lanes: int,
) -> Members:
    """The members of each curve, and others from along the best one's valley.

    A valley may have several optima. The others start on both sides of the best member
    in the direction of least curvature. Those that return at once have an infinite
    cost, and so have the worse ones of many curves.
    """
    best = best_places(members, curves)
    hessian = np.where(np.isfinite(members.hessian[best]), members.hessian[best], 0.0)
    soft = np.linalg.eigh(hessian.astype(float))[1][:, :, 0]
    soft = soft / np.max(np.abs(soft), axis=1, keepdims=True)
    u = members.u[best][:, None] + np.multiply.outer(ALONG, soft).swapaxes(0, 1)
    u = np.clip(u, *box).reshape(-1, u.shape[-1]).astype(members.u.dtype)
    more = begin(u, np.repeat(members.row[best], len(ALONG)))
    steps = ROUND if curves == 1 else FIRST
    more = minimise(misfit, more, box, least, steps=steps, lanes=lanes)
    home = np.repeat(best, len(ALONG))

    def away() -> np.ndarray:
        gap = np.max(np.abs(more.u - members.u[home]), axis=1)
        better = after_step(more) < 0.999 * members.cost[home]
        return (gap >= SAME) & ((gap >= MERGED) | better)

    first = away()
    # Of one curve all go on to their ends: they may be alternatives.
    steps = PATIENCE
    if curves > 1:
        costs = np.where(first, after_step(more), np.inf).reshape(curves, -1)
        first &= (costs <= np.sort(costs, axis=1)[:, BEST - 1, None]).ravel()
        steps = ROUND
    for _ in range(PATIENCE // steps):
        left = np.flatnonzero(first & away() & ~more.done)
        go_on(misfit, more, left, box, least, steps=steps, lanes=lanes)
    better = np.flatnonzero((more.cost < members.cost[home]) & ~more.done)
    go_on(misfit, more, better, box, least, steps=STEPS, lanes=lanes)
    more.cost[~(first & more.done)] = np.inf

    def joined(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        parts = [z.reshape(curves, -1, *z.shape[1:]) for z in (x, y)]
        return np.concatenate(parts, axis=1).reshape(-1, *x.shape[1:])

    return Members(*(joined(x, y) for x, y in zip(members, more, strict=True)))
