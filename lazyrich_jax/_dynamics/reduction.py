"""The reduction of a network and its task to the problem that the engine solves."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _checks, _dtypes
from .._exactness import (
    Scales,
    check_fit,
    exactness_tolerance,
    is_balanced,
    may_be_wide,
    scales_of,
    tolerated_imbalance,
)
from .._linalg import dot
from .._network import LinearNetwork
from .._riccati.frame import Frame, Problem
from .._riccati.reference.off_class import OffClass
from .._singular import singular_basis
from .._task import Task
from .._trajectory import RESULTS
from .._xla import on_any_mesh
from .base import all_finite, first_failure
from .wide import Wide, effective_scales, wide_or_balanced, with_unused_units


def check(network: LinearNetwork, task: Task) -> None:
    """Refuse a network that doesn't fit the task or doesn't have two layers."""
    check_fit(network, task)
    _checks.require(
        network.depth == 2,
        "`network` must have two layers for `Exact`, but it had "
        f"{network.depth}: use `dynamics=GradientFlow()`.",
    )


class Reduced(NamedTuple):
    """A solution's arrays, NaN if it is not exact, and the result that says why."""

    problem: Problem
    frame: Frame
    variance: Float[Array, ""]
    optimum: Float[Array, ""]
    wide: Wide | None
    off: OffClass | None
    result: RESULTS


def reduce(
    network: LinearNetwork,
    task: Task,
    *,
    throw: bool,
    flow_derivatives: bool = False,
    limit: bool = False,
) -> Reduced:
    """The problem of a network and a task.

    With `limit` the network is taken for the member of the wide class that has its
    scales.
    """
    # Networks and tasks are judged by the dtypes that they had.
    arrays = network.weights[0], task.x
    of_network, of_task = (exactness_tolerance(x.dtype) for x in arrays)
    one = _dtypes.promoted(network=network, task=task)
    return _reduced(*one, throw, (of_network, of_task), flow_derivatives, limit)


@on_any_mesh
@eqx.filter_jit
def _reduced(
    network: LinearNetwork,
    task: Task,
    throw: bool,
    tolerances: tuple[float, float],
    flow_derivatives: bool,
    limit: bool,
) -> Reduced:
    of_network, of_task = tolerances
    isotropic = task.anisotropy <= of_task
    # Networks that share a task share all quantities that depend on the task alone.
    fine = all_finite(task) & isotropic
    finite = all_finite(network)
    # For inputs of variance c, sqrt(c) Q and c lambda solve the problem with c = 1.
    variance = jnp.where(fine, task.input_variance, 1.0)
    root = jnp.sqrt(variance)
    clean = jax.tree.map(lambda w: jnp.where(finite, w, 0.0) * root, network)
    sigma = jnp.where(fine, task.input_output_correlation, 0.0)
    lmda = jnp.where(finite, network.lmda * variance, 0.0)
    optimum = task.loss(sigma / variance)
    if limit or (may_be_wide(network.sizes) and not flow_derivatives):
        if limit:
            clean = with_unused_units(clean)
            scales, exact = effective_scales(clean), jnp.array(True)
            is_wide = scales.laziness > 0
        else:
            scales = scales_of(clean)
            is_wide, exact = _is_wide(clean, sigma, scales, of_network)
        (w1, w2), lmda, wide = wide_or_balanced(clean, scales, is_wide, lmda, limit)
        frame = Frame(Problem(w1, w2, sigma, lmda, throw))
    else:
        (w1, w2), wide = clean.weights, None
        frame = Frame(Problem(w1, w2, sigma, lmda, throw))
        exact = is_balanced(network, variance, frame.s, of_network)
    result = first_failure(
        (~all_finite(network, task), RESULTS.nonfinite_values),
        (~isotropic, RESULTS.anisotropic_inputs),
        (~exact, RESULTS.unbalanced_weights),
    )
    ok = result == RESULTS.successful
    mark = jnp.where(ok, 1.0, jnp.nan)
    frame = eqx.tree_at(lambda f: f.lower, frame, frame.lower * mark)
    # NaN marks derivatives too, which are by the given arrays, not by replacements.
    given = sum(jnp.sum(w) for w in network.weights) * jnp.where(ok, 0.0, jnp.nan)
    problem = Problem(
        w1 * mark + given,
        w2 * mark + given,
        task.input_output_correlation * mark,
        lmda * mark + given,
        throw,
    )
    # `where`, not only a product: XLA would not make one loop of a loss with a product
    # added to it (docs/speed.md).
    optimum = jnp.where(ok, optimum * mark, jnp.nan)
    off = None
    if flow_derivatives:
        (w1, w2), eye = network.weights, jnp.eye(network.sizes[1], dtype=mark.dtype)
        balance = (dot(w2.mT, w2) - dot(w1, w1.mT)) * variance * mark
        unit = jnp.eye(task.in_size, dtype=mark.dtype)
        off = OffClass(
            balance - problem.lmda * eye, task.input_correlation / variance - unit
        )
    return Reduced(problem, frame, variance, optimum, wide, off, result)


def _is_wide(
    network: LinearNetwork,
    sigma: Float[Array, "out in"],
    scales: Scales,
    tolerance: float,
) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Whether the network is in the wide class, and whether it is in either class.

    The inputs have variance one. Small scales are within the tolerance of a balance of
    zero: the class with the far smaller residual is chosen.
    """
    s = singular_basis(jax.lax.stop_gradient(sigma))[1]
    one = jnp.ones_like(scales.residual)
    balanced = is_balanced(network, one, s, tolerance)
    most = tolerated_imbalance(network, one, s, scales.laziness, tolerance)
    off = network.balance_residual
    rounding = 64 * jnp.finfo(off.dtype).eps * jnp.trace(network.qqt)
    is_nearer = off > jnp.maximum(rounding, 1e3 * scales.residual)
    is_wide = (scales.residual <= most) & (~balanced | is_nearer)
    return is_wide, is_wide | balanced
