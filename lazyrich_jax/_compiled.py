"""One program where values are concrete, not one for each of its operations.

Where values are traced a compiled function is as if it were written out.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Calls a function: `kept` or `at_once`.
Apart = Callable[[Callable[[], Any]], Any]

compiled = functools.partial(jax.jit, inline=True)


def kept(function: Callable[[], Any]) -> Any:
    """The result of a function, made once, on a CPU.

    XLA would make a result again in every loop that uses it, with all it is made of,
    or make one loop of it and what uses it: it has dropped `optimization_barrier` when
    it decides that. It doesn't look into a condition, and the barrier hides that this
    one always holds.
    """
    once = jax.jit(function)  # traced once, also for its shapes

    def never() -> Any:
        shapes = jax.eval_shape(once)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    go = jax.lax.optimization_barrier(jnp.array(True))
    return jax.lax.cond(go, once, never)


def at_once(function: Callable[[], Any]) -> Any:
    """What the function returns: the choice of what is kept is left to XLA."""
    return function()
