"""The exact solution as a law of learning."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import RESULTS, Trajectory
from .base import (
    AbstractDynamics,
    check_times,
    first_failure,
    is_known_zero,
    one_balance,
    one_decay,
)
from .reduction import check
from .solution import ExactSolution


class Exact(AbstractDynamics):
    """The closed form: see `lazyrich_jax.ExactSolution`.

    It holds for two layers and isotropic inputs, and for balanced or wide weights or
    weights that are aligned with the task. Infinite times are allowed.

    **Arguments:**

    - `start`: the class of the weights, "any" (balanced or wide, the default),
      "balanced", "wide" or "aligned", as for `ExactSolution`.
    - `weight_decay`: the decay of both layers, as for `ExactSolution`.
    - `lmda`: the balance, if it is known apart from the weights, as for
      `ExactSolution`.
    - `own_weights`: whether `trajectory.network` has the flow's own weights (slower:
      `ExactSolution.flow_network`), or weights that differ from them by a rotation of
      the hidden units (the default). Nothing else depends on it.
    """

    own_weights: bool = eqx.field(static=True, default=False)
    start: str = eqx.field(static=True, default="any")
    weight_decay: Float[Array, ""] | None = None
    lmda: Float[Array, ""] | None = None
    has_zero: bool = eqx.field(static=True, default=False)  # a balance of zero

    def __init__(
        self,
        own_weights: bool = False,
        start: str = "any",
        *,
        weight_decay: Real[ArrayLike, ""] = 0.0,
        lmda: Real[ArrayLike, ""] | None = None,
    ):
        self.own_weights, self.start = own_weights, start
        self.weight_decay = one_decay(weight_decay)
        self.has_zero = is_known_zero(lmda)
        self.lmda = None if lmda is None else one_balance(lmda)

    def check(self, network: LinearNetwork, task: Task, ts: Array) -> None:
        check(network, task, self.start, False, self.weight_decay, self.lmda)
        _checks.require(
            not self.own_weights
            or self.weight_decay is None
            or self.start == "aligned",
            "`own_weights` must be false with weight decay unless `start` is "
            f"'aligned', but it was true and `start` was {self.start!r}.",
        )
        check_times(ts, infinite=True)

    def run(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        decay = 0.0 if self.weight_decay is None else self.weight_decay
        solution = ExactSolution(
            network,
            task,
            weight_decay=decay,
            lmda=0.0 if self.has_zero else self.lmda,
            start=self.start,
            throw=False,
        )
        valid = _checks.times_valid(ts, infinite=True)
        result = first_failure(
            (~valid, RESULTS.invalid_times),
            (solution.result != RESULTS.successful, solution.result),
        )
        ts = jnp.where(valid, ts, jnp.nan)
        of = solution.flow_network if self.own_weights else solution.network
        return Trajectory(ts=ts, loss=solution.loss(ts), network=of(ts), result=result)
