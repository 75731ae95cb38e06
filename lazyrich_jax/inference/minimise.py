"""Searches and sweeps of the unit box for the smallest value of a problem."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _dtypes
from .._xla import outermost
from .variables import Variables, as_arrays


class Found(NamedTuple):
    """The best point, and how it was found."""

    u: Float[np.ndarray, " numbers"]
    value: float
    gradient: Float[np.ndarray, " numbers"]  # by the coordinates u
    choice: dict[str, np.ndarray]
    searches: int
    reached: int
    failed: int
    evaluations: int
    swept: float | None
    swept_points: int
    improved: bool


def minimise(
    problem: Any, variables: Variables, searches: int, points: int, sign: float
) -> Found:
    """The point with the smallest `sign` times the problem.

    Each combination of choices gets as many searches, and a grid of about `points`.

    **Raises:** `ValueError` if the problem is finite at no first point.
    """
    ends, failed = [], 0
    options = variables.options
    objectives = [_Objective(problem, variables, x, sign) for x in options]
    for objective in objectives:
        for u in variables.points(searches):
            end = objective.search(u)
            failed += end is None
            ends += [] if end is None else [(objective.best_of(end), end, objective)]
    if not ends:
        value = objectives[0].explain(variables.points(1)[0])
        raise ValueError(
            "`goal` must be finite, with its gradient, at the first point of a search, "
            f"but it was not at any of {failed}; at one of them it was {value}."
        )
    value, u, best = min(ends, key=lambda end: end[0])
    largest = max(o.first for o in objectives)
    swept, improved, number = None, False, 0
    for objective in objectives if points else []:
        grid = variables.grid(points)
        number += len(grid)
        for at in grid:
            there = objective(at)[0]
            if not np.isfinite(there):
                continue
            swept = there if swept is None else min(swept, there)
            if there < value - _close(value, largest):
                value, u, best, improved = there, at, objective, True
    u = u if (end := best.search(u, step=0.01)) is None else end
    # What rounding keeps off a bound is moved there.
    bound = np.where(u < 1e-6, 0.0, np.where(u > 1 - 1e-6, 1.0, u))
    (value, gradient), (there, slope) = best(u), best(bound)
    finite = np.isfinite(there) and np.isfinite(slope).all()
    if finite and there <= value + 1e-12 * abs(value):
        u, value, gradient = bound, there, slope
    reached = sum(end[0] <= value + _close(value, largest) for end in ends)
    return Found(
        u=u,
        value=sign * value,
        gradient=sign * gradient,
        choice=best.choice,
        searches=len(ends) + failed,
        reached=reached,
        failed=failed,
        evaluations=sum(o.evaluations for o in objectives),
        swept=None if swept is None else sign * swept,
        swept_points=number,
        improved=improved,
    )


def _close(value: float, largest: float) -> float:
    """The difference of values that is taken for none."""
    return 1e-6 * max(abs(value), largest - value)


class _Objective:
    """`sign` times a problem at one combination of choices, on the unit box."""

    def __init__(
        self,
        problem: Any,
        variables: Variables,
        choice: Mapping[str, np.ndarray],
        sign: float,
    ):
        self.problem, self.variables, self.sign = problem, variables, sign
        self.choice = dict(choice)
        self.evaluations = 0
        self.first = -np.inf  # the largest value at which a search began
        self._options = as_arrays(choice, problem.dtype)

    def __call__(self, u: Float[np.ndarray, " numbers"]) -> tuple[float, np.ndarray]:
        """The value, and its gradient."""
        self.evaluations += 1
        x, slope = self.variables.at(u)
        flat = jnp.asarray(x, self.problem.dtype)
        shapes = tuple((n, r.shape) for n, r in self.variables.ranges.items())
        value, gradient = _evaluated(self.problem, flat, self._options, shapes)
        return self.sign * float(value), self.sign * np.asarray(gradient, float) * slope

    def search(
        self, u: Float[np.ndarray, " numbers"], *, step: float = 0.1
    ) -> np.ndarray | None:
        """The end of a descent from `u`; none if it is not finite at `u`.

        `step` is the length of the first step.
        """
        from scipy.optimize import minimize  # takes long: on first use

        value, gradient = self(u)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return None
        self.first = max(self.first, value)
        if u.size == 0:
            return u
        best: list[Any] = [value, u]
        unit = abs(value) or 1.0
        wall = value / unit + 1  # above all that a descent meets

        def guarded(scaled):
            at = np.clip(scaled * step, 0.0, 1.0)
            there, slope = self(at)
            if not (np.isfinite(there) and np.isfinite(slope).all()):
                return wall, np.zeros_like(at)
            if there < best[0]:
                best[:] = [there, at]
            return there / unit, slope * step / unit

        # Zero tolerances: a search ends where rounding stops it, whatever the units.
        options = {"ftol": 0.0, "gtol": 0.0, "maxfun": 200}
        bounds = [(0.0, 1 / step)] * u.size
        minimize(
            guarded,
            u / step,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options=options,
        )
        return np.array(best[1])

    def best_of(self, u: Float[np.ndarray, " numbers"]) -> float:
        """The value at a point."""
        return self(u)[0]

    def explain(self, u: Float[np.ndarray, " numbers"]) -> float:
        """The problem for concrete values, which say why if they are refused."""
        x = jnp.asarray(self.variables.at(u)[0], self.problem.dtype)
        return float(self.problem({**self.variables.split(x), **self._options}))


@outermost
def _evaluated(
    problem: Any,
    x: Float[Array, " numbers"],
    options: dict[str, Array],
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
) -> tuple[Array, Float[Array, " numbers"]]:
    """The problem and its gradient; forward mode suits few numbers."""

    def named(x):
        values, place = {}, 0
        for name, shape in shapes:
            size = int(np.prod(shape))
            values[name] = x[place : place + size].reshape(shape)
            place += size
        return values

    def of(x):
        value = _dtypes.as_real("goal", problem({**named(x), **options}))
        if value.ndim != 0:
            raise ValueError(
                f"`goal` must give a scalar, but its shape was {value.shape}."
            )
        return value, value

    if x.size == 0:  # choices alone: no derivatives are compiled
        gradient, value = x, of(x)[0]
    else:
        gradient, value = jax.jacfwd(of, has_aux=True)(x)
    return value, gradient
