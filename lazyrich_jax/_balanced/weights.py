"""Balanced weights of all hidden units: units of the modes, and surplus ones."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._checks import refuse_derivative
from .._linalg import complete_basis, dot, nearest_isometry, norm
from .modes import modes_of
from .pair import OF_LMDA, Pair, balanced_pair

# Weights of the two layers, by hidden units, and by units beyond the modes.
Weights = tuple[Float[Array, "hidden in"], Float[Array, "out hidden"]]
Further = tuple[Float[Array, "inward in"], Float[Array, "out outward"]]

OF_SURPLUS = (
    "Derivatives of rebalanced weights with respect to the weights must be taken where "
    "the hidden units beyond the function's modes have nonzero weights, which say "
    "along which outputs (or inputs) they lie, but these were zero."
)


def with_surplus(
    pair: Pair,
    r: Float[Array, "hidden hidden"],
    lmda: Float[Array, ""],
    further: Further,
    throw: bool = True,
) -> Weights:
    """The weights of the modes, rotated by `r`, and of the surplus hidden units.

    Surplus units have weights `sqrt(abs(lmda))` in the larger layer, along the
    directions `further`, (surplus, in) and (out, surplus). A side with too few
    directions has none of them. This is Algorithm 1 of Domine et al. 2025, for every
    feasible size and sign.
    """
    w1, w2 = pair
    k = w1.shape[0]
    w1, w2 = dot(r[:, :k], w1), dot(w2, r[:, :k].mT)
    surplus = r.shape[0] - k
    if surplus > 0:
        inputs, outputs = further
        zero = lmda == 0
        lmda = refuse_derivative(lmda, zero, message=OF_LMDA, throw=throw)
        root = jnp.where(zero, 0.0, jnp.sqrt(jnp.abs(jnp.where(zero, 1.0, lmda))))
        if outputs.shape[1] == surplus:
            w2 += jnp.where(lmda < 0, 0.0, root) * dot(outputs, r[:, k:].mT)
        if inputs.shape[0] == surplus:
            w1 += jnp.where(lmda > 0, 0.0, root) * dot(r[:, k:], inputs)
    return w1, w2


@eqx.filter_jit
def rebalanced_pair(
    w1: Float[Array, "hidden in"], w2: Float[Array, "out hidden"], lmda: Array
) -> Weights:
    """The `lmda`-balanced weights of `w2 @ w1`, near the given hidden units."""
    modes = modes_of(w1, w2)
    pair = balanced_pair(dot(w2, w1), lmda, modes)
    r, further = beside_modes(pair, w1, w2)
    return with_surplus(pair, r, lmda, further)


def beside_modes(
    pair: Pair, w1: Float[Array, "hidden in"], w2: Float[Array, "out hidden"]
) -> tuple[Float[Array, "hidden hidden"], Further]:
    """Hidden directions of the modes and of surplus units, near the given weights'.

    The second result is the inputs and outputs of the surplus units.
    """
    v1, v2 = pair
    r = nearest_isometry(dot(w2.mT, v2) + dot(w1, v1.mT))
    if r.shape[0] == r.shape[1]:
        return r, pair
    rest = _complement(r)
    inputs = _beside(nearest_isometry(v1.mT), w1.mT, rest)
    outputs = _beside(nearest_isometry(v2), w2, rest)
    return jnp.concatenate([r, rest], axis=1), (inputs.mT, outputs)


def beside_fixed(pair: Pair, hidden: int) -> Further:
    """Inputs and outputs of the surplus units, near fixed directions."""
    count = hidden - pair[0].shape[0]
    if count <= 0:
        return pair

    def along(columns: Array) -> Array:
        # Random ones have no special position to any function.
        draw = np.random.default_rng(0).normal(size=(columns.shape[0], count))
        eye = jnp.eye(count, dtype=columns.dtype)
        return _beside(nearest_isometry(columns), jnp.asarray(draw, columns.dtype), eye)

    return along(pair[0].mT).mT, along(pair[1])


def _beside(
    basis: Float[Array, "n k"],
    weights: Float[Array, "n hidden"],
    rest: Float[Array, "hidden more"],
) -> Float[Array, "n _"]:
    """Orthonormal columns, orthogonal to `basis`, nearest to `weights @ rest`.

    The result is empty if the space has too few further dimensions.
    """
    room, count = basis.shape[0] - basis.shape[1], rest.shape[1]
    if room < count:
        return basis[:, :0]
    free = _complement(basis)
    along = dot(free.mT, weights, rest)
    if room > count:
        smallest = jnp.linalg.svd(jax.lax.stop_gradient(along), compute_uv=False)[-1]
        noise = weights.size * jnp.finfo(along.dtype).eps * norm(weights)
        along = refuse_derivative(along, smallest <= noise, message=OF_SURPLUS)
    return dot(free, nearest_isometry(along))


def _complement(basis: Float[Array, "n k"]) -> Float[Array, "n rest"]:
    """An orthonormal basis of the complement, with the smallest possible derivative."""
    rest = complete_basis(jax.lax.stop_gradient(basis))
    return nearest_isometry(rest - dot(basis, dot(basis.mT, rest)))
