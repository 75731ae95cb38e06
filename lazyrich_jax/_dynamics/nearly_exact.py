"""The exact solution and its first-order correction as a law of learning."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._exactness import largest_stable_rate
from .._linalg import dot, norm
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import RESULTS, Trajectory
from .base import all_finite, check_times, error_share, first_failure
from .compression import AbstractSimulation
from .expansion import Deviations, expand, nearest_member
from .reduction import check

SECOND = (
    "Derivatives of `NearlyExact` must be first ones, but second ones were asked for."
)


class NearlyExact(AbstractSimulation):
    r"""The exact solution, corrected to first order (approximate).

    It takes networks of two layers that are nearly balanced or nearly in the wide
    class, inputs that are nearly isotropic, and gradient descent of a small learning
    rate. The exact solution of the nearest member of the two classes is corrected to
    first order in the three deviations: of the weights, of the inputs' covariance, and
    the learning rate. The error is of second order. `trajectory.network` has the
    flow's own weights, or descent's. At time zero they are the network's.

    `trajectory.error_estimate` is the Frobenius norm of the function's second-order
    term, (times,): as the deviations become small it tends to the error. It is not
    differentiable.

    A linear ODE with exact coefficients gives both orders (docs/beyond.md, sections 2
    and 7), at a relative tolerance of 1e-10 a step in double precision. Its cost
    doesn't depend on the learning rate, and for wide layers not on their width.
    Infinite times are allowed. First derivatives, in forward mode, are the flow's in
    every direction, for all arguments; their error is of first order in the deviations.

    **Arguments:**

    - `learning_rate`: the learning rate of gradient descent, whose step k is the time
      `k * learning_rate`. Zero, the default, is gradient flow. A rate above the largest
      stable one (`lazyrich_jax.theory.largest_stable_step`) is refused
      (`RESULTS.too_far`). Close below it the estimate is several times too small.
    - `tolerance`: the largest error that is accepted: the largest `error_estimate`,
      over the function's largest norm. A larger one is refused
      (`RESULTS.too_far`).

    **Raises:** `ValueError` for a negative `learning_rate` and a `tolerance` that isn't
    positive (traced: `RESULTS.invalid_setting`).

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    x_key, y_key, key = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(x_key, (10000, 3))  # nearly white
    task = lr.Task(x, x @ jax.random.normal(y_key, (3, 2)))
    network = lr.LambdaBalanced(lmda=1.0)(3, 2, 2, key=key)
    ts = jnp.linspace(0, 5, 11)
    law = lr.NearlyExact(learning_rate=0.01)
    trajectory = lr.learn(network, task, ts, dynamics=law)
    trajectory.error_estimate
    ```
    """

    learning_rate: Float[Array, ""]
    tolerance: Float[Array, ""]

    def __init__(
        self,
        *,
        learning_rate: Real[ArrayLike, ""] = 0.0,
        tolerance: Real[ArrayLike, ""] = 0.01,
    ):
        rate = _checks.as_scalar("learning_rate", learning_rate)
        self.learning_rate = _checks.positive("learning_rate", rate, zero=True)
        tolerance = _checks.as_scalar("tolerance", tolerance)
        self.tolerance = _checks.positive("tolerance", tolerance)

    def check(self, network: LinearNetwork, task: Task, ts: Array) -> None:
        check(network, task)
        check_times(ts, infinite=True)

    def setting(self) -> str:
        rate, most = (
            _checks.number(x, ".2g") for x in (self.learning_rate, self.tolerance)
        )
        return f" `learning_rate` was {rate}, `tolerance` was {most}."

    def run(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        network, task = _dtypes.promoted(network=network, task=task)
        _checks.can_solve("NearlyExact", (network, task, ts))
        return self.simulate_compressed(network, task, ts, only_reverse=False)

    def simulate(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        finite = all_finite(network, task)
        valid = _checks.times_valid(ts, infinite=True)
        settled = jnp.isfinite(self.tolerance) & jnp.isfinite(self.learning_rate)
        rate = jnp.where(settled, self.learning_rate.astype(ts.dtype), 0.0)
        ok = finite & valid & settled
        times = jnp.where(valid, ts, 0.0)
        start, target = (
            jax.tree.map(lambda x: jnp.where(finite, x, 0.0), tree)
            for tree in (network, task)
        )
        terms = _series(start, target, times, rate)
        n_in, mark = task.in_size, jnp.where(ok, 1.0, jnp.nan)

        def at(t: Array, q: Array) -> LinearNetwork:
            weights = q[:n_in].mT, q[n_in:]
            # The start has no rounding, but derivatives.
            rounding = [
                jax.lax.stop_gradient(jnp.where(t == 0, w - v, 0.0))
                for w, v in zip(network.weights, weights, strict=True)
            ]
            return LinearNetwork(
                [(v + dv) * mark for v, dv in zip(weights, rounding, strict=True)]
            )

        networks = jax.vmap(at)(times, terms[0] + terms[1])
        q0, _, q2 = jax.lax.stop_gradient(terms)
        second = dot(q2[:, n_in:], q0[:, :n_in].mT) + dot(q0[:, n_in:], q2[:, :n_in].mT)
        estimate = norm(second.reshape(len(ts), -1), axis=1)
        share = error_share(networks.function, estimate)
        # The series knows nothing of descent that does not stay at the minimum.
        unstable = rate > largest_stable_rate(start, target)
        small = share <= self.tolerance.astype(share.dtype)
        result = first_failure(
            (~finite, RESULTS.nonfinite_values),
            (~valid, RESULTS.invalid_times),
            (~settled, RESULTS.invalid_setting),
            (~small | unstable, RESULTS.too_far),
        )
        loss = jax.vmap(task.loss)(networks.function)
        return Trajectory(
            ts=jnp.where(ok, ts, jnp.nan),
            loss=loss,
            network=networks,
            result=result,
            error_estimate=estimate,
        )


def _series(
    network: LinearNetwork,
    task: Task,
    ts: Float[Array, " times"],
    rate: Float[Array, ""],
) -> list[Float[Array, "times n hidden"]]:
    """The first three terms of Q."""
    sigma, inputs = task.input_output_correlation, task.input_correlation
    # For inputs of variance c, sqrt(c) Q solves the problem with c = 1.
    variance = jax.lax.stop_gradient(task.input_variance)
    variance = jnp.where(variance > 0, variance, 1.0)
    root = jnp.sqrt(variance)
    start = jax.tree.map(lambda w: w * root, network)
    member = nearest_member(*jax.lax.stop_gradient((start, sigma)))
    deviations = Deviations(
        jnp.concatenate([start.weights[0].mT, start.weights[1]]) - member.start,
        sigma - member.problem.sigma,
        inputs / variance - jnp.eye(task.in_size, dtype=ts.dtype),
        rate,
    )
    always = jnp.array(True)
    deviations = jax.tree.map(
        lambda x: _checks.refuse_second_derivative(x, always, message=SECOND),
        deviations,
    )
    return [q / root for q in expand(deviations, ts, member)]
