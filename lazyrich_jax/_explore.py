r"""`explore`: a network's learning in a notebook, with sliders.

The view is the explorer's of the documentation (docs/explorer). Python computes.
"""

import pathlib
import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import _checks
from ._dynamics import ExactSolution
from ._exactness import anisotropy_text, exactness_tolerance, is_task
from ._init import (
    Aligned,
    LambdaBalanced,
    WideOrthogonal,
    balanced_network,
    wide_network,
)
from ._network import LinearNetwork
from ._task import Task

LARGEST = 16  # inputs or outputs: the view draws every entry of the tangent kernel
TIMES = 101
EARLY = 6.0  # e-foldings of time along an axis that is finer near zero
SCRIPTS = ("dom.js", "charts.js", "measures.js", "view.js", "controls.js", "widget.js")
START = {
    "width": "balanced",
    "start": "random",
    "lmda": 0.0,
    "scale": 0.1,
    "seed": 1,
    "inputScale": 0.1,
    "outputScale": 0.1,
    "weightDecay": 0.0,
    "early": False,
}


def explore(task: Task) -> Any:
    r"""The exact learning of a task in a Jupyter notebook, with sliders.

    The widget shows the loss, the function, its modes, both representations and the
    tangent kernel on unit inputs at any time, for $\lambda$-balanced networks and the
    limit of wide ones. Its sliders set the balance, the scale, the number of hidden
    units, weight decay and the time. Python computes every course by `ExactSolution`.
    Double precision (`jax_enable_x64`) is recommended.

    **Arguments:**

    - `task`: a task with isotropic inputs, at most 16 of them, and at most 16 outputs.

    **Returns:** a widget. Its trait `state` has the settings.

    **Raises:** `ImportError` without the package anywidget, which `pip install
    "lazyrich_jax[jupyter]"` installs; `TypeError` for another type than a task;
    `ValueError` for other inputs and more inputs or outputs.

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.from_correlation(jnp.array([[2.0, 0.5], [0.0, 1.0]]))
    lr.explore(task)  # the last line of a cell shows it
    ```
    """
    is_task("task", task)
    _checks.require(
        max(task.in_size, task.out_size) <= LARGEST,
        f"`task` must have at most {LARGEST} inputs and outputs, but it had "
        f"{task.in_size} and {task.out_size}.",
    )
    _checks.require(
        bool(task.anisotropy <= exactness_tolerance(task.x.dtype)),
        "`task` must have isotropic inputs, as `task.whitened()` has, but it had not: "
        f"{anisotropy_text(task)}",
    )
    return _widget(_Courses(task))


class _Courses:
    """The courses of learning of one task."""

    def __init__(self, task: Task):
        self.task = task
        target = task.input_output_correlation / task.input_variance
        left, strengths, right = np.linalg.svd(np.asarray(target, np.float64))
        self.constant = {
            "inputs": task.in_size,
            "outputs": task.out_size,
            "target": np.asarray(target, np.float64).tolist(),
            "left": left.tolist(),
            "strengths": strengths.tolist(),
            "right": right.T.tolist(),
        }
        # The weakest mode is learned from the default scale by then.
        slowest = float(task.input_variance) * max(strengths.min(), strengths.max() / 8)
        hidden = min(task.in_size, task.out_size, 8)
        duration = float(f"{10 / slowest:.2g}") if slowest > 0 else 10.0
        duration = min(max(duration, 0.1), 1000.0)
        self.start = START | {"hidden": hidden, "duration": duration}

    def allowed(self, state: dict) -> dict:
        """The settings, with a balance that the sizes allow."""
        state = self.start | state
        if state["width"] == "wide" and state["start"] == "aligned":
            state["start"] = "random"
        if state["hidden"] > self.task.out_size:
            state["lmda"] = min(state["lmda"], 0.0)
        if state["hidden"] > self.task.in_size:
            state["lmda"] = max(state["lmda"], 0.0)
        return state

    def __call__(self, state: dict) -> dict:
        """What the view shows of the settings."""
        state = self.allowed(state)
        part = np.linspace(0, 1, TIMES)
        if state["early"]:
            part = np.expm1(EARLY * part) / np.expm1(EARLY)
        ts = state["duration"] * part
        numbers = ("lmda", "scale", "inputScale", "outputScale", "weightDecay")
        dtype = self.task.x.dtype
        loss, qqt = _course(
            self.task,
            jnp.asarray(ts, dtype),
            jax.random.key(state["seed"]),
            {name: jnp.asarray(state[name], dtype) for name in numbers},
            state["width"],
            state["start"],
            state["hidden"],
            state["weightDecay"] > 0,
        )
        found = {"ts": ts.tolist(), "state": state, **self.constant}
        for name, values in (("loss", loss), ("qqt", qqt)):
            found[name] = np.asarray(values, np.float64).tobytes()
        return found


@eqx.filter_jit
def _course(
    task: Task,
    ts: Float[Array, " times"],
    key: Array,
    numbers: dict[str, Array],
    width: str,
    start: str,
    hidden: int,
    decays: bool,
) -> tuple[Float[Array, " times"], Float[Array, "times n n"]]:
    network = _network(task, key, numbers, width, start, hidden)
    decay = numbers["weightDecay"] if decays else 0.0
    solution = ExactSolution(
        network, task, start=width, weight_decay=decay, throw=False
    )
    return solution.loss(ts), solution.qqt(ts)


def _network(
    task: Task,
    key: Array,
    numbers: dict[str, Array],
    width: str,
    start: str,
    hidden: int,
) -> LinearNetwork:
    n_in, n_out = task.in_size, task.out_size
    learned = task.input_output_correlation / task.input_variance
    lmda, scale = numbers["lmda"], numbers["scale"]
    if width == "wide":
        scales = numbers["inputScale"], numbers["outputScale"]
        if start == "reversed":
            return wide_network(-learned, *scales)
        return WideOrthogonal(*scales)(n_in, n_in + n_out, n_out, key=key)
    if start == "reversed":
        return balanced_network(-learned, lmda, hidden)
    if start == "aligned":
        draw = Aligned(task, lmda, scale, strengths=1.0)
    else:
        draw = LambdaBalanced(lmda, scale)
    return draw(n_in, hidden, n_out, key=key)


def _widget(courses: _Courses) -> Any:
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise ImportError(
            "`explore` needs the package anywidget, but it is not installed: use "
            '`pip install "lazyrich_jax[jupyter]"`.'
        ) from error

    class Explorer(anywidget.AnyWidget):
        _esm = script()
        _css = (_folder() / "style.css").read_text("utf-8")
        state = traitlets.Dict().tag(sync=True)
        course = traitlets.Dict().tag(sync=True)

        @traitlets.observe("state")
        def _compute(self, change: Any) -> None:
            self.course = courses(change.new)

    return Explorer(state=courses.start)


def script() -> str:
    """The modules of the view as one, which notebooks load."""
    text = "".join((_folder() / name).read_text("utf-8") for name in SCRIPTS)
    text = re.sub(r"^import .*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^export (?!default)", "", text, flags=re.MULTILINE)


def _folder() -> pathlib.Path:
    """The view's files: within an installed package, or in the repository."""
    installed = pathlib.Path(__file__).with_name("_explorer")
    if installed.is_dir():
        return installed
    return pathlib.Path(__file__).parents[1] / "docs" / "explorer"
