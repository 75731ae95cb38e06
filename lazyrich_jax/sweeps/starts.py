"""Kinds of random starts: their coordinates, and the solution of their learning."""

import difflib
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from .. import _checks, _dtypes
from .._dynamics import ExactSolution, LimitSolution
from .._init import Gaussian, LambdaBalanced
from .._network import LinearNetwork
from .._task import Task

Point = dict[str, Any]
Sizes = tuple[int, int, int]
Solved = tuple[LinearNetwork, ExactSolution]


def _balanced(point: Point, sizes: Sizes, task: Task, key: PRNGKeyArray) -> Solved:
    """The exact solution of a lambda-balanced start."""
    lmda, scale, _ = _dtypes.promoted(
        lmda=jnp.asarray(point.get("lmda", 0.0)),
        scale=jnp.asarray(point.get("scale", 1.0)),
        task=task,
    )
    start = LambdaBalanced(lmda, scale, throw=False)(*sizes, key=key)
    return start, ExactSolution(start, task, throw=False)


def _gaussian(point: Point, sizes: Sizes, task: Task, key: PRNGKeyArray) -> Solved:
    """The limit of infinite width for a Gaussian start of any width."""
    n_in, hidden, n_out = sizes
    width = _checks.size_or_traced("width", point.get("width", hidden))
    variances = {
        "input_variance": point.get("input_variance", 1 / n_in),
        "output_variance": point.get("output_variance", 1.0),
    }
    for name, value in variances.items():
        value = _checks.as_scalar(name, value)
        variances[name] = _checks.positive(name, value, zero=True)
    below, above, _ = _dtypes.promoted(**variances, task=task)
    if "output_variance" not in point:
        above = above / jnp.asarray(width, above.dtype)
    initialiser = Gaussian(jnp.sqrt(jnp.stack([below, above])))
    start = initialiser.compressed(n_in, width, n_out, key=key)
    return start, LimitSolution(start, task)


class Kind(NamedTuple):
    """A distribution of starts."""

    coordinates: tuple[str, ...]  # of a point, besides `key` and `seed`
    estimates: bool  # whether the solution is approximate and estimates its error
    solve: Callable[[Point, Sizes, Task, PRNGKeyArray], Solved]


KINDS = {
    "balanced": Kind(("lmda", "scale"), False, _balanced),
    "gaussian": Kind(("width", "input_variance", "output_variance"), True, _gaussian),
}


def unused(name: str, kind: str, randomness: Collection[str]) -> str | None:
    """What a coordinate must be, if a kind does not use it.

    The text completes the message "`name` must be". `randomness` has the coordinates
    that every kind uses.
    """
    used = (*KINDS[kind].coordinates, *randomness)
    if name in used:
        return None
    near = difflib.get_close_matches(name, used, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    for other, value in KINDS.items():
        if name in value.coordinates:
            hint = f"; kind {other!r} uses it."
    known = ", ".join(used)
    return f"a coordinate that kind {kind!r} uses ({known}), but it was not{hint}"


def random_key(point: Point) -> PRNGKeyArray:
    """The key of a point, from its coordinate `key` or `seed`."""
    _checks.require(
        not {"key", "seed"} <= set(point),
        "`seed` must be left out of points that have a `key`, but both were given.",
    )
    return point["key"] if "key" in point else jax.random.key(point.get("seed", 0))
