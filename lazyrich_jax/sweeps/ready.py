"""Ready functions of a point: measures of two-layer networks that learn a task."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes, measures
from .._dynamics import ExactSolution
from .._init import LambdaBalanced
from .._task import Task
from .grid import Grid
from .run import run
from .status import Refused

if TYPE_CHECKING:
    import xarray


class _Run:
    """One exact solution and its measures, which share intermediate results."""

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


def learning(
    task: Task,
    sizes: Sequence[int],
    ts: Real[ArrayLike, " times"],
    names: Sequence[str] = ("loss",),
    *,
    threshold: float = 1e-3,
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function for `run`: measures of exact learning from `LambdaBalanced` starts.

    It uses the coordinates `lmda` (default 0), `scale` (1), and `key` or an integer
    `seed` (0) of a point. If no network can have its `lmda` and `scale`, the point's
    status is `error`. The measures are computed in the wider precision of the point and
    the task.

    **Arguments:**

    - `task`: a task with isotropic inputs.
    - `sizes`: (in, hidden, out).
    - `ts`: times, (times,), in units of learning rate x step.
    - `names`: some of `loss`, `function` (at every time); `kernel_distance`, `richness`
      (of the NTK, from start to end); `input_change`, `output_change`,
      `input_specificity`, `output_specificity` (of the representations);
      `convergence_time` (within `ts`).
    - `threshold`: the fraction of the loss above its end that defines
      `convergence_time`.

    **Raises:** `ValueError` for unknown names and times that are negative or decrease.

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
    for name in names:
        _checks.require(
            name in MEASURES,
            f"`names` must be of {', '.join(MEASURES)}, but one was {name!r}.",
        )
    ts = _dtypes.as_real("ts", ts)
    fault = _checks.times_fault(np.asarray(ts), ordered=True, infinite=True)
    _checks.require(fault is None, str(fault))

    def of_point(point: dict[str, Any]) -> dict[str, Any]:
        key = point["key"] if "key" in point else jax.random.key(point.get("seed", 0))
        lmda, scale, _ = _dtypes.promoted(
            lmda=jnp.asarray(point.get("lmda", 0.0)),
            scale=jnp.asarray(point.get("scale", 1.0)),
            task=task,
        )
        start = LambdaBalanced(lmda, scale, throw=False)(*sizes, key=key)
        solution = ExactSolution(start, task, throw=False)
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
