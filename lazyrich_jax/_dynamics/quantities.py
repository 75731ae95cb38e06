"""The quantities of a solution at many times, by the engine of its class."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _checks
from .._linalg import dot
from .._network import LinearNetwork
from .._riccati.decaying.solution import Decaying
from .._riccati.differentiable import Solved
from .._riccati.frame import SLICES, Frame, Problem
from .._riccati.rates import last_time
from .._riccati.reference.off_class import OffClass, response, without_derivatives
from .._riccati.reference.rotation import transition, transported
from .._trajectory import RESULTS
from .._xla import on_any_mesh
from ..kernels import ntk_of_representations
from .aligned import Modes
from .wide import Wide

Times = Float[Array, " times"]


class State(eqx.Module):
    """A network and its task, decomposed; no time is given yet."""

    core: Solved | Decaying  # of every mode, for aligned networks
    variance: Float[Array, ""]
    optimum: Float[Array, ""]
    wide: Wide | None
    modes: Modes | None
    off: OffClass | None
    result: RESULTS

    @property
    def frame(self) -> Frame:
        """The decomposition, of every mode for aligned networks."""
        return self.core.frame

    @property
    def problem(self) -> Problem:
        """The problem without weight decay, of every mode for aligned networks."""
        assert isinstance(self.core, Solved)
        return self.core.problem

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes of a batch of solutions; empty for one solution."""
        return self.optimum.shape

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The number of inputs, hidden units and outputs of the network."""
        frame, modes = self.frame, self.modes
        hidden = frame.basis if self.wide is None else self.wide.rotation.mT
        if modes is None:
            sides = frame.right, hidden.mT, frame.left
        else:
            sides = modes.v, modes.inward, modes.u
        n_in, n_hidden, n_out = (x.shape[-2] for x in sides)
        return n_in, n_hidden, n_out


@on_any_mesh
@eqx.filter_jit
def over_times(solution: State, t: Array, quantity: Callable, *args: Array):
    """`quantity(solution, times, *args)` for an array of times of any shape."""
    inner = _inner_times(t, solution.optimum.dtype)
    at = quantity(solution, inner, *args)
    return jax.tree.map(lambda x: x.reshape(*t.shape, *x.shape[1:]), at)


def _inner_times(t: Float[Array, "*ts"], dtype: jnp.dtype) -> Float[Array, " times"]:
    """The times, with zero replaced by a tiny time and infinity by a huge one.

    The values are unchanged. At zero a square root would have no derivative, and at
    infinity inf * 0 would be NaN.
    """
    return (
        jnp.minimum(t.astype(dtype), last_time(dtype)).ravel()
        + 1e8 * jnp.finfo(dtype).tiny
    )


@on_any_mesh
@eqx.filter_jit
def weights(
    solution: State,
    t: Float[Array, "*ts"],
    rtol: Float[Array, ""],
    atol: Float[Array, ""],
) -> LinearNetwork:
    _checks.can_solve("weights", (solution, t))
    inner = _inner_times(t, solution.optimum.dtype)
    problem, frame, ts, ok = _solvable(solution, inner)
    if solution.off is not None:
        problem = without_derivatives(problem, problem)
    q = transported(problem, frame, ts, rtol, atol)
    if solution.wide is not None:
        wide = solution.wide
        near = dot(transition(problem, frame, ts, rtol, atol), wide.start)
        qqt = Solved(problem, frame).product(ts, "qqt") + wide.shift("qqt")[None]
        q = wide.factors(q, qqt, near)
    q = jnp.where(ok[:, None, None], q, jnp.nan)
    networks = jax.vmap(lambda q: _as_network(q, solution))(q)
    return jax.tree.map(lambda w: w.reshape(*t.shape, *w.shape[1:]), networks)


def _solvable(
    solution: State, ts: Times
) -> tuple[Problem, Frame, Times, Bool[Array, " times"]]:
    """Problem, frame and times without NaN, for an ODE solver that can't take NaN.

    The last result is a mask of the times that were valid.
    """
    solved = solution.result == RESULTS.successful
    ok = jnp.isfinite(ts) & solved
    problem, frame = jax.tree.map(
        lambda x: jnp.where(solved, x, 1.0) if eqx.is_inexact_array(x) else x,
        (solution.problem, solution.frame),
    )
    return problem, frame, jnp.where(ok, ts, 0.0), ok


def loss(solution: State, ts: Times) -> Array:
    core = solution.core
    if solution.modes is not None:
        over = solution.modes.excess(core, ts)
    else:
        over = core.excess(ts)
    if solution.off is not None:
        problem = solution.problem
        function = core.product(ts, "function")
        change = _change(solution, ts, "function")
        over += jnp.sum((function - problem.sigma[None]) * change, axis=(1, 2))
        # The inputs' covariance changes the loss of a fixed function.
        moved = solution.off.anisotropy
        moved = moved - jax.lax.stop_gradient(moved)
        inputs = dot(function.mT, function) - dot(problem.sigma.T, problem.sigma)[None]
        over += jnp.sum(inputs * moved[None], axis=(1, 2)) / 2
    return solution.optimum + over / solution.variance


def _change(solution: State, ts: Times, part: str) -> Array:
    """Zero, with the derivatives of a part of $QQ^T$ along changes off the class."""
    _checks.can_solve("flow_derivatives", (solution, ts))
    problem, frame, times, ok = _solvable(solution, ts)
    change = response(solution.off, problem, frame, times)
    rows, columns = SLICES[part](frame.right.shape[0])
    return jnp.where(ok[:, None, None], change, jnp.nan)[:, rows, columns]


def _of_weights(solution: State) -> Solved | Decaying:
    """The core for weights; with flow derivatives its derivatives are refused."""
    if solution.off is None:
        return solution.core
    problem = without_derivatives(solution.problem, solution.problem)
    return Solved(problem, solution.frame)


def network(solution: State, ts: Times) -> LinearNetwork:
    core = _of_weights(solution)
    if solution.modes is not None:
        q = solution.modes.weights(core, ts)
    else:
        q = core.factor(ts)
    if solution.wide is not None:
        q = _of_wide(solution.wide, core, ts, q)
    return jax.vmap(lambda q: _as_network(q, solution))(q)


def _of_wide(
    wide: Wide, core: Solved | Decaying, ts: Times, balanced: Array
) -> Float[Array, "times n hidden"]:
    """Q of a network that may be wide; its rotation is the one next to the start."""
    qqt = core.product(ts, "qqt")
    qqt = wide.lifted(qqt + wide.shift("qqt")[None] * _kept(core, ts))
    start = jax.lax.stop_gradient(wide.start)
    return wide.factors(balanced, qqt, jnp.broadcast_to(start, qqt.shape))


def _as_network(q: Float[Array, "n hidden"], solution: State) -> LinearNetwork:
    """The network of Q, scaled back to the task's input variance."""
    q = q / jnp.sqrt(solution.variance)
    n_in = solution.sizes[0]
    return LinearNetwork((q[:n_in].mT, q[n_in:]))


def product(solution: State, ts: Times, part: str) -> Array:
    wide = solution.wide
    if wide is not None and wide.is_limit and part in ("inputs", "outputs"):
        rows, columns = SLICES[part](solution.sizes[0])
        return product(solution, ts, "qqt")[:, rows, columns]
    if solution.modes is not None:
        found = solution.modes.product(solution.core, ts, part)
    else:
        found = solution.core.product(ts, part)
    if wide is not None and part != "function":
        found += wide.shift(part)[None] * _kept(solution.core, ts)
    if wide is not None and part == "qqt":
        found = wide.lifted(found)
    if solution.off is not None:
        found += _change(solution, ts, part)
    return found / solution.variance


def _kept(core: Solved | Decaying, ts: Times) -> Float[Array, "times 1 1"]:
    """The part of a constant shift that weight decay leaves."""
    return core.remaining(ts)[:, None, None]


def qqt(solution: State, ts: Times) -> Array:
    return product(solution, ts, "qqt")


def function(solution: State, ts: Times) -> Array:
    return product(solution, ts, "function")


def inputs(solution: State, ts: Times) -> Array:
    return product(solution, ts, "inputs")


def outputs(solution: State, ts: Times) -> Array:
    return product(solution, ts, "outputs")


def ntk(solution: State, ts: Times, x: Array) -> Array:
    of_one = jax.vmap(ntk_of_representations, in_axes=(0, 0, None))
    return of_one(inputs(solution, ts), outputs(solution, ts), x)
