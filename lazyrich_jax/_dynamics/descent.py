"""Gradient descent, step by step."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, Real

from .. import _checks, _dtypes
from .._exactness import check_fit, largest_stable_rate
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
    import optax


class GradientDescent(AbstractSimulation):
    r"""Gradient descent, full batch or minibatch, with any optax optimiser.

    Time is learning rate x step. The recorded steps are the ones nearest to
    `ts / learning_rate`, and the trajectory's `ts` are their times. Steps in between
    are not kept.

    **Arguments:**

    - `learning_rate`: the learning rate of plain gradient descent, or an optax
      optimiser (an `optax.GradientTransformation`). Optimisers that ask for the loss or
      search along a line are allowed (`optax.polyak_sgd`, `optax.lbfgs`).
    - `step_time`: the time of one step. The default is the learning rate for plain
      descent, and 1 for an optimiser: `ts` then counts its steps.
    - `batch_size`: the number of samples drawn for every step, without replacement
      within a step; by default the whole task. A minibatch needs `key`.
    - `key`: a `jax.random.key` for the minibatches.
    - `weight_decay`: the decay of the weights of plain descent, one number or one for
      each layer, as for `GradientFlow`: a step adds the decay times the weights to the
      gradient. An optimiser has its own (`optax.add_decayed_weights`).
    - `equivariant`: whether the optimiser commutes with rotations of the hidden units,
      as plain descent, momentum and weight decay do, and Adam does not. By default it
      is true for a learning rate, and false for an optimiser, which nothing tells it
      of.

    If it does, two layers with more hidden units than inputs and outputs together cost
    no more than with as many (`LinearNetwork.compressed`); the weights have the full
    width, and derivatives with respect to the weights cost it.

    It is differentiable in forward mode only: the number of steps is not fixed at
    compilation. `trajectory.result` reports divergence (a loss that is not finite, or
    10,000 times the larger of its first value and the loss of predicting zero). It is
    `RESULTS.invalid_setting` if a traced rate or time is not finite and positive.

    `learn` warns before it starts if plain descent of a whole task has a learning rate
    above the largest stable one, `lazyrich_jax.theory.largest_stable_step` for balanced
    and wide networks with isotropic inputs, and else a bound that holds for all two
    layers.

    **Raises:** `ValueError` for a rate, `step_time` or `batch_size` that isn't
    positive, and a `batch_size` without `key`; `TypeError` for a `learning_rate` that
    is neither a number nor an optimiser, such as a function that returns an optimiser,
    and for a `key` that is no random key.
    """

    optimiser: Any  # an optax.GradientTransformation, or the learning rate
    step_time: Float[Array, ""]
    key: PRNGKeyArray | None
    weight_decay: Float[Array, ""] | Float[Array, " layers"] | None
    batch_size: int | None = eqx.field(static=True)
    equivariant: bool = eqx.field(static=True)

    def __init__(
        self,
        learning_rate: "Real[ArrayLike, ''] | optax.GradientTransformation",
        *,
        step_time: Real[ArrayLike, ""] | None = None,
        batch_size: int | None = None,
        key: PRNGKeyArray | None = None,
        weight_decay: Real[ArrayLike, "*layers"] | Sequence[Real[ArrayLike, ""]] = 0.0,
        equivariant: bool | None = None,
    ):
        made = not isinstance(learning_rate, type)
        # `update` alone does not identify an optimiser: traced numbers have it too.
        if made and hasattr(learning_rate, "init") and hasattr(learning_rate, "update"):
            self.optimiser = learning_rate
            default = 1.0
        else:
            if callable(learning_rate) or isinstance(learning_rate, str):
                _refuse_optimiser(learning_rate)
            rate = _checks.as_scalar("learning_rate", learning_rate)
            self.optimiser = _checks.positive("learning_rate", rate)
            default = self.optimiser
        step_time = default if step_time is None else step_time
        step_time = _checks.as_scalar("step_time", step_time)
        self.step_time = _checks.positive("step_time", step_time)
        if batch_size is not None:
            batch_size = _checks.size("batch_size", batch_size)
        _checks.require(
            (batch_size is None) == (key is None),
            "`batch_size` and `key` must be given together, but "
            f"`batch_size` was {batch_size} and `key` was "
            f"{'absent' if key is None else 'given'}.",
        )
        if key is not None:
            _checks.random_key(key)
        self.batch_size, self.key = batch_size, key
        is_plain = isinstance(self.optimiser, jax.Array)
        self.weight_decay = layers_decay(weight_decay)
        _checks.require(
            is_plain or self.weight_decay is None,
            "`weight_decay` must be zero for an optimiser, but it was not: use "
            "`optax.chain(optax.add_decayed_weights(...), ...)`.",
        )
        self.equivariant = is_plain if equivariant is None else equivariant
        _checks.require(
            isinstance(self.equivariant, bool),
            f"`equivariant` must be true, false or None, but it was {equivariant!r}.",
        )

    def check(self, network: LinearNetwork, task: Task, ts: Array) -> None:
        check_fit(network, task)
        check_times(ts, infinite=False)
        check_decay(self.weight_decay, network)
        _checks.require(
            self.batch_size is None or self.batch_size <= task.samples,
            f"`batch_size` must be at most the task's {task.samples} samples, but it "
            f"was {self.batch_size}.",
        )

    def warning_before(self, network: LinearNetwork, task: Task) -> str | None:
        is_plain = isinstance(self.optimiser, jax.Array) and self.batch_size is None
        given = network, task, self.optimiser
        if network.depth != 2 or not is_plain or not _checks.is_concrete(given):
            return None
        # Concrete arrays inside a traced function stay concrete.
        with jax.ensure_compile_time_eval():
            both = _dtypes.promoted(network=network, task=task)
            most = float(largest_stable_rate(*both))
        if float(self.optimiser) <= most:
            return None
        return (
            f"`learning_rate` should be at most {most:.4g}, two over the sharpness of "
            "the loss where this task is learned, but it was "
            f"{_checks.number(self.optimiser, '.4g')}: descent will not stay there and "
            "may diverge."
        )

    def setting(self) -> str:
        if isinstance(self.optimiser, jax.Array):
            return f" It was {_checks.number(self.optimiser, 'g')}."
        return " It was that of an optax optimiser."

    def run(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        network, task = _dtypes.promoted(network=network, task=task)
        if self.equivariant:
            return self.simulate_compressed(network, task, ts, only_reverse=False)
        return self.simulate(network, task, ts)

    def simulate(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        optimiser = self._transformation(ts.dtype)
        finite = all_finite(network, task)
        valid = _checks.times_valid(ts, infinite=False)
        step_time = self.step_time.astype(ts.dtype)
        settled = jnp.isfinite(step_time)
        if isinstance(self.optimiser, jax.Array):
            settled &= jnp.isfinite(self.optimiser)
        decay = self.weight_decay
        if decay is not None:
            settled &= jnp.all(jnp.isfinite(decay))
            decay = decay.astype(ts.dtype)
        step_time = jnp.where(settled, step_time, jnp.inf)
        steps = jnp.round(jnp.where(valid, ts, 0.0) / step_time).astype(int)
        gradient = self._function_gradient(task)

        def step(i, state):
            network, memory = state
            batch = self._batch(task, i)
            gradients = weight_gradients(network, gradient(network.function, i))
            gradients = decayed(gradients, network, decay)
            updates, after = optimiser.update(
                gradients,
                memory,
                network,
                value=batch.loss(network.function),
                grad=gradients,
                value_fn=lambda network: batch.loss(network.function),
            )
            # An optimiser's numbers may have another dtype.
            return jax.tree.map(
                lambda new, old: jnp.asarray(new, jnp.asarray(old).dtype),
                (eqx.apply_updates(network, updates), after),
                state,
            )

        def record(state, span):
            state = jax.lax.fori_loop(span[0], span[1], step, state)
            return state, state[0]

        start = network, optimiser.init(network)
        spans = jnp.stack([jnp.concatenate([jnp.zeros(1, int), steps[:-1]]), steps])
        _, networks = jax.lax.scan(record, start, spans.T)
        loss = jax.vmap(task.loss)(networks.function)
        zero = task.loss(jnp.zeros_like(task.input_output_correlation))
        ceiling = 1e4 * jnp.maximum(task.loss(network.function), zero)
        result = first_failure(
            (~finite, RESULTS.nonfinite_values),
            (~valid, RESULTS.invalid_times),
            (~settled, RESULTS.invalid_setting),
            (~jnp.all(loss <= ceiling), RESULTS.diverged),
        )
        mark = jnp.where(valid & settled, 1.0, jnp.nan)
        return Trajectory(
            ts=steps.astype(ts.dtype) * step_time * mark,
            loss=loss * mark,
            network=jax.tree.map(lambda w: w * mark, networks),
            result=result,
        )

    def _transformation(self, dtype: jnp.dtype) -> Any:
        import optax

        if isinstance(self.optimiser, jax.Array):
            return optax.sgd(self.optimiser.astype(dtype))
        return optax.with_extra_args_support(self.optimiser)

    def _function_gradient(self, task: Task) -> Callable[..., Array]:
        """The loss gradient by the function at step `i`, on the task or a minibatch."""
        if self.batch_size is not None:
            return lambda function, i: self._batch(task, i).loss_gradient(function)
        sigma, sxx = task.input_output_correlation, task.input_correlation
        return lambda function, i: dot(function, sxx) - sigma

    def _batch(self, task: Task, i: Int[ArrayLike, ""]) -> Task:
        """The samples of step `i`: the task, or a minibatch."""
        if self.batch_size is None or self.key is None:
            return task
        draw = jax.random.fold_in(self.key, i)
        rows = jax.random.choice(draw, task.samples, (self.batch_size,), replace=False)
        return Task(task.x[rows], task.y[rows])


def _refuse_optimiser(value: Any) -> None:
    what = f"the text {value!r}"
    hint = "such as `optax.adam(1e-3)`"
    if not isinstance(value, str):
        name = getattr(value, "__name__", type(value).__name__)
        what = f"the {'class' if isinstance(value, type) else 'function'} `{name}`"
        hint = f"pass what it returns, {hint}"
    raise TypeError(
        "`learning_rate` must be a number or an `optax.GradientTransformation`, but it "
        f"was {what}; {hint}."
    )
