r"""Flows of one weight matrix towards a symmetric matrix.

They obey the equation of the exact solution with any symmetric matrix in place of F,
and are evaluated by the same engine.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._exactness import exactness_tolerance
from .._linalg import norm
from .._riccati import symmetric
from .._riccati.rates import last_time
from .._xla import compiled


def symmetric_factorisation(
    ts: Real[ArrayLike, "*times"],
    weights: Real[ArrayLike, "hidden n"],
    matrix: Real[ArrayLike, "n n"],
) -> Float[Array, "*times n n"]:
    r"""The flow of $W^\top W$ towards a symmetric matrix M.

    $\dot W = W(M - W^\top W)$ is gradient flow of $\frac14 \|M - W^\top W\|_F^2$. With
    $Q_0 = W(0)^\top$,

    $$W^\top W(t) = e^{Mt} Q_0 \left[I + 2Q_0^\top \int_0^t e^{2Ms} ds\,
    Q_0\right]^{-1} Q_0^\top e^{Mt}.$$

    M may be indefinite: $W^\top W$ tends to its positive part, as far as the start has
    these directions and hidden units suffice. Tied linear autoencoders and
    word-embedding models are examples (docs/beyond.md, section 4).

    **Arguments:**

    - `ts`: times, any shape and order, in units of learning rate x step; infinity is
      allowed.
    - `weights`: $W(0)$, of any size and rank.
    - `matrix`: M, symmetric up to rounding.

    **Returns:** $W^\top W$, with the axes of `ts` first. W itself is determined up to a
    rotation of the hidden units, which no loss of $W^\top W$ depends on. First
    derivatives are right also at repeated eigenvalues, at saddles and at infinity.
    Second ones are refused, except with respect to times.

    **Raises:** `TypeError` for second derivatives; `ValueError` for negative times,
    sizes that don't fit and a matrix that isn't symmetric (traced: NaN).

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    matrix = jnp.array([[1.0, 2.0], [2.0, -1.0]])
    start = 0.1 * jnp.eye(2)
    ts = jnp.array([0.0, 1.0, jnp.inf])
    learned = lr.theory.symmetric_factorisation(ts, start, matrix)
    ```
    """
    weights = _checks.as_matrix("weights", weights)
    ts, q, matrix = _arguments(ts, weights.mT, "matrix", matrix)
    return _factorised(ts.ravel(), q, matrix).reshape(*ts.shape, *matrix.shape)


@compiled
def _factorised(
    ts: Float[Array, " times"], q: Float[Array, "n hidden"], matrix: Float[Array, "n n"]
) -> Float[Array, "times n n"]:
    q = q * jnp.sqrt(jnp.asarray(2.0, q.dtype))
    frame = symmetric.SymmetricFrame(matrix, q)
    return symmetric.factorised(matrix, q, frame, _inner(ts)) / 2


def oja_flow(
    ts: Real[ArrayLike, "*times"],
    weights: Real[ArrayLike, "n hidden"],
    covariance: Real[ArrayLike, "n n"],
) -> Float[Array, "*times n n"]:
    r"""Oja's subspace flow, $\dot W = CW - WW^\top CW$, from any start.

    It is the mean of Oja's rule for neurons with inputs of covariance C (Oja 1982,
    1989; solved by Yan, Helmke and Moore 1994). With $W_0 = W(0)$,

    $$WW^\top(t) = e^{Ct} W_0 \left[I + W_0^\top (e^{2Ct} - I) W_0\right]^{-1}
    W_0^\top e^{Ct}.$$

    It tends to the projector onto the leading eigenvectors that the start contains. (On
    the range of C it is the flow of `symmetric_factorisation` for $W^\top C^{1/2}$.)

    **Arguments:**

    - `ts`: times, any shape and order, in units of learning rate x step; infinity is
      allowed.
    - `weights`: $W(0)$, of any size and rank; each column is a neuron.
    - `covariance`: C, symmetric and positive semidefinite up to rounding.

    **Returns:** $WW^\top$, with the axes of `ts` first; W itself is determined up to a
    rotation of the neurons. First derivatives are right also at repeated and zero
    eigenvalues, at saddles and at infinity. Second ones are refused, except with
    respect to times.

    **Raises:** `TypeError` for second derivatives; `ValueError` for negative times,
    sizes that don't fit and a covariance that isn't symmetric and positive semidefinite
    (traced: NaN).

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    covariance = jnp.diag(jnp.array([3.0, 2.0, 1.0]))
    start = 0.1 * jnp.ones((3, 1))
    projector = lr.theory.oja_flow(jnp.inf, start, covariance)  # onto the first axis
    ```
    """
    weights = _checks.as_matrix("weights", weights)
    noise = 64 * _dtypes.rounding(covariance=_dtypes.as_real("covariance", covariance))
    ts, q, matrix = _arguments(ts, weights, "covariance", covariance)
    low, high = _range(matrix)
    good = low >= -noise * high
    if _checks.is_concrete(good):
        _checks.require(
            bool(good),
            "`covariance` must be positive semidefinite, but its eigenvalues went from "
            f"{_checks.number(low, '.3g')} to {_checks.number(high, '.3g')}.",
        )
    found = _oja(ts.ravel(), q, jnp.where(good, matrix, jnp.nan))
    return found.reshape(*ts.shape, *matrix.shape)


@compiled
def _oja(
    ts: Float[Array, " times"], q: Float[Array, "n hidden"], matrix: Float[Array, "n n"]
) -> Float[Array, "times n n"]:
    frame = symmetric.SymmetricFrame(matrix, q)
    frame = eqx.tree_at(lambda f: f.rates, frame, jnp.maximum(frame.rates, 0.0))
    return symmetric.oja(matrix, q, frame, _inner(ts))


@compiled
def _range(matrix: Float[Array, "n n"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The least and the largest eigenvalue."""
    values = jnp.linalg.eigvalsh(jax.lax.stop_gradient(matrix))
    return values[0], values[-1]


def _arguments(
    ts: Real[ArrayLike, "*times"],
    q: Float[Array, "n hidden"],
    name: str,
    value: Real[ArrayLike, "n n"],
) -> tuple[Float[Array, "*times"], Float[Array, "n hidden"], Float[Array, "n n"]]:
    """Times, a start of `n` rows and a symmetric matrix, in one dtype."""
    ts = _checks.as_times("ts", ts)
    matrix = _checks.as_matrix(name, value)
    n = q.shape[0]
    _checks.require(
        matrix.shape == (n, n),
        f"`{name}` must be square and fit the {n} dimensions of `weights`, but its "
        f"shape was {matrix.shape}.",
    )
    noise = exactness_tolerance(matrix.dtype)
    fault = norm((matrix - matrix.mT).ravel()) / 2
    good = fault <= noise * norm(matrix.ravel())
    if _checks.is_concrete(good):
        _checks.require(
            bool(good),
            f"`{name}` must be symmetric, but its antisymmetric part had the norm "
            f"{_checks.number(fault, '.3g')}.",
        )
    matrix = jnp.where(good, (matrix + matrix.mT) / 2, jnp.nan)
    ts, q, matrix = _dtypes.promoted(ts=ts, weights=q, matrix=matrix)
    return ts, q, matrix


def _inner(ts: Float[Array, " times"]) -> Float[Array, " times"]:
    """The times, with huge finite ones in place of infinite ones."""
    return jnp.minimum(ts, last_time(ts.dtype))
