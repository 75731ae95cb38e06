"""Roots of equations, with their derivatives by the implicit function theorem."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float


def with_derivative(
    root: Float[Array, ""], residual: Callable[[Float[Array, ""]], Float[Array, ""]]
) -> Float[Array, ""]:
    """A root of `residual`, with its first derivatives by all that `residual` uses."""
    root = jax.lax.stop_gradient(root)
    slope = jax.lax.stop_gradient(jax.jvp(residual, (root,), (root * 0 + 1,))[1])
    return root - residual(root) / slope
