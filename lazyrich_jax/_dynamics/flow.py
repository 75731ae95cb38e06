"""Gradient flow, integrated numerically."""

from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks
from .._exactness import check_fit
from .._linalg import dot
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import RESULTS, Trajectory
from .base import (
    AbstractDynamics,
    all_finite,
    check_times,
    first_failure,
    weight_gradients,
)

if TYPE_CHECKING:
    import diffrax


class GradientFlow(AbstractDynamics):
    r"""Gradient flow $\dot W = -\partial L / \partial W$ by an adaptive ODE solver.

    For any depth, any weights and any inputs. Times must be finite.

    **Arguments:**

    - `solver`: a diffrax solver; `diffrax.Dopri8()` by default. For a stiff problem
      choose an implicit one, such as `diffrax.Kvaerno5()`.
    - `rtol`, `atol`: the tolerances of a step; by default 1e-10 and 1e-13 in double
      precision, 1e-6 and 1e-9 in single.
    - `max_steps`: where to give up.
    """

    solver: "diffrax.AbstractSolver | None"
    rtol: Float[Array, ""] | None
    atol: Float[Array, ""] | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        solver: "diffrax.AbstractSolver | None" = None,
        *,
        rtol: Real[ArrayLike, ""] | None = None,
        atol: Real[ArrayLike, ""] | None = None,
        max_steps: int = 2**17,
    ):
        self.solver = solver
        self.rtol = None if rtol is None else _checks.as_scalar("rtol", rtol)
        self.atol = None if atol is None else _checks.as_scalar("atol", atol)
        for name, tolerance in (("rtol", self.rtol), ("atol", self.atol)):
            if tolerance is not None:
                _checks.positive(name, tolerance)
        self.max_steps = _checks.size("max_steps", max_steps)

    def check(self, network: LinearNetwork, task: Task, ts: Array) -> None:
        check_fit(network, task)
        check_times(ts, infinite=False)

    def setting(self) -> str:
        return f" It was {self.max_steps}."

    def run(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        import diffrax  # half a second, for those who use it

        double = jnp.finfo(ts.dtype).bits > 32
        rtol, atol = (1e-10, 1e-13) if double else (1e-6, 1e-9)
        rtol = rtol if self.rtol is None else self.rtol.astype(ts.dtype)
        atol = atol if self.atol is None else self.atol.astype(ts.dtype)
        finite = all_finite(network, task)
        valid = _checks.times_valid(ts, infinite=False)
        ok = finite & valid
        # The solver never finishes on NaN, nor on times that fall.
        start = jax.tree.map(lambda w: jnp.where(ok, w, 0.0), network)
        ts = jnp.where(ok, ts, 0.0)
        sigma, sxx = task.input_output_correlation, task.input_correlation

        def velocity(t, network, args):
            sigma, sxx = args
            gradient = dot(network.function, sxx) - sigma
            return jax.tree.map(jnp.negative, weight_gradients(network, gradient))

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(velocity),
            diffrax.Dopri8() if self.solver is None else self.solver,
            t0=0.0,
            t1=ts[-1],
            dt0=None,
            y0=start,
            args=(sigma, sxx),
            saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            max_steps=self.max_steps,
            throw=False,
        )
        result = first_failure(
            (~finite, RESULTS.nonfinite_values),
            (~valid, RESULTS.invalid_times),
            (
                solution.result != diffrax.RESULTS.successful,
                RESULTS.solver_failed,
            ),
        )
        mark = jnp.where(ok, 1.0, jnp.nan)
        # What the solver did not reach it leaves infinite.
        networks = jax.tree.map(
            lambda w: jnp.where(jnp.isfinite(w), w, jnp.nan) * mark, solution.ys
        )
        loss = jax.vmap(task.loss)(networks.function)
        return Trajectory(ts=ts * mark, loss=loss, network=networks, result=result)
