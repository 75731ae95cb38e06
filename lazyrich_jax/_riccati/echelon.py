"""Q0 in echelon form: its rows by the first ones that are linearly independent.

In: the rows of Q0 in the eigenbasis of F, and their order. Out: the fields of an
`Echelon`, constants for differentiation. docs/theory.md, section 2.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
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


def eliminate(
    rows: Float[Array, "rows hidden"], order: Int[np.ndarray, " rows"]
) -> tuple[
    Float[Array, "rows columns"],
    Float[Array, "rows columns"],
    Float[Array, "columns columns"],
    Float[Array, "columns hidden"],
    Int[Array, " columns"],
]:
    """Rotate `rows` to echelon form: the fields `lower` to `pivots` of an `Echelon`.

    The pivot rows are the first linearly independent rows in `order`, by falling rate.
    They are the modes that win as t goes to infinity: every other row depends only on
    pivot rows that grow at least as fast. `lower @ basis` is `rows` up to rounding.
    """
    count, hidden = rows.shape
    columns = min(count, hidden)
    visited = jnp.asarray(order)
    noise = 4 * max(count, hidden) ** 0.5 * jnp.finfo(rows.dtype).eps * norm(rows)

    def visit(step, state):
        # `basis` is orthonormal and spans the pivot rows. Their errors have the
        # covariance `spread @ spread.T`, in units of `noise`.
        lower, echelon, inverse, basis, spread, pivots, rank = state
        i = visited[step]
        along, new = jnp.zeros(columns, rows.dtype), rows[i]
        for _ in range(2):  # Gram-Schmidt, twice is enough
            part = dot(basis, new)
            along, new = along + part, new - dot(part, basis)
        weights = dot(along, inverse)
        size = norm(new)
        # The row's weights multiply these errors. Huge weights are ignored: near a
        # saddle, where pivot rows are tiny, they would make rows of size one dependent.
        carried = dot(weights, spread)
        much = norm(carried)
        least = noise * (1 + jnp.where(much < HUGE, much, 0.0))
        is_new = (size > least) & (rank < columns)
        # A dependent row's residual is attributed to these errors: recursive least
        # squares turns the basis towards it, so that nothing is dropped.
        learns = ~is_new & (rank < columns)
        gain = jnp.where(learns, dot(spread, carried), 0.0) / (1 + much * much)
        basis = _turned(basis, dot(inverse, gain), new)
        spread -= jnp.outer(gain, carried) / (1 + 1 / jnp.sqrt(1 + much * much))
        along = jnp.where(is_new, along, dot(basis, rows[i]))
        weights = dot(along, inverse)
        place = jnp.where(is_new, rank, columns)
        unit = (jnp.arange(columns) == place).astype(rows.dtype)
        return (
            lower.at[i].set(along + size * unit),
            echelon.at[i].set(jnp.where(is_new, unit, weights)),
            inverse.at[place].set((unit - weights) / size, mode="drop"),
            basis.at[place].set(new / size, mode="drop"),
            spread,
            pivots.at[place].set(i, mode="drop"),
            rank + is_new.astype(int),
        )

    tall = jnp.zeros((count, columns), rows.dtype)
    square = jnp.zeros((columns, columns), rows.dtype)
    wide = jnp.zeros((columns, hidden), rows.dtype)
    one = jnp.eye(columns, dtype=rows.dtype)
    pivots = count + jnp.arange(columns)  # distinct numbers out of range: no pivot yet
    state = tall, tall, square, wide, one, pivots, jnp.array(0)
    found = jax.lax.fori_loop(0, count, visit, varying_like(state, rows))
    lower, echelon, inverse, basis, _, pivots, _ = found
    return lower, echelon, inverse, basis, pivots


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
