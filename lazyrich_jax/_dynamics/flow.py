"""Gradient flow, integrated numerically."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._exactness import check_fit
from .._linalg import dot
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import RESULTS, Trajectory
from .base import (
    all_finite,
    check_decay,
    check_times,
    decayed,
    first_failure,
    layers_decay,
    weight_gradients,
)
from .compression import AbstractSimulation

if TYPE_CHECKING:
    import diffrax


class GradientFlow(AbstractSimulation):
    r"""Gradient flow $\dot W = -\partial L / \partial W$ by an adaptive ODE solver.

    It takes networks of any depth, any weights and any inputs. Times must be finite.
    Two layers with more hidden units than inputs and outputs together cost no more than
    with as many (`LinearNetwork.compressed`); the weights have the full width. Their
    derivatives with respect to the weights cost the full width.

    **Arguments:**

    - `solver`: a diffrax solver; `diffrax.Dopri8()` by default. A stiff problem needs
      an implicit one, such as `diffrax.Kvaerno5()`.
    - `rtol`, `atol`: the tolerances of a step; by default 1e-10 and 1e-13 in double
      precision, 1e-6 and 1e-9 in single.
    - `max_steps`: the largest number of steps.
    - `weight_decay`: the decay $\gamma_i \ge 0$ of the weights, in units of 1 / time:
      one number, or one for each layer, $\dot W_i = -\partial L / \partial W_i -
      \gamma_i W_i$. The loss is without the penalty.
    - `adjoint`: a diffrax adjoint, the method of differentiation. The default
      `diffrax.RecursiveCheckpointAdjoint()` has reverse mode and first derivatives
      (`jax.grad`, `jax.jacrev`). `diffrax.ForwardMode()` has forward mode (`jax.jvp`,
      `jax.jacfwd`). `diffrax.DirectAdjoint()` has both, and second derivatives
      (`jax.hessian`), at more memory; it is faster for a smaller `max_steps`.

    The result is `RESULTS.invalid_setting` if a traced tolerance is not finite and
    positive.

    **Raises:** `ValueError` for tolerances and a `max_steps` that aren't positive;
    `TypeError` for a solver or adjoint that isn't an object of diffrax.
    """

    solver: "diffrax.AbstractSolver | None"
    adjoint: "diffrax.AbstractAdjoint | None"
    rtol: Float[Array, ""] | None
    atol: Float[Array, ""] | None
    weight_decay: Float[Array, ""] | Float[Array, " layers"] | None
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        solver: "diffrax.AbstractSolver | None" = None,
        *,
        rtol: Real[ArrayLike, ""] | None = None,
        atol: Real[ArrayLike, ""] | None = None,
        max_steps: int = 2**17,
        weight_decay: Real[ArrayLike, "*layers"] | Sequence[Real[ArrayLike, ""]] = 0.0,
        adjoint: "diffrax.AbstractAdjoint | None" = None,
    ):
        self.solver = _of_diffrax("solver", solver, "AbstractSolver", "Dopri8")
        self.rtol, self.atol = (
            None if x is None else _checks.positive(name, _checks.as_scalar(name, x))
            for name, x in (("rtol", rtol), ("atol", atol))
        )
        self.max_steps = _checks.size("max_steps", max_steps)
        self.weight_decay = layers_decay(weight_decay)
        example = "RecursiveCheckpointAdjoint"
        self.adjoint = _of_diffrax("adjoint", adjoint, "AbstractAdjoint", example)

    def check(self, network: LinearNetwork, task: Task, ts: Array) -> None:
        check_fit(network, task)
        check_times(ts, infinite=False)
        check_decay(self.weight_decay, network)

    def setting(self) -> str:
        return f" It was {self.max_steps}."

    def named_modes(self) -> contextlib.AbstractContextManager:
        return _named_modes(self.adjoint)

    def run(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        import diffrax  # takes half a second: imported on first use

        network, task = _dtypes.promoted(network=network, task=task)
        _checks.can_solve("GradientFlow", (network, task, ts))
        forward = diffrax.ForwardMode, diffrax.DirectAdjoint
        reverse = diffrax.RecursiveCheckpointAdjoint, diffrax.BacksolveAdjoint
        if self.adjoint is None or isinstance(self.adjoint, (*forward, *reverse)):
            only_reverse = not isinstance(self.adjoint, forward)
            return self.simulate_compressed(
                network, task, ts, only_reverse=only_reverse
            )
        return self.simulate(network, task, ts)  # of unknown modes of differentiation

    def simulate(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        import diffrax

        double = jnp.finfo(ts.dtype).bits > 32
        rtol, atol = (1e-10, 1e-13) if double else (1e-6, 1e-9)
        tolerant = jnp.array(True)
        if self.rtol is not None:
            tolerant &= jnp.isfinite(self.rtol)
            rtol = jnp.where(tolerant, self.rtol.astype(ts.dtype), rtol)
        if self.atol is not None:
            tolerant &= jnp.isfinite(self.atol)
            atol = jnp.where(tolerant, self.atol.astype(ts.dtype), atol)
        if self.weight_decay is not None:
            tolerant &= jnp.all(jnp.isfinite(self.weight_decay))
        finite = all_finite(network, task)
        valid = _checks.times_valid(ts, infinite=False)
        ok = finite & valid & tolerant
        # The solver never finishes on NaN, nor on times that fall.
        start = jax.tree.map(lambda w: jnp.where(ok, w, 0.0), network)
        ts = jnp.where(ok, ts, 0.0)
        sigma, sxx = task.input_output_correlation, task.input_correlation
        decay = self.weight_decay
        if decay is not None:
            decay = jnp.where(ok, decay.astype(ts.dtype), 0.0)

        def velocity(t, network, args):
            sigma, sxx, decay = args
            gradient = dot(network.function, sxx) - sigma
            gradients = weight_gradients(network, gradient)
            return jax.tree.map(jnp.negative, decayed(gradients, network, decay))

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(velocity),
            diffrax.Dopri8() if self.solver is None else self.solver,
            t0=0.0,
            t1=ts[-1],
            dt0=None,
            y0=start,
            args=(sigma, sxx, decay),
            saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            max_steps=self.max_steps,
            adjoint=self.adjoint or diffrax.RecursiveCheckpointAdjoint(),
            throw=False,
        )
        result = first_failure(
            (~finite, RESULTS.nonfinite_values),
            (~valid, RESULTS.invalid_times),
            (~tolerant, RESULTS.invalid_setting),
            (
                solution.result != diffrax.RESULTS.successful,
                RESULTS.solver_failed,
            ),
        )
        mark = jnp.where(ok, 1.0, jnp.nan)
        # The solver leaves times that it did not reach infinite.
        networks = jax.tree.map(
            lambda w: jnp.where(jnp.isfinite(w), w, jnp.nan) * mark, solution.ys
        )
        loss = jax.vmap(task.loss)(networks.function)
        return Trajectory(ts=ts * mark, loss=loss, network=networks, result=result)


def _of_diffrax(name: str, value: Any, kind: str, example: str) -> Any:
    """`value`; refused unless it is `None` or of the diffrax class `kind`."""
    if value is None:
        return None
    import diffrax

    if isinstance(value, str):  # suggest the class with this name
        same = [x for x in dir(diffrax) if x.lower() == value.lower()]
        example = same[0] if same else example
    hint = f"type `diffrax.{example}()`"
    _checks.instance(name, value, getattr(diffrax, kind), hint)
    return value


@contextlib.contextmanager
def _named_modes(adjoint: Any) -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        if "forward-mode" not in str(error):  # JAX's term
            raise
        was = type(adjoint).__name__ if adjoint else "RecursiveCheckpointAdjoint"
        raise TypeError(
            "`adjoint` of `GradientFlow` must be `diffrax.ForwardMode()` for forward "
            "mode (`jax.jvp`, `jax.jacfwd`) and `diffrax.DirectAdjoint()` for second "
            f"derivatives (`jax.hessian`), but it was `{was}`: reverse mode only."
        ) from error
