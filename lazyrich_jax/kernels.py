"""Neural tangent kernels of linear networks."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from . import _checks
from ._linalg import dot
from ._network import LinearNetwork


def ntk(
    network: LinearNetwork, x: Real[ArrayLike, "samples in"]
) -> Float[Array, "outputs outputs"]:
    r"""The neural tangent kernel of a linear network of any depth, on inputs `x`.

    $K_{(i,n),(j,m)} = \sum_\theta \partial_\theta \hat y_i(x_n)\,
    \partial_\theta \hat y_j(x_m)$, outputs before samples. For two layers
    $I \otimes X W_1^\top W_1 X^\top + W_2 W_2^\top \otimes X X^\top$ with `x` = $X$
    (Domine et al. 2025, section on the NTK).

    **Raises:** `ValueError` where `x` is not a matrix with a column per input.
    """
    x = _checks.as_matrix("x", x)
    _checks.require(
        x.shape[1] == network.sizes[0],
        f"`x` must have {network.sizes[0]} inputs (columns), but its shape was "
        f"{x.shape}.",
    )
    depth = network.depth
    below, features = [], x
    for w in network.weights:
        below.append(dot(features, features.mT))
        features = dot(features, w.mT)
    above = [jnp.eye(network.sizes[-1], dtype=x.dtype)]
    product = above[0]
    for w in network.weights[:0:-1]:
        product = dot(product, w)
        above.append(dot(product, product.mT))
    return sum(
        (jnp.kron(above[depth - 1 - layer], below[layer]) for layer in range(depth)),
        start=jnp.zeros((), x.dtype),
    )


def ntk_of_representations(
    input_representation: Float[Array, "in in"],
    output_representation: Float[Array, "out out"],
    x: Float[Array, "samples in"],
) -> Float[Array, "outputs outputs"]:
    """The kernel of a two-layer network from `W1.T @ W1` and `W2 @ W2.T`."""
    eye = jnp.eye(output_representation.shape[0], dtype=x.dtype)
    return jnp.kron(eye, dot(x, input_representation, x.mT)) + jnp.kron(
        output_representation, dot(x, x.mT)
    )
