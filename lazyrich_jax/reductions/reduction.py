"""A model that learns as a two-layer linear network does, and the way back."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .. import _checks
from .._dynamics import ExactSolution
from .._linalg import norm
from .._network import LinearNetwork
from .._task import Task


class Reduction(eqx.Module):
    r"""A model as a two-layer linear network, its task and its clock.

    **Attributes:**

    - `network`, `task`: what `lazyrich_jax.ExactSolution` and `lazyrich_jax.learn`
      take.
    - `own_task`: the task whose loss, of the model's function, is the model's loss, if
      that is not the loss of `network` on `task`; else None.
    - `to_time`: the model's times as the network's; `clock` calls it.
    - `to_function`, `to_weights`: the network's function and the tuple of its weights
      as the model's.
    - `start`: the `start` of `ExactSolution`: "any", or "aligned".
    - `error`: the estimated relative error of the model's function, a scalar, for a
      reduction that is approximate; None for an exact one.

    The methods take the model's times, any shape, and put their axes first. They
    decompose the problem at every call: for many calls keep `solution()`. They refuse
    networks and tasks without a closed form, with a `ValueError`.
    `lazyrich_jax.learn(r.network, r.task, r.clock(ts), dynamics=...)` simulates those.
    Derivatives are the model's for all changes that keep the reduction exact.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    network = lr.LambdaBalanced()(3, 2, 2, key=jax.random.key(1))
    model = lr.reductions.output_scale(network, task, 4.0)  # f(x) = 4 W2 W1 x
    ts = jnp.linspace(0, 1, 100)  # learning rate x step of the model
    function, loss = model.function(ts), model.loss(ts)
    same = lr.ExactSolution(model.network, model.task).function(model.clock(ts))
    ```
    """

    network: LinearNetwork
    task: Task
    to_time: Callable[[Array], Array]
    own_task: Task | None
    to_function: Callable[[Array], Array]
    to_weights: Callable[[tuple[Array, ...]], Any]
    error: Float[Array, ""] | None
    start: str = eqx.field(static=True)

    def __init__(
        self,
        network: LinearNetwork,
        task: Task,
        to_time: Callable[[Array], Array] | None = None,
        *,
        own_task: Task | None = None,
        to_function: Callable[[Array], Array] | None = None,
        to_weights: Callable[[tuple[Array, ...]], Any] | None = None,
        error: Float[Array, ""] | None = None,
        start: str = "any",
    ):
        same = Partial(_same)
        self.network, self.task, self.error, self.start = network, task, error, start
        self.to_time = same if to_time is None else to_time
        self.own_task = own_task
        self.to_function = same if to_function is None else to_function
        self.to_weights = same if to_weights is None else to_weights

    def clock(self, ts: Real[ArrayLike, "*ts"]) -> Float[Array, "*ts"]:
        """The times of `network` at the model's times `ts`."""
        return self.to_time(_checks.as_times("ts", ts))

    def solution(self, **options: Any) -> ExactSolution:
        """The `ExactSolution` of network and task, with further options of it."""
        return ExactSolution(self.network, self.task, start=self.start, **options)

    def function(self, ts: Real[ArrayLike, "*ts"]) -> Float[Array, "*ts out in"]:
        """The model's function at its times `ts`."""
        ts = _checks.as_times("ts", ts)
        found = self.solution().function(self.clock(ts).ravel())
        return _shaped(jax.vmap(self.to_function)(found), ts)

    def weights(self, ts: Real[ArrayLike, "*ts"]) -> Any:
        """The model's own weights at its times `ts`, as its constructor takes them."""
        ts = _checks.as_times("ts", ts)
        found = self.solution().flow_network(self.clock(ts).ravel())
        return _shaped(jax.vmap(self.to_weights)(found.weights), ts)

    def loss(self, ts: Real[ArrayLike, "*ts"]) -> Float[Array, "*ts"]:
        """The model's loss at its times `ts`."""
        ts = _checks.as_times("ts", ts)
        if self.own_task is None:
            return self.solution().loss(self.clock(ts))
        return _shaped(jax.vmap(self.own_task.loss)(self.function(ts.ravel())), ts)


def _same(x: Any) -> Any:
    return x


def _shaped(tree: Any, ts: Array) -> Any:
    return jax.tree.map(lambda x: x.reshape(*ts.shape, *x.shape[1:]), tree)


def scaled(factor: Float[Array, ""], x: Any) -> Any:
    """Every array of `x` times a factor, in its own dtype.

    Networks and tasks are not promoted: their dtypes say to which rounding they are
    balanced and isotropic.
    """
    return jax.tree.map(lambda a: factor.astype(a.dtype) * a, x)


def at_finite(to_time: Callable[[Array], Array], ts: Array) -> Array:
    """Finite times by `to_time`. Infinite ones stay, without derivative."""
    endless = jnp.isinf(ts)
    return jnp.where(endless, jnp.inf, to_time(jnp.where(endless, 0.0, ts)))


def scaled_clock(factor: Float[Array, ""]) -> Partial:
    """Times that are a factor times the model's."""
    return Partial(at_finite, Partial(scaled, factor))


def scaled_layers(
    factors: tuple[Float[Array, ""], Float[Array, ""]], weights: tuple[Array, ...]
) -> tuple[Array, ...]:
    """Two layers, each times its factor."""
    return tuple(scaled(f, w) for f, w in zip(factors, weights, strict=True))


def listed(name: str, value: Any, what: str) -> list[Any]:
    """The entries of a sequence; a `TypeError` for anything else."""
    try:
        return list(value)
    except TypeError as error:
        raise TypeError(
            f"`{name}` must be a sequence of {what}, but it was a "
            f"`{type(value).__name__}`."
        ) from error


def without_rounding(
    x: Float[Array, "n m"], rounding: float, *factors: Array
) -> Float[Array, "n m"]:
    """`x`, a sum of products of `factors`; zero if it is no more than its rounding.

    The derivative is that of `x`. Less than 64 times the `rounding` of the factors has
    no digits that tell a direction.
    """
    size = math.prod(norm(jax.lax.stop_gradient(f).ravel()) for f in factors)
    lost = norm(jax.lax.stop_gradient(x).ravel()) <= 64 * rounding * size
    return x - jax.lax.stop_gradient(jnp.where(lost, x, 0.0))


def unit(x: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """`x` over its norm; zero stays zero."""
    size = norm(x.ravel())
    return x / jnp.where(size > 0, size, 1.0)


def only_if(good: Bool[Array, ""], message: Callable[[], str], tree: Any) -> Any:
    """`tree`; a `ValueError` unless `good`, or NaN if that is traced."""
    if _checks.is_concrete(good):
        _checks.require(bool(good), "" if bool(good) else message())
        return tree
    mark = jnp.where(good, 1.0, jnp.nan)
    return jax.tree.map(lambda x: x * mark.astype(x.dtype), tree)
