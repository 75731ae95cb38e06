r"""The balanced weights of a function, with derivatives wherever these exist.

Quantities that are invariant under rotations of the hidden units depend only on the
function and the balance. The dependence is smooth where no mode and no hidden unit
vanishes, also at equal singular values. Singular vectors have no derivative there, and
are constants in this module.
"""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._checks import refuse_derivative
from ._linalg import (
    complete_basis,
    dot,
    nearest_isometry,
    norm,
    split_singular_values,
    sylvester,
)

# Weights of the two layers, by hidden units, by modes, and by units beyond the modes.
Weights = tuple[Float[Array, "hidden in"], Float[Array, "out hidden"]]
Pair = tuple[Float[Array, "modes in"], Float[Array, "out modes"]]
Further = tuple[Float[Array, "inward in"], Float[Array, "out outward"]]

OF_FUNCTION = (
    "Derivatives of balanced weights with respect to their function must be taken "
    "where all its singular values are positive, or (with as many hidden units as the "
    "larger side) `lmda` is not zero, but they were not. The weights have no "
    "derivative there."
)
OF_LMDA = (
    "Derivatives of balanced weights with respect to `lmda` must be taken where no "
    "hidden unit is zero in both layers, but one was, as with `lmda = 0` and more "
    "hidden units than inputs or outputs. The weights have no derivative there: they "
    "grow as sqrt(abs(lmda))."
)

OF_RANK = (
    "Derivatives of an approximation of lower rank must be taken where it doesn't cut "
    "through equal singular values, but it did. The approximation has no derivative "
    "there."
)

OF_SURPLUS = (
    "Derivatives of rebalanced weights with respect to the weights must be taken where "
    "the hidden units beyond the function's modes have nonzero weights, which say "
    "along which outputs (or inputs) they lie, but these were zero."
)


class Modes(NamedTuple):
    """A function's singular value decomposition, constant for differentiation."""

    u: Float[Array, "out modes"]
    s: Float[Array, " modes"]
    v: Float[Array, "in modes"]


def modes_of_matrix(matrix: Float[Array, "out in"], *, full: bool = False) -> Modes:
    """All modes of a matrix.

    They are `min(in, out)`, in falling order, or with `full` `max(in, out)`. Those
    beyond the smaller side have strength zero, and no direction on that side.
    """
    matrix = jax.lax.stop_gradient(matrix)
    u, s, vt = jnp.linalg.svd(matrix, full_matrices=full)
    v, count = vt.mT, max(u.shape[1], vt.shape[0])
    u, v = (jnp.pad(x, ((0, 0), (0, count - x.shape[1]))) for x in (u, v))
    return Modes(u, jnp.pad(s, (0, count - s.size)), v)


def modes_of(w1: Float[Array, "hidden in"], w2: Float[Array, "out hidden"]) -> Modes:
    """The modes of the function `w2 @ w1`, as many as there may be hidden units."""
    w1, w2 = jax.lax.stop_gradient((w1, w2))
    if w1.shape[0] > min(w1.shape[1], w2.shape[0]):
        full = w1.shape[0] >= max(w1.shape[1], w2.shape[0])
        return modes_of_matrix(dot(w2, w1), full=full)
    # From the factors: the product has further singular values, all zero.
    q2, r2 = jnp.linalg.qr(w2)
    q1, r1 = jnp.linalg.qr(w1.mT)
    u, s, vt = jnp.linalg.svd(dot(r2, r1.mT))
    return Modes(dot(q2, u), s, dot(q1, vt.mT))


def leading_part(
    matrix: Float[Array, "out in"], modes: Modes, k: int, throw: bool = True
) -> Float[Array, "out in"]:
    """The best approximation of rank `k`, given all modes of the matrix.

    Its derivatives divide only by the gap between modes that are kept and others.

    **Raises:** a runtime error for a derivative where that gap is zero (without
    `throw`: NaN).
    """
    if k >= min(matrix.shape):
        return matrix
    kept, dropped = modes.s[k - 1], modes.s[k]
    noise = 4 * max(matrix.shape) * jnp.finfo(matrix.dtype).eps * modes.s[0]
    tie = kept - dropped <= noise
    matrix = refuse_derivative(matrix, tie, message=OF_RANK, throw=throw)
    return dot(_leading_projector(matrix, modes, k), matrix)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _leading_projector(
    matrix: Float[Array, "out in"], modes: Modes, k: int
) -> Float[Array, "out out"]:
    return dot(modes.u[:, :k], modes.u[:, :k].mT)


@_leading_projector.defjvp
def _leading_projector_jvp(k, primals, tangents):
    # The singular values are eigenvalues of `both` = [[0, m], [m', 0]]. Those above
    # `between` are positive eigenvalues of `both - between * eye`; the polar factor of
    # this matrix is its sign.
    (matrix, modes), (dmatrix, _) = primals, tangents
    between = (modes.s[k - 1] + modes.s[k]) / 2

    def projector(matrix):
        n_out, n_in = matrix.shape
        zeros = (jnp.zeros((n, n), matrix.dtype) for n in (n_out, n_in))
        both = jnp.block([[next(zeros), matrix], [matrix.mT, next(zeros)]])
        eye = jnp.eye(n_out + n_in, dtype=matrix.dtype)
        sign = nearest_isometry(both - between * eye)
        return (eye + sign)[:n_out, :n_out]

    return (
        _leading_projector(matrix, modes, k),
        jax.jvp(projector, (matrix,), (dmatrix,))[1],
    )


def leading_pair(
    function: Float[Array, "out in"],
    lmda: Float[Array, ""],
    modes: Modes,
    hidden: int,
    throw: bool = True,
) -> Pair:
    """`balanced_pair` of the best approximation of rank `hidden`, given all modes."""
    function = leading_part(function, modes, hidden, throw)
    modes = Modes(*(x[..., :hidden] for x in modes))
    return balanced_pair(function, lmda, modes, throw)


def balanced_pair(
    function: Float[Array, "out in"],
    lmda: Float[Array, ""],
    modes: Modes,
    throw: bool = True,
) -> Pair:
    """The `lmda`-balanced weights of a function with one hidden unit for every mode.

    **Raises:** a runtime error for a derivative that does not exist (without `throw`:
    NaN).
    """
    # Singular values that are zero up to rounding are zero.
    noise = max(function.shape) * jnp.finfo(modes.s.dtype).eps * modes.s[0]
    s1, s2 = split_singular_values(jnp.where(modes.s <= noise, 0.0, modes.s), lmda)
    least1, least2 = (jnp.min(x[: min(function.shape)]) for x in (s1, s2))
    if modes.s.size == max(function.shape):  # no left-over direction
        bad = least1 + least2 == 0
    else:
        bad = jnp.minimum(least1, least2) == 0
    function = refuse_derivative(function, bad, message=OF_FUNCTION, throw=throw)
    gone = jnp.any(s1 + s2 == 0)
    lmda = refuse_derivative(lmda, gone, message=OF_LMDA, throw=throw)
    return _balanced_pair(function, lmda, modes)


@jax.custom_jvp
def _balanced_pair(
    function: Float[Array, "out in"], lmda: Float[Array, ""], modes: Modes
) -> Pair:
    s1, s2 = split_singular_values(modes.s, lmda)
    return s1[:, None] * modes.v.mT, modes.u * s2[None]


@_balanced_pair.defjvp
def _balanced_pair_jvp(primals, tangents):
    # One of the possible changes of the weights does not rotate the hidden units:
    # w2' dw2 = dw1 w1' + dlmda / 2. It solves two Sylvester equations.
    (_, lmda, modes), (dfunction, dlmda, _) = primals, tangents
    w1, w2 = _balanced_pair(*primals)
    u, s, v = modes
    s1, s2 = (x * x for x in split_singular_values(s, lmda))
    unit = jnp.eye(s.size, dtype=s.dtype)
    of_inputs = unit, s2, *_spectrum(v, s1)
    of_outputs = *_spectrum(u, s2), unit, s1
    of_inputs, of_outputs = jax.lax.stop_gradient((of_inputs, of_outputs))
    half = dlmda / 2
    by_inputs = dot(w2.mT, dfunction) - half * w1
    by_outputs = dot(dfunction, w1.mT) + half * w2
    dw1 = sylvester(dot(w2.mT, w2), dot(w1.mT, w1), by_inputs, of_inputs)
    dw2 = sylvester(dot(w2, w2.mT), dot(w1, w1.mT), by_outputs, of_outputs)
    return (w1, w2), (dw1, dw2)


def _spectrum(
    columns: Float[Array, "n modes"], values: Float[Array, " modes"]
) -> tuple[Float[Array, "n n"], Float[Array, " n"]]:
    """All eigenvectors and eigenvalues of the sum of `value * column @ column.T`.

    At most `n` columns are orthonormal; others are zero.
    """
    n = len(columns)
    columns, values = columns[:, :n], values[:n]
    basis = jnp.concatenate([columns, complete_basis(columns)], axis=1)
    return basis, jnp.pad(values, (0, n - values.size))


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
