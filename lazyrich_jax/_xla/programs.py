"""What XLA makes of arithmetic: how many programs, and what in one loop."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Whether a program is traced for blocks on a CPU: see `kept`.
_keeps = contextvars.ContextVar("keeps", default=False)

# One program where values are concrete, not one for each of a function's operations.
# Where they are traced it is as if it were written out.
compiled = functools.partial(jax.jit, inline=True)


@contextlib.contextmanager
def keeping(on_cpu: bool) -> Iterator[None]:
    """Trace the body for a CPU, in blocks of many networks and times."""
    token = _keeps.set(on_cpu)
    try:
        yield
    finally:
        _keeps.reset(token)


def kept(function: Callable[[], Any]) -> Any:
    """The result of a function, made once where `keeping` says so.

    XLA for CPUs would make a result again in every loop that uses it, with all it is
    made of, or make one loop of it and what uses it: it has dropped
    `optimization_barrier` when it decides that. It doesn't look into a condition, and
    the barrier hides that this one always holds.
    """
    if not _keeps.get():
        return function()
    traced = jax.jit(function)  # once, also for its shapes

    def never() -> Any:
        shapes = jax.eval_shape(traced)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    go = jax.lax.optimization_barrier(jnp.array(True))
    return jax.lax.cond(go, traced, never)


def mapped(function: Callable[[Any], Any], xs: Any) -> Any:
    """A function of every row, one after the other where results are `kept`.

    Of all at once XLA for CPUs would give every core a part, and wait for them longer
    than that takes.
    """
    return (jax.lax.map if _keeps.get() else _vmapped)(function, xs)


def _vmapped(function: Callable[[Any], Any], xs: Any) -> Any:
    return jax.vmap(function)(xs)


def once(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x`, for many uses of the result of an expensive operation.

    XLA does not fuse such a result into a loop that uses it twice, and would write it,
    and all that depends on it, to memory. It does fuse a cheap operation on it.
    """
    return jnp.minimum(x, jnp.finfo(x.dtype).max)


def inverse_root(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`1 / sqrt(x)`, in vector instructions on every CPU.

    XLA's `rsqrt` of doubles has these only with AVX-512: without, one of them makes a
    loop scalar. It would turn `1 / sqrt(x)` back into one, but for `once`.
    """
    return 1 / once(jnp.sqrt(x)) if _keeps.get() else jax.lax.rsqrt(x)


def is_few(count: Any, most: int) -> bool:
    """Whether a number is known, and small; a symbolic one (`jax.export`) is not."""
    return isinstance(count, int) and count <= most
