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

    Every core works on a share of the members, in batches of one size. The result has
    the members in their order, as NumPy arrays.
    """
    members = Members(*(np.array(x) for x in members))
    dtype = members.u.dtype
    ends = jnp.asarray(bounds[0], dtype), jnp.asarray(bounds[1], dtype)
    numbers = jnp.asarray(least, dtype), jnp.asarray(steps)

    def take_steps(share: Int[np.ndarray, " share"]) -> None:
        """Take the steps of one thread's members, in place."""
        for some in np.array_split(share, -(-share.size // BATCH)):
            filled = np.concatenate([some, np.repeat(some[:1], BATCH - some.size)])
            part = Members(*(x[filled] for x in members))
            count = jnp.asarray(some.size)
            part = advance(part, residuals, ends, *numbers, count, lanes)
            for whole, new in zip(members, part, strict=True):
                whole[some] = np.asarray(new)[: some.size]

    waiting = np.flatnonzero(~members.done)
    if waiting.size:
        # With more programs than this, lanes would have no member.
        most = -(-waiting.size // lanes)
        programs = min(traced_side_by_side(), most) if most > 1 else 1
        side_by_side(take_steps, [waiting[i::programs] for i in range(programs)])
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
