"""Shifts of one-sided and central differences, and derivatives by central ones."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def spacing(
    u: Float[Array, " unknowns"], central: bool = True
) -> Float[Array, " unknowns"]:
    """The shift of each coordinate in a difference, central or one-sided."""
    eps = jnp.finfo(u.dtype).eps
    return eps ** (1 / 3 if central else 1 / 2) * jnp.maximum(1.0, jnp.abs(u))


def linearised(
    residuals: Callable[[Float[Array, " unknowns"]], Float[Array, " n"]],
    u: Float[Array, " unknowns"],
) -> tuple[Float[Array, " n"], Float[Array, "n unknowns"]]:
    """Residuals and their Jacobian, with relative errors of order 1e-10 in double."""
    h = spacing(u)
    shifts = jnp.diag(h)
    points = jnp.concatenate([u[None], u[None] + shifts, u[None] - shifts])
    r = jax.vmap(residuals)(points)
    above, below = r[1 : 1 + u.size], r[1 + u.size :]
    return r[0], ((above - below) / (2 * h[:, None])).T
