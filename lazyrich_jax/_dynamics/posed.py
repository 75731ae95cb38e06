"""The problem that the engine solves, and whether its solution is a network's.

In: a network and the correlation of its task, for inputs of variance one. Out: the
problem of its matrices, of the balanced network that stands for a wide one (theory.md,
section 7), or of every mode of an aligned one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._exactness import (
    Scales,
    is_balanced,
    may_be_wide,
    scales_of,
    tolerated_imbalance,
)
from .._network import LinearNetwork
from .._riccati.frame import Frame, Problem
from .._singular import singular_basis
from .._trajectory import RESULTS
from .aligned import Modes, modes_of
from .wide import Weights, Wide, effective_scales, narrowed, wide_or_balanced


class Posed(NamedTuple):
    """A problem, decomposed, and the faults of its network.

    Aligned networks have a problem for every mode.
    """

    problem: Problem
    frame: Frame
    wide: Wide | None
    modes: Modes | None
    faults: tuple[tuple[Bool[Array, ""], RESULTS], ...]


def of_modes(
    network: LinearNetwork, sigma: Float[Array, "out in"], tolerance: float, throw: bool
) -> Posed:
    """The problem of every mode of an aligned network."""
    (*matrices, lmda), modes, aligned = modes_of(network, sigma, tolerance)
    w1, w2, s = (x[:, None, None] for x in matrices)
    problem = jax.vmap(lambda *each: Problem(*each, throw))(w1, w2, s, lmda)  # pyright: ignore
    faults = ((~aligned, RESULTS.unaligned_weights),)
    return Posed(problem, jax.vmap(Frame)(problem), None, modes, faults)


def of_matrices(
    network: LinearNetwork,
    sigma: Float[Array, "out in"],
    own: Float[Array, ""],
    given: Float[Array, ""] | None,
    tolerance: float,
    throw: bool,
    start: str,
    limit: bool,
) -> Posed:
    """The problem of a network of the balance `own`, or `given`, or of a wide one."""
    (w1, w2), wide, lmda = network.weights, None, own if given is None else given
    exact = jnp.array(True)
    if limit or (start in ("any", "wide") and may_be_wide(network.sizes)):
        (w1, w2), lmda, wide, exact = _of_wide(
            network, sigma, lmda, tolerance, start, limit
        )
    problem = Problem(w1, w2, sigma, lmda, throw)
    frame = Frame(problem)
    one = jnp.ones_like(own)
    if wide is None:
        exact = is_balanced(network, one, frame.s, tolerance)
    faults = ((~exact, RESULTS.unbalanced_weights),)
    if given is not None:
        most = tolerated_imbalance(network, one, frame.s, lmda, tolerance)
        is_own = jnp.abs(lmda - own) <= most
        faults += ((~is_own, RESULTS.other_balance),)
    return Posed(problem, frame, wide, None, faults)


def _of_wide(
    network: LinearNetwork,
    sigma: Float[Array, "out in"],
    lmda: Float[Array, ""],
    tolerance: float,
    start: str,
    limit: bool,
) -> tuple[Weights, Float[Array, ""], Wide, Bool[Array, ""]]:
    """The reduction of a network that may be wide, and whether it is exact."""
    small, rotation = narrowed(network)
    n_in, _, n_out = network.sizes
    if limit:
        scales, exact = effective_scales(small), jnp.array(True)
        is_wide = scales.laziness > 0
    else:
        scales = scales_of(small)
        is_wide, exact = _is_wide(small, sigma, scales, tolerance, start)
    # Wide networks need fewer units than balanced ones to their rounding.
    hidden = n_in + n_out if start == "any" and not limit else max(n_in, n_out)
    weights, lmda, wide = wide_or_balanced(
        small, rotation, scales, is_wide, lmda, hidden=hidden, is_limit=limit
    )
    return weights, lmda, wide, exact


def _is_wide(
    network: LinearNetwork,
    sigma: Float[Array, "out in"],
    scales: Scales,
    tolerance: float,
    start: str,
) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Whether the network is in the wide class, and whether it is in an allowed one.

    The inputs have variance one. Small scales are within the tolerance of a balance of
    zero: the class with the far smaller residual is chosen.
    """
    s = singular_basis(jax.lax.stop_gradient(sigma))[1]
    one = jnp.ones_like(scales.residual)
    most = tolerated_imbalance(network, one, s, scales.laziness, tolerance)
    rounding = 64 * jnp.finfo(one.dtype).eps * jnp.trace(network.qqt)
    is_wide = (scales.residual <= most) & (scales.laziness > rounding)
    if start == "wide":
        return is_wide, is_wide
    balanced = is_balanced(network, one, s, tolerance)
    off = network.balance_residual
    is_wide &= ~balanced | (off > jnp.maximum(rounding, 1e3 * scales.residual))
    return is_wide, is_wide | balanced
