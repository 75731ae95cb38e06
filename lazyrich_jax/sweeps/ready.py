"""Ready functions of a point: measures of two-layer networks that learn a task."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes, measures
from .._dynamics import ExactSolution, LimitSolution
from .._exactness import is_task
from .._task import Task
from .grid import Grid
from .run import run
from .starts import KINDS, random_key, unused
from .status import Refused

if TYPE_CHECKING:
    import xarray


class _Run:
    """One solution and its measures, which share intermediate results."""

    def __init__(
        self, solution: ExactSolution, task: Task, ts: Array, threshold: float
    ):
        self.solution, self.task, self.ts = solution, task, ts
        self.threshold = threshold
        self.ends = jnp.array([0.0, jnp.inf], ts.dtype)

    @functools.cached_property
    def kernels(self):
        return self.solution.ntk(self.ends, self.task.x)

    @functools.cached_property
    def losses(self):
        return self.solution.loss(self.ts)

    @functools.cached_property
    def inputs(self):
        return self.solution.input_representation(self.ends)

    @functools.cached_property
    def outputs(self):
        return self.solution.output_representation(self.ends)

    def loss(self):
        return "time", self.losses

    def function(self):
        return ("time", "out", "in"), self.solution.function(self.ts)

    def kernel_distance(self):
        return measures.kernel_distance(*self.kernels)

    def richness(self):
        return measures.rich_lazy_index(*self.kernels)

    def input_change(self):
        return measures.representational_change(*self.inputs)

    def output_change(self):
        return measures.representational_change(*self.outputs)

    def input_specificity(self):
        sigma = self.task.input_output_correlation
        return measures.task_specificity(self.inputs[1], sigma)

    def output_specificity(self):
        sigma = self.task.input_output_correlation
        return measures.task_specificity(self.outputs[1], sigma.T)

    def convergence_time(self):
        first, last = self.solution.loss(self.ends)
        excess = self.losses - last
        limit = self.threshold * (first - last)
        return measures.convergence_time(self.ts, excess, limit)

    def error_estimate(self):
        solution = self.solution
        assert isinstance(solution, LimitSolution)
        return jnp.max(solution.error(self.ts.astype(self.losses.dtype)))


MEASURES = {
    "loss": "at every time",
    "function": "at every time",
    "kernel_distance": "of the NTK, from its start to its end",
    "richness": "the rich-lazy index of the NTK, from its start to its end",
    "input_change": "relative change of W1.T W1",
    "output_change": "relative change of W2 W2.T",
    "input_specificity": "task-specific score of W1.T W1 at the end",
    "output_specificity": "task-specific score of W2 W2.T at the end",
    "convergence_time": "time at which `threshold` of the loss above its end is left",
}
ESTIMATE = {
    "error_estimate": "largest estimated error of the function (an ODE per point)"
}


def measures_of(kind: str) -> dict[str, str]:
    """The names of the measures of a kind of starts, with their descriptions."""
    return {**MEASURES, **ESTIMATE} if KINDS[kind].estimates else MEASURES


def unknown_measure(names: Sequence[str], kind: str) -> str | None:
    """What the names of measures must be, if a kind does not have all of them.

    The text completes the message "`names` must be".
    """
    known = measures_of(kind)
    for name in names:
        if name not in list(known):
            is_exact = name in list(ESTIMATE)
            reason = f": kind {kind!r} is solved exactly" if is_exact else ""
            return f"some of {', '.join(known)}, but one was {name!r}{reason}."
    return None


def learning(
    task: Task,
    sizes: Sequence[int],
    ts: Real[ArrayLike, " times"],
    names: Sequence[str] = ("loss",),
    *,
    threshold: float = 1e-3,
    kind: str = "balanced",
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function for `run`: measures of learning from random two-layer starts.

    With `kind="balanced"` learning is exact, from starts of
    `lazyrich_jax.LambdaBalanced`. A point has the coordinates `lmda` (default 0) and
    `scale` (1).

    With `kind="gaussian"` the starts are real random networks: draws of
    `lazyrich_jax.Gaussian.compressed`, at a cost independent of the width. A point has
    the coordinates `width` (an integer; default: the hidden size), `input_variance`
    (1 / in) and `output_variance` (1 / width). Learning is approximate: it is the limit
    of infinite width for the drawn start, `lazyrich_jax.WideLimit`. Its error falls as
    the root of the width. The measure `error_estimate` tells it.

    Both kinds use a random key `key` or an integer `seed` (0). If no network can have a
    point's coordinates, the point's status is `error`. The measures are computed in the
    wider precision of the point and the task.

    **Arguments:**

    - `task`: a task with isotropic inputs.
    - `sizes`: (in, hidden, out).
    - `ts`: times, (times,), in units of learning rate x step.
    - `names`: some of `loss`, `function` (at every time); `kernel_distance`, `richness`
      (of the NTK, from start to end); `input_change`, `output_change`,
      `input_specificity`, `output_specificity` (of the representations);
      `convergence_time` (within `ts`); only with `kind="gaussian"` `error_estimate`,
      the largest over `ts` of the estimated error of the function (Frobenius norm). It
      costs an ODE per point and is computed only if it is named. Where the ODE takes
      too many steps it is NaN, and the point's status is `nan`.
    - `threshold`: the fraction of the loss above its end that defines
      `convergence_time`.
    - `kind`: `"balanced"` or `"gaussian"`.

    **Raises:** `ValueError` for unknown names and kinds, for sizes that don't fit the
    task, and for times that are negative or decrease; when the function is called,
    before any computation of a sweep, for coordinates that the kind does not use, both
    `key` and `seed`, and widths that aren't integers.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(2)
    fn = lr.sweeps.learning(task, (4, 4, 4), jnp.linspace(0, 50, 20), ["richness"])
    grid = lr.sweeps.Grid(lmda=jnp.array([-10.0, 0.0, 10.0]), seed=jnp.arange(4))
    print(lr.sweeps.run(fn, grid, progress=False).richness.mean("seed").values)
    ```
    """
    is_task("task", task)
    _checks.require(
        kind in list(KINDS),
        f"`kind` must be one of {', '.join(KINDS)}, but it was {kind!r}.",
    )
    _checks.require(
        not isinstance(names, str),
        f"`names` must be a list of names, such as [{names!r}], but it was {names!r}.",
    )
    must = unknown_measure(names, kind)
    _checks.require(must is None, f"`names` must be {must}")
    _checks.require(
        len(sizes) == 3,
        f"`sizes` must be three, (in, hidden, out), but they were {tuple(sizes)}.",
    )
    n_in, hidden, n_out = (_checks.size(f"sizes[{i}]", n) for i, n in enumerate(sizes))
    _checks.require(
        (n_in, n_out) == (task.in_size, task.out_size),
        f"`sizes` must have the task's {task.in_size} inputs and {task.out_size} "
        f"outputs, but they were {tuple(sizes)}.",
    )
    ts = _dtypes.as_real("ts", ts)
    fault = _checks.times_fault(np.asarray(ts), ordered=True, infinite=True)
    _checks.require(fault is None, str(fault))

    def of_point(point: dict[str, Any]) -> dict[str, Any]:
        for name in point:
            must = unused(name, kind, ("key", "seed"))
            _checks.require(must is None, f"`{name}` must be {must}")
        start, solution = KINDS[kind].solve(
            point, (n_in, hidden, n_out), task, random_key(point)
        )
        one = _Run(solution, task, ts, threshold)
        values = {name: getattr(one, name)() for name in names}
        refused = Refused(~jnp.all(jnp.isfinite(start.qqt)))
        return {**values, "result": solution.result, "start": refused}

    return of_point


def phase_diagram(
    task: Task,
    sizes: Sequence[int],
    ts: Real[ArrayLike, " times"],
    *,
    lmda: Float[ArrayLike, " lmdas"],
    scale: Float[ArrayLike, " scales"],
    key: Array,
    **options: Any,
) -> "xarray.Dataset":
    """Richness, kernel distance and convergence time over balance and scale.

    **Arguments:** as `learning`; the axes `lmda` and `scale`; random keys `key`, an
    axis too; `options` of `run`.

    **Returns:** a dataset with the dimensions lmda, scale and key.
    """
    names = ("richness", "kernel_distance", "convergence_time")
    grid = Grid(lmda=lmda, scale=scale, key=key)
    return run(learning(task, sizes, ts, names), grid, **options)
