"""Q0 in echelon form: its rows by the first ones that are linearly independent.

In: the rows of Q0 in the eigenbasis of F, and their order. Out: the fields of an
`Echelon`, constants for differentiation. docs/theory.md, section 2.
"""

import abc
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int

from .._linalg import dot, norm
from .._xla import varying_like

HUGE = 1e3  # magnification of the pivot rows' errors from which it is ignored


class Echelon(eqx.Module):
    """Q0 by rows, the eigenvectors of F, in echelon form.

    Constant for differentiation. `strengths` gives the gaps of the rates
    (`rates.gaps`).
    """

    rates: Float[Array, " rows"]
    # The rows of Q0 are `lower @ basis`. `pivots` numbers the rows that are linearly
    # independent of earlier ones; a number out of range stands for none. On the pivots
    # `lower` is triangular with the inverse `inverse`, and
    # `lower = echelon @ lower[pivots]`.
    lower: Float[Array, "rows columns"]
    echelon: Float[Array, "rows columns"]
    inverse: Float[Array, "columns columns"]
    basis: Float[Array, "columns hidden"]
    pivots: Int[Array, " columns"]

    @property
    @abc.abstractmethod
    def strengths(self) -> Float[Array, " rows"]:
        """Numbers whose squares have the gaps of the squared rates."""

    @property
    def place(self) -> Bool[Array, "columns rows"]:
        """The mask of each column's pivot row."""
        return self.pivots[:, None] == jnp.arange(self.rates.size)[None]

    @property
    def is_pivot(self) -> Bool[Array, " rows"]:
        """The mask of the pivot rows."""
        return jnp.any(self.place, axis=0)

    @property
    def pivot_rates(self) -> Float[Array, " columns"]:
        """The eigenvalues of F on the pivot rows; zero for columns without a pivot."""
        return self.at_pivots(self.rates)

    @property
    def pivot_entries(self) -> Float[Array, " columns"]:
        """The diagonal of `lower` on the pivot rows; zero for columns without one."""
        return jnp.sum(jnp.where(self.place, self.lower.T, 0.0), axis=1)

    @property
    def coefficients(self) -> Float[Array, "rows columns"]:
        """Size of the terms that cancel where pivot rows express other rows.

        It is the larger of two: the other rows' echelon form, which is large near a
        saddle, and a hundredth of every row divided by its columns' pivots, which is
        large near a lower rank.
        """
        own = self.pivot_entries
        over = jnp.abs(self.lower) / jnp.where(own > 0, own, 1.0)[None]
        return jnp.maximum(jnp.abs(self.off_pivots(self.echelon)), over / 100)

    def at_pivots(self, rows: Float[Array, "rows *k"]) -> Float[Array, "columns *k"]:
        """The pivot rows of `rows`; zero for columns without a pivot."""
        if rows.ndim == 1:  # one loop; a gather compiles to several
            return jnp.sum(jnp.where(self.place, rows[None], 0.0), axis=1)
        return rows.at[self.pivots].get(mode="fill", fill_value=0.0)

    def off_pivots(self, rows: Float[Array, "rows *k"]) -> Float[Array, "rows *k"]:
        """`rows` with zeros in place of the pivot rows."""
        mask = self.is_pivot.reshape(-1, *[1] * (rows.ndim - 1))
        return jnp.where(mask, 0.0, rows)


def by_falling_rate(modes: int, rows: int) -> Int[np.ndarray, " rows"]:
    """The row numbers from the fastest growing to the fastest decaying row."""
    order = np.arange(rows)
    return np.concatenate([order[: rows - modes], order[::-1][:modes]])


# The fields `lower` to `pivots` of an `Echelon`.
Fields = tuple[
    Float[Array, "*matrices rows columns"],
    Float[Array, "*matrices rows columns"],
    Float[Array, "*matrices columns columns"],
    Float[Array, "*matrices columns hidden"],
    Int[Array, "*matrices columns"],
]


def eliminate(
    rows: Float[Array, "rows hidden"], order: Int[np.ndarray, " rows"]
) -> Fields:
    """Rotate `rows` to echelon form: the fields `lower` to `pivots` of an `Echelon`.

    The pivot rows are the first linearly independent rows in `order`, by falling rate.
    They are the modes that win as t goes to infinity: every other row depends only on
    pivot rows that grow at least as fast. `lower @ basis` is `rows` up to rounding.
    """
    places = np.argsort(order)
    found = _of_all(rows[None], jnp.asarray(order), jnp.asarray(places))
    return jax.tree.map(lambda x: x[0], found)


@custom_vmap
def _of_all(
    rows: Float[Array, "matrices rows hidden"],
    order: Int[Array, " rows"],
    places: Int[Array, " rows"],
) -> Fields:
    """The echelon forms of matrices; `places` is the inverse permutation of `order`.

    What none of them needs is left out.
    """
    matrices, count, hidden = rows.shape
    columns = min(count, hidden)
    eps = jnp.finfo(rows.dtype).eps
    noise = 4 * max(count, hidden) ** 0.5 * eps * jax.vmap(norm)(rows)

    def goes_on(state):
        step, *_, rank = state
        return (step < count) & jnp.any(rank < columns)

    def all_zero(*shape: int):
        return jnp.zeros((matrices, *shape), rows.dtype)

    spread = jnp.broadcast_to(
        jnp.eye(columns, dtype=rows.dtype), (matrices, columns, columns)
    )
    # Distinct numbers out of range: no pivot yet.
    pivots = jnp.broadcast_to(count + jnp.arange(columns), (matrices, columns))
    state = (
        jnp.array(0),
        all_zero(count, columns),
        all_zero(count, columns),
        all_zero(columns, columns),
        all_zero(columns, hidden),
        spread,
        pivots,
        jnp.zeros(matrices, int),
    )
    visit = functools.partial(_visited, rows, order, noise)
    found = jax.lax.while_loop(goes_on, visit, varying_like(state, rows))
    step, lower, echelon, inverse, basis, _, pivots, _ = found
    # The rows after the last pivot row of all matrices, in one product.
    is_left = (places >= step)[None, :, None]
    along = dot(rows, basis.mT)
    lower = jnp.where(is_left, along, lower)
    echelon = jnp.where(is_left, dot(along, inverse), echelon)
    return lower, echelon, inverse, basis, pivots


@_of_all.def_vmap
def _(size: Any, batched: list[bool], rows: Array, *order: Any) -> Any:
    # A map of `jax.lax.cond` maps constants, too.
    constants = [x[0] if own else x for x, own in zip(order, batched[1:], strict=True)]
    rows = rows if batched[0] else jnp.broadcast_to(rows, (size, *rows.shape))
    matrices = rows.shape[1]
    found = _of_all(rows.reshape(size * matrices, *rows.shape[2:]), *constants)
    found = jax.tree.map(lambda x: x.reshape(size, matrices, *x.shape[1:]), found)
    return found, (True,) * len(found)


def _visited(
    rows: Float[Array, "matrices rows hidden"],
    order: Int[Array, " rows"],
    noise: Float[Array, " matrices"],
    state: tuple[Array, ...],
) -> tuple[Array, ...]:
    """The state of the elimination after one more row of each matrix."""
    # `basis` is orthonormal and spans the pivot rows. Their errors have the
    # covariance `spread @ spread.T`, in units of `noise`.
    step, lower, echelon, inverse, basis, spread, pivots, rank = state
    columns = basis.shape[1]
    i = order[step]
    row = rows[:, i]
    along, new, size = jax.vmap(_projected)(row, basis)
    weights = jax.vmap(dot)(along, inverse)
    # The row's weights multiply these errors. Huge weights are ignored: near a
    # saddle, where pivot rows are tiny, they would make rows of size one dependent.
    carried = jax.vmap(dot)(weights, spread)
    much = jax.vmap(norm)(carried)
    least = noise * (1 + jnp.where(much < HUGE, much, 0.0))
    is_new = (size > least) & (rank < columns)
    learns = ~is_new & (rank < columns)

    def learnt():
        found = jax.vmap(_learnt)(learns, new, carried, inverse, basis, spread)
        again = jax.vmap(dot)(found[0], row)
        again = jnp.where(learns[:, None], again, along)
        return *found, again, jax.vmap(dot)(again, inverse)

    basis, spread, along, weights = jax.lax.cond(
        jnp.any(learns), learnt, lambda: (basis, spread, along, weights)
    )
    here = is_new[:, None] & (jnp.arange(columns)[None] == rank[:, None])
    unit, size = here.astype(rows.dtype), size[:, None]
    return (
        step + 1,
        lower.at[:, i].set(along + size * unit),
        echelon.at[:, i].set(jnp.where(is_new[:, None], unit, weights)),
        jnp.where(here[..., None], ((unit - weights) / size)[:, None], inverse),
        jnp.where(here[..., None], (new / size)[:, None], basis),
        spread,
        jnp.where(here, i, pivots),
        rank + is_new.astype(int),
    )


def _projected(
    row: Float[Array, " hidden"], basis: Float[Array, "columns hidden"]
) -> tuple[Float[Array, " columns"], Float[Array, " hidden"], Float[Array, ""]]:
    """The row along the basis, its rest, and the rest's norm."""
    along, new = jnp.zeros(basis.shape[0], row.dtype), row
    for _ in range(2):  # Gram-Schmidt, twice is enough
        part = dot(basis, new)
        along, new = along + part, new - dot(part, basis)
    return along, new, norm(new)


def _learnt(
    learns: Bool[Array, ""],
    new: Float[Array, " hidden"],
    carried: Float[Array, " columns"],
    inverse: Float[Array, "columns columns"],
    basis: Float[Array, "columns hidden"],
    spread: Float[Array, "columns columns"],
) -> tuple[Float[Array, "columns hidden"], Float[Array, "columns columns"]]:
    """The basis and its errors after a dependent row with the residual `new`.

    The residual is attributed to the errors: recursive least squares turns the basis
    towards it, so that nothing is dropped.
    """
    much = norm(carried)
    gain = jnp.where(learns, dot(spread, carried), 0.0) / (1 + much * much)
    less = jnp.outer(gain, carried) / (1 + 1 / jnp.sqrt(1 + much * much))
    return _turned(basis, dot(inverse, gain), new), spread - less


def _turned(
    basis: Float[Array, "columns hidden"],
    by: Float[Array, " columns"],
    new: Float[Array, " hidden"],
) -> Float[Array, "columns hidden"]:
    """The basis plus `outer(by, new)`, as a rotation; `new` is orthogonal to it."""
    size = norm(new)
    angle = by * size
    cos = 1 / jnp.sqrt(1 + jnp.sum(angle * angle))
    unit = new / jnp.where(size > 0, size, 1.0)
    back = cos * cos / (1 + cos) * dot(angle, basis)
    return basis + jnp.outer(angle, cos * unit - back)
