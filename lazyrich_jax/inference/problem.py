"""The goal as a function of free variables, and the ranges that constraints leave."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import _checks, _dtypes
from .._network import LinearNetwork
from .goals import AbstractGoal
from .starts import BalancedStart, largest_stable_balance
from .variables import Choice, Range, arguments, needed


class Problem(eqx.Module):
    """The goal as a function of the free variables."""

    goal: Callable
    start: Callable | None
    of_start: frozenset[str] = eqx.field(static=True)

    def __init__(
        self,
        goal: Callable,
        start: Callable | None,
        free: Mapping[str, Range | Choice],
    ):
        self.goal, self.start = goal, start
        after = int(start is not None)
        names, any_name = arguments(goal, after=after)
        own, any_of_start = ([], False) if start is None else arguments(start)
        of_start = {name for name in free if name in own}
        rest = set(free) - of_start
        if any_of_start:
            of_start |= rest - set(names)
        elif not any_name:
            for name in sorted(rest - set(names)):
                raise ValueError(
                    "`free` must name arguments of the start or the goal "
                    f"({', '.join([*own, *names])}), but it had {name!r}."
                )
        self.of_start = frozenset(of_start)
        missing = set(needed(goal, after=after)) - (set(free) - of_start)
        missing |= set() if start is None else set(needed(start)) - of_start
        for name in sorted(missing):
            raise ValueError(
                f"`free` must name every argument without a default, but {name!r} "
                f"was missing{' and `start` was `None`' if start is None else ''}."
            )

    def begin(self, values: Mapping[str, Array]) -> Any:
        """The start."""
        if self.start is None:
            return None
        return self.start(**{k: v for k, v in values.items() if k in self.of_start})

    def __call__(self, values: Mapping[str, Array]) -> Any:
        """The goal."""
        rest = {k: v for k, v in values.items() if k not in self.of_start}
        if self.start is None:
            return self.goal(**rest)
        return self.goal(self.begin(values), **rest)

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of free numbers."""
        return _dtypes.common_dtype(goal=self.goal, start=self.start)


def start_of(
    start: Any,
    norm: Any,
    ranges: Mapping[str, Range],
    choices: Mapping[str, Choice],
) -> Callable | None:
    """The start as a callable, with its constraint on the norm."""
    if isinstance(start, LinearNetwork):
        _checks.one("start", start)
        if norm is not None:
            norm = _checks.positive("norm", _checks.as_scalar("norm", norm))
            _checks.require(
                "scale" not in ranges and "scale" not in choices,
                "`free` must not have 'scale' where `norm` is given, since the scale "
                "follows from it, but it did.",
            )
        balanced = BalancedStart(start, norm)
        for name in ("lmda", "scale"):
            if name in ranges:
                _checks.require(
                    ranges[name].shape == (),
                    f"`free[{name!r}]` must be a pair of numbers, but its shape was "
                    f"{ranges[name].shape}.",
                )
        if "strengths" in ranges:
            shape, modes = ranges["strengths"].shape, balanced.s.shape
            _checks.require(
                shape in ((), modes),
                "`free['strengths']` must be one range or one for each of "
                f"{modes[0]} modes, but its shape was {shape}.",
            )
        for name in ("scale", "strengths"):
            if name in ranges:
                _refuse_low(name, ranges[name], 0.0, "positive")
        return balanced
    _checks.require(
        norm is None, "`start` must be a network where `norm` is given, but it was not."
    )
    _checks.require(
        start is None or callable(start),
        "`start` must be a `LinearNetwork` or a callable, but it was a "
        f"`{type(start).__name__}`.",
    )
    return start


def _refuse_low(name: str, r: Range, least: float, word: str) -> None:
    low = float(r.low.min())
    _checks.require(
        low > least, f"`free[{name!r}]` must be {word}, but its low bound was {low}."
    )


def check_goal(
    goal: AbstractGoal, ranges: Mapping[str, Range], choices: Mapping[str, Choice]
) -> None:
    """Refuse low bounds and options that the goal does not allow."""
    given = [(n, r.low.reshape(r.shape)) for n, r in ranges.items()]
    given += [(n, option) for n, x in choices.items() for option in x.options]
    for name, value in given:
        try:
            goal.check(name, jnp.asarray(value))
        except ValueError as error:
            text = str(error).replace(f"`{name}`", f"`free[{name!r}]`")
            raise ValueError(text) from None


def within_norm(
    start: BalancedStart, ranges: Mapping[str, Range], choices: Mapping[str, Choice]
) -> dict[str, Range]:
    """The ranges within the balances that sizes and norm allow."""
    if "lmda" in ranges:
        start.check_balances("free['lmda']", *_ends(ranges["lmda"]))
    elif "lmda" in choices:
        start.check_balances("free['lmda']", *choices["lmda"].options)
    most = start.largest_balance()
    return _bounded(ranges, choices, start, most, "norm", "the norm")


def stable(
    goal: Any,
    start: Any,
    ranges: Mapping[str, Range],
    choices: Mapping[str, Choice],
    learning_rate: Any,
) -> dict[str, Range]:
    """The ranges within the balances at which descent is stable."""
    rate = _checks.as_scalar("learning_rate", learning_rate)
    rate = float(_checks.positive("learning_rate", rate))
    tasks = getattr(goal, "tasks", ())
    _checks.require(
        len(tasks) > 0,
        "`goal` must have `tasks` where `learning_rate` is given, but it had none.",
    )
    most = largest_stable_balance(rate, tasks)
    return _bounded(ranges, choices, start, most, "learning_rate", "the stable step")


def _bounded(
    ranges: Mapping[str, Range],
    choices: Mapping[str, Choice],
    start: Any,
    most: float,
    name: str,
    what: str,
) -> dict[str, Range]:
    """The ranges with balances of at most `most`; refused if there are none."""
    ranges = dict(ranges)
    if "lmda" in ranges:
        low, high = _ends(ranges["lmda"])
        least, where = max(0.0, low, -high), "`free['lmda']` had sizes from"
    elif "lmda" in choices:
        least = float(np.abs(choices["lmda"].options).max())
        where = "`free['lmda']` had"
    else:
        _checks.require(
            isinstance(start, BalancedStart),
            f"`free` must have 'lmda' where `{name}` is given, but it did not.",
        )
        least, where = abs(float(start.network.lmda)), "`start` had"
    _checks.require(
        least < most,
        f"`{name}` must allow a balance of the start, but it allows sizes up to "
        f"{most:.6g} and {where} {least:.6g}.",
    )
    if "lmda" in ranges:
        ranges["lmda"] = ranges["lmda"].within(most, what)
    return ranges


def _ends(r: Range) -> tuple[float, float]:
    return float(r.low.min()), float(r.high.max())
