"""Learning rates that differ between layers or change in time, and momentum."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._exactness import check_fit, check_two_layers
from .._linalg import dot, safe_hypot
from .._network import LinearNetwork
from .._task import Task
from .reduction import (
    Reduction,
    at_finite,
    listed,
    only_if,
    scaled,
    scaled_clock,
    scaled_layers,
)


def layer_rates(
    network: LinearNetwork, task: Task, rates: Sequence[Real[ArrayLike, ""]]
) -> Reduction:
    r"""A network whose layers learn at rates of their own (Kunin et al. 2024).

    The model is $\dot W_l = -\eta_l \partial L / \partial W_l$. With
    $W_l = \sqrt{\eta_l} V_l$, V learns the target $\Sigma / \sqrt{\eta_1\eta_2}$ at the
    time $\eta_1\eta_2t$. It is exact for any network and task. `ExactSolution` needs V
    balanced: $W_2^\top W_2 / \eta_2 - W_1W_1^\top / \eta_1 = \lambda I$.

    **Arguments:**

    - `network`: W at time zero, two layers.
    - `task`: its task.
    - `rates`: $(\eta_1, \eta_2)$, positive.

    **Returns:** a `Reduction`. Times are in the units in which the rates are given: the
    number of steps, or, for rates relative to one learning rate, that rate x step.

    **Raises:** `ValueError` for another depth, sizes that don't fit, and rates that
    aren't two positive numbers (traced: NaN).
    """
    check_fit(network, task)
    check_two_layers(network)
    given = listed("rates", rates, "two numbers")
    given = [_checks.as_scalar(f"rates[{i}]", rate) for i, rate in enumerate(given)]
    _checks.require(
        len(given) == 2,
        f"`rates` must be two numbers, one for each layer, but it had {len(given)}.",
    )
    first, second = (
        _checks.positive(f"rates[{i}]", rate) for i, rate in enumerate(given)
    )
    first, second = _dtypes.promoted(first=first, second=second)
    roots = jnp.sqrt(first), jnp.sqrt(second)
    both = roots[0] * roots[1]
    return Reduction(
        LinearNetwork(scaled_layers((1 / roots[0], 1 / roots[1]), network.weights)),
        Task(task.x, scaled(1 / both, task.y)),
        scaled_clock(first * second),
        own_task=task,
        to_function=Partial(scaled, both),
        to_weights=Partial(scaled_layers, roots),
    )


def schedule(
    network: LinearNetwork,
    task: Task,
    learning_rate: Callable[[Any], Any],
    steps: int,
) -> Reduction:
    r"""A learning rate that changes from step to step.

    The clock is $t_k = \sum_{j<k} \eta_j$, linear within a step. It is exact for the
    flow $\dot W = -\eta(k) \partial L / \partial W$ in the number k of steps, for any
    network and task. Descent differs from the flow as at a constant rate: in proportion
    to the largest step.

    **Arguments:**

    - `network`, `task`: of two layers, and its task.
    - `learning_rate`: an optax schedule, or another function of the number of a step,
      of JAX or of Python's integers (slower).
    - `steps`: the number of steps.

    **Returns:** a `Reduction`. Times are steps, from 0 to `steps`, integers or in
    between; later ones are refused.

    **Raises:** `ValueError` for another depth, sizes that don't fit, and rates that
    aren't finite and non-negative (traced: NaN) scalars; `TypeError` for rates that
    aren't real numbers.
    """
    check_fit(network, task)
    check_two_layers(network)
    steps = _checks.size("steps", steps)
    if not callable(learning_rate):
        raise TypeError(
            "`learning_rate` must be a schedule, a function of the step, but it was "
            f"{learning_rate!r}; a constant one needs no reduction."
        )
    dtype = _dtypes.common_dtype(network=network, task=task)

    def rate(k: Any) -> Array:
        return _checks.as_scalar("learning_rate(k)", learning_rate(k)).astype(dtype)

    with jax.numpy_dtype_promotion("standard"):  # schedules mix steps and rates
        try:
            given = jax.vmap(rate)(jnp.arange(steps))
        except jax.errors.JAXTypeError:  # a function of Python's numbers
            given = jnp.stack([rate(k) for k in range(steps)])
    given = _checks.positive("learning_rate", given, zero=True)
    sums = jnp.concatenate([jnp.zeros(1, dtype), jnp.cumsum(given)])
    return Reduction(network, task, Partial(_elapsed, sums))


def _elapsed(sums: Float[Array, " times"], ts: Array) -> Array:
    last = sums.size - 1
    message = f"be at most the schedule's {last} steps"
    ts = _checks.checked("ts", ts, message, lambda k: k <= last)
    steps = jnp.arange(sums.size, dtype=sums.dtype)
    flat = jnp.interp(ts.ravel().astype(sums.dtype), steps, sums)
    return jnp.where(jnp.isnan(ts), jnp.nan, flat.reshape(ts.shape))


def heavy_ball(
    network: LinearNetwork,
    task: Task,
    learning_rate: Real[ArrayLike, ""],
    momentum: Real[ArrayLike, ""],
    *,
    tolerance: Real[ArrayLike, ""] = 0.1,
) -> Reduction:
    r"""Gradient descent with heavy-ball momentum, at small steps (approximate).

    The model is $v \leftarrow \beta v - \eta\, \partial L / \partial W$,
    $W \leftarrow W + v$ from v = 0 (`optax.sgd(eta, momentum=beta)`). A constant
    gradient moves it in k steps as the flow moves in the time

    $$t_k = \frac{\eta}{1 - \beta} \left(k - \beta\frac{1 - \beta^k}{1 - \beta}
    \right).$$

    The reduction is the flow at this time. Its relative error is about
    $\frac{\eta(1 + \beta)}{2(1 - \beta)^2} K$ (Kovachki and Stuart 2021): the field
    `error` of the result. K bounds the sharpness at the start and of the learned task,
    $K = \max\big(c(\|W_1\|^2 + \|W_2\|^2) + \|\Sigma - W_2W_1\Sigma_{xx}\|,\,
    c\sqrt{\lambda^2 + 4a^2}\big)$, with the largest variance c of the inputs and the
    largest singular value a of the learned function.

    **Arguments:**

    - `network`, `task`: of two layers, and its task.
    - `learning_rate`: $\eta$, positive.
    - `momentum`: $\beta$, from 0 to below 1.
    - `tolerance`: the largest allowed `error`.

    **Returns:** a `Reduction`. Times are steps.

    **Raises:** `ValueError` for another depth, sizes that don't fit, rates and momenta
    outside of their ranges, and an `error` above the tolerance (traced: NaN).
    """
    check_fit(network, task)
    check_two_layers(network)
    rate = _checks.as_scalar("learning_rate", learning_rate)
    rate = _checks.positive("learning_rate", rate)
    momentum = _checks.as_scalar("momentum", momentum)
    below = "be at least 0 and less than 1"
    momentum = _checks.checked(
        "momentum", momentum, below, lambda b: (b >= 0) & (b < 1)
    )
    most = _checks.positive("tolerance", _checks.as_scalar("tolerance", tolerance))
    finer, finer_task, rate, momentum = _dtypes.promoted(
        network=network, task=task, rate=rate, momentum=momentum
    )
    sharpness = _largest_sharpness(finer, finer_task)
    error = rate * (1 + momentum) / (2 * (1 - momentum) ** 2) * sharpness
    network = only_if(
        error <= most.astype(error.dtype),
        lambda: (
            "`learning_rate` must be small enough for an estimated error of at most "
            f"{_checks.number(most, 'g')}, but it was {_checks.number(rate, 'g')} and "
            f"the error {_checks.number(error, '.3g')}: the learning rate over "
            "(1 - momentum)^2 counts."
        ),
        network,
    )
    gained = Partial(at_finite, Partial(_gained, rate, momentum))
    return Reduction(network, task, gained, error=error)


def _largest_sharpness(network: LinearNetwork, task: Task) -> Float[Array, ""]:
    """A bound on the sharpness at the start and at the end of learning."""
    sigma, sxx = task.input_output_correlation, task.input_correlation
    learned = dot(sigma, jnp.linalg.pinv(sxx, hermitian=True))
    residual = task.loss_gradient(network.function)
    variance, end, residual, *layers = (
        jnp.linalg.norm(x, 2) for x in (sxx, learned, residual, *network.weights)
    )
    start = variance * (layers[0] ** 2 + layers[1] ** 2) + residual
    end = variance * safe_hypot(network.effective_laziness, 2 * end)
    return jnp.maximum(start, end)


def _gained(rate: Float[Array, ""], momentum: Float[Array, ""], k: Array) -> Array:
    k = k.astype(rate.dtype)
    # Not momentum (1 - momentum^k): the power has no derivative at zero for k < 1.
    lag = (momentum - momentum ** (k + 1)) / (1 - momentum)
    return rate / (1 - momentum) * jnp.maximum(k - lag, 0.0)
