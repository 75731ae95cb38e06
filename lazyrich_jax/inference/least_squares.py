r"""Damped least squares of many starts in one program.

A step of Levenberg and Marquardt solves $(J^\top J + \nu D)\,\delta = -J^\top r$,
with $D$ the largest diagonal of $J^\top J$ so far (Moré 1978). No entry of $D$ is below
a hundredth of the largest: steps of a coordinate without slope would be endless and
hold the others up (the scale has none where it makes the first loss least).

The Jacobian is a difference of values: its error, of relative order $10^{-8}$, moves a
minimum by that part of the noise, and a program of values compiles in a third of the
time of one of derivatives.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._xla import side_by_side, traced_side_by_side

# A function of coordinates and of a member's row of the data.
Residuals = Callable[[Float[Array, " unknowns"], Int[Array, ""]], Float[Array, " n"]]

STEPS = 100  # at most, of one start
PATIENCE = 32  # steps after which only the best of those not converged go on
ROUND = 4  # steps between two looks at which starts have converged
LONGEST = 2.0  # step of one coordinate
SMALL, LARGE = 32, 512  # starts in one call
# Starts in one step, of few and of many. All take as many steps as the slowest one,
# but larger groups need less time for each step. Of 16, 32, 64 and 128 these took the
# least time for 1000 curves of 5-5-5 and 3-2-2 (`benchmarks.inference --only cost`).
GROUP, LARGE_GROUP = 8, 32
FLOOR = 1e-2  # of the damping's diagonal, relative to its largest entry


# NumPy's between rounds, JAX's (without the axis of members) inside one.
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


def batch_size(total: int) -> int:
    """How many of `total` points are worked on at once: one of two sizes."""
    return SMALL if total <= SMALL * 4 else LARGE


def _group(batch: int) -> int:
    """How many members of a batch take a step together."""
    return GROUP if batch == SMALL else LARGE_GROUP


def spacing(
    u: Float[Array, " unknowns"], central: bool = True
) -> Float[Array, " unknowns"]:
    """The shift of each coordinate in a difference."""
    eps = jnp.finfo(u.dtype).eps
    return eps ** (1 / 3 if central else 1 / 2) * jnp.maximum(1.0, jnp.abs(u))


def linearised(
    residuals: Callable[[Float[Array, " unknowns"]], Float[Array, " n"]],
    u: Float[Array, " unknowns"],
    *,
    central: bool = True,
) -> tuple[Float[Array, " n"], Float[Array, "n unknowns"]]:
    """Residuals and their Jacobian by differences, central or one-sided.

    In double precision their relative errors are of order 1e-10 and 1e-8.
    """
    h = spacing(u, central)
    shifts = jnp.diag(h)
    points = jnp.concatenate([u[None], u[None] + shifts, u[None] - shifts])
    r = jax.vmap(residuals)(points if central else points[: 1 + u.size])
    above, below = (r[1 : 1 + u.size], r[1 + u.size :] if central else r[:1])
    width = (2 * h if central else h)[:, None]
    return r[0], ((above - below) / width).T


def begin(
    u: np.ndarray, row: np.ndarray | int = 0, free: np.ndarray | None = None
) -> Members:
    """Members at these coordinates, of which nothing is known yet."""
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


def _step(
    member: Members,
    residuals: Residuals,
    bounds: tuple[Float[Array, " unknowns"], Float[Array, " unknowns"]],
    least: Float[Array, ""],
) -> Members:
    """One step of one member (without the axis of members)."""
    diagonal = jnp.diagonal(member.hessian)
    scale = member.damping * jnp.maximum(member.size, FLOOR * jnp.max(member.size))
    # A coordinate at a bound, beyond which the cost falls, stays there.
    low, high = bounds
    stuck = (member.u <= low) & (member.gradient > 0)
    stuck |= (member.u >= high) & (member.gradient < 0)
    free = jnp.where(stuck, 0.0, member.free)
    # Scaled to a unit diagonal: it conditions the solution.
    size = (
        jnp.sqrt(jnp.where(free > 0, diagonal + scale, 1.0))
        + jnp.finfo(scale.dtype).tiny ** 0.25
    )
    matrix = (member.hessian + jnp.diag(scale)) * (free[:, None] * free[None])
    matrix = (matrix + jnp.diag(1 - free)) / (size[:, None] * size[None])
    move = -jnp.linalg.solve(matrix, (member.gradient * free) / size) / size
    first = ~jnp.isfinite(member.cost)
    move = jnp.where(first | ~jnp.isfinite(move), 0.0, move)
    move = move * jnp.minimum(1.0, LONGEST / jnp.maximum(jnp.max(jnp.abs(move)), 1e-30))
    u = jnp.clip(member.u + move, *bounds)
    r, jacobian = linearised(lambda u: residuals(u, member.row), u, central=False)
    cost = jnp.sum(r**2) / 2
    finite = jnp.isfinite(cost) & jnp.all(jnp.isfinite(jacobian))
    better = finite & (cost < member.cost)
    jacobian = jnp.where(finite, jacobian, 0.0)
    r = jnp.where(finite, r, 0.0)
    hessian = jacobian.T @ jacobian
    eps = jnp.finfo(u.dtype).eps
    small = jnp.max(jnp.abs(u - member.u)) <= 4 * eps**0.5 * 1e-2
    gain = member.cost - cost
    slow = better & (gain <= 1e-9 * cost) & (member.damping < 1.0)
    done = (small & ~first) | slow | (cost <= least) | (member.damping > 1e12)
    done |= first & ~finite  # no start
    new = Members(
        u,
        member.free,
        member.row,
        jacobian.T @ r,
        hessian,
        cost,
        jnp.maximum(member.size, jnp.diagonal(hessian)),
        jnp.maximum(member.damping * 0.15, 1e-14),
        done,
        member.steps + 1,
    )
    old = member._replace(
        damping=jnp.where(first, member.damping, member.damping * 4),
        done=done,
        steps=member.steps + 1,
    )
    keep = member.done
    new = jax.tree.map(lambda x, y: jnp.where(better, x, y), new, old)
    return jax.tree.map(lambda x, y: jnp.where(keep, x, y), member, new)


@eqx.filter_jit
def _round(
    members: Members,
    residuals: Residuals,
    bounds,
    least: Float[Array, ""],
    count: Array,
) -> Members:
    """At most `count` steps of each member, in groups that stop when all are done."""

    def more(state):
        i, members = state
        return (i < count) & jnp.any(~members.done)

    def step(state):
        i, members = state
        return i + 1, jax.vmap(lambda m: _step(m, residuals, bounds, least))(members)

    def of_group(members):
        return jax.lax.while_loop(more, step, (0, members))[1]

    size = _group(len(members.u))
    groups = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), members)
    groups = jax.lax.map(of_group, groups)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), groups)


def minimise(
    residuals: Residuals,
    members: Members,
    bounds: tuple[np.ndarray, np.ndarray],
    least: float,
    *,
    steps: int = STEPS,
    batch: int = SMALL,
) -> Members:
    """Take at most `steps` more steps of every member; converged ones stop.

    Members are worked on in batches of one size, which are filled up as members
    converge, a batch on every core. The result has the members in their order, as NumPy
    arrays.
    """
    members = Members(*(np.array(x) for x in members))
    total = members.u.shape[0]
    limit = members.steps + steps
    waiting = [i for i in range(total) if not members.done[i]]
    dtype = members.u.dtype
    ends = (jnp.asarray(bounds[0], dtype), jnp.asarray(bounds[1], dtype))

    def advance(active: list[int]) -> None:
        """Take a round of steps of these members, in place."""
        spare = batch - len(active)
        part = Members(*(x[active + active[:1] * spare] for x in members))
        part.done[len(active) :] = True
        count = jnp.asarray(min(ROUND, int((limit - members.steps)[active].max())))
        part = _round(part, residuals, ends, jnp.asarray(least, dtype), count)
        for whole, new in zip(members, part, strict=True):
            whole[active] = np.asarray(new)[: len(active)]

    programs = traced_side_by_side() if len(waiting) > _group(batch) else 1
    while waiting:
        groups = -(-len(waiting) // (programs * _group(batch)))
        size = min(batch, groups * _group(batch))
        active, waiting = waiting[: programs * size], waiting[programs * size :]
        side_by_side(
            advance, [active[i : i + size] for i in range(0, len(active), size)]
        )
        waiting = [
            i for i in active if not members.done[i] and members.steps[i] < limit[i]
        ] + waiting
    return members


def go_on(
    residuals: Residuals,
    members: Members,
    which: Int[np.ndarray, " some"],
    bounds: tuple[np.ndarray, np.ndarray],
    least: float,
    *,
    steps: int,
    batch: int = SMALL,
) -> None:
    """Take steps of some members, in place."""
    if which.size:
        part = Members(*(x[which] for x in members))
        part = minimise(residuals, part, bounds, least, steps=steps, batch=batch)
        for whole, new in zip(members, part, strict=True):
            whole[which] = new


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
