"""Which candidates are worth a descent: by their cost after one step.

A cost spans many decades, and its valleys are narrow: the candidate of least cost is
often in another valley than the optimum. The linearised theory says what one step
gains. It costs each candidate a few predictions, which all curves share.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._xla import outermost
from .coordinates import Coordinates
from .data import Misfit
from .differences import spacing
from .lanes import LONGEST
from .members import Members, begin

APART = 1.0  # distance of two starts
MERGED = 0.3  # distance of two members that go to one optimum
CHUNK = 128  # candidates predicted at once
CURVES = 256  # compared with all candidates at once
RIDGE = 1e-10  # of a step, relative to the information on each coordinate


def costs_after_step(
    cost: Float[np.ndarray, "curves points"],
    gradient: Float[np.ndarray, "curves points unknowns"],
    hessian: Float[np.ndarray, "points unknowns unknowns"],
) -> Float[np.ndarray, "curves points"]:
    """Costs after a step of Gauss and Newton of at most `LONGEST`, if all is linear."""
    good = np.isfinite(cost) & np.isfinite(gradient).all(-1)
    good &= np.isfinite(hessian).all((-2, -1))
    gradient = np.where(good[..., None], gradient, 0.0)
    eye = np.eye(hessian.shape[-1])
    whole = np.all(np.isfinite(hessian), axis=(-2, -1), keepdims=True)
    hessian = np.where(whole, hessian, eye)
    size = np.sqrt(np.diagonal(hessian, axis1=-2, axis2=-1))
    size = np.maximum(size, 1e-8 * size.max(-1, keepdims=True))
    size = np.where(size > 0, size, 1.0)
    scaled = hessian / (size[:, :, None] * size[:, None]) + RIDGE * eye
    inverse = np.linalg.inv(scaled) / (size[:, :, None] * size[:, None])
    move = np.swapaxes(np.swapaxes(gradient, 0, 1) @ inverse, 0, 1)
    share = np.minimum(1.0, LONGEST / np.maximum(np.abs(move).max(-1), 1e-30))
    gain = (share - share**2 / 2) * np.sum(gradient * move, axis=-1)
    return np.where(good, cost - gain, np.inf)


def after_step(members: Members) -> Float[np.ndarray, " members"]:
    """The cost of each member after one more step."""
    return costs_after_step(
        members.cost[None], members.gradient[None], members.hessian
    )[0]


class Bank(NamedTuple):
    """Standardised predictions of candidates, and their derivatives.

    Candidates without a prediction have NaN.
    """

    value: Float[np.ndarray, "points n"]
    slopes: Float[np.ndarray, "unknowns points n"]


def screened(
    misfit: Misfit,
    rows: Int[np.ndarray, " curves"],
    points: Float[np.ndarray, "points unknowns"],
    starts: int,
) -> Members:
    """The best candidates of the curves `rows`, `starts` of each, curve by curve.

    Predictions and their derivatives are the same for all curves. Curves that miss the
    same entries have the same information. The members know their costs and
    derivatives, or numbers near these if a law of noise is not Gaussian.
    """
    seen = [
        law.observed(y[rows])
        for law, y in zip(misfit.experiment.noise, misfit.data.values, strict=True)
    ]
    data = _flat([z for z, _ in seen])
    weights = _flat(
        [w[rows] * u for w, (_, u) in zip(misfit.data.weights, seen, strict=True)]
    )
    whole, near = _bank(misfit, points), close(points, APART)
    members = begin(
        np.zeros((len(data) * starts, points.shape[1]), points.dtype),
        np.repeat(rows, starts),
    )
    members = Members(*(np.array(x) for x in members))
    kinds, kind = np.unique(weights, axis=0, return_inverse=True)
    for i, w in enumerate(kinds):
        bank = Bank(*(np.where(w > 0, x, 0.0) * w for x in whole))
        hessian = np.einsum("ipn,jpn->pij", bank.slopes, bank.slopes)
        alike = np.flatnonzero(kind.ravel() == i)
        for some in np.split(alike, range(CURVES, len(alike), CURVES)):
            cost, gradient = _costs(data[some] * w, bank)
            after = costs_after_step(cost, gradient, hessian)
            best = chosen(after, points, near, misfit.coordinates, starts)
            each = np.arange(len(some))[:, None]
            r = bank.value[best] - (data[some] * w)[:, None]
            here = np.add.outer(some * starts, np.arange(starts))
            good = np.isfinite(after[each, best])
            # Computed again: small costs of `_costs` have lost their digits.
            cost = np.where(good, np.sum(r**2, axis=-1) / 2, np.inf)
            members.u[here], members.cost[here] = points[best], cost
            members.gradient[here] = np.where(good[..., None], gradient[each, best], 0)
            curvature = np.where(good[..., None, None], hessian[best], 0)
            members.hessian[here] = curvature
            members.size[here] = np.diagonal(curvature, axis1=-2, axis2=-1)
    return members


def _costs(
    data: Float[np.ndarray, "curves n"], bank: Bank
) -> tuple[
    Float[np.ndarray, "curves points"], Float[np.ndarray, "curves points unknowns"]
]:
    """Costs and their gradients, by products of matrices."""
    value, slopes = bank
    squares = np.sum(data**2, axis=1)[:, None] + np.sum(value**2, axis=1)[None]
    cost = np.maximum(squares / 2 - data @ value.T, 0.0)
    gradient = [np.sum(value * s, axis=1) - data @ s.T for s in slopes]
    return cost, np.stack(gradient, axis=-1)


def _bank(misfit: Misfit, points: Float[np.ndarray, "points unknowns"]) -> Bank:
    """All candidates' predictions, some at a time."""
    parts = [
        _linearised(misfit, points[start : start + CHUNK])
        for start in range(0, len(points), CHUNK)
    ]
    return Bank(
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.slopes for part in parts], axis=1),
    )


def _linearised(misfit: Misfit, points: Float[np.ndarray, "points unknowns"]) -> Bank:
    """Predictions of at most `CHUNK` candidates, by one compiled program."""
    count, size = points.shape
    u = np.resize(points, (CHUNK, size))
    shift = np.asarray(jax.vmap(lambda x: spacing(x, central=False))(jnp.asarray(u)))
    value = _predicted(misfit, u)[:count]
    slopes = np.empty((size, *value.shape))
    for i in range(size):
        there = u.copy()
        there[:, i] += shift[:, i]
        above = _predicted(misfit, there)[:count]
        slopes[i] = (above - value) / (there - u)[:count, i, None]
    return Bank(value, slopes)


def _predicted(misfit: Misfit, points: np.ndarray) -> np.ndarray:
    values = _standardised(misfit.experiment, misfit.coordinates, jnp.asarray(points))
    # Missing data have the weight zero, also where the prediction is infinite.
    return _flat(values)


@outermost
def _standardised(
    experiment, coordinates: Coordinates, points: Float[Array, "points unknowns"]
):
    def at(u):
        values = coordinates.decode(u, experiment.known)
        predicted = experiment.predicted(values)
        return [
            law.standardised(m)
            for law, m in zip(experiment.noise, predicted, strict=True)
        ]

    return jax.vmap(at)(points)


def _flat(arrays) -> np.ndarray:
    return np.concatenate([np.asarray(x, float).reshape(len(x), -1) for x in arrays], 1)


def folded(
    members: Members,
    coordinates: Coordinates,
    bounds: tuple[np.ndarray, np.ndarray],
) -> Members:
    """Members whose balances have one sign, where the other one fits as well.

    It is the positive sign, unless the bounds allow larger negative balances.
    """
    if "lmda" not in coordinates.labels or coordinates.sign:
        return members
    i = coordinates.labels.index("lmda")
    flip = np.ones_like(members.u)
    side = 1 if bounds[1][i] >= -bounds[0][i] else -1
    flip[:, i] = np.where(members.u[:, i] * side < 0, -1, 1)
    return members._replace(
        u=np.clip(members.u * flip, *bounds).astype(members.u.dtype),
        gradient=members.gradient * flip,
        hessian=members.hessian * flip[:, :, None] * flip[:, None],
    )


def chosen(
    costs: Float[np.ndarray, "curves points"],
    points: Float[np.ndarray, "points unknowns"],
    near: Bool[np.ndarray, "points points"],
    coordinates: Coordinates,
    starts: int,
) -> Int[np.ndarray, "curves starts"]:
    """The candidates of least cost that are apart, as many of either sign of lmda."""
    orders = np.argsort(costs, axis=1, kind="stable")
    if "lmda" not in coordinates.labels or coordinates.sign:
        return np.array([spread(order, near, starts) for order in orders])
    positive = points[:, coordinates.labels.index("lmda")] > 0
    return np.array([_of_both_signs(x, near, positive, starts) for x in orders])


def _of_both_signs(
    order: Int[np.ndarray, " points"],
    near: Bool[np.ndarray, "points points"],
    positive: Bool[np.ndarray, " points"],
    starts: int,
) -> list[int]:
    sign = positive[order]
    first = spread(order[sign], near, starts - starts // 2)
    second = spread(order[~sign], near, starts - len(first))
    taken = {*first, *second}
    rest = [i for i in order.tolist() if i not in taken]
    return first + second + rest[: starts - len(taken)]


def close(
    points: Float[np.ndarray, "*many points unknowns"], apart: float
) -> Bool[np.ndarray, "*many points points"]:
    """Which points are not `apart`."""
    gaps = points[..., :, None, :] - points[..., None, :, :]
    return np.sum(gaps**2, axis=-1) < apart**2


def spread(
    order: Int[np.ndarray, " candidates"],
    near: Bool[np.ndarray, "points points"],
    count: int,
) -> list[int]:
    """The first `count` that are not near each other, then the first others."""
    best: list[int] = []
    others: list[int] = []
    covered = np.zeros(len(near), bool)
    for i in order.tolist():
        if len(best) == count:
            break
        if covered[i]:
            others.append(i)
        else:
            best.append(i)
            covered |= near[i]
    return (best + others)[:count]
