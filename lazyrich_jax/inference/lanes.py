r"""Damped least squares of many members in one program.

A step of Levenberg and Marquardt solves $(J^\top J + \nu D)\,\delta = -J^\top r$,
with $D$ the largest diagonal of $J^\top J$ so far (Moré 1978). No entry of $D$ is below
a hundredth of the largest: steps of a coordinate without slope would be endless and
hold the others up (the scale has none where it makes the first loss least).

The Jacobian is a difference of values: its error, of relative order $10^{-8}$, moves a
minimum by that part of the noise, and a program of values compiles in a third of the
time of one of derivatives. A step that is refused needs one evaluation, a step that is
taken one more for each coordinate. So members are at different places, each in a lane.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._xla import outermost
from .differences import spacing
from .members import Members

# A function of coordinates and of a member's row of the data.
Residuals = Callable[[Float[Array, " unknowns"], Int[Array, ""]], Float[Array, " n"]]
Bounds = tuple[Float[Array, " unknowns"], Float[Array, " unknowns"]]

LONGEST = 2.0  # step of one coordinate
FLOOR = 1e-2  # of the damping's diagonal, relative to its largest entry


class Lane(NamedTuple):
    """A member, and the residuals and derivatives found so far at its next point."""

    place: Array  # of the member among all; beyond them for none
    limit: Array  # of the member's steps
    member: Members  # without the axis of members
    column: Array  # of the Jacobian, to evaluate next; 0 stands for the residuals
    r: Array  # (n,): residuals
    jacobian: Array  # (unknowns, n), transposed
    gradient: Array
    hessian: Array
    cost: Array

    @property
    def over(self) -> Array:
        """Whether the member goes no further."""
        return self.member.done | (self.member.steps >= self.limit)


def entered(
    place: Int[Array, ""], member: Members, limit: Int[Array, ""], count: int
) -> Lane:
    """A lane with this member, whose `count` residuals are not evaluated yet."""
    r = jnp.zeros(count, member.u.dtype)
    jacobian = jnp.zeros((member.u.size, count), r.dtype)
    others = (jnp.zeros_like(x) for x in (member.u, member.hessian, member.cost))
    return Lane(place, limit, member, jnp.zeros_like(place), r, jacobian, *others)


def _next_point(member: Members, bounds: Bounds) -> Float[Array, " unknowns"]:
    """Where the next step of a member leads."""
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
    return jnp.clip(member.u + move, *bounds)


def evaluated(
    lane: Lane, residuals: Residuals, bounds: Bounds, least: Float[Array, ""]
) -> Lane:
    """The lane after one more evaluation: at its point, or one coordinate shifted."""
    member = lane.member
    u = _next_point(member, bounds)
    h = spacing(u, central=False)
    unshifted = lane.column == 0
    shifted = jnp.arange(u.size) == lane.column - 1
    value = residuals(jnp.where(shifted, u + h, u), member.row)
    r = jnp.where(unshifted, value, lane.r)
    cost = jnp.where(unshifted, jnp.sum(value**2) / 2, lane.cost)
    slope = (value - r) / jnp.where(unshifted, 1.0, jnp.sum(jnp.where(shifted, h, 0.0)))
    jacobian = jnp.where(shifted[:, None], slope, lane.jacobian)
    products = jacobian @ slope
    hessian = jnp.where(shifted, products[:, None], lane.hessian)
    hessian = jnp.where(shifted[:, None], products, hessian)
    gradient = jnp.where(shifted, slope @ r, lane.gradient)
    lane = lane._replace(
        column=lane.column + 1,
        r=r,
        jacobian=jacobian,
        gradient=gradient,
        hessian=hessian,
        cost=cost,
    )
    return _decide(lane, u, least)


def _decide(lane: Lane, u: Float[Array, " unknowns"], least: Float[Array, ""]) -> Lane:
    """Take or refuse the step to the point `u`, as soon as enough is known.

    A cost that is no lower refuses it at once. A step that is taken needs derivatives.
    """
    member, cost = lane.member, lane.cost
    known = lane.column > u.size
    finite = jnp.all(jnp.isfinite(lane.hessian)) & jnp.all(jnp.isfinite(lane.gradient))
    better = jnp.isfinite(cost) & (cost < member.cost)
    refused = ~better | (known & ~finite)
    accepted = known & better & finite
    first = ~jnp.isfinite(member.cost)
    eps = jnp.finfo(u.dtype).eps
    small = jnp.max(jnp.abs(u - member.u)) <= 4 * eps**0.5 * 1e-2
    slow = accepted & (member.cost - cost <= 1e-9 * cost) & (member.damping < 1.0)
    done = (small & ~first) | slow | (cost <= least) | (member.damping > 1e12)
    done |= first & refused  # no start
    longer = jnp.where(first, member.damping, member.damping * 4)
    old = member._replace(damping=longer, done=done, steps=member.steps + 1)
    new = old._replace(
        u=u,
        gradient=lane.gradient,
        hessian=lane.hessian,
        cost=cost,
        size=jnp.maximum(member.size, jnp.diagonal(lane.hessian)),
        damping=jnp.maximum(member.damping * 0.15, 1e-14),
    )
    member = _where(accepted, new, _where(refused, old, member))
    column = jnp.where(accepted | refused, 0, lane.column)
    return lane._replace(member=member, column=column)


def _where(condition: Array, x: Any, y: Any) -> Any:
    """`x` or `y`, which have the condition's axis first."""

    def pick(x, y):
        shape = condition.shape + (1,) * (x.ndim - condition.ndim)
        return jnp.where(condition.reshape(shape), x, y)

    return jax.tree.map(pick, x, y)


@outermost
def advance(
    members: Members,
    residuals: Residuals,
    bounds: Bounds,
    least: Float[Array, ""],
    steps: Int[Array, ""],
    total: Int[Array, ""],
    width: int,
) -> Members:
    """At most `steps` steps of each of the first `total` members, in `width` lanes.

    Each lane evaluates the residuals of one member. As soon as one goes no further, the
    next one takes its lane.
    """
    batch = len(members.u)
    once = jax.jit(lambda u, row: residuals(u, row))  # traced once
    (count,) = jax.eval_shape(once, members.u[0], members.row[0]).shape

    @jax.vmap
    def enter(place: Int[Array, ""]) -> Lane:
        member = jax.tree.map(lambda x: x[jnp.minimum(place, batch - 1)], members)
        return entered(place, member, member.steps + steps, count)

    def occupied(lanes: Lane) -> Bool[Array, " lanes"]:
        return lanes.place < total

    def evaluate(lanes: Lane) -> Lane:
        return jax.vmap(lambda lane: evaluated(lane, once, bounds, least))(lanes)

    def exchange(state):
        found, lanes, taken = state
        lanes = jax.lax.while_loop(
            lambda lanes: ~jnp.any(occupied(lanes) & lanes.over), evaluate, lanes
        )
        leave = occupied(lanes) & lanes.over
        place = jnp.where(leave, lanes.place, batch)
        found = jax.tree.map(
            lambda x, new: x.at[place].set(new, mode="drop"), found, lanes.member
        )
        place = taken + jnp.cumsum(leave, dtype=taken.dtype) - 1
        lanes = _where(leave, enter(place), lanes)
        return found, lanes, taken + jnp.sum(leave, dtype=taken.dtype)

    first = enter(jnp.arange(width, dtype=total.dtype))
    state = members, first, jnp.asarray(width, total.dtype)
    return jax.lax.while_loop(lambda s: jnp.any(occupied(s[1])), exchange, state)[0]
