"""Roots of equations, with their derivatives by the implicit function theorem."""

import jax
from jaxtyping import Array, Float


def with_derivative(
    root: Float[Array, ""], residual: Float[Array, ""], slope: Float[Array, ""]
) -> Float[Array, ""]:
    """A root with its first derivatives, by the residual and its slope there.

    `residual` is that of the constant root, with derivatives by all else.
    """
    root, slope = jax.lax.stop_gradient((root, slope))
    return root - residual / slope
