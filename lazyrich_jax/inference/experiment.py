"""What was trained, what was seen, and what is known about it."""

from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Real

from .. import _checks, _dtypes
from .._exactness import is_task
from .._network import LinearNetwork
from .._singular import singular_vectors
from .._task import Task
from ..theory.assumptions import isotropic_variance
from .arguments import (
    as_times,
    check_known,
    laws,
    observed,
    one_of,
    per_mode,
    start_function,
    task_of_sizes,
)
from .learner import MODELS, Learner, Values, has_law_of_steps
from .noise import AbstractNoise
from .observables import OBSERVABLES


class Experiment(Learner):
    r"""A network that learned a task, and what was observed of it.

    The start function is `scale**2` times a known or unknown matrix, the weights are
    those of `lazyrich_jax.balanced_network`, and time is `rate` times `times`.
    `lazyrich_jax.inference.fit` estimates any of these numbers from data.

    **Arguments:**

    - `task`: the task, with isotropic inputs; or sizes (in, hidden, out), where the
      task is known only by its strengths.
    - `times`: (times,), when it was observed, finite, in non-decreasing order. Numbers
      of steps are times with the learning rate as `rate`.
    - `observe`: a name, or several: "loss"; "log excess", the logarithm of the loss
      above the least loss; "function", (out, in); "modes", the task's modes in the
      function, (modes,); "input representation" $W_1^\top W_1$, "output representation"
      $W_2W_2^\top$, "ntk" on `x`; "choices", the softmax of the outputs for each row of
      `x`, (items, out); "accuracy", the mean chance to choose the largest target. Times
      are the leading axis of each.
    - `noise`: a law of noise, or one for each observable: `Additive`, `Relative`,
      `Counts`. By default `Additive()`, of unknown level; `Counts()` for "choices".
    - `hidden_size`: `min(in, out)` by default; `in + out` in the wide class.
    - `start`: "aligned", the start function shares the task's singular vectors and has
      the `strengths` (one or one for each mode); or the start function itself,
      (out, in); or "any", an unknown function.
    - `model`: "balanced" (`lazyrich_jax.ExactSolution`); "wide", the class of wide
      random layers (`lazyrich_jax.wide_network`), whose second parameter is `mu`;
      "shallow", one layer; "lazy", the limit of large balances, in which `rate` stands
      for `rate * abs(lmda)`.
    - `lmda`, `mu`, `scale`, `rate`, `strengths`, `task_strengths`, `weight_decay`: the
      known numbers, used unless they are unknown to `fit`. `task_strengths` replace the
      singular values of the task's correlation.
    - `x`: inputs of tests, (items, in), for "ntk", "choices"; the task's by default.
    - `slope`: the factor of the outputs in the softmax.
    - `steps`: whether `times` are numbers of steps of gradient descent, which the
      theory then has to first order in the learning rate `rate`
      (`lazyrich_jax.theory.descent_lag`). They are refused for all but aligned starts
      of the model "balanced" whose layers are not observed, without weight decay. By
      default learning is a flow: steps of finite size bias the estimates.

    **Raises:** `ValueError` or `TypeError` that name the argument.

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(levels=2)
    experiment = lr.inference.Experiment(task, jnp.linspace(0, 9, 50), scale=0.1)
    print(experiment.predict(lmda=2.0).shape)  # (50,)
    ```
    """

    times: Float[Array, " times"]
    known: dict[str, Array]
    noise: tuple[AbstractNoise, ...]
    single: bool = eqx.field(static=True)
    without_value: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        task: Task | tuple[int, int, int],
        times: Real[ArrayLike, " times"],
        *,
        observe: str | Sequence[str] = "loss",
        noise: AbstractNoise | Sequence[AbstractNoise] | None = None,
        hidden_size: int | None = None,
        start: Literal["aligned", "any"] | Real[ArrayLike, "out in"] = "aligned",
        model: Literal["balanced", "wide", "shallow", "lazy"] = "balanced",
        lmda: Real[ArrayLike, ""] = 0.0,
        mu: Real[ArrayLike, ""] | None = None,
        scale: Real[ArrayLike, ""] = 1.0,
        rate: Real[ArrayLike, ""] = 1.0,
        strengths: Real[ArrayLike, "..."] | Sequence[float] = 1.0,
        task_strengths: Real[ArrayLike, " modes"] | Sequence[float] | None = None,
        weight_decay: Real[ArrayLike, ""] = 0.0,
        x: Real[ArrayLike, "items in"] | None = None,
        slope: Real[ArrayLike, ""] = 1.0,
        steps: bool = False,
    ):
        one_of("model", model, MODELS)
        self.model = model
        self.observe, self.single = observed(observe, model)
        self.noise = laws(noise, self.observe)
        without_strengths = not isinstance(task, Task) and task_strengths is None
        if not isinstance(task, Task):
            task, hidden_size = task_of_sizes(task, hidden_size, self.observe)
        else:
            is_task("task", task)
            isotropic_variance(task, task.x.dtype)
        n_in, n_out = task.in_size, task.out_size
        if hidden_size is None:
            hidden_size = n_in + n_out if model == "wide" else min(n_in, n_out)
        hidden = _checks.size("hidden_size", hidden_size)
        _checks.require(
            model != "wide" or hidden >= n_in + n_out,
            f"`hidden_size` must be at least `in + out`, {n_in + n_out}, in the wide "
            f"class, but it was {hidden}.",
        )
        self.sizes = (n_in, hidden, n_out)
        given = {"lmda": lmda, "scale": scale, "rate": rate}
        given = {k: _checks.as_scalar(k, v) for k, v in given.items()}
        given["weight_decay"] = _checks.as_scalar("weight_decay", weight_decay)
        if mu is not None or model == "wide":
            given["mu"] = _checks.as_scalar("mu", 1.0 if mu is None else mu)
        aligned = isinstance(start, str) and start == "aligned"
        self.start = "aligned" if aligned else "function"
        modes = min(self.sizes)
        if self.start == "aligned":
            given["strengths"] = per_mode("strengths", strengths, modes)
        else:
            given["function"] = start_function(start, n_out, n_in)
        if task_strengths is not None:
            given["task_strengths"] = per_mode(
                "task_strengths", task_strengths, min(n_in, n_out)
            )
        elif without_strengths:
            given["task_strengths"] = jnp.full(min(n_in, n_out), jnp.nan)
        any_start = isinstance(start, str) and not aligned
        missing = {"function": any_start, "task_strengths": without_strengths}
        self.without_value = tuple(name for name, yes in missing.items() if yes)
        x = task.x if x is None else _checks.as_matrix("x", x)
        _checks.require(
            x.shape[1] == n_in,
            f"`x` must have a column for each of the {n_in} inputs, but its shape was "
            f"{x.shape}.",
        )
        times = as_times(times)
        slope = _checks.finite("slope", _checks.as_scalar("slope", slope))
        check_known(given)
        if float(given["weight_decay"]) == 0:  # then no law of decay is compiled
            del given["weight_decay"]
        self.steps = bool(steps)
        _checks.require(
            not steps or has_law_of_steps(self.start, model, self.observe, given),
            "`steps` must be false for all but aligned starts of the model 'balanced' "
            "whose layers are not observed, without weight decay, but it was true.",
        )
        self.task, self.times, self.x, self.slope, self.known = _dtypes.promoted(
            task=task, times=times, x=x, slope=slope, known=given
        )
        u, _, v = singular_vectors(self.task.input_output_correlation)
        k = min(n_in, n_out)
        self.u, self.v = u[:, :k], v[:, :k]

    def network(self, **values: Any) -> LinearNetwork:
        """The network at the start, with `values` in place of the known ones.

        **Raises:** `ValueError` for a name that is no parameter, and for models without
        such a network ("shallow", "lazy").
        """
        _checks.require(
            self.model in ("balanced", "wide"),
            f'`model` must be "balanced" or "wide" for a network at the start, but '
            f"it was {self.model!r}.",
        )
        return self._network(self._complete(values))

    def predict(self, **values: Any) -> Any:
        """The observables, with `values` in place of the known ones.

        **Returns:** an array with the times first; for several observables a dict.

        **Raises:** `ValueError` for a name that is no parameter.
        """
        predicted = self.predicted(self._complete(values))
        if self.single:
            return predicted[0]
        return dict(zip(self.observe, predicted, strict=True))

    def simulate(self, *, key: PRNGKeyArray, **values: Any) -> Any:
        """Draw data: the prediction with noise.

        **Raises:** `ValueError` as `predict`, and where the level of noise is unknown;
        `TypeError` for a `key` that is no random key.
        """
        _checks.random_key(key)
        predicted = self.predicted(self._complete(values))
        keys = jax.random.split(key, len(predicted))
        drawn = [
            law.draw(name, value, k)
            for law, name, value, k in zip(
                self.noise, self.observe, predicted, keys, strict=True
            )
        ]
        return drawn[0] if self.single else dict(zip(self.observe, drawn, strict=True))

    def residuals(
        self, values: Values, data: tuple[Array, ...], weights: tuple[Array, ...]
    ) -> Float[Array, " observations"]:
        """Weighted residuals of complete `values`, as one vector."""
        return self.compared(self.predicted(values), data, weights)

    def compared(
        self,
        predicted: tuple[Array, ...],
        data: tuple[Array, ...],
        weights: tuple[Array, ...],
    ) -> Float[Array, " observations"]:
        """Weighted residuals of data against predictions, as one vector."""
        parts = []
        for law, y, m, w in zip(self.noise, data, predicted, weights, strict=True):
            parts.append(jnp.where(w > 0, w * law.residual(y, m), 0.0).ravel())
        return jnp.concatenate(parts)

    def _complete(self, values: Values) -> dict[str, Array]:
        for name in values:
            one_of("a parameter", name, self.parameters)
        given = {}
        for name, value in values.items():
            given[name] = _dtypes.as_real(name, value)
        both = {**self.known, **given}
        for name in self.without_value:
            _checks.require(
                name in given,
                f"`{name}` must be given to predict, because the experiment knows "
                "nothing of it, but it was not.",
            )
        dtype = self.times.dtype
        return {name: jnp.asarray(value).astype(dtype) for name, value in both.items()}

    def predicted(self, values: Values) -> tuple[Array, ...]:
        """Observables of complete values."""
        setting, path, offset = self._path(values)
        t = values["rate"] * self.times
        predicted = []
        for name in self.observe:
            value = OBSERVABLES[name].of(path, t, setting)
            predicted.append(value + offset if name == "loss" else value)
        return tuple(predicted)
