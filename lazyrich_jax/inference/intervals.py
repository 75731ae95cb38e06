"""Profile-likelihood intervals: the other unknown numbers are fitted on the way."""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

from .. import _checks
from .anchored import Anchored, anchored, natural, restarted
from .estimate import Estimate
from .levels import least_cost
from .rays import Point, Ray, followed

RESTARTS = 3  # about a better point, at most
ISLANDS = 12  # rounds of segments, at most
GAP = 0.02  # between two segments, relative to the width of one

Segment = tuple[float, float]


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
        label: [natural(a, j, x) for x in segments[j]]
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
        a, segments, met = _segments(a, columns, rise)
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
) -> tuple[Anchored, dict[int, list[Segment]], list[Point]]:
    """The segments of each column, and all points met within the rise.

    A point met within the rise lies in a segment of every column. One that does not is
    where another segment begins: a profile may fall again beyond its end. Such points
    join the optima. Points that are left after the last round are in one wide segment.
    A gap far narrower than a segment beside it is none: it is the profile's error.
    """
    origins = [(o, j) for j in columns for o in range(len(a.optima))]
    segments: dict[int, list[Segment]] = {j: [] for j in columns}
    met: list[Point] = []

    def inside() -> list[Point]:
        return [x for x in met if x.rise <= rise]

    for _ in range(ISLANDS):
        rays = [Ray(o, j, side) for o, j in origins for side in (-1, 1)]
        ends, more = followed(a, rays, rise)
        met += more
        for o, j in origins:
            segments[j].append((ends[Ray(o, j, -1)], ends[Ray(o, j, 1)]))
        origins = []
        for j in columns:
            outside = [x for x in inside() if _outside(a, segments[j], j, x)]
            if outside:
                start = min(outside, key=lambda point: point.rise)
                origins.append((len(a.optima), j))
                a = a._replace(
                    optima=np.concatenate([a.optima, start.u[None]]),
                    rises=np.append(a.rises, start.rise),
                )
        if not origins:
            break
    at = {j: [float(x.u[j]) for x in inside()] for j in columns}
    for _, j in origins:
        segments[j].append((min(at[j]), max(at[j])))
    merged = {j: _merged(a, segments[j] + [(x, x) for x in at[j]], j) for j in columns}
    return a, merged, met


def _margin(a: Anchored, segment: Segment, j: int) -> float:
    """The width of a gap beside a segment that is none."""
    low, high = segment
    return max(0.1 * min(float(a.sd[j]), 1.0), GAP * min(high - low, 1.0))


def _outside(a: Anchored, segments: list[Segment], j: int, point: Point) -> bool:
    x = point.u[j]
    return not any(
        segment[0] - _margin(a, segment, j) <= x <= segment[1] + _margin(a, segment, j)
        for segment in segments
    )


def _rise(fit: Estimate, level: float) -> float:
    """The rise of the cost at an interval's end."""
    _checks.require(
        0 < level < 1, f"`level` must be between 0 and 1, but it was {level}."
    )
    if fit.known_noise:
        return float(stats.chi2.ppf(level, 1)) / 2
    freedom = max(fit.freedom, 1)
    return float(stats.f.ppf(level, 1, freedom)) * fit.deviance / freedom / 2


def _merged(a: Anchored, segments: list[Segment], j: int) -> list[Segment]:
    """The segments in their order, those with no gap between them as one."""
    merged: list[Segment] = []
    for segment in sorted(segments):
        low, high = segment
        last = merged[-1] if merged else segment
        if merged and low - last[1] <= max(_margin(a, x, j) for x in (last, segment)):
            merged[-1] = (last[0], max(high, last[1]))
        else:
            merged.append(segment)
    return merged
