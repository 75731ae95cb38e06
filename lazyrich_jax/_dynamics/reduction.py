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
from .._riccati.decaying.solution import Decaying
from .._riccati.differentiable import Solved
from .._riccati.frame import Frame, Problem
from .._riccati.reference.off_class import OffClass
from .._singular import singular_basis
from .._task import Task
from .._trajectory import RESULTS
from .._xla import on_any_mesh
from .aligned import Modes, modes_of
from .base import all_finite, first_failure
from .wide import Weights, Wide, effective_scales, narrowed, wide_or_balanced

STARTS = ("any", "balanced", "wide", "aligned")


def check(
    network: LinearNetwork,
    task: Task,
    start: str = "any",
    flow_derivatives: bool = False,
    weight_decay: Array | None = None,
    lmda: Array | None = None,
) -> None:
    """Refuse a network that doesn't fit the task, or without two layers, or a start."""
    check_fit(network, task)
    _checks.require(
        network.depth == 2,
        "`network` must have two layers for `Exact`, but it had "
        f"{network.depth}: use `dynamics=GradientFlow()`.",
    )
    _checks.require(
        start in STARTS,
        f"`start` must be one of {', '.join(STARTS)}, but it was {start!r}.",
    )
    _checks.require(
        start != "wide" or may_be_wide(network.sizes),
        "`network` must have at least `in + out` hidden units for `start='wide'`, but "
        f"its sizes were {_checks.sizes_text(network.sizes)}.",
    )
    _checks.require(
        not flow_derivatives or start in ("any", "balanced"),
        "`flow_derivatives` must be false for wide and aligned starts, but it was true "
        f"and `start` was {start!r}.",
    )
    _checks.require(
        lmda is None
        or start == "balanced"
        or (start == "any" and not may_be_wide(network.sizes)),
        f"`start` must be 'balanced' where `lmda` is given, but it was {start!r}.",
    )
    _checks.require(
        not flow_derivatives or weight_decay is None,
        "`flow_derivatives` must be false with weight decay, but it was true and "
        "`weight_decay` was not zero.",
    )


class Reduced(NamedTuple):
    """A solution's arrays, NaN if it is not exact, and the result that says why."""

    core: Solved | Decaying  # of every mode, for aligned networks
    variance: Float[Array, ""]
    optimum: Float[Array, ""]
    wide: Wide | None
    modes: Modes | None
    off: OffClass | None
    result: RESULTS


def reduce(
    network: LinearNetwork,
    task: Task,
    *,
    throw: bool,
    start: str = "any",
    flow_derivatives: bool = False,
    weight_decay: Float[Array, ""] | None = None,
    lmda: Float[Array, ""] | None = None,
    is_zero: bool = False,
    limit: bool = False,
) -> Reduced:
    """The problem of a network and a task.

    `lmda` is the balance, if it is known apart from the weights, and `is_zero` whether
    it is known to be zero, for weight decay. With `limit` the
    network is taken for the member of the wide class that has its scales.
    """
    # Networks and tasks are judged by the dtypes that they had.
    arrays = network.weights[0], task.x
    of_network, of_task = (exactness_tolerance(x.dtype) for x in arrays)
    one = _dtypes.promoted(network=network, task=task)
    if flow_derivatives:
        start = "balanced"
    dtype = one[0].weights[0].dtype
    numbers = (None if x is None else x.astype(dtype) for x in (weight_decay, lmda))
    options = start, flow_derivatives, is_zero, limit
    return _reduced(*one, *numbers, throw, (of_network, of_task), *options)


@on_any_mesh
@eqx.filter_jit
def _reduced(
    network: LinearNetwork,
    task: Task,
    weight_decay: Float[Array, ""] | None,
    given_lmda: Float[Array, ""] | None,
    throw: bool,
    tolerances: tuple[float, float],
    start: str,
    flow_derivatives: bool,
    is_zero: bool,
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
    one = jnp.ones_like(variance)
    wide = modes = None
    exact = aligned = has_lmda = jnp.array(True)
    own = lmda
    if given_lmda is not None:
        lmda = given_lmda * variance

    def posed(*arrays: Array) -> Problem:
        return Problem(*arrays, throw)  # pyright: ignore (four arrays)

    if start == "aligned":
        (w1, w2, target, lmda), modes, aligned = modes_of(clean, sigma, of_network)
        w1, w2, target = (x[:, None, None] for x in (w1, w2, target))
        posed = jax.vmap(posed)
        start_of = posed(w1, w2, target, lmda)
        frame = jax.vmap(Frame)(start_of)
    else:
        w1, w2 = clean.weights
        if limit or (start in ("any", "wide") and may_be_wide(network.sizes)):
            (w1, w2), lmda, wide, exact = _of_wide(
                clean, sigma, lmda, of_network, start, limit
            )
        start_of = posed(w1, w2, sigma, lmda)
        frame = Frame(start_of)
        if wide is None:
            exact = is_balanced(network, variance, frame.s, of_network)
        if given_lmda is not None:
            most = tolerated_imbalance(clean, one, frame.s, lmda, of_network)
            has_lmda = jnp.abs(lmda - own) <= most
        target = task.input_output_correlation
    result = first_failure(
        (~all_finite(network, task), RESULTS.nonfinite_values),
        (~isotropic, RESULTS.anisotropic_inputs),
        (~exact, RESULTS.unbalanced_weights),
        (~aligned, RESULTS.unaligned_weights),
        (~has_lmda, RESULTS.other_balance),
        (~_valid(weight_decay), RESULTS.invalid_setting),
    )
    ok = result == RESULTS.successful
    mark = jnp.where(ok, 1.0, jnp.nan)
    frame = eqx.tree_at(lambda f: f.lower, frame, frame.lower * mark)
    # NaN marks derivatives too, which are by the given arrays, not by replacements.
    nothing = jnp.where(ok, 0.0, jnp.nan)
    given = sum(jnp.sum(w) for w in network.weights) * nothing
    of_task = jnp.sum(task.input_output_correlation) * nothing
    problem = posed(
        w1 * mark + given,
        w2 * mark + given,
        target * mark + of_task,
        lmda * mark + given,
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
    core = Solved(problem, frame)
    if weight_decay is not None:
        decay = jnp.where(_valid(weight_decay), weight_decay, 1.0)
        if modes is None:
            core = Decaying(start_of, decay, is_zero)
        else:
            core = jax.vmap(Decaying, in_axes=(0, None))(start_of, decay)
        marked = core.frame.lower * mark + given + weight_decay * nothing
        core = eqx.tree_at(lambda c: c.frame.lower, core, marked)
    return Reduced(core, variance, optimum, wide, modes, off, result)


def _valid(weight_decay: Float[Array, ""] | None) -> Bool[Array, ""]:
    if weight_decay is None:
        return jnp.array(True)
    return jnp.isfinite(weight_decay) & (weight_decay >= 0)


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
