"""The reduction of a network and its task to the problem that the engine solves."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _checks, _dtypes
from .._exactness import check_fit, exactness_tolerance, may_be_wide
from .._linalg import dot
from .._network import LinearNetwork
from .._riccati.decaying.solution import Decaying
from .._riccati.differentiable import Solved
from .._riccati.reference.off_class import OffClass
from .._task import Task
from .._trajectory import RESULTS
from .._xla import on_any_mesh
from .aligned import Modes
from .base import all_finite, first_failure
from .posed import of_matrices, of_modes
from .wide import Wide

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
    optimum = task.loss(sigma / variance)
    if start == "aligned":
        posed = of_modes(clean, sigma, of_network, throw)
    else:
        own = jnp.where(finite, network.lmda * variance, 0.0)
        given = None if given_lmda is None else given_lmda * variance
        posed = of_matrices(clean, sigma, own, given, of_network, throw, start, limit)
    result = first_failure(
        (~all_finite(network, task), RESULTS.nonfinite_values),
        (~isotropic, RESULTS.anisotropic_inputs),
        *posed.faults,
        (~_valid(weight_decay), RESULTS.invalid_setting),
    )
    ok = result == RESULTS.successful
    mark = jnp.where(ok, 1.0, jnp.nan)
    # NaN marks derivatives too, which are by the given arrays, not by replacements.
    nothing = jnp.where(ok, 0.0, jnp.nan)
    of_weights = sum(jnp.sum(w) for w in network.weights) * nothing
    of_targets = jnp.sum(task.input_output_correlation) * nothing
    exact = posed.problem
    problem = eqx.tree_at(
        lambda p: (p.w1, p.w2, p.sigma, p.lmda),
        exact,
        (
            exact.w1 * mark + of_weights,
            exact.w2 * mark + of_weights,
            exact.sigma * mark + of_targets,
            exact.lmda * mark + of_weights,
        ),
    )
    frame = eqx.tree_at(lambda f: f.lower, posed.frame, posed.frame.lower * mark)
    core = Solved(problem, frame)
    if weight_decay is not None:
        decay = jnp.where(_valid(weight_decay), weight_decay, 1.0)
        if posed.modes is None:
            core = Decaying(exact, decay, is_zero)
        else:
            core = jax.vmap(Decaying, in_axes=(0, None))(exact, decay)
        marked = core.frame.lower * mark + of_weights + weight_decay * nothing
        core = eqx.tree_at(lambda c: c.frame.lower, core, marked)
    # `where`, not only a product: XLA would not make one loop of a loss with a product
    # added to it (docs/speed.md).
    optimum = jnp.where(ok, optimum * mark, jnp.nan)
    off = (
        _off_class(network, task, variance, problem.lmda) if flow_derivatives else None
    )
    return Reduced(core, variance, optimum, posed.wide, posed.modes, off, result)


def _off_class(
    network: LinearNetwork,
    task: Task,
    variance: Float[Array, ""],
    lmda: Float[Array, ""],
) -> OffClass:
    """The deviations from balanced weights, and from white inputs."""
    w1, w2 = network.weights
    balance = (dot(w2.mT, w2) - dot(w1, w1.mT)) * variance
    of_units, of_inputs = (
        jnp.eye(n, dtype=lmda.dtype) for n in (network.sizes[1], task.in_size)
    )
    return OffClass(
        balance - lmda * of_units, task.input_correlation / variance - of_inputs
    )


def _valid(weight_decay: Float[Array, ""] | None) -> Bool[Array, ""]:
    if weight_decay is None:
        return jnp.array(True)
    return jnp.isfinite(weight_decay) & (weight_decay >= 0)
