r"""The equation of any symmetric matrix, $\dot P = FP + PF - P^2$, and Oja's.

In: a symmetric matrix F, a start Q0 and times. Out: $P = QQ^\top$. Eigenvectors of F
take the place of a task's singular vectors. Evaluation and first derivatives are those
of reference/, which need the rows of Q0 and the eigenvalues alone. docs/beyond.md,
section 4.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._linalg import dot, mean_decay, merge_repeated
from .._triangular import over, triangle
from .echelon import Echelon, eliminate
from .rates import decay, gaps, growth, settled
from .reference.first import Change, as_start, vary
from .reference.off_class import without_derivatives
from .reference.solution import State, solve

SECOND_DERIVATIVES = (
    "Second derivatives of this flow must be with respect to times alone, but they "
    "were with respect to its matrix or start. First derivatives are right for all."
)

Times = Float[Array, " times"]
Products = Float[Array, "times n n"]


class SymmetricFrame(Echelon):
    """A symmetric matrix and a start decomposed: rows by falling eigenvalue."""

    vectors: Float[Array, "n n"]

    def __init__(self, matrix: Float[Array, "n n"], q: Float[Array, "n hidden"]):
        matrix, q = jax.lax.stop_gradient((matrix, q))
        rates, vectors = jnp.linalg.eigh(matrix)
        self.rates = merge_repeated(rates[::-1], rates.size)
        self.vectors = vectors[:, ::-1]
        self.lower, self.echelon, self.inverse, self.basis, self.pivots = eliminate(
            dot(self.vectors.mT, q), np.arange(rates.size)
        )

    @property
    def strengths(self) -> Float[Array, " rows"]:
        """The sizes of the rates."""
        return jnp.abs(self.rates)


def _differentiable(of_frame: Callable, change_of_frame: Callable) -> Callable:
    """P as a function of matrix, start, frame and times, with first derivatives.

    In the eigenbasis `of_frame(frame, t)` is Q and `change_of_frame(frame, t, change)`
    is the change of P.
    """

    @eqx.filter_custom_jvp
    def product(
        matrix: Float[Array, "n n"],
        q: Float[Array, "n hidden"],
        frame: SymmetricFrame,
        ts: Times,
    ) -> Products:
        def at(t):
            factor = dot(frame.vectors, of_frame(frame, t))
            return dot(factor, factor.mT)

        return jax.vmap(at)(ts)

    @product.def_jvp
    def _(primals: Any, tangents: Any) -> tuple[Products, Products]:
        matrix, q, frame, ts = primals
        # The decomposition is a constant of the next derivative, which is refused.
        frame = without_derivatives(frame, (matrix, q), message=SECOND_DERIVATIVES)
        dmatrix, dq, _, dts = tangents
        still = (jnp.zeros_like(x) for x in (matrix, q, ts))
        dmatrix, dq, dts = (
            zero if x is None else x
            for x, zero in zip((dmatrix, dq, dts), still, strict=True)
        )
        v = frame.vectors
        lower = dot(v.mT, dq, frame.basis.mT)
        generator = dot(v.mT, (dmatrix + dmatrix.mT) / 2, v)

        def at(t, dt):
            change = Change(lower, generator, dt)
            return dot(v, change_of_frame(frame, settled(frame, t), change), v.mT)

        return product(*primals), jax.vmap(at)(ts, dts)

    return product


def _of_factorisation(frame: Echelon, t: Array) -> Array:
    return solve(frame, t).q


def _change_of_factorisation(frame: Echelon, t: Array, change: Change) -> Array:
    return vary(frame, t, solve(frame, t), change).p


# The solution of dP/dt = F P + P F - P^2 from P = q q'.
factorised = _differentiable(_of_factorisation, _change_of_factorisation)


def _of_oja(frame: Echelon, t: Array) -> Array:
    return _solve_oja(frame, t)[0].q


def _solve_oja(frame: Echelon, t: Array) -> tuple[State, Array]:
    r"""The solution of Oja's flow at `t`, and the roots of $1 - e^{-2wt}$.

    $P = e^{Ct} Q_0 [I + Q_0^\top (e^{2Ct} - 1) Q_0]^{-1} Q_0^\top e^{Ct}$: the equation
    of `solve` with $e^{2wt} - 1$ in place of $g(w)$.
    """
    w = frame.rates
    root = jnp.sqrt(-jnp.expm1(-2 * w * t))
    k = frame.lower * decay(frame, growth(w), t) * root[:, None]
    shrink = jnp.exp(-growth(frame.pivot_rates) * t)
    r = triangle(jnp.concatenate([k, jnp.diag(shrink)]))
    q = over(frame.lower * decay(frame, w, t), r)
    return State(q, r, shrink, k, jnp.zeros((w.size, w.size), w.dtype)), root


def _change_of_oja(frame: Echelon, t: Array, change: Change) -> Array:
    r"""The change of P for changes of start, matrix and time.

    With X the integral of $e^{Cs} dC e^{-Cs}$ and $\Psi$ the propagator,
    $dP = (1 - P) X P + (\dots)^\top + \Psi\, dP_0\, \Psi^\top$. Entries of X that
    grow are those of $e^{Ct} Y e^{-Ct}$, and $(1 - P)e^{Ct} = \Psi (1 - P_0)$: they
    are a change of the start.
    """
    w = frame.rates
    state, root = _solve_oja(frame, t)
    p = dot(state.q, state.q.mT)
    gap = gaps(frame)
    x = change.generator * t * mean_decay(jnp.abs(gap) * t)
    rising, falling = jnp.where(gap >= 0, x, 0.0), jnp.where(gap < 0, x, 0.0)
    start = dot(rising, frame.lower)
    start -= dot(frame.lower, frame.lower.mT, start)
    none = jnp.zeros_like(rising)
    slope = as_start(frame, t, state, root, change.lower + start, none, none)
    direct = dot(falling, state.q) + w[:, None] * state.q * change.t
    slope += direct - dot(p, direct)
    half = dot(slope, state.q.mT)
    return half + half.mT


oja = _differentiable(_of_oja, _change_of_oja)
