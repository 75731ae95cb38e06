"""The decomposition of a problem with weight decay, and its derivatives.

They are refused, an error or NaN, where they do not exist or have lost their digits.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._checks import error_if, refuse_derivative, refuse_second_derivative
from ..._linalg import merge_repeated
from ..._singular import nearly_repeated, singular_basis, turned
from ..echelon import by_falling_rate, eliminate
from ..frame import Frame
from ..reference.second import re_eliminated

DERIVATIVES = (
    "Derivatives under weight decay must be taken where the task's singular values are "
    "distinct (and nonzero, for unequal sizes), if they are by the task, and where the "
    "start is not near a saddle nor its weights near a lower rank, but these were not."
)
SMALL = (
    "Derivatives under weight decay must be taken where a strength, the balance or the "
    "decay is not far below the network's size, but all were. A balance known to be "
    "zero, `lmda=0.0`, has these derivatives."
)


@eqx.filter_custom_jvp
def basis(
    sigma: Float[Array, "out in"], *, throw: bool
) -> tuple[Float[Array, "out out"], Float[Array, " modes"], Float[Array, "in in"]]:
    """Singular vectors and values, the values merged as in `Frame`."""
    left, s, right = singular_basis(sigma)
    return left, merge_repeated(s, max(sigma.shape)), right


@basis.def_jvp
def _basis_jvp(primals, tangents, *, throw):
    (sigma,), (moved,) = primals, tangents
    found = basis(sigma, throw=throw)
    if moved is None:
        return found, (None, None, None)
    left, s, right = _refused(found, nearly_repeated(found[1], sigma.shape), throw)
    return (left, s, right), turned(left, s, right, moved)


@eqx.filter_custom_jvp
def eliminated(
    rows: Float[Array, "rows hidden"], frame: Frame, *, throw: bool
) -> tuple[Array, ...]:
    """The echelon form of the rows: `lower` to `pivots` of a `Frame`."""
    return eliminate(rows, by_falling_rate(frame.s.size, frame.rates.size))


@eliminated.def_jvp
def _eliminated_jvp(primals, tangents, *, throw):
    rows, frame = primals
    found = eliminated(rows, frame, throw=throw)
    moved = tangents[0]
    if moved is None:
        return found, (None,) * len(found)
    frame = eqx.tree_at(
        lambda f: (f.lower, f.echelon, f.inverse, f.basis, f.pivots), frame, found
    )
    least = jnp.finfo(rows.dtype).eps ** 0.5
    first = by_falling_rate(frame.s.size, frame.rates.size)[: frame.pivots.size]
    own = frame.pivot_entries
    bad = jnp.any(frame.pivots != first) | (jnp.min(own) <= least * jnp.max(own))
    bad |= jnp.any(jnp.abs(frame.echelon) > least**-0.5)
    frame = _refused(frame, bad, throw)
    found = frame.lower, frame.echelon, frame.inverse, frame.basis, frame.pivots
    return found, (*re_eliminated(frame, moved), None)


def _refused(found: Any, bad: Array, throw: bool) -> Any:
    """An error, or NaN, where a derivative does not exist."""
    if throw:
        return error_if(found, bad, DERIVATIVES)
    return jax.tree.map(
        lambda x: jnp.where(bad, jnp.nan, x) if eqx.is_inexact_array(x) else x, found
    )


def refusing(
    s: Float[Array, " modes"],
    lmda: Float[Array, ""],
    decay: Float[Array, ""],
    size: Float[Array, ""],
    *,
    throw: bool,
) -> tuple[Float[Array, " modes"], Float[Array, ""], Float[Array, ""]]:
    """The numbers, with derivatives refused that lose three quarters of the digits.

    The falling solution depends on quotients of strength, balance and decay. Its
    derivatives lose digits where all are far below the network's size.
    """
    eps, given = jnp.finfo(s.dtype).eps, {"message": SMALL, "throw": throw}
    small = jnp.min(s + jnp.abs(lmda) / 2 + decay)
    # One array: mixed derivatives are refused too.
    x = jnp.append(s, jnp.stack([lmda, decay]))
    x = refuse_derivative(x, small < eps**0.75 * size, **given)
    x = refuse_second_derivative(x, small < eps**0.375 * size, **given)
    return x[:-2], x[-2], x[-1]
