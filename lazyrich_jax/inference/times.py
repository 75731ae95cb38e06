"""Times of learning, as goals of a design."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes, theory
from .._dynamics import ExactSolution
from .._linalg import safe_hypot
from .._network import LinearNetwork
from .._task import Task
from ..applications.second_stage import best_function
from .goals import OneTask, one_duration, solved
from .implicit import with_derivative


class LearningTime(OneTask):
    r"""The time in which the loss falls to a fraction of its start, above its optimum.

    The time is infinite if the loss stays above. It has first derivatives only.

    **Arguments:**

    - `task`: a task with isotropic inputs.
    - `tolerance`: the fraction, between 0 and 1.

    **Raises:** `ValueError` for anisotropic inputs and a tolerance outside of (0, 1).
    """

    tolerance: Float[Array, ""]

    def __init__(self, task: Task, *, tolerance: Real[ArrayLike, ""] = 1e-2):
        super().__init__(task)
        self.tolerance = _tolerance(tolerance, task)

    def __call__(self, network: LinearNetwork) -> Float[Array, ""]:
        """The time that a start needs, in units of learning rate x step."""
        solution = solved(network, self.task)
        return _time_to_learn(solution, network, self.task, self.tolerance)


class ReversalTime(OneTask):
    r"""The time to learn the opposite of a task, after the task itself.

    It is the time after the flip in which the loss falls to a fraction of its value at
    the flip, above its optimum, as in `lazyrich_jax.applications.reversal` but without
    a grid of times. After complete learning it depends on the balance alone. It is
    infinite at a saddle, and grows as $\log(1 / |\lambda|) / s$ near it.

    **Arguments:**

    - `task`: a task with isotropic inputs.
    - `duration`: the training time of the task before the flip; infinity by default.
      It is a free variable of the name `duration`, too.
    - `tolerance`: the fraction, between 0 and 1.

    **Raises:** `ValueError` for anisotropic inputs, a duration that isn't positive and
    a tolerance outside of (0, 1).
    """

    duration: Float[Array, ""]
    tolerance: Float[Array, ""]

    def __init__(
        self,
        task: Task,
        duration: Real[ArrayLike, ""] = jnp.inf,
        *,
        tolerance: Real[ArrayLike, ""] = 1e-2,
    ):
        super().__init__(task)
        self.duration = one_duration(duration, task, infinite=True)
        self.tolerance = _tolerance(tolerance, task)

    def __call__(
        self, network: LinearNetwork, *, duration: Real[ArrayLike, ""] | None = None
    ) -> Float[Array, ""]:
        """The time after the flip that a start needs."""
        until = self.duration if duration is None else duration
        learned = solved(network, self.task).network(until)
        second = self.task.reversed()
        solution = solved(learned, second)
        return _time_to_learn(solution, learned, second, self.tolerance)


def _tolerance(value: Real[ArrayLike, ""], task: Task) -> Array:
    tolerance = _checks.as_scalar("tolerance", value)
    allowed = "be more than 0 and less than 1"
    good = _checks.checked("tolerance", tolerance, allowed, lambda x: (x > 0) & (x < 1))
    return good.astype(task.x.dtype)


@eqx.filter_jit
def _time_to_learn(
    solution: ExactSolution,
    network: LinearNetwork,
    task: Task,
    tolerance: Float[Array, ""],
) -> Float[Array, ""]:
    """The time at which the excess loss is `tolerance` of its value at the start."""
    network, task, tolerance = _dtypes.promoted(
        network=network, task=task, tolerance=tolerance
    )
    best = best_function(task, network.sizes[1])
    limit = tolerance * theory.forgetting(best, network.function, task)
    frozen, most = jax.lax.stop_gradient((solution, limit))
    s = jnp.linalg.norm(task.input_output_correlation)
    rate = safe_hypot(task.input_variance * network.lmda, 2 * s)
    first = jax.lax.stop_gradient(1 / rate)
    steps = jnp.finfo(first.dtype).nmant

    def excess(t):
        return theory.forgetting(best, frozen.function(t), task)

    def goes_on(state):
        _, high, found, halvings = state
        return jnp.where(found, halvings < steps, high < first * 2.0**40)

    def halve_or_double(state):
        low, high, found, halvings = state
        middle = jnp.where(found, (low + high) / 2, high)
        is_above = excess(middle) > most
        low = jnp.where(is_above, middle, low)
        high = jnp.where(is_above, jnp.where(found, high, 2 * high), middle)
        return low, high, found | ~is_above, halvings + found.astype(int)

    state = jnp.zeros_like(first), first, jnp.array(False), jnp.array(0)
    _, root, found, _ = jax.lax.while_loop(goes_on, halve_or_double, state)
    # The residual has derivatives by the start, the rate of the loss needs none.
    n_in, qqt = task.in_size, solution.qqt(root)
    blocks = qqt[n_in:, :n_in], qqt[:n_in, :n_in], qqt[n_in:, n_in:]
    still = theory.Representations(*jax.lax.stop_gradient(blocks))
    fall = theory.loss_rate(still, task, learning=task)
    residual = theory.forgetting(best, blocks[0], task) - limit
    time = with_derivative(root, residual, fall)
    # A failed solution is NaN, which is never above.
    return jnp.where(found, time, jnp.inf)
