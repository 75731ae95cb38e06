"""Programs that run at the same time on one CPU device, for most use one core."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .threads import concurrent_programs

Share = TypeVar("Share")
Result = TypeVar("Result")


def side_by_side(
    run: Callable[[Share], Result], shares: Sequence[Share]
) -> list[Result]:
    """`run` of every share, each in a thread of its own."""
    if len(shares) == 1:
        return [run(shares[0])]
    with ThreadPoolExecutor(len(shares)) as threads:
        return list(threads.map(run, shares))


def traced_side_by_side() -> int:
    """The number of programs, traced in any thread, that may run at the same time.

    It is one if this thread has settings of JAX of its own, such as x64, for other
    threads would trace another program. It is one on a card, too.
    """
    programs = concurrent_programs() if jax.default_backend() == "cpu" else 1
    if programs == 1:
        return 1
    with ThreadPoolExecutor(1) as other:
        alike = other.submit(_settings).result() == _settings()
    return programs if alike else 1


def _settings() -> tuple[object, ...]:
    """What a program depends on beside its arguments."""
    number = _number_of_trace()
    return int(number), number.devices()


_numbers = itertools.count()


@jax.jit
def _number_of_trace() -> Int[Array, ""]:
    """One number for all threads that use the same trace."""
    return jnp.asarray(next(_numbers))
