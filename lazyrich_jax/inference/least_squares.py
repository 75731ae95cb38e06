"""Damped least squares of many starts, on all cores."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from .._xla import side_by_side, traced_side_by_side
from .lanes import Residuals, advance
from .members import Members

STEPS = 100  # at most, of one start
PATIENCE = 32  # steps after which only the best of those not converged go on
ROUND = 4  # steps between two looks at which starts are worth more
BATCH = 1024  # starts in one call
# Residuals evaluated at once, of one curve and of many. Of 8 to 64 these took the least
# time, for intervals and for 1000 curves of 5-5-5 (`benchmarks.inference`).
LANES, MANY_LANES = 16, 32


def minimise(
    residuals: Residuals,
    members: Members,
    bounds: tuple[np.ndarray, np.ndarray],
    least: float,
    *,
    steps: int = STEPS,
    lanes: int = LANES,
) -> Members:
    """Take at most `steps` more steps of every member; converged ones stop.

    Members are worked on in batches of one size, some on every core. The result has the
    members in their order, as NumPy arrays.
    """
    members = Members(*(np.array(x) for x in members))
    dtype = members.u.dtype
    ends = jnp.asarray(bounds[0], dtype), jnp.asarray(bounds[1], dtype)

    def go(some: Int[np.ndarray, " some"]) -> None:
        """Take the steps of these members, in place."""
        filled = np.concatenate([some, np.repeat(some[:1], BATCH - some.size)])
        part = Members(*(x[filled] for x in members))
        numbers = jnp.asarray(least, dtype), jnp.asarray(steps), jnp.asarray(some.size)
        part = advance(part, residuals, ends, *numbers, lanes)
        for whole, new in zip(members, part, strict=True):
            whole[some] = np.asarray(new)[: some.size]

    def advance_all(mine: Int[np.ndarray, " mine"]) -> None:
        for some in np.array_split(mine, -(-mine.size // BATCH)):
            go(some)

    waiting = np.flatnonzero(~members.done)
    if waiting.size:
        programs = traced_side_by_side() if waiting.size > lanes else 1
        side_by_side(advance_all, [waiting[i::programs] for i in range(programs)])
    return members


def go_on(
    residuals: Residuals,
    members: Members,
    which: Int[np.ndarray, " some"],
    bounds: tuple[np.ndarray, np.ndarray],
    least: float,
    *,
    steps: int,
    lanes: int = LANES,
) -> None:
    """Take steps of some members, in place."""
    if which.size:
        part = Members(*(x[which] for x in members))
        part = minimise(residuals, part, bounds, least, steps=steps, lanes=lanes)
        for whole, new in zip(members, part, strict=True):
            whole[which] = new
