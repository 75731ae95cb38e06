"""The best coordinates of data sets: many starts, from wide ranges."""

import numpy as np
from jaxtyping import Int
from scipy import stats

from .ambiguity import is_even, ordered
from .data import Misfit
from .least_squares import (
    LANES,
    MANY_LANES,
    PATIENCE,
    ROUND,
    STEPS,
    go_on,
    minimise,
)
from .members import Members, begin, best_places
from .ranges import candidates
from .screening import (
    APART,
    MERGED,
    after_step,
    chosen,
    close,
    folded,
    screened,
    spread,
)
from .valleys import along_valleys

SCREENED = 4  # candidates for each start
LATE = 8  # starts that go on of those not converged
# Of many curves: after so many steps, so many members for each start go on. The first
# step of a member that does not know its cost is an evaluation.
RACE = ((1, 2), (2, 1))
FOLLOWING = 0.1  # distance of a member from a better one on the way to the same optimum
UNLIKELY = 1e-4  # the chance of a deviance at which a curve begins again
TRIALS = 5  # searches of one curve at most, the first one included
FEW = 8  # curves, or a tenth of all: so many may begin again
BANK = 1024  # candidates of many curves, predicted once for all


def search(
    misfit: Misfit,
    starts: int,
    bounds: tuple[np.ndarray, np.ndarray],
    least: float,
    *,
    seed: int = 0,
) -> Members:
    """Minimise from the best `starts` of many candidates, for each curve.

    The result has the members of each curve together. Modes that can be exchanged are
    ordered. Of many curves four times as many members begin a race; the best ones that
    are apart go to their ends. Curves whose deviance the noise does not explain begin
    again from other candidates. The last members of a curve come from `along_valleys`.
    """
    find = _of_many if misfit.data.curves > 1 else _of_one
    members = find(misfit, starts, bounds, least, seed)
    return ordered(misfit.experiment, misfit.coordinates, members)


def _of_one(
    misfit: Misfit,
    starts: int,
    bounds: tuple[np.ndarray, np.ndarray],
    least: float,
    seed: int,
) -> Members:
    """The members of one curve, all by one program: compilation takes the most time."""
    points = _points(misfit, bounds, SCREENED * starts, seed)
    members = minimise(misfit, begin(points), bounds, least, steps=1)
    best = chosen(
        after_step(members)[None],
        points,
        close(points, APART),
        misfit.coordinates,
        starts,
    )[0]
    members = Members(*(x[best] for x in members))
    members = minimise(misfit, members, bounds, least, steps=PATIENCE)
    late = np.argsort(np.where(members.done, np.inf, members.cost))[:LATE]
    go_on(misfit, members, late, bounds, least, steps=STEPS - PATIENCE)
    return along_valleys(misfit, members, 1, bounds, least, LANES)


def _of_many(
    misfit: Misfit,
    starts: int,
    bounds: tuple[np.ndarray, np.ndarray],
    least: float,
    seed: int,
) -> Members:
    """The members of each curve; curves that are not explained begin again."""
    curves = misfit.data.curves
    count = max(BANK, SCREENED * starts)
    points = _points(misfit, bounds, count, seed)
    members = _of_curves(misfit, np.arange(curves), points, starts, bounds, least)
    for i in range(1, TRIALS):
        again = _implausible(misfit, members)
        if not 0 < again.size <= max(FEW, curves // 10):
            break
        points = _points(misfit, bounds, count, seed + i)
        others = _of_curves(misfit, again, points, starts, bounds, least)
        better = _least_costs(others, again.size) < _least_costs(members, curves)[again]
        for x, y in zip(members, others, strict=True):
            old = x.reshape(curves, -1, *x.shape[1:])
            old[again[better]] = y.reshape(again.size, -1, *x.shape[1:])[better]
    return members


def _points(
    misfit: Misfit, bounds: tuple[np.ndarray, np.ndarray], count: int, seed: int
) -> np.ndarray:
    """`candidates` in the dtype of the data."""
    points = candidates(misfit.experiment, misfit.coordinates, bounds, count, seed)
    return points.astype(misfit.experiment.times.dtype)


def _of_curves(
    misfit: Misfit,
    rows: np.ndarray,
    points: np.ndarray,
    starts: int,
    bounds: tuple[np.ndarray, np.ndarray],
    least: float,
) -> Members:
    """The members of these curves: a race of the best candidates, then the valleys."""
    coordinates = misfit.coordinates
    even = is_even(misfit.experiment)
    if even:
        points = folded(begin(points), coordinates, bounds).u
    members = screened(misfit, rows, points, SCREENED * starts)
    if not all(law.is_gaussian for law in misfit.experiment.noise):
        members = begin(members.u, members.row)  # with costs of their own
    for steps, kept in RACE:
        members = minimise(
            misfit, members, bounds, least, steps=steps, lanes=MANY_LANES
        )
        members = _ahead(members, len(rows), kept * starts)
    leads = np.arange(len(members.u))
    for _ in range(PATIENCE // ROUND):
        leads = _stop_followers(members, len(rows))[leads]
        members = minimise(
            misfit, members, bounds, least, steps=ROUND, lanes=MANY_LANES
        )
    # Of the members that have not converged only the best ones go on.
    best = best_places(members, len(rows))
    late = best[~members.done[best]]
    go_on(misfit, members, late, bounds, least, steps=STEPS, lanes=MANY_LANES)
    members = Members(*(x[leads] for x in members))
    members = along_valleys(misfit, members, len(rows), bounds, least, MANY_LANES)
    return folded(members, coordinates, bounds) if even else members


def _implausible(misfit: Misfit, members: Members) -> np.ndarray:
    """The curves whose deviance noise of the given level does not explain."""
    if any(law.sd is None for law in misfit.experiment.noise):
        return np.zeros(0, int)
    freedom = misfit.data.per_curve - len(misfit.coordinates.labels)
    likely = stats.chi2.isf(UNLIKELY, np.maximum(freedom, 1))
    return np.flatnonzero(2 * _least_costs(members, misfit.data.curves) > likely)


def _least_costs(members: Members, curves: int) -> np.ndarray:
    """The least cost of each curve."""
    return members.cost[best_places(members, curves)]


def _ahead(members: Members, curves: int, count: int) -> Members:
    """The members of each curve that one more step takes to the least costs."""
    race = len(members.u) // curves
    costs = after_step(members).reshape(curves, race)
    orders = np.argsort(costs, axis=1, kind="stable")
    near = close(members.u.reshape(curves, race, -1), MERGED)
    best = [spread(x, y, count) for x, y in zip(orders, near, strict=True)]
    rows = np.array(best) + race * np.arange(curves)[:, None]
    return Members(*(x[rows.ravel()] for x in members))


def _stop_followers(members: Members, curves: int) -> Int[np.ndarray, " members"]:
    """Stop the members near a better one of their curve: they go to its optimum.

    The result is the place of the member that leads each one.
    """
    order = np.argsort(after_step(members).reshape(curves, -1), axis=1, kind="stable")
    rows = order + order.shape[1] * np.arange(curves)[:, None]
    near = close(members.u[rows], FOLLOWING)
    first = np.broadcast_to(np.arange(rows.shape[1]), rows.shape).copy()
    for i in range(1, rows.shape[1]):
        ahead = near[:, i, :i] & (first[:, :i] == np.arange(i))
        follows = ahead.any(axis=1) & ~members.done[rows[:, i]]
        first[:, i] = np.where(follows, ahead.argmax(axis=1), i)
    places = np.arange(rows.size)
    leads = places.copy()
    leads[rows] = np.take_along_axis(rows, first, axis=1)
    members.done[leads != places], members.cost[leads != places] = True, np.inf
    return leads


def mirrored(
    misfit: Misfit,
    members: Members,
    box: tuple[np.ndarray, np.ndarray],
    least: float,
) -> Members:
    """The members, and the best one's mirror image in the sign of the balance."""
    coordinates = misfit.coordinates
    if "lmda" not in coordinates.labels or coordinates.sign:
        return members
    u = members.u[np.argmin(members.cost)].copy()
    u[coordinates.labels.index("lmda")] *= -1
    u = np.clip(u, *box).astype(u.dtype)
    more = minimise(misfit, begin(u[None]), box, least)
    return Members(
        *(np.concatenate([x, y]) for x, y in zip(members, more, strict=True))
    )
