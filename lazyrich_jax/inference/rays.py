"""Profiles followed outward from an optimum until they have risen."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .anchored import Anchored
from .least_squares import minimise
from .members import Members, begin, lowest

STRIDE = 2.0  # of a step outward, at most; each is twice as long as the last
INWARD = 42  # refinements of an end, at most: every third halves its bracket
CLOSE = 1e-3  # relative distance of the root of a rise from the end's
NARROW = 1e-4  # width of an end's bracket, relative to its distance from the optimum
FURTHER = 4.0  # beyond the range of a coordinate


class Ray(NamedTuple):
    """One coordinate followed in one direction from one optimum."""

    optimum: int
    coordinate: int
    direction: int


class Point(NamedTuple):
    """A point of a profile: its distance from the optimum and the rise there."""

    offset: float
    u: np.ndarray
    rise: float


def followed(
    a: Anchored, rays: Sequence[Ray], rise: float
) -> tuple[dict[Ray, float], list[Point]]:
    """Where the profile has risen by `rise`, or infinity; and the points below.

    Each profile is followed outward from its optimum, all at once, until it has risen
    so far; then the end is refined between the last two points.
    """
    paths = {
        ray: [Point(0.0, a.optima[ray.optimum], float(a.rises[ray.optimum]))]
        for ray in rays
    }
    outer: dict[Ray, Point] = {}
    ended: dict[Ray, float] = {}
    while active := [ray for ray in rays if ray not in outer and ray not in ended]:
        offsets = []
        for ray in list(active):
            last, room = paths[ray][-1].offset, _room(a, ray)
            if last >= room * (1 - 1e-12):
                ended[ray] = _edge(a, ray)
                active.remove(ray)
                continue
            step = min(max(float(a.sd[ray.coordinate]), 1e-9), 0.5)
            offsets.append(min(max(2 * last, step), last + STRIDE, room))
        for ray, point in _outward(a, active, offsets, paths, rise):
            if point.rise > rise:
                outer[ray] = point
            else:
                paths[ray].append(point)
    for i in range(INWARD):
        active = [
            ray for ray in outer if not _is_known(paths[ray][-1], outer[ray], rise)
        ]
        offsets = [
            _between(paths[ray][-1], outer[ray], rise, inside=0.02)
            if i % 3 < 2
            else (paths[ray][-1].offset + outer[ray].offset) / 2
            for ray in active
        ]
        starts = [(paths[ray][-1].u.copy(), outer[ray].u.copy()) for ray in active]
        for ray, point in _solved(a, active, offsets, starts):
            if point.rise > rise:
                outer[ray] = point
            else:
                paths[ray].append(point)
    for ray, point in outer.items():
        here = a.optima[ray.optimum, ray.coordinate]
        ended[ray] = here + ray.direction * _between(paths[ray][-1], point, rise)
    ended |= {ray: ray.direction * math.inf for ray in _held(a, outer, rise)}
    return ended, [point for path in paths.values() for point in path]


def _is_known(inner: Point, outer: Point, rise: float) -> bool:
    """Whether an end between two points is known well enough."""
    if outer.offset - inner.offset <= NARROW * outer.offset:
        return True
    roots = [math.sqrt(max(point.rise, 0.0) / rise) for point in (inner, outer)]
    return any(abs(root - 1) <= CLOSE for root in roots)


def _between(inner: Point, outer: Point, rise: float, inside: float = 0.0) -> float:
    """Where the root of the rise, nearly linear, has the value of the end.

    It is `inside` the two points by this part of their distance at least.
    """
    low, high = math.sqrt(max(inner.rise, 0.0)), math.sqrt(outer.rise)
    share = (math.sqrt(rise) - low) / (high - low) if math.isfinite(high) else 0.5
    share = min(max(share, inside), 1 - inside)
    return inner.offset + share * (outer.offset - inner.offset)


def _edge(a: Anchored, ray: Ray) -> float:
    """The user's bound, or infinity."""
    here = a.optima[ray.optimum, ray.coordinate] + ray.direction * _room(a, ray)
    farthest = a.misfit.coordinates.bounds[ray.direction > 0][ray.coordinate]
    return ray.direction * math.inf if here == farthest else here


def _outward(
    a: Anchored, rays: Sequence[Ray], offsets: Sequence[float], paths, rise: float
) -> list[tuple[Ray, Point]]:
    """Profiles at these offsets, on another branch where the path's own has risen."""
    starts = [
        [_along(a, ray, x, paths[ray])] for ray, x in zip(rays, offsets, strict=True)
    ]
    found = dict(_solved(a, rays, offsets, starts))
    high = [ray for ray in rays if found[ray].rise > rise]
    starts = [_branches(a, paths[ray][-1]) for ray in high]
    for ray, point in _solved(a, high, [found[ray].offset for ray in high], starts):
        found[ray] = min(found[ray], point, key=lambda x: x.rise)
    return list(found.items())


def _solved(
    a: Anchored, rays: Sequence[Ray], offsets: Sequence[float], starts
) -> list[tuple[Ray, Point]]:
    """Profiles at these offsets; `starts` are points to begin at, some for each ray."""
    if not rays:
        return []
    kinds = [list(kind) for kind in zip(*starts, strict=True)]
    for kind in kinds:
        for u, ray, x in zip(kind, rays, offsets, strict=True):
            here = a.optima[ray.optimum, ray.coordinate]
            u[ray.coordinate] = here + ray.direction * x
    each = np.clip(np.array([u for kind in kinds for u in kind]), *a.bounds)
    found = lowest(_profile(a, [*rays] * len(kinds), each), len(kinds))
    points = map(Point, offsets, found.u.astype(float), found.cost - a.cost)
    return list(zip(rays, points, strict=True))


def _held(a: Anchored, outer: dict[Ray, Point], rise: float) -> list[Ray]:
    """The rays that have an end only because another number is at its range's end.

    With a longer range the profile at their outer point has not risen so far.
    """
    low, high = a.misfit.coordinates.bounds
    own = a._replace(
        bounds=(
            np.where(a.bounds[0] <= low, low - FURTHER, a.bounds[0]),
            np.where(a.bounds[1] >= high, high + FURTHER, a.bounds[1]),
        )
    )
    inside = high * (1 - 1e-6)  # rounding keeps off the ends
    rays = [
        ray
        for ray, point in outer.items()
        if np.any(np.delete(np.abs(point.u) >= inside, ray.coordinate))
    ]
    starts = [(outer[ray].u.copy(),) for ray in rays]
    found = _solved(own, rays, [outer[ray].offset for ray in rays], starts)
    return [ray for ray, point in found if point.rise <= rise]


def _room(a: Anchored, ray: Ray) -> float:
    """The distance from an optimum to the bound."""
    here = a.optima[ray.optimum, ray.coordinate]
    bound = a.bounds[ray.direction > 0][ray.coordinate]
    return float(abs(bound - here))


def _along(a: Anchored, ray: Ray, x: float, path: list[Point]) -> np.ndarray:
    """The point at this offset in the path's direction."""
    last = path[-1]
    if len(path) == 1:
        slope = ray.direction * a.slopes[ray.coordinate]
    else:
        slope = (last.u - path[-2].u) / (last.offset - path[-2].offset)
    return last.u + np.clip(slope * (x - last.offset), -4.0, 4.0)


def _branches(a: Anchored, last: Point) -> list[np.ndarray]:
    """Where else to look, for a profile has branches.

    They are the last point, the same with the known scale (the loss has no slope by a
    tiny one), and the same with small and with large balances.
    """
    starts = [last.u.copy()]
    if "scale" in a.fit.labels:
        starts.append(last.u.copy())
        known = a.fit.experiment.known["scale"]
        starts[-1][a.fit.labels.index("scale")] = math.log(float(known))
    if "lmda" in a.fit.labels:
        i = a.fit.labels.index("lmda")
        for balance in (-2.0, 3.0) if a.misfit.coordinates.sign else (0.1, 3.0, -3.0):
            starts.append(last.u.copy())
            starts[-1][i] = balance
    return starts


def _profile(a: Anchored, rays: Sequence[Ray], starts: np.ndarray) -> Members:
    free = np.ones_like(starts)
    free[np.arange(len(rays)), [ray.coordinate for ray in rays]] = 0
    members = begin(starts.astype(a.fit.optima.dtype), free=free)
    return minimise(a.misfit, members, a.bounds, 0.0)
