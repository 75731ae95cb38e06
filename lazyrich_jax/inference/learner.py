"""A network that learned a task, as a function of its numbers."""

from collections.abc import Container, Iterable, Mapping
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._dynamics import ExactSolution
from .._feasible import feasible_lmda
from .._init import network_of_multiple, wide_network
from .._linalg import dot
from .._network import LinearNetwork
from .._task import Task
from .observables import OBSERVABLES, Aligned, Lazy, Setting, Shallow

Values = Mapping[str, Any]

# Parameters of each model, beside those of the start and the task.
MODELS = {
    "balanced": ("lmda", "scale", "rate", "weight_decay"),
    "wide": ("lmda", "mu", "scale", "rate", "weight_decay"),
    "shallow": ("scale", "rate"),
    "lazy": ("scale", "rate"),
}
PARAMETERS = (
    "lmda",
    "mu",
    "scale",
    "rate",
    "strengths",
    "function",
    "task_strengths",
    "weight_decay",
)


def has_law_of_steps(
    start: str, model: str, observe: Iterable[str], names: Container[str]
) -> bool:
    """Whether the theory knows finite steps of descent, with these parameters."""
    return model == "balanced" and _by_modes(start, model, observe, names)


def _by_modes(
    start: str, model: str, observe: Iterable[str], names: Container[str]
) -> bool:
    """Whether the modes of an aligned start are all that is observed."""
    return (
        start == "aligned"
        and model in ("balanced", "wide")
        and "weight_decay" not in names
        and not any(OBSERVABLES[name].layers for name in observe)
    )


class Learner(eqx.Module):
    """A class of networks and a task; numbers of both are arguments of its methods.

    `u` and `v` are the task's singular vectors, `x` are inputs of tests.
    """

    task: Task
    x: Float[Array, "items in"]
    slope: Float[Array, ""]
    u: Float[Array, "out modes"]
    v: Float[Array, "in modes"]
    sizes: tuple[int, int, int] = eqx.field(static=True)
    observe: tuple[str, ...] = eqx.field(static=True)
    start: Literal["aligned", "function"] = eqx.field(static=True)
    model: str = eqx.field(static=True)
    steps: bool = eqx.field(static=True)  # of descent, each of the size `rate`

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of all numbers that may be unknown."""
        own = {*MODELS[self.model], "task_strengths"}
        own.add("strengths" if self.start == "aligned" else "function")
        if self.steps:  # they have no law with decay
            own.remove("weight_decay")
        return tuple(name for name in PARAMETERS if name in own)

    def _path(self, values: Values):
        """What observables depend on: their setting, the course and a constant loss."""
        task, offset = self._task(values)
        hidden = self.sizes[1]
        setting = Setting(task, self.u, self.v, hidden, self.x, self.slope)
        if self.model == "shallow":
            return setting, Shallow(self._function(values), task), offset
        if self._by_modes(values):
            return setting, self._aligned(values, task), offset
        network = self._network(values)
        if self.model == "lazy":
            return setting, Lazy(network, task), offset
        more = {k: v for k, v in values.items() if k == "weight_decay"}
        if more and self.model == "balanced":
            more["lmda"] = values["lmda"]
        start = "balanced" if self.model == "balanced" else "wide"
        path = ExactSolution(network, task, start=start, throw=False, **more)
        return setting, path, offset

    def _by_modes(self, values: Values) -> bool:
        return _by_modes(self.start, self.model, self.observe, values)

    def _aligned(self, values: Values, task: Task) -> Aligned:
        k = min(self.sizes)
        start = values["scale"] ** 2 * values["strengths"]
        if self.model == "wide":
            lmda = 2 * jnp.hypot(values["lmda"] / 2, values["mu"])
        else:
            lmda = feasible_lmda(values["lmda"], self.sizes)
        rate = values["rate"] if self.steps else None
        return Aligned(self.u[:, :k], self.v[:, :k], start, lmda, task, rate)

    def _task(self, values: Values) -> tuple[Task, Float[Array, ""]]:
        """The task, and the loss that no linear network removes beside it."""
        if "task_strengths" not in values:
            return self.task, jnp.zeros((), self.task.x.dtype)
        n_in = self.sizes[0]
        c = self.task.input_variance
        sigma = dot(self.u * values["task_strengths"][None], self.v.mT)
        root = jnp.sqrt(n_in * c)
        eye = jnp.eye(n_in, dtype=c.dtype)
        best = self.task.input_output_correlation / c
        return Task(root * eye, n_in / root * sigma.mT), self.task.loss(best)

    def _function(self, values: Values) -> Float[Array, "out in"]:
        return values["scale"] ** 2 * self._direction(values)

    def _direction(self, values: Values) -> Float[Array, "out in"]:
        """The start function at `scale` one."""
        if self.start == "function":
            return values["function"]
        k = min(self.sizes)
        return dot(self.u[:, :k] * values["strengths"][None], self.v[:, :k].mT)

    def _network(self, values: Values) -> LinearNetwork:
        hidden = self.sizes[1]
        if self.model == "wide":
            lmda, mu = values["lmda"], values["mu"]
            c = jnp.hypot(lmda / 2, mu)
            # The smaller of the two scales by division.
            large = c + jnp.abs(lmda) / 2
            small = mu**2 / large
            first, second = (
                jnp.where(lmda < 0, large, small),
                jnp.where(lmda < 0, small, large),
            )
            return wide_network(self._function(values), first, second, hidden)
        lmda = values["lmda"]
        if self.model == "lazy":
            n_in, _, n_out = self.sizes
            # With `hidden = in` or `hidden = out` the whole task is learned.
            positive = hidden == n_out or hidden < min(n_in, n_out)
            sign = 1.0 if positive else -1.0
            lmda = jnp.full_like(lmda, sign)
        direction, factor = self._direction(values), values["scale"] ** 2
        return network_of_multiple(direction, factor, lmda, hidden)
