"""Profile-likelihood intervals: the other unknown numbers are fitted on the way."""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from .. import _checks
from .anchored import Anchored, anchored, natural, restarted
from .estimate import Estimate
from .least_squares import Members, begin, lowest, minimise
from .levels import least_cost

OUTWARD = 24  # steps to the bound, at most, each twice as long as the last
INWARD = 6  # refinements of an end: every third halves its bracket
RESTARTS = 3  # about a better point, at most
ISLANDS = 4  # rounds of segments, at most
FURTHER = 4.0  # beyond the range of a coordinate


Segment = tuple[float, float]


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


def intervals(
    fit: Estimate, level: float = 0.95, names: Sequence[str] | None = None
) -> dict[str, list[tuple[float, float]]]:
    """Profile-likelihood intervals of the unknown numbers.

    An interval ends where the deviance, minimised over all other unknown numbers, has
    risen by the quantile of its distribution (chi squared with given levels of noise,
    F with estimated ones). It is infinite where it never rises so far.

    **Arguments:**

    - `fit`: a result of `lazyrich_jax.inference.fit`.
    - `level`: the probability that an interval contains the true number.
    - `names`: labels, as in `fit.labels`; by default all.

    **Returns:** for each label a list of disjoint intervals (low, high): more than one
    where other values fit as well. If a point on the way fits better than the fit, the
    intervals are about that point, and a warning says so.

    **Raises:** `ValueError` for another level or label.
    """
    wanted = fit.labels if names is None else tuple(names)
    for label in wanted:
        _checks.require(
            label in fit.labels,
            f"`names` must be labels of {list(fit.labels)}, but it had {label!r}.",
        )
    columns = [fit.labels.index(label) for label in wanted]
    a, segments = _settled(anchored(fit), columns, _rise(fit, level))
    return {
        label: [natural(a, j, x) for x in _merged(segments[j])]
        for label, j in zip(wanted, columns, strict=True)
    }


def _settled(
    a: Anchored, columns: Sequence[int], rise: float
) -> tuple[Anchored, dict[int, list[Segment]]]:
    """The segments of each column about optima that no point on the way is better than.

    The balance and the rate make up for each other, so both are always followed.
    """
    makeup = [a.fit.labels.index(x) for x in ("lmda", "rate") if x in a.fit.labels]
    columns = [*dict.fromkeys([*columns, *makeup])]
    restarts = 0
    while True:
        segments, met = _segments(a, columns, rise)
        lowest = min(met, key=lambda point: point.rise)
        better = lowest.rise < -0.05 * rise - 1e2 * least_cost(a.fit.data)
        if not better or restarts == RESTARTS:
            return a, segments
        restarts += 1
        warnings.warn(
            "A point on the way fits better than the fit, by "
            f"{-2 * lowest.rise:.2g} in the deviance: the intervals are about it. Fit "
            "with more starts.",
            stacklevel=3,
        )
        a = restarted(a, lowest.u, rise)


def _segments(
    a: Anchored, columns: Sequence[int], rise: float
) -> tuple[dict[int, list[Segment]], list[Point]]:
    """The segments of each column, and all points met within the rise.

    A point met within the rise lies in a segment of every column. One that does not is
    where another segment begins: a profile may fall again beyond its end.
    """
    origins = [(o, j) for j in columns for o in range(len(a.optima))]
    segments: dict[int, list[Segment]] = {j: [] for j in columns}
    met: list[Point] = []
    for _ in range(ISLANDS):
        rays = [Ray(o, j, side) for o, j in origins for side in (-1, 1)]
        ends, more = _ends(a, rays, rise)
        met += more
        for o, j in origins:
            segments[j].append((ends[Ray(o, j, -1)], ends[Ray(o, j, 1)]))
        origins = []
        for j in columns:
            inside = [x for x in met if x.rise <= rise]
            outside = [x for x in inside if _outside(a, segments[j], j, x)]
            if outside:
                start = min(outside, key=lambda point: point.rise)
                origins.append((len(a.optima), j))
                a = a._replace(
                    optima=np.concatenate([a.optima, start.u[None]]),
                    rises=np.append(a.rises, start.rise),
                )
        if not origins:
            break
    return segments, met


def _outside(a: Anchored, segments: list[Segment], j: int, point: Point) -> bool:
    margin = 0.1 * min(float(a.sd[j]), 1.0)
    x = point.u[j]
    return not any(low - margin <= x <= high + margin for low, high in segments)


def _rise(fit: Estimate, level: float) -> float:
    """The rise of the cost at an interval's end."""
    _checks.require(
        0 < level < 1, f"`level` must be between 0 and 1, but it was {level}."
    )
    if fit.known_noise:
        return float(stats.chi2.ppf(level, 1)) / 2
    freedom = max(fit.freedom, 1)
    return float(stats.f.ppf(level, 1, freedom)) * fit.deviance / freedom / 2


def _ends(
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
    for _ in range(OUTWARD):
        active = [ray for ray in rays if ray not in outer and ray not in ended]
        offsets = []
        for ray in list(active):
            last, room = paths[ray][-1].offset, _room(a, ray)
            if last >= room * (1 - 1e-12):
                ended[ray] = _edge(a, ray)
                active.remove(ray)
                continue
            step = min(max(float(a.sd[ray.coordinate]), 1e-9), 0.5)
            offsets.append(min(max(2 * last, step), last + 2.0, room))
        for ray, point in _outward(a, active, offsets, paths, rise):
            if point.rise > rise:
                outer[ray] = point
            else:
                paths[ray].append(point)
    for i in range(INWARD):
        active = list(outer)
        offsets = [
            _between(paths[ray][-1], outer[ray], rise)
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
    ends = {ray: ended.get(ray, ray.direction * math.inf) for ray in rays}
    return ends, [point for path in paths.values() for point in path]


def _between(inner: Point, outer: Point, rise: float) -> float:
    """Where the root of the rise, nearly linear, has the value of the end."""
    low, high = math.sqrt(max(inner.rise, 0.0)), math.sqrt(outer.rise)
    share = (math.sqrt(rise) - low) / (high - low) if math.isfinite(high) else 0.5
    return inner.offset + min(max(share, 0.02), 0.98) * (outer.offset - inner.offset)


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
    rays = [
        ray
        for ray, point in outer.items()
        if np.any(np.delete((point.u <= low) | (point.u >= high), ray.coordinate))
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

    They are the last point, and that with a small balance and with large ones.
    """
    starts = [last.u.copy()]
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


def _merged(segments: list[Segment]) -> list[Segment]:
    merged: list[Segment] = []
    for low, high in sorted(segments):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged
