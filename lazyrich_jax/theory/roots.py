"""Roots of increasing functions, with their first derivatives."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def rising_root(
    function: Callable[[Float[Array, "*roots"]], Float[Array, "*roots"]],
    low: Float[Array, "*roots"],
    high: Float[Array, "*roots"],
) -> Float[Array, "*roots"]:
    """Where a function of each entry rises through zero between `low` and `high`.

    Bisection finds the roots, and one step of Newton's method gives them their first
    derivatives by what `function` depends on. Without a change of sign the result is
    an end of the interval.
    """

    def halved(_, ends):
        low, high = ends
        middle = (low + high) / 2
        below = function(middle) < 0
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    digits = jnp.finfo(low.dtype).nmant
    low, high = jax.lax.fori_loop(0, digits + 8, halved, (low, high))
    root = jax.lax.stop_gradient((low + high) / 2)
    value, slope = jax.jvp(function, (root,), (jnp.ones_like(root),))
    # At an end of the interval the value isn't zero: only its derivative counts.
    value = value - jax.lax.stop_gradient(value)
    slope = jax.lax.stop_gradient(slope)
    return root - value / jnp.where(slope > 0, slope, jnp.inf)
