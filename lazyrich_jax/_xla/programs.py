"""Control over XLA: how many programs it makes, and which results share a loop."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Float

T = TypeVar("T")

# Whether XLA knows calls that it must not dissolve.
CALLS_STAY = jax.__version_info__ >= (0, 7, 2)

# Whether a program is traced for blocks on a CPU: see `kept`.
_keeps = contextvars.ContextVar("keeps", default=False)

# Concrete values run one program, not one per operation. Traced values are inlined.
compiled = functools.partial(jax.jit, inline=True)


@contextlib.contextmanager
def keeping(on_cpu: bool) -> Iterator[None]:
    """Trace the body for blocks of many networks and times, on a CPU or elsewhere."""
    token = _keeps.set(on_cpu)
    try:
        yield
    finally:
        _keeps.reset(token)


def keeping_here() -> contextlib.AbstractContextManager[None]:
    """`keeping` for a program whose platform is not known yet: the default is taken.

    Derivatives of `kept` results are kept, too, where XLA knows calls that stay.
    """
    return keeping(CALLS_STAY and jax.default_backend() == "cpu")


def kept(function: Callable[[], Any]) -> Any:
    """The result of a function, computed once inside `keeping(True)`.

    XLA for CPUs may recompute a result, and all its inputs, in every loop that uses it,
    or fuse it with its uses into one loop. `optimization_barrier` does not prevent
    this: XLA removes it before fusion. XLA does not fuse into a call that stays a call.
    Older versions know no such calls, and there a condition takes its place. XLA does
    not fuse into it, but compiles both branches. The barrier below hides that the
    condition always holds.
    """
    if not _keeps.get():
        return function()
    traced = jax.jit(function)  # once, also for its shapes
    if CALLS_STAY:
        return set_xla_metadata(traced(), inlineable="false")

    def never() -> Any:
        shapes = jax.eval_shape(traced)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    go = jax.lax.optimization_barrier(jnp.array(True))
    return jax.lax.cond(go, traced, never)


def traced_once(function: Callable[..., T]) -> Callable[..., T]:
    """`function(x, t, ...)`, traced and lowered once for matrices of the same sizes.

    Lanes, which have an array of times, are traced at every call: the sizes of their
    blocks may differ.
    """

    @functools.partial(jax.jit, static_argnums=0)
    def traced(keeps: bool, *args: Any) -> T:  # `kept` depends on `keeps`
        return function(*args)

    @functools.wraps(function)
    def of_matrices_or_lanes(x: Any, t: Any, *others: Any) -> T:
        if t.ndim > 0:
            return function(x, t, *others)
        return traced(_keeps.get(), x, t, *others)

    return of_matrices_or_lanes


def mapped(function: Callable[[Any], Any], xs: Any) -> Any:
    """A function of every row; rows are evaluated one by one inside `keeping(True)`.

    XLA for CPUs would divide all rows among the cores, and waiting for these would take
    longer than the arithmetic.
    """
    return (jax.lax.map if _keeps.get() else _vmapped)(function, xs)


def _vmapped(function: Callable[[Any], Any], xs: Any) -> Any:
    return jax.vmap(function)(xs)


def once(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x`, the result of an expensive operation that is used more than once.

    XLA does not fuse an expensive operation into a loop that uses its result twice: it
    writes the result, and all that depends on it, to memory. It does fuse the cheap
    minimum taken here.
    """
    return jnp.minimum(x, jnp.finfo(x.dtype).max)


def inverse_root(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`1 / sqrt(x)`, in vector instructions on every CPU.

    XLA's `rsqrt` of doubles needs AVX-512 for them. Elsewhere a single `rsqrt` makes
    its loop scalar. `once` keeps XLA from turning `1 / sqrt(x)` into `rsqrt`.
    """
    return 1 / once(jnp.sqrt(x)) if _keeps.get() else jax.lax.rsqrt(x)


def is_few(count: Any, most: int) -> bool:
    """Whether `count` is at most `most`; false for symbolic numbers (`jax.export`)."""
    return isinstance(count, int) and count <= most
