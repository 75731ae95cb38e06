"""What an experiment observes, as numbers of a solution."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import theory
from .._linalg import dot, square_norm
from .._task import Task

Times = Float[Array, " times"]


@runtime_checkable
class Path(Protocol):
    """A network's course, as `lazyrich_jax.ExactSolution` gives it."""

    def loss(self, t: Times) -> Array:
        """The loss, (times,)."""
        ...

    def function(self, t: Times) -> Array:
        """The function, (times, out, in)."""
        ...


class Setting(NamedTuple):
    """What else an observable depends on.

    The task, its singular vectors, (out, modes) and (in, modes), the inputs of tests
    and the slope of the softmax.
    """

    task: Task
    u: Float[Array, "out modes"]
    v: Float[Array, "in modes"]
    hidden_size: int
    x: Float[Array, "items in"]
    slope: Float[Array, ""]


def _loss(path: Path, t: Times, setting: Setting) -> Array:
    return path.loss(t)


def _log_excess(path: Path, t: Times, setting: Setting) -> Array:
    return jnp.log(excess(path.function(t), setting.task, setting.hidden_size))


def excess(
    function: Float[Array, "times out in"], task: Task, rank: int
) -> Float[Array, " times"]:
    """The loss above that of the best function of this rank.

    It is a sum of squares, precise also where it is far below the loss.
    """
    variance = task.input_variance
    goal = task.input_output_correlation / variance
    missing = jnp.linalg.svd(goal, compute_uv=False)[rank:]
    error = jnp.sum((function - goal[None]) ** 2, axis=(-2, -1)) - square_norm(missing)
    return variance * error / 2


def _function(path: Path, t: Times, setting: Setting) -> Array:
    return path.function(t)


def _modes(path: Path, t: Times, setting: Setting) -> Array:
    return jnp.einsum("oi,tod,di->ti", setting.u, path.function(t), setting.v)


def _choices(path: Path, t: Times, setting: Setting) -> Array:
    return _chosen(path.function(t), setting.x, setting.slope)


def _chosen(
    function: Float[Array, "times out in"],
    x: Float[Array, "items in"],
    slope: Float[Array, ""],
) -> Float[Array, "times items out"]:
    return jax.nn.softmax(slope * jnp.einsum("nd,tod->tno", x, function), axis=-1)


def _accuracy(path: Path, t: Times, setting: Setting) -> Array:
    right = jax.nn.one_hot(
        jnp.argmax(setting.task.y, axis=-1), setting.task.out_size, dtype=t.dtype
    )
    chances = _chosen(path.function(t), setting.task.x, setting.slope)
    return jnp.mean(jnp.sum(chances * right[None], axis=-1), axis=-1)


def _inputs(path, t: Times, setting: Setting) -> Array:
    return path.input_representation(t)


def _outputs(path, t: Times, setting: Setting) -> Array:
    return path.output_representation(t)


def _ntk(path, t: Times, setting: Setting) -> Array:
    return path.ntk(t, setting.x)


class Observable(NamedTuple):
    """A quantity, and what it is made of."""

    of: Callable[[Path, Times, Setting], Array]
    shape: Callable[[tuple[int, int], int], tuple[int, ...]]  # (in, out), items
    layers: bool = False  # depends on both layers, not on the function alone
    symmetric: bool = False  # entries above the diagonal repeat those below
    positive: bool = False
    frames: bool = True  # depends on the task's singular vectors
    items: bool = False  # depends on the inputs of tests


OBSERVABLES = {
    "loss": Observable(_loss, lambda sizes, n: (), positive=True, frames=False),
    "log excess": Observable(_log_excess, lambda sizes, n: (), frames=False),
    "function": Observable(_function, lambda sizes, n: sizes[::-1]),
    "modes": Observable(_modes, lambda sizes, n: (min(sizes),), frames=False),
    "input representation": Observable(
        _inputs, lambda sizes, n: (sizes[0],) * 2, layers=True, symmetric=True
    ),
    "output representation": Observable(
        _outputs, lambda sizes, n: (sizes[1],) * 2, layers=True, symmetric=True
    ),
    "ntk": Observable(
        _ntk,
        lambda sizes, n: (n * sizes[1],) * 2,
        layers=True,
        symmetric=True,
        items=True,
    ),
    "choices": Observable(_choices, lambda sizes, n: (n, sizes[1]), items=True),
    "accuracy": Observable(_accuracy, lambda sizes, n: ()),
}


class Aligned:
    r"""The course of a network whose start shares the task's singular vectors.

    Each of its modes obeys a closed form of its own. A program of it compiles in a
    small part of the time of one of `lazyrich_jax.ExactSolution`.

    `u`, `v` are singular vectors of the learned modes, (out, modes) and (in, modes),
    `start` are their strengths. `lmda` is the balance, or twice the laziness
    $\sqrt{\lambda^2/4 + \mu^2}$ of a wide network. With a `learning_rate` the course is
    that of gradient descent, to first order in it.
    """

    def __init__(
        self,
        u: Float[Array, "out modes"],
        v: Float[Array, "in modes"],
        start: Float[Array, " modes"],
        lmda: Float[Array, ""],
        task: Task,
        learning_rate: Float[Array, ""] | None = None,
    ):
        self.u, self.v, self.start, self.lmda, self.task = u, v, start, lmda, task
        self.learning_rate, self.variance = learning_rate, task.input_variance
        sigma = task.input_output_correlation / self.variance
        self.ends = jnp.einsum("ok,oi,ik->k", u, sigma, v)

    def _modes(self, t: Times) -> Float[Array, "times modes"]:
        ts = self.variance * t
        if self.learning_rate is None:
            return theory.aligned_modes(ts, self.ends, self.start, self.lmda)
        modes = self.ends, self.start, jnp.broadcast_to(self.lmda, self.ends.shape)
        lag = theory.descent_lag(ts, *modes, self.variance * self.learning_rate)
        of_each = jax.vmap(theory.aligned_modes, in_axes=(1, 0, 0, 0), out_axes=1)
        return of_each(jnp.maximum(ts[:, None] - lag, 0.0), *modes)

    def function(self, t: Times) -> Array:
        """The function, (times, out, in)."""
        return dot(self.u[None] * self._modes(t)[:, None], self.v.mT)

    def loss(self, t: Times) -> Array:
        """The loss, (times,)."""
        left = self._modes(t) - self.ends[None]
        end = dot(self.u * self.ends[None], self.v.mT)
        excess = self.variance * jnp.sum(left**2, axis=-1) / 2
        return self.task.loss(end) + excess


class Shallow:
    """The course of a network of one layer."""

    def __init__(self, function: Float[Array, "out in"], task: Task):
        self.start, self.task = function, task

    def function(self, t: Times) -> Array:
        """The function, (times, out, in)."""
        return theory.shallow_function(t, self.start, self.task)

    def loss(self, t: Times) -> Array:
        """The loss, (times,)."""
        return jax.vmap(self.task.loss)(self.function(t))


class Lazy:
    """The course of a network in the lazy limit, in units of 1 / abs(lmda)."""

    def __init__(self, network, task: Task):
        self.network, self.task = network, task

    def function(self, t: Times) -> Array:
        """The function, (times, out, in)."""
        return theory.lazy_limit(t, self.network, self.task).function

    def loss(self, t: Times) -> Array:
        """The loss, (times,)."""
        return jax.vmap(self.task.loss)(self.function(t))
