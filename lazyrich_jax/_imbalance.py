r"""The imbalance $W_{l+1}^\top W_{l+1} - W_l W_l^\top$ of two adjacent layers.

In: the weights of a linear network from the input on, with any batch axes in front.
Out: the multiple of the identity nearest to each imbalance, and the distance from it.
Gradient flow conserves the imbalance.
"""

from collections.abc import Iterable

import jax.numpy as jnp
from jaxtyping import Array, Float

from . import _checks
from ._linalg import short_dot

Weights = tuple[Float[Array, "..."], ...]


def nearest_balance(weights: Weights) -> Float[Array, "..."]:
    """The mean eigenvalue of each imbalance."""
    squares = [jnp.sum(w * w, axis=(-2, -1)) for w in weights]
    return _stacked(
        (squares[i + 1] - squares[i]) / weights[i].shape[-2] for i in _pairs(weights)
    )


def distance_from_balance(weights: Weights) -> Float[Array, "..."]:
    """The norm of each imbalance without its mean eigenvalue."""
    return _stacked(_distance(*weights[i : i + 2]) for i in _pairs(weights))


def _distance(
    below: Float[Array, "*batch hidden in"], above: Float[Array, "*batch out hidden"]
) -> Float[Array, "*batch"]:
    imbalance = short_dot(above.mT, above) - short_dot(below, below.mT)
    n = imbalance.shape[-1]
    lmda = jnp.trace(imbalance, axis1=-2, axis2=-1) / n
    eye = jnp.broadcast_to(jnp.eye(n, dtype=lmda.dtype), imbalance.shape)
    excess = imbalance - lmda[..., None, None] * eye
    return jnp.sqrt(jnp.sum(excess**2, axis=(-2, -1)))


def _pairs(weights: Weights) -> range:
    """The numbers of the layers that have one above them."""
    _checks.require(
        len(weights) >= 2,
        "`weights` must hold at least two matrices to have a balance, but it "
        f"held {len(weights)}.",
    )
    return range(len(weights) - 1)


def _stacked(values: Iterable[Array]) -> Float[Array, "..."]:
    """One value for two layers, one for each hidden layer of deeper networks."""
    found = list(values)
    return found[0] if len(found) == 1 else jnp.stack(found, axis=-1)
