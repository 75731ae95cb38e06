"""Choice of a start and a protocol by gradient, in bounds and under constraints."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._network import LinearNetwork
from .goals import AbstractGoal
from .minimise import Found, minimise
from .starts import BalancedStart, largest_stable_balance
from .variables import (
    Choice,
    Range,
    Variables,
    arguments,
    as_arrays,
    needed,
    parsed,
)


class Design(eqx.Module):
    """A start and a protocol, chosen by `lazyrich_jax.inference.design`.

    **Attributes:**

    - `values`: the free variables by name.
    - `goal`: the goal's value there.
    - `start`: the start there, as the goal gets it; `None` if there is none.
    - `gradient`: the goal's derivatives by the free numbers, by name, in their units.
    - `slope`: the norm of the goal's derivatives by the coordinates of the search, from
      0 to 1 across each range, without those that point out of a range. It is zero at
      an optimum.
    - `active`: what holds a variable at a bound, by name.
    - `searches`, `reached`, `failed`: the number of searches, of those that ended at
      this goal, and of those that began where the goal or its gradient is not finite.
    - `evaluations`: the number of values and gradients.
    - `swept`: the best value of the verifying sweep; `None` without one.
    - `swept_points`: the number of points of the sweep.
    - `improved`: whether the sweep had a better point than all searches. The design is
      then the result of a search from there.
    """

    values: dict[str, Array]
    goal: Array
    start: Any
    gradient: dict[str, Array]
    slope: float
    active: dict[str, str]
    searches: int
    reached: int
    failed: int
    evaluations: int
    swept: float | None
    swept_points: int
    improved: bool
    maximised: bool
    name: str

    def __str__(self) -> str:
        """The design as a small table."""
        word = "largest" if self.maximised else "smallest"
        lines = [f"Design: {self.name} {float(self.goal):.6g}, the {word} found"]
        width = max(map(len, self.values))
        for name, value in self.values.items():
            held = f"  at a bound: {self.active[name]}" if name in self.active else ""
            lines.append(f"  {name.ljust(width)}  {_text(value)}{held}")
        ended = f"  searches: {self.reached} of {self.searches} ended here"
        failed = f", {self.failed} began without a finite goal" if self.failed else ""
        lines.append(f"{ended}{failed}; {self.evaluations} evaluations")
        if self.gradient:
            lines.append(f"  slope in the free directions: {self.slope:.2g}")
        if self.swept is not None:
            found = "found a better start of a search" if self.improved else "no better"
            lines.append(
                f"  sweep of {self.swept_points} points: best {self.swept:.6g}, {found}"
            )
        return "\n".join(lines)


def design(
    goal: Callable[..., Any],
    start: LinearNetwork | Callable[..., Any] | None = None,
    *,
    free: Mapping[str, Any],
    norm: Real[ArrayLike, ""] | None = None,
    learning_rate: Real[ArrayLike, ""] | None = None,
    searches: int = 16,
    verify: int | None = None,
    maximise: bool | None = None,
) -> Design:
    r"""Choose a start, and a protocol of learning, by gradient.

    The search is L-BFGS-B within the bounds, from several points, on one compiled
    program of the goal and its forward derivatives. Choices are enumerated.

    **Arguments:**

    - `goal`: the number to make small, a callable: `LossAt`, `LearningTime`,
      `ReversalTime`, `KernelDistance`, `Forgetting`, `SequenceLoss` or any other, with
      forward derivatives. It gets the start, if there is one, and free variables as
      keywords. `Information` is made large.
    - `start`: a network of two layers. Its free variables are `lmda`; `scale`, which
      multiplies the function by `scale**2`; and `strengths`, which replace the singular
      values of its function, one number or one for each mode. The start is then
      `lazyrich_jax.balanced_network` of this function. What is not free is the
      network's: with `lmda` alone all starts have its function. Or any callable that
      makes the start of keywords.
    - `free`: the free variables by name: arguments of the start or of the goal. Each is
      a pair (low, high), of numbers or of arrays, such as `{"lmda": (-5.0, 5.0)}`; or a
      `lazyrich_jax.inference.Choice`, such as `lazyrich_jax.inference.orders(3)` for
      the `order` of tasks.
    - `norm`: a constraint: the sum of the squares of all weights of a `start` that is a
      network. The scale follows from it, and it must be more than `hidden` times the
      size of the balance.
    - `learning_rate`: a constraint: gradient descent with this rate must be stable
      where the goal's tasks are learned
      (`lazyrich_jax.theory.largest_stable_step`), which bounds the size of `lmda`.
    - `searches`: the number of searches for each combination of choices. They begin at
      evenly spread points.
    - `verify`: the number of points of a regular grid over all ranges, for each
      combination of choices, on which the goal is evaluated for comparison. If one is
      better than all searches, another search begins there, and the design says so.
    - `maximise`: whether to make the goal large; by default as the goal says.

    **Returns:** a `Design`; `print` shows it.

    **Raises:** `ValueError` or `TypeError` that names the argument, before anything is
    compiled: for unknown names, empty or infinite ranges, balances that the sizes don't
    allow, constraints that nothing meets. `ValueError` for a goal that is finite at no
    first point of a search.

    ```python
    import jax
    import lazyrich_jax as lr

    task = lr.Task.random_regression(2, 2, samples=8, key=jax.random.key(0))
    network = lr.LambdaBalanced(scale=0.3)(2, 2, 2, key=jax.random.key(1))
    goal = lr.inference.LossAt(task, 1.0)
    print(lr.inference.design(goal, network, free={"lmda": (-5.0, 5.0)}, searches=4))
    ```
    """
    _checks.require(
        callable(goal),
        f"`goal` must be callable, but it was a `{type(goal).__name__}`.",
    )
    searches = _checks.size("searches", searches)
    points = 0 if verify is None else _checks.size("verify", verify, least=2)
    ranges, choices = parsed(free)
    given = _start(start, norm, ranges, choices)
    problem = _Problem(goal, given, {**ranges, **choices})
    if isinstance(goal, AbstractGoal):
        _check_goal(goal, ranges, choices)
    if isinstance(given, BalancedStart):
        ranges = _within_norm(given, ranges, choices)
    if learning_rate is not None:
        ranges = _stable(goal, given, ranges, choices, learning_rate)
    variables = Variables(ranges, choices)
    if maximise is None:
        maximise = getattr(goal, "maximised", False)
    found = minimise(problem, variables, searches, points, -1.0 if maximise else 1.0)
    return _result(problem, variables, found, maximise)


class _Problem(eqx.Module):
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


def _start(
    start: Any,
    norm: Any,
    ranges: Mapping[str, Range],
    choices: Mapping[str, Choice],
) -> Callable | None:
    """The start as a callable, with its constraint on the norm."""
    if isinstance(start, LinearNetwork):
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


def _check_goal(
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


def _within_norm(
    start: BalancedStart, ranges: Mapping[str, Range], choices: Mapping[str, Choice]
) -> dict[str, Range]:
    """The ranges within the balances that sizes and norm allow."""
    if "lmda" in ranges:
        start.check_balances("free['lmda']", *_ends(ranges["lmda"]))
    elif "lmda" in choices:
        start.check_balances("free['lmda']", *choices["lmda"].options)
    most = start.largest_balance()
    return _bounded(ranges, choices, start, most, "norm", "the norm")


def _stable(
    goal: Any,
    start: Any,
    ranges: Mapping[str, Range],
    choices: Mapping[str, Choice],
    learning_rate: Any,
) -> dict[str, Range]:
    """The ranges within the balances at which descent is stable."""
    rate = _checks.as_scalar("learning_rate", learning_rate)
    rate = float(_checks.positive("learning_rate", rate))
    tasks = getattr(goal, "tasks", None)
    _checks.require(
        tasks is not None,
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


def _result(
    problem: _Problem, variables: Variables, found: Found, maximise: bool
) -> Design:
    x, scale = variables.at(found.u)
    active, slopes = {}, found.gradient
    sign = -1.0 if maximise else 1.0
    # Derivatives that point out of a range don't count.
    out = ((found.u <= 0) & (sign * slopes > 0)) | (
        (found.u >= 1) & (sign * slopes < 0)
    )
    for name, u in variables.split(found.u).items():
        r = variables.ranges[name]
        words = [r.set_low] * bool((u <= 0).any()) + [r.set_high] * bool((u >= 1).any())
        if words:
            active[name] = " and ".join(dict.fromkeys(words))
    values = {**variables.split(x), **found.choice}
    values = as_arrays(values, problem.dtype)
    goal = problem.goal
    name = getattr(goal, "__name__", type(goal).__name__)
    return Design(
        values=values,
        goal=jnp.asarray(found.value, problem.dtype),
        start=found.start,
        gradient=as_arrays(variables.split(slopes / scale), problem.dtype),
        slope=float(np.linalg.norm(np.where(out, 0.0, slopes))),
        active=active,
        searches=found.searches,
        reached=found.reached,
        failed=found.failed,
        evaluations=found.evaluations,
        swept=found.swept,
        swept_points=found.swept_points,
        improved=found.improved,
        maximised=maximise,
        name=name,
    )


def _text(value: Float[Array, "..."]) -> str:
    flat = [f"{float(x):.6g}" for x in np.ravel(value)]
    return flat[0] if np.ndim(value) == 0 else f"[{', '.join(flat)}]"
