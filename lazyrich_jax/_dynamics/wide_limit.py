"""The limit of infinite width as a law of learning, with an estimate of its error."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks, _dtypes
from .._linalg import dot, norm
from .._network import LinearNetwork
from .._riccati.reference.along import along
from .._riccati.reference.solution import function_error, solve
from .._task import Task
from .._trajectory import RESULTS, Trajectory
from .base import AbstractDynamics, check_times, error_share, first_failure
from .reduction import check, reduce
from .solution import ExactSolution
from .wide import effective_scales, shift_of

MUCH = 0.1  # of the function's size: an error that is warned of


class WideLimit(AbstractDynamics):
    r"""The closed form of infinitely wide two-layer networks (approximate).

    It takes any network of two layers as a member of the wide class
    (docs/theory.md, section 7), with the network's `effective_scales`. Gaussian and
    fan-in uniform weights tend to the class as their width grows. The loss and the
    function depend on the scales and on the start's function alone. The
    representations are those of the start plus the class's change, and a multiple of
    the identity if these alone are the representations of no network.

    `trajectory.error_estimate` is the Frobenius norm of the function's error, (times,),
    to first order in the network's distance from the class. An ODE for P of `in + out`
    rows gives it, at a relative tolerance of 1e-3, and NaN if that takes too many
    steps. It is not differentiable. `learn` warns if it is larger than a tenth of the
    function.

    Inputs must be isotropic. Infinite times are allowed. Derivatives are the formula's.
    The network of a trajectory has at least `in + out` hidden units.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0)).whitened()
    network = lr.Gaussian.lecun()(3, 256, 2, key=jax.random.key(1))
    ts = jnp.linspace(0, 2, 11)
    trajectory = lr.learn(network, task, ts, dynamics=lr.WideLimit())
    trajectory.error_estimate
    ```
    """

    def check(self, network: LinearNetwork, task: Task, ts: Array) -> None:
        check(network, task)
        check_times(ts, infinite=True)

    def run(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        solution = LimitSolution(network, task)
        valid = _checks.times_valid(ts, infinite=True)
        result = first_failure(
            (~valid, RESULTS.invalid_times),
            (solution.result != RESULTS.successful, solution.result),
        )
        ts = jnp.where(valid, ts, jnp.nan)
        return Trajectory(
            ts=ts,
            loss=solution.loss(ts),
            network=solution.network(ts),
            result=result,
            error_estimate=jax.lax.stop_gradient(solution.error(ts)),
        )

    def warning_after(
        self, network: LinearNetwork, trajectory: Trajectory
    ) -> str | None:
        estimate = trajectory.error_estimate
        if estimate is None or not _checks.is_concrete(trajectory):
            return None
        share = float(error_share(trajectory.function, estimate))
        if share <= MUCH:
            return None
        return (  # also if the estimate failed (NaN)
            "`dynamics=WideLimit()` should be asked of a wide random network, but the "
            f"estimated error of the function was {share:.2g} of its largest size, "
            f"with {network.sizes[1]} hidden units: use `GradientFlow()`."
        )


class LimitSolution(ExactSolution):
    """The solution of the class's member with a network's function and scales."""

    start: Float[Array, "both both"]  # P(0), for inputs of variance one
    member: Float[Array, "both both"]  # the member's P less its balanced network's

    def __init__(self, network: LinearNetwork, task: Task):
        state = reduce(network, task, throw=False, limit=True)
        for name, value in state._asdict().items():
            setattr(self, name, value)
        one, _ = _dtypes.promoted(network=network, task=task)
        n_in, _, n_out = network.sizes
        self.start = one.qqt * state.variance
        shift = shift_of(effective_scales(one), n_in, n_out)
        self.member = jnp.diag(shift) * state.variance

    def error(self, ts: Float[Array, " times"]) -> Float[Array, " times"]:
        r"""The estimated error of the function at several times.

        The flow is $\dot P = EP + PE$ with E minus the function's error between inputs
        and outputs. Its derivative at the member, from the start's distance from it,
        gives the error to first order.
        """
        n_in, frame = self.problem.sigma.shape[1], self.frame

        def balanced(t):
            """P of the balanced network, and the function's error."""
            state = solve(frame, t)
            p = frame.matrix_from_rows(dot(state.q, state.q.mT))
            return p, frame.from_singular_basis(function_error(frame, state))

        def velocity(t, change):
            p, error = balanced(t)
            half = dot(_between(error), change)
            half += dot(_between(change[n_in:, :n_in]), p + self.member)
            return -half - half.T

        change = self.start - balanced(jnp.zeros_like(self.optimum))[0] - self.member
        good = ~jnp.isnan(ts) & (self.result == RESULTS.successful)
        # The error falls at least at this rate. Where nothing is left of it the ODE is
        # stiff, and has no digits.
        ts = jnp.where(jnp.abs(self.problem.lmda) * ts > 40, jnp.inf, ts)
        late = jnp.where(good & jnp.isfinite(ts), ts, 0.0)
        found = along(
            frame,
            late,
            velocity,
            jnp.where(self.result == RESULTS.successful, change, 0.0),
            rtol=1e-3,
            atol=1e-7 * norm(change) + jnp.finfo(ts.dtype).tiny,
            max_steps=2**16,
        )[:, n_in:, :n_in]
        size = norm(found.reshape(len(ts), -1), axis=1) / self.variance
        size = jnp.where(jnp.isfinite(ts), size, 0.0)
        return jnp.where(good, size, jnp.nan)


def _between(error: Float[Array, "out in"]) -> Float[Array, "both both"]:
    """The matrix with a function's error between inputs and outputs."""
    zero = [jnp.zeros((n, n), error.dtype) for n in error.shape]
    return jnp.block([[zero[1], error.T], [error, zero[0]]])
