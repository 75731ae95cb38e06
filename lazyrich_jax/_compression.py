"""Wide layers in few hidden units.

In: the weights of two layers. Out: the weights of an equivalent network of few hidden
units, and its quantities. Two layers use at most as many directions of
hidden units as there are inputs and outputs. A rotation of the hidden units leaves all
other directions without weights. docs/theory.md, section 8.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._checks import refuse_derivative
from ._linalg import dot, norm
from ._triangular import orthonormal
from ._xla import compiled

OF_UNITS = (
    "Derivatives of compressed weights must be taken where the hidden directions of "
    "all inputs and outputs (the columns of W1 and of W2.T) are linearly independent, "
    "but they were not. The rotation has no derivative there."
)


_decomposed = jnp.vectorize(orthonormal, signature="(m,n)->(m,n),(n,n)")


@compiled
def compressed_pair(
    w1: Float[Array, "*batch hidden in"], w2: Float[Array, "*batch out hidden"]
) -> tuple[
    Float[Array, "*batch hidden few"],
    Float[Array, "*batch few in"],
    Float[Array, "*batch out few"],
]:
    """`rotation`, `v1`, `v2` with `w1 = rotation @ v1` and `w2 = v2 @ rotation.mT`.

    `few` is the number of inputs and outputs together, at most `hidden`. The columns of
    `rotation` are orthonormal.

    **Raises:** a runtime error for a derivative that does not exist.
    """
    units = jnp.concatenate([w1, w2.mT], axis=-1)
    rotation, r = _decomposed(units)
    fixed = jax.lax.stop_gradient(r)
    diagonal = jnp.abs(jnp.diagonal(fixed, axis1=-2, axis2=-1))
    rounding = w1.shape[-2] * jnp.finfo(r.dtype).eps
    lost = jnp.any(diagonal <= rounding * norm(fixed, axis=-2))
    rotation, r = (refuse_derivative(x, lost, message=OF_UNITS) for x in (rotation, r))
    n_in = w1.shape[-1]
    return rotation, r[..., :n_in], r[..., n_in:].mT


def imbalance_spectrum(
    w1: Float[Array, "*batch hidden in"], w2: Float[Array, "*batch out hidden"]
) -> Float[Array, "*batch hidden"]:
    """The increasing eigenvalues of `w2.mT @ w2 - w1 @ w1.mT`."""
    unused = w1.shape[-2] - w1.shape[-1] - w2.shape[-2]
    if unused > 0:
        _, w1, w2 = compressed_pair(w1, w2)
    values = jnp.linalg.eigvalsh(dot(w2.mT, w2) - dot(w1, w1.mT))
    if unused > 0:
        zeros = jnp.zeros((*values.shape[:-1], unused), values.dtype)
        values = jnp.sort(jnp.concatenate([values, zeros], axis=-1), axis=-1)
    return values
