"""Balanced weights with one hidden unit for every mode."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import refuse_derivative
from .._linalg import complete_basis, dot, split_singular_values, sylvester
from .modes import Modes, leading_part

# Weights of the two layers, by modes.
Pair = tuple[Float[Array, "modes in"], Float[Array, "out modes"]]

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
