r"""First derivatives of gradient flow off the class for which the formula is exact.

The formula solves $\dot Q = (F - QQ^\top/2) Q$ for any start. For weights with the
balance $\lambda I + E$ and inputs of covariance $I + D$ the flow's $\dot Q$ has the
further terms

$$-\tfrac12 J Q E - \begin{pmatrix} D\, W_1^\top W_2^\top W_2 \\ W_2 W_1 D\, W_1^\top
\end{pmatrix}, \quad J = \begin{pmatrix} I & \\ & -I \end{pmatrix},$$

to first order in $E$ and $D$; Q are the flow's own weights. With S these terms times
$Q^\top$, the change of $P = QQ^\top$ solves
$\dot{dP} = (F - P)\,dP + dP\,(F - P) + S + S^\top$. This linear equation, with exact
coefficients, is integrated for every entry of $E$ and $D$. docs/theory.md derives it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._linalg import dot
from ..frame import Frame, Problem
from ..rates import settled
from .along import along, tolerances
from .rotation import turning

DERIVATIVES = (
    "Derivatives of a solution with `flow_derivatives=True` must be first ones, of the "
    "loss, the function, the representations or the kernel, but second ones, or those "
    "of weights, were asked for; `flow_derivatives=False` has them along balanced "
    "weights and isotropic inputs."
)


class OffClass(eqx.Module):
    """A problem's distance from the class: zero up to rounding, but with derivatives.

    The inputs have variance one.
    """

    imbalance: Float[Array, "hidden hidden"]  # W2' W2 - W1 W1' - lambda
    anisotropy: Float[Array, "in in"]  # the inputs' covariance minus the identity


@eqx.filter_custom_jvp
def response(
    off: OffClass, problem: Problem, frame: Frame, ts: Float[Array, " times"]
) -> Float[Array, "times n n"]:
    r"""Zero, with the change of $QQ^\top$ off the class as its derivative."""
    n = frame.rates.size
    return jnp.zeros((ts.size, n, n), ts.dtype)


@response.def_jvp
def _response_jvp(primals, tangents):
    off, problem, frame, ts = primals
    moved = tangents[0]
    value = response(*primals)
    slopes = without_derivatives(
        _slopes(*jax.lax.stop_gradient((problem, frame, ts))), (problem, ts)
    )
    changes = [
        jnp.zeros_like(x) if dx is None else dx
        for x, dx in (
            (off.imbalance, moved.imbalance),
            (off.anisotropy, moved.anisotropy),
        )
    ]
    entries = jnp.concatenate([dx[jnp.triu_indices(len(dx))] for dx in changes])
    change = jnp.einsum("k,tkij->tij", entries, slopes, precision="highest")
    return value, change


@eqx.filter_custom_jvp
def without_derivatives(
    x: PyTree, made_of: PyTree, *, message: str = DERIVATIVES
) -> PyTree:
    """`x`; its derivatives by `made_of` are refused."""
    return x


@without_derivatives.def_jvp
def _without_derivatives_jvp(primals, tangents, *, message=DERIVATIVES):
    x, _ = primals
    if jax.tree.leaves(tangents):
        raise TypeError(message)
    return x, jax.tree.map(lambda x: None, x)


def _slopes(
    problem: Problem, frame: Frame, ts: Float[Array, " times"]
) -> Float[Array, "times entries n n"]:
    r"""The slopes of $QQ^\top$ by the entries of E and D on and above their diagonals.

    The relative tolerance is 1e-10 a step in double precision. Slopes are NaN where the
    solver fails.
    """
    n_out, n_in = problem.sigma.shape
    hidden, sigma, half = problem.w1.shape[0], problem.sigma, problem.lmda / 2
    inputs, outputs = (jnp.eye(n, dtype=ts.dtype) for n in (n_in, n_out))
    f = jnp.block([[-half * inputs, sigma.T], [sigma, half * outputs]])
    of_balance, of_inputs = _units(hidden, ts.dtype), _units(n_in, ts.dtype)
    sign = jnp.where(jnp.arange(n_in + n_out) < n_in, -0.5, 0.5).astype(ts.dtype)

    def velocity(t, state):
        turn, slopes = state
        q, dturn = turning(frame, t, turn)
        q = dot(frame.factor_from_rows(dot(q, turn)), frame.basis)
        v1, v2 = q[:n_in].T, q[n_in:]
        by_balance = dot(sign[:, None] * q, of_balance, q.T)
        above = dot(of_inputs, v1.T, v2.T, v2)
        below = dot(v2, v1, of_inputs, v1.T)
        by_inputs = -dot(jnp.concatenate([above, below], axis=1), q.T)
        half = dot(f - dot(q, q.T), slopes) + jnp.concatenate([by_balance, by_inputs])
        return dturn, half + half.mT

    late = settled(frame, ts)
    valid = jnp.isfinite(late)
    rtol, atol = tolerances(ts.dtype)
    start = jnp.eye(frame.pivots.size, dtype=ts.dtype)
    count = len(of_balance) + len(of_inputs)
    slopes = jnp.zeros((count, *f.shape), ts.dtype)
    _, found = along(
        frame,
        jnp.where(valid, late, 0.0),
        velocity,
        (start, slopes),
        rtol=rtol,
        atol=atol,
    )
    return jnp.where(valid[:, None, None, None], found, jnp.nan)


def _units(n: int, dtype: jnp.dtype) -> Float[Array, "entries n n"]:
    """The symmetric matrices with ones in an entry and its mirror image."""
    i, j = jnp.triu_indices(n)
    k = jnp.arange(len(i))
    zero = jnp.zeros((len(i), n, n), dtype)
    return zero.at[k, i, j].set(1.0).at[k, j, i].set(1.0)
