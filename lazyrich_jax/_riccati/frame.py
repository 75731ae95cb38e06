"""A problem's decomposition: the eigenbasis of F, and Q0 in that basis (echelon.py).

In: a `Problem` (weights, correlation and balance of one network). Out: a `Frame`, a
constant for differentiation. First derivatives never differentiate a decomposition
(reference/first.py): repeated singular values do no harm. docs/theory.md, section 2.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._linalg import dot, merge_repeated, safe_hypot, short_dot
from .._singular import singular_basis
from .echelon import Echelon, by_falling_rate, eliminate

# The rows and columns of the parts of Q Q^T.
SLICES = {
    "qqt": lambda n_in: (slice(None), slice(None)),
    "inputs": lambda n_in: (slice(n_in), slice(n_in)),
    "outputs": lambda n_in: (slice(n_in, None), slice(n_in, None)),
    "function": lambda n_in: (slice(n_in, None), slice(n_in)),
}


class Problem(eqx.Module):
    r"""The parameters of $\dot P = FP + PF - P^2$, for inputs of variance one."""

    w1: Float[Array, "hidden in"]
    w2: Float[Array, "out hidden"]
    sigma: Float[Array, "out in"]
    lmda: Float[Array, ""]
    # Derivatives that don't exist raise an error if true, are NaN if false.
    throw: bool = eqx.field(static=True, default=True)


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
        across = -2 * self.cos * self.sin
        across = jnp.concatenate([across, jnp.zeros_like(rest), across])
        own = np.eye(diagonal.size, dtype=bool)
        above = np.eye(diagonal.size, k=diagonal.size - m, dtype=bool)
        other = above | above.T
        of_balance = jnp.where(own, diagonal[None], 0.0)
        of_balance += jnp.where(other, across[None], 0.0)
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
