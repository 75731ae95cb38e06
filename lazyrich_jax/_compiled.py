"""What XLA makes of the arithmetic: how many programs, and what in one loop."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Calls a function: `kept` or `at_once`.
Apart = Callable[[Callable[[], Any]], Any]

# One program where values are concrete, not one for each of a function's operations.
# Where they are traced it is as if it were written out.
compiled = functools.partial(jax.jit, inline=True)


def kept(function: Callable[[], Any]) -> Any:
    """The result of a function, made once, on a CPU.

    XLA would make a result again in every loop that uses it, with all it is made of,
    or make one loop of it and what uses it: it has dropped `optimization_barrier` when
    it decides that. It doesn't look into a condition, and the barrier hides that this
    one always holds.
    """
    traced = jax.jit(function)  # once, also for its shapes

    def never() -> Any:
        shapes = jax.eval_shape(traced)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    go = jax.lax.optimization_barrier(jnp.array(True))
    return jax.lax.cond(go, traced, never)


def at_once(function: Callable[[], Any]) -> Any:
    """What the function returns: the choice of what is kept is left to XLA."""
    return function()


def once(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x`, for many uses of the result of an expensive operation.

    XLA does not fuse such a result into a loop that uses it twice, and would write it,
    and all that depends on it, to memory. It does fuse a cheap operation on it.
    """
    return jnp.minimum(x, jnp.finfo(x.dtype).max)
