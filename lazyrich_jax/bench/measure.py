"""Times of methods, and differences between their results."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from .problems import Problem


class Row(NamedTuple):
    """The measurement of one method on one problem."""

    group: str
    method: str
    sizes: str
    batch: int
    times: int
    lmda: float
    dtype: str
    first: float  # seconds to the first result, including compilation
    best: float  # seconds of the fastest later repetition
    # Difference from the exact solution, over the largest value; None for that itself.
    error: float | None

    @property
    def microseconds(self) -> float:
        """Microseconds for one network at one time."""
        return 1e6 * self.best / (self.batch * self.times)


def measure(
    group: str,
    method: str,
    call: Callable[[], Any],
    problem: Problem,
    reference: Any = None,
    at_least: float = 1.0,
) -> tuple[Row, Any]:
    """Time `call`: once, then repeatedly for `at_least` seconds or 40 times."""
    start = time.perf_counter()
    found = jax.block_until_ready(call())
    first = time.perf_counter() - start
    seconds, spent = [], 0.0
    while not seconds or (spent < at_least and len(seconds) < 40):
        start = time.perf_counter()
        found = jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
        spent += seconds[-1]
    hidden, n_in = problem.w1.shape[1:]
    row = Row(
        group,
        method,
        f"{n_in}-{hidden}-{problem.w2.shape[1]}",
        problem.w1.shape[0],
        problem.ts.size,
        problem.lmda,
        problem.ts.dtype.name,
        first,
        min(seconds),
        None if reference is None else difference(found, reference),
    )
    return row, found


def difference(found: Any, reference: Any) -> float:
    """The largest difference of entries over the largest entry of each array.

    It compares as many networks as `found` holds.
    """
    worst = 0.0
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(reference), strict=True)
    for mine, theirs in pairs:
        mine = np.asarray(mine, float)
        theirs = np.asarray(theirs, float)[: len(mine)]
        worst = max(
            worst, float(np.max(np.abs(mine - theirs)) / np.max(np.abs(theirs)))
        )
    return worst
