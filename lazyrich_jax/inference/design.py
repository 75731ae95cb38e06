"""Choice of a start and a protocol by gradient, in bounds and under constraints."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks
from .._network import LinearNetwork
from .goals import AbstractGoal
from .minimise import Found, minimise
from .problem import Problem, check_goal, stable, start_of, within_norm
from .starts import BalancedStart
from .variables import (
    Variables,
    as_arrays,
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
    if not _checks.is_concrete((goal, start)):
        raise TypeError(
            "`goal` and `start` must be concrete, outside of `jax.jit`, `jax.vmap` and "
            "`jax.grad`, but they were traced."
        )
    searches = _checks.size("searches", searches)
    points = 0 if verify is None else _checks.size("verify", verify, least=2)
    ranges, choices = parsed(free)
    given = start_of(start, norm, ranges, choices)
    problem = Problem(goal, given, {**ranges, **choices})
    if isinstance(goal, AbstractGoal):
        check_goal(goal, ranges, choices)
    if isinstance(given, BalancedStart):
        ranges = within_norm(given, ranges, choices)
    if learning_rate is not None:
        ranges = stable(goal, given, ranges, choices, learning_rate)
    variables = Variables(ranges, choices)
    own = bool(getattr(goal, "maximised", False))
    upward = own if maximise is None else maximise
    found = minimise(problem, variables, searches, points, -1.0 if upward else 1.0)
    return _result(problem, variables, found, upward)


def _result(
    problem: Problem, variables: Variables, found: Found, maximise: bool
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
        start=problem.begin(values),
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
