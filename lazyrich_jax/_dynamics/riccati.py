r"""The matrix Riccati equation behind the exact solution, evaluated stably.

$\dot P = FP + PF - P^2$ for $P = QQ^\top$ has the solution
$P(t) = e^{Ft} Q_0 [I + Q_0^\top G(t) Q_0]^{-1} Q_0^\top e^{Ft}$,
$G(t) = \int_0^t e^{2Fs} ds$. Evaluated as it stands it overflows, and loses its digits
long before. Here the rows of $Q_0$ in the eigenbasis of $F$ are eliminated from the
fastest growing on, so that every exponential that is left is at most one.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._linalg import (
    dot,
    mean_decay,
    merge_repeated,
    safe_hypot,
    singular_basis,
    square_norm,
)


class Riccati(eqx.Module):
    r"""The solution from $Q_0 = [W_1^\top; W_2]$, built once and evaluated at any time.

    `sigma = left @ diag(s) @ right.T`. A singular triple gives the eigenvalues
    $\pm\kappa$, $\kappa^2 = s^2 + \lambda^2/4$, of $F$, with eigenvectors
    `(v sin, u cos)` and `(v cos, -u sin)`; left-over input and output directions have
    $-\lambda/2$ and $+\lambda/2$. "Rows" below are in this basis, by falling rate.
    """

    left: Float[Array, "out out"]
    right: Float[Array, "in in"]
    s: Float[Array, " modes"]
    cos: Float[Array, " modes"]
    sin: Float[Array, " modes"]
    rates: Float[Array, " rows"]
    # The rows of Q0, but for a rotation of the hidden units, are `lower`; `chosen` are
    # those linearly independent of the rows above (out of range: none). There `lower`
    # is triangular, with the inverse `inverse`; `lower = echelon @ lower[chosen]`.
    lower: Float[Array, "rows columns"]
    echelon: Float[Array, "rows columns"]
    inverse: Float[Array, "columns columns"]
    chosen: Int[Array, " columns"]

    def __init__(
        self,
        w1: Float[Array, "hidden in"],
        w2: Float[Array, "out hidden"],
        sigma: Float[Array, "out in"],
        lmda: Float[Array, ""],
    ):
        self.left, s, self.right = singular_basis(sigma)
        self.s = merge_repeated(s, max(sigma.shape))
        self.cos, self.sin, self.rates = _spectrum(
            self.s, lmda, w2.shape[0], w1.shape[1]
        )
        rows = self._to_rows(dot(self.right.mT, w1.mT), dot(self.left.mT, w2))
        if rows.shape[1] > rows.shape[0]:
            # More hidden units than Q Q^T has rows: any factor of it will do.
            rows = jnp.linalg.qr(rows.mT, mode="r").mT
        self.lower, self.echelon, self.inverse, self.chosen = _eliminate(rows)

    def factor(
        self, t: Float[Array, ""]
    ) -> tuple[Float[Array, "in columns"], Float[Array, "out columns"]]:
        """A `q` with `q @ q.T` the solution, as its input and its output rows."""
        q, _ = self._solve(t)
        inputs, outputs = self._from_rows(q)
        return dot(self.right, inputs), dot(self.left, outputs)

    def function_error(self, t: Float[Array, ""]) -> Float[Array, "out in"]:
        r"""$U^\top (W_2 W_1 - \Sigma) V$, without cancellation as it vanishes."""
        q, others = self._solve(t)
        p = dot(q, q.mT)
        # On the chosen rows P tends to 2 max(rate, 0). With h = g e^{-2wt} and Y, N the
        # chosen and the other rows of K, P^-1 = h + (N Y^-1)' (N Y^-1) there, so that
        # P - 2w = P e^{-2wt} - q (N R^-1)' (N Y^-1) 2w: all that is left is small.
        rates = self.chosen_rates
        w = _growth(rates)
        ratio = self._decay(_growth(self.rates), t)
        above = self.echelon * ratio * jnp.sqrt(_gain(self.rates, t))[:, None]
        above = above.at[self.chosen].set(0.0, mode="drop")
        above = jnp.concatenate([above, self.inverse * jnp.exp(-w * t)[None]])
        q_chosen = q.at[self.chosen].get(mode="fill", fill_value=0.0)
        p_chosen = dot(q_chosen, q_chosen.mT)
        lack = p_chosen * jnp.exp(-2 * w * t)[None]
        lack -= dot(q_chosen, others.mT, above) * 2 * w[None]
        # Early on, and where `above` is huge (near a saddle), subtracting 2w loses
        # less: compare the sizes of the terms.
        terms = dot(jnp.abs(q_chosen), jnp.abs(q_chosen.mT))
        size = terms * jnp.exp(-2 * w * t)[None]
        size += dot(*map(jnp.abs, (q_chosen, others.mT, above))) * 2 * w[None]
        limit = 2 * jnp.diag(w)
        lack = jnp.where(terms + limit < size, p_chosen - limit, lack)
        p = p.at[self.chosen[:, None], self.chosen[None]].set(lack, mode="drop")
        outputs = self._from_rows(p)[1]
        error = self._from_rows(outputs.mT)[0].mT
        # Growing modes that were not chosen never reach theirs.
        modes = jnp.arange(self.s.size)
        lost = self.s.at[self.chosen].set(0.0, mode="drop")
        return error.at[modes, modes].add(-lost)

    @property
    def chosen_rates(self) -> Float[Array, " columns"]:
        """The eigenvalues of F on the chosen rows; zero where there is none."""
        return self.rates.at[self.chosen].get(mode="fill", fill_value=0.0)

    def _decay(
        self, rates: Float[Array, " rows"], t: Float[Array, ""]
    ) -> Float[Array, "rows columns"]:
        """e^{(w_i - v_k) t} with `rates` w and v the chosen rows' growth, at most 1.

        Larger exponents belong to rows that don't depend on the chosen row k. Of two
        large rates the difference is (s_i^2 - s_k^2) / (w_i + w_k): subtracting them
        leaves nothing of it when |lambda| is large.
        """
        left_over = jnp.zeros(self.rates.size - 2 * self.s.size, self.s.dtype)
        s = jnp.concatenate([self.s, left_over, self.s[::-1]])
        s_chosen = s.at[self.chosen].get(mode="fill", fill_value=0.0)
        w, v = rates[:, None], _growth(self.chosen_rates)[None]
        both = (w > 0) & (v > 0)
        total = jnp.where(both, w + v, 1.0)
        gap = (s[:, None] - s_chosen[None]) * ((s[:, None] + s_chosen[None]) / total)
        return jnp.exp(jnp.minimum(jnp.where(both, gap, w - v), 0.0) * t)

    def _solve(
        self, t: Float[Array, ""]
    ) -> tuple[Float[Array, "rows columns"], Float[Array, "more columns"]]:
        """The factor `q` in rows, and the part of K that was not chosen, by `inv(R)`.

        With S = e^{-max(w, 0) t} on the chosen rows, K = [g^(1/2) lower S; S] and
        K = (orthonormal) R: then q = e^{Wt} lower S inv(R). With columns scaled by
        their largest entry and rows by falling size, the QR keeps every row's digits.
        """
        ratio = self._decay(_growth(self.rates), t)
        upper = self.lower * ratio * jnp.sqrt(_gain(self.rates, t))[:, None]
        start = jnp.diag(jnp.exp(-_growth(self.chosen_rates) * t))
        k = jnp.concatenate([upper, start])
        k = k[jnp.argsort(-jnp.max(jnp.abs(k), axis=1))]
        r = jnp.linalg.qr(k, mode="r")
        rest = upper.at[self.chosen].set(0.0, mode="drop")
        ratio = self._decay(self.rates, t)
        rows = jnp.concatenate([self.lower * ratio, rest, start])
        solved = jax.scipy.linalg.solve_triangular(r, rows.mT, trans="T").mT
        return solved[: self.rates.size], solved[self.rates.size :]

    def _to_rows(
        self, inputs: Float[Array, "in k"], outputs: Float[Array, "out k"]
    ) -> Float[Array, "rows k"]:
        """From the singular basis to the eigenbasis of F."""
        m = self.s.size
        cos, sin = self.cos[:, None], self.sin[:, None]
        grow = sin * inputs[:m] + cos * outputs[:m]
        decay = cos * inputs[:m] - sin * outputs[:m]
        return jnp.concatenate([grow, inputs[m:], outputs[m:], decay[::-1]])

    def _from_rows(
        self, rows: Float[Array, "rows k"]
    ) -> tuple[Float[Array, "in k"], Float[Array, "out k"]]:
        """The inverse of `_to_rows`."""
        m = self.s.size
        n_in, n_out = self.right.shape[0], self.left.shape[0]
        cos, sin = self.cos[:, None], self.sin[:, None]
        grow, decay = rows[:m], rows[n_in + n_out - m :][::-1]
        inputs = jnp.concatenate([sin * grow + cos * decay, rows[m:n_in]])
        outputs = jnp.concatenate([cos * grow - sin * decay, rows[m:n_out]])
        return inputs, outputs


def _gain(rates: Float[Array, " k"], t: Float[Array, ""]) -> Float[Array, " k"]:
    """(e^{2wt} - 1) / 2w, over e^{2wt} where w > 0: at most t, or 1 / 2|w|."""
    return t * mean_decay(2 * jnp.abs(rates) * t)


def _growth(rates: Float[Array, " k"]) -> Float[Array, " k"]:
    """The rates that are positive; zero for the others."""
    return jnp.maximum(rates, 0.0)


def _spectrum(
    s: Float[Array, " modes"], lmda: Float[Array, ""], n_out: int, n_in: int
) -> tuple[Float[Array, " modes"], Float[Array, " modes"], Float[Array, " rows"]]:
    """The angle of the eigenvectors of F, as cosine and sine, and its eigenvalues."""
    half = jnp.abs(lmda) / 2
    kappa = safe_hypot(s, half)
    zero = kappa == 0
    safe = jnp.where(zero, 1.0, kappa)
    # The smaller by division: subtracting would lose it when |lambda| is large.
    larger = jnp.where(zero, 1.0, jnp.sqrt((1 + half / safe) / 2))
    smaller = jnp.where(zero, 0.0, s / (2 * safe * larger))
    cos = jnp.where(lmda >= 0, larger, smaller)
    sin = jnp.where(lmda >= 0, smaller, larger)
    rest = (lmda if n_out > n_in else -lmda) / 2
    left_over = jnp.broadcast_to(rest, (abs(n_out - n_in),))
    return cos, sin, jnp.concatenate([kappa, left_over, -kappa[::-1]])


def _eliminate(
    rows: Float[Array, "rows columns"],
) -> tuple[
    Float[Array, "rows columns"],
    Float[Array, "rows columns"],
    Float[Array, "columns columns"],
    Int[Array, " columns"],
]:
    """Rotate `rows` to echelon form: `lower`, `echelon`, `inverse` and `chosen`.

    The chosen rows are the first that are linearly independent. They are the modes that
    win as t goes to infinity: by the order of the rows, every other row depends only on
    chosen rows that grow at least as fast.
    """
    count, columns = rows.shape
    noise = (
        4
        * count
        * jnp.finfo(rows.dtype).eps
        * jnp.linalg.norm(jax.lax.stop_gradient(rows))
    )

    def visit(i, state):
        # `basis` is orthonormal and spans the chosen rows.
        lower, echelon, inverse, chosen, basis, rank = state
        along, new = jnp.zeros(columns, rows.dtype), rows[i]
        for _ in range(2):  # Gram-Schmidt, twice is enough
            part = dot(basis, new)
            along, new = along + part, new - dot(part, basis)
        weights = dot(along, inverse)
        square = square_norm(new)
        # The rounding of the chosen rows reaches this one multiplied by its weights.
        least = noise * (1 + jnp.sum(jnp.abs(weights)))
        is_new = (square > least**2) & (rank < columns)
        norm = jnp.sqrt(jnp.where(is_new, square, 1.0))
        place = jnp.where(is_new, rank, columns)
        unit = (jnp.arange(columns) == place).astype(rows.dtype)
        return (
            lower.at[i].set(along + norm * unit),
            echelon.at[i].set(jnp.where(is_new, unit, weights)),
            inverse.at[place].set((unit - weights) / norm, mode="drop"),
            chosen.at[place].set(i, mode="drop"),
            basis.at[place].set(new / norm, mode="drop"),
            rank + is_new.astype(int),
        )

    wide = jnp.zeros_like(rows)
    square = jnp.zeros((columns, columns), rows.dtype)
    chosen = jnp.full(columns, count, dtype=int)
    state = wide, wide, square, chosen, square, jnp.array(0)
    return jax.lax.fori_loop(0, count, visit, state)[:4]
