r"""Learning near an exact solution, as a series in small deviations from it.

Three deviations are small: the weights' from a member of the balanced or wide class,
the inputs' covariance from the identity, and the learning rate from zero. For any two
layers $\dot Q = f(Q)$ with

$$f(Q) = \begin{pmatrix} & e^\top \\ e & \end{pmatrix} Q, \quad
e = \Sigma - W_2 W_1 \Sigma_{xx}.$$

Gradient descent of learning rate $\eta$ follows, up to an error of order $\eta^3$, the
flow of
$f - \frac\eta2 f'f + \frac{\eta^2}{12} \left(4 f'f'f + f''(f, f)\right)$.
In the series $Q_0 + Q_1 + Q_2$ the error e of $Q_0$ is the exact solution's, and the
later terms obey linear equations. docs/beyond.md derives them.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._balanced import rebalanced_pair
from .._exactness import may_be_wide
from .._linalg import dot, norm
from .._network import LinearNetwork
from .._riccati.frame import Frame, Problem
from .._riccati.rates import settled
from .._riccati.reference.along import along, tolerances
from .._riccati.reference.solution import function_error, solve
from .forward import only_forward
from .wide import (
    balanced_of,
    effective_scales,
    layer_sizes,
    nearest_factor,
    shift_of,
)

Q = Float[Array, "n hidden"]
Terms = tuple[Q, Q, Q]
Field = Callable[[Q], Q]


class Member(eqx.Module):
    """A network of the balanced or the wide class."""

    problem: Problem  # of the balanced network with the same function at all times
    start: Q


class Deviations(NamedTuple):
    """What makes learning differ from the member's, in the first order."""

    weights: Q
    sigma: Float[Array, "out in"]
    inputs: Float[Array, "in in"]  # their covariance minus the identity
    rate: Float[Array, ""]  # of descent; zero for the flow


def nearest_member(network: LinearNetwork, sigma: Float[Array, "out in"]) -> Member:
    """The member of both classes with a network's function that is nearest to it.

    The inputs have variance one.
    """
    n_in, hidden, n_out = network.sizes
    w1, w2 = network.weights
    # The nearest balance among those that the sizes allow.
    lmda = network.lmda
    lmda = jnp.minimum(lmda, 0.0) if hidden > n_out else lmda
    lmda = jnp.maximum(lmda, 0.0) if hidden > n_in else lmda
    v1, v2 = rebalanced_pair(w1, w2, lmda)
    member = Member(Problem(v1, v2, sigma, lmda, False), _stacked(v1, v2))
    if not may_be_wide(network.sizes):
        return member
    scales = effective_scales(network)
    (v1, v2), lmda = balanced_of(network.function, scales.laziness, scales.side, hidden)
    q = _stacked(v1, v2)
    qqt = dot(q, q.mT) + jnp.diag(shift_of(scales, n_in, n_out))
    given = _stacked(w1, w2)
    start = nearest_factor(qqt, given, layer_sizes(qqt, n_in))
    wide = Member(Problem(v1, v2, sigma, lmda, False), start)
    nearer = norm((start - given).ravel()) < norm((member.start - given).ravel())
    return jax.tree.map(lambda x, y: jnp.where(nearer, x, y), wide, member)


@eqx.filter_custom_jvp
def expand(
    deviations: Deviations, ts: Float[Array, " times"], member: Member
) -> tuple[
    Float[Array, "times n hidden"],
    Float[Array, "times n hidden"],
    Float[Array, "times n hidden"],
]:
    """The series' first three terms at times in any order; infinity is allowed.

    The member is a constant for derivatives, and so is the last term.
    """
    frame = Frame(member.problem)
    rtol, atol = tolerances(ts.dtype)
    start = member.start, deviations.weights, jnp.zeros_like(member.start)

    def velocity(t: Float[Array, ""], terms: Terms) -> Terms:
        return _velocity(frame, deviations, t, terms)

    late = settled(frame, ts)
    return along(frame, late, velocity, start, rtol=rtol, atol=atol, reverse=False)


@expand.def_jvp
def _expand_jvp(primals, tangents):
    deviations, ts, member = primals
    moved, dts, _ = tangents
    found = expand(*primals)
    change = [jnp.zeros_like(x) for x in found]
    if jax.tree.leaves(moved):  # the first term is linear in the deviations
        moved = [
            jnp.zeros_like(x) if dx is None else dx
            for x, dx in zip(deviations, moved, strict=True)
        ]
        first = expand(Deviations(*moved), ts, member)[1]
        change[1] = only_forward(first, "NearlyExact")
    if dts is not None:
        frame = Frame(member.problem)
        at = jax.vmap(lambda t, terms: _velocity(frame, deviations, t, terms))
        slopes = at(settled(frame, ts), found)
        for i in (0, 1):
            change[i] += slopes[i] * dts[:, None, None]
    return found, tuple(change)


def _velocity(
    frame: Frame, deviations: Deviations, t: Float[Array, ""], terms: Terms
) -> Terms:
    """The right-hand sides of the linear equations for all terms."""
    error = frame.from_singular_basis(function_error(frame, solve(frame, t)))
    q0, q1, q2 = terms
    n_in = error.shape[1]
    # Q0 then has the exact error, without cancellation.
    sigma = dot(q0[n_in:], q0[:n_in].mT) - error
    eye = jnp.eye(n_in, dtype=error.dtype)

    def at(size: Float[Array, ""]) -> Q:
        inputs = eye + size * deviations.inputs

        def flow(q: Q) -> Q:
            return _flow(q, sigma + size * deviations.sigma, inputs)

        q = q0 + size * (q1 + size * q2)
        return _descent(flow, q, size * deviations.rate)

    return _taylor(at, error.dtype)


def _flow(q: Q, sigma: Float[Array, "out in"], inputs: Float[Array, "in in"]) -> Q:
    """The gradient flow of two layers."""
    w1, w2 = q[: len(inputs)].mT, q[len(inputs) :]
    error = sigma - dot(w2, w1, inputs)
    return _stacked(dot(w2.mT, error), dot(error, w1.mT))


def _descent(flow: Field, q: Q, rate: Float[Array, ""]) -> Q:
    """The flow that gradient descent follows, to second order in its rate."""
    first = flow(q)

    def ahead(q: Q) -> Q:
        return jax.jvp(flow, (q,), (first,))[1]

    second, curved = jax.jvp(ahead, (q,), (first,))
    third = jax.jvp(flow, (q,), (second,))[1]
    return first - rate / 2 * second + rate * rate / 12 * (4 * third + curved)


def _taylor(at: Callable[[Float[Array, ""]], Q], dtype: jnp.dtype) -> Terms:
    """The first three coefficients of a series at zero."""
    zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)

    def both(x: Float[Array, ""]) -> tuple[Q, Q]:
        return jax.jvp(at, (x,), (one,))

    (value, first), (_, second) = jax.jvp(both, (zero,), (one,))
    return value, first, second / 2


def _stacked(w1: Float[Array, "hidden in"], w2: Float[Array, "out hidden"]) -> Q:
    return jnp.concatenate([w1.mT, w2])
