"""A problem's decomposition: the eigenbasis of F, and Q0 in echelon form in that basis.

In: a `Problem` (weights, correlation and balance of one network). Out: a `Frame`, a
constant for differentiation. First derivatives never differentiate a decomposition
(reference/first.py): repeated singular values do no harm. docs/theory.md, section 2.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._linalg import (
    dot,
    merge_repeated,
    norm,
    safe_hypot,
    short_dot,
)
from .._singular import singular_basis
from .._xla import varying_like

# The rows and columns of the parts of Q Q^T.
SLICES = {
    "qqt": lambda n_in: (slice(None), slice(None)),
    "inputs": lambda n_in: (slice(n_in), slice(n_in)),
    "outputs": lambda n_in: (slice(n_in, None), slice(n_in, None)),
    "function": lambda n_in: (slice(n_in, None), slice(n_in)),
}
HUGE = 1e3  # magnification of the pivot rows' errors from which it is ignored


class Problem(eqx.Module):
    r"""The parameters of $\dot P = FP + PF - P^2$, for inputs of variance one."""

    w1: Float[Array, "hidden in"]
    w2: Float[Array, "out hidden"]
    sigma: Float[Array, "out in"]
    lmda: Float[Array, ""]
    # Derivatives that don't exist raise an error if true, are NaN if false.
    throw: bool = eqx.field(static=True, default=True)


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
    def is_pivot(self) -> Bool[Array, " rows"]:
        """The mask of the pivot rows."""
        mask = jnp.zeros(self.rates.size, bool)
        return mask.at[self.pivots].set(True, mode="drop")

    @property
    def pivot_rates(self) -> Float[Array, " columns"]:
        """The eigenvalues of F on the pivot rows; zero for columns without a pivot."""
        return self.at_pivots(self.rates)

    @property
    def coefficients(self) -> Float[Array, "rows columns"]:
        """Size of the terms that cancel where pivot rows express other rows.

        It is the larger of two: the other rows' echelon form, which is large near a
        saddle, and a hundredth of every row divided by its columns' pivots, which is
        large near a lower rank.
        """
        own = jnp.diagonal(self.at_pivots(self.lower))
        over = jnp.abs(self.lower) / jnp.where(own > 0, own, 1.0)[None]
        return jnp.maximum(jnp.abs(self.off_pivots(self.echelon)), over / 100)

    def at_pivots(self, rows: Float[Array, "rows *k"]) -> Float[Array, "columns *k"]:
        """The pivot rows of `rows`; zero for columns without a pivot."""
        return rows.at[self.pivots].get(mode="fill", fill_value=0.0)

    def off_pivots(self, rows: Float[Array, "rows *k"]) -> Float[Array, "rows *k"]:
        """`rows` with zeros in place of the pivot rows."""
        mask = self.is_pivot.reshape(-1, *[1] * (rows.ndim - 1))
        return jnp.where(mask, 0.0, rows)


class Frame(Echelon):
    r"""A problem's decomposition, constant for differentiation.

    `sigma = left @ diag(s) @ right.T`. A singular triple gives the eigenvalues
    $\pm\kappa$, $\kappa^2 = s^2 + \lambda^2/4$, of $F$, with eigenvectors
    `(v sin, u cos)` and `(v cos, -u sin)`; left-over input and output directions have
    $-\lambda/2$ and $+\lambda/2$. "Rows" are in this basis: first a growing row for
    every mode, then the left-over directions, then a decaying row for every mode.
    """

    left: Float[Array, "out out"]
    right: Float[Array, "in in"]
    s: Float[Array, " modes"]
    cos: Float[Array, " modes"]
    sin: Float[Array, " modes"]
    # Weight decay at a balance of zero: all rates are lower by it (decaying/).
    decay: Float[Array, ""] | None

    def __init__(self, problem: Problem):
        problem, self.decay = jax.lax.stop_gradient(problem), None
        self.left, s, self.right = singular_basis(problem.sigma)
        self.s = merge_repeated(s, max(problem.sigma.shape))
        self.cos, self.sin, self.rates = spectrum(
            self.s, problem.lmda, *problem.sigma.shape
        )
        rows = self.weights_to_rows(problem.w1, problem.w2)
        self.lower, self.echelon, self.inverse, self.basis, self.pivots = eliminate(
            rows, by_falling_rate(self.s.size, self.rates.size)
        )

    @property
    def strengths(self) -> Float[Array, " rows"]:
        """The singular value behind each rate, zero for left-over directions.

        Where weight decay lowers the rates it is their size.
        """
        if self.decay is not None:
            return jnp.abs(self.rates)
        left_over = jnp.zeros(self.rates.size - 2 * self.s.size, self.s.dtype)
        return jnp.concatenate([self.s, left_over, self.s])

    def weights_to_rows(
        self, w1: Float[Array, "hidden in"], w2: Float[Array, "out hidden"]
    ) -> Float[Array, "rows hidden"]:
        """$Q = [W_1^T; W_2]$ in the eigenbasis."""
        return self.to_rows(
            short_dot(self.right.mT, w1.mT), short_dot(self.left.mT, w2)
        )

    def to_rows(
        self, inputs: Float[Array, "in k"], outputs: Float[Array, "out k"]
    ) -> Float[Array, "rows k"]:
        """Vectors from the singular basis to the eigenbasis of F."""
        m = self.s.size
        cos, sin = self.cos[:, None], self.sin[:, None]
        grow = sin * inputs[:m] + cos * outputs[:m]
        decay = cos * inputs[:m] - sin * outputs[:m]
        return jnp.concatenate([grow, inputs[m:], outputs[m:], decay])

    def from_rows(
        self, rows: Float[Array, "rows k"]
    ) -> tuple[Float[Array, "in k"], Float[Array, "out k"]]:
        """The inverse of `to_rows`."""
        m = self.s.size
        n_in, n_out = self.right.shape[0], self.left.shape[0]
        cos, sin = self.cos[:, None], self.sin[:, None]
        grow, decay = rows[:m], rows[n_in + n_out - m :]
        inputs = jnp.concatenate([sin * grow + cos * decay, rows[m:n_in]])
        outputs = jnp.concatenate([cos * grow - sin * decay, rows[m:n_out]])
        return inputs, outputs

    def generator_to_rows(
        self, core: Float[Array, "out in"], lmda: Float[Array, ""]
    ) -> Float[Array, "rows rows"]:
        r"""$[[-\lambda/2, \Sigma^T], [\Sigma, \lambda/2]]$ in the eigenbasis of F.

        `core` is Sigma in the singular basis.
        """
        (n_out, n_in), m = core.shape, self.s.size
        inputs = jnp.pad(core.mT, ((0, 0), (n_in, 0)))
        outputs = jnp.pad(core, ((0, 0), (0, n_out)))
        half_way = self.to_rows(inputs, outputs).mT
        # The balance couples only the two rows of one mode. All other entries are exact
        # zeros: time would multiply rounding.
        along = (self.cos - self.sin) * (self.cos + self.sin)
        rest = jnp.full(abs(n_out - n_in), 1.0 if n_out > n_in else -1.0, core.dtype)
        diagonal = jnp.concatenate([along, rest, -along])
        grow, fall = jnp.arange(m), n_in + n_out - m + jnp.arange(m)
        across = -2 * self.cos * self.sin
        of_balance = jnp.diag(diagonal).at[grow, fall].set(across)
        of_balance = of_balance.at[fall, grow].set(across)
        return self.to_rows(half_way[:n_in], half_way[n_in:]) + lmda / 2 * of_balance

    def function_block(self, p: Float[Array, "rows rows"]) -> Float[Array, "out in"]:
        """The lower left block, W2 W1, of a symmetric matrix, in the singular basis."""
        outputs = self.from_rows(p)[1]
        return self.from_rows(outputs.mT)[0].mT

    def from_singular_basis(self, x: Float[Array, "out in"]) -> Float[Array, "out in"]:
        """A function from the singular basis to the units."""
        return dot(self.left, x, self.right.mT)

    def matrix_from_rows(self, p: Float[Array, "rows rows"]) -> Float[Array, "n n"]:
        """A matrix from the eigenbasis to the units, inputs before outputs."""
        return self.factor_from_rows(self.factor_from_rows(p).mT)

    def factor_from_rows(self, q: Float[Array, "rows k"]) -> Float[Array, "n k"]:
        """Rows from the eigenbasis to the units, inputs before outputs."""
        inputs, outputs = self.from_rows(q)
        return jnp.concatenate([dot(self.right, inputs), dot(self.left, outputs)])


def spectrum(
    s: Float[Array, " modes"], lmda: Float[Array, ""], n_out: int, n_in: int
) -> tuple[Float[Array, " modes"], Float[Array, " modes"], Float[Array, " rows"]]:
    """The angle of the eigenvectors of F, as cosine and sine, and its eigenvalues."""
    half = jnp.where(lmda >= 0, lmda, -lmda) / 2
    kappa = safe_hypot(s, half)
    zero = kappa == 0
    safe = jnp.where(zero, 1.0, kappa)
    # Division finds the smaller: subtraction would lose it when |lambda| is large.
    larger = jnp.where(zero, 1.0, jnp.sqrt((1 + half / safe) / 2))
    smaller = s / (2 * safe * larger)
    cos = jnp.where(lmda >= 0, larger, smaller)
    sin = jnp.where(lmda >= 0, smaller, larger)
    rest = (lmda if n_out > n_in else -lmda) / 2
    left_over = jnp.broadcast_to(rest, (abs(n_out - n_in),))
    return cos, sin, jnp.concatenate([kappa, left_over, -kappa])


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
    """Rotate `rows` to echelon form: the fields `lower` to `pivots` of a `Frame`.

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
