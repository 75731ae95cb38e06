"""One start learned by the three laws, and how far they differ."""

from typing import NamedTuple

import jax
import numpy as np

from .._dynamics import Exact, GradientDescent, GradientFlow
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import Trajectory
from ..kernels import ntk

LAWS = ("exact", "flow", "descent")
QUANTITIES = (
    "loss",
    "function",
    "input_representation",
    "output_representation",
    "ntk",
)


class Run(NamedTuple):
    """What a network did under every law: `values[law][quantity]`, time first."""

    label: str
    steps: np.ndarray
    values: dict[str, dict[str, np.ndarray]]


def run(
    label: str,
    network: LinearNetwork,
    task: Task,
    steps: np.ndarray,
    learning_rate: float,
) -> Run:
    """Learn by the exact solution, by gradient flow and by gradient descent."""
    ts = steps * learning_rate
    laws = (Exact(), GradientFlow(), GradientDescent(learning_rate))
    return Run(
        label,
        steps,
        {
            name: _values(learn(network, task, ts, dynamics=law), task)
            for name, law in zip(LAWS, laws, strict=True)
        },
    )


def steps_to(last: int, count: int = 200) -> np.ndarray:
    """Step 0 and about `count` steps up to `last`, evenly in their logarithm."""
    return np.unique(np.r_[0, np.geomspace(1, last, count).round()]).astype(int)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest distance of `a` from `b` over time, by the largest norm of `b`."""
    flat_a, flat_b = (x.reshape(len(x), -1) for x in (a, b))
    distance = np.linalg.norm(flat_a - flat_b, axis=1)
    return float(distance.max() / np.linalg.norm(flat_b, axis=1).max())


def table(runs: list[Run]) -> str:
    """The largest relative difference of the exact solution, per run and quantity."""
    rows = [("start", "quantity", "exact vs flow", "exact vs descent")]
    for run in runs:
        exact = run.values["exact"]
        for name in QUANTITIES:
            flow, descent = (
                f"{difference(exact[name], run.values[law][name]):.1e}"
                for law in ("flow", "descent")
            )
            rows.append((run.label, name.replace("_", " "), flow, descent))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:]])


def arrays(runs: list[Run]) -> dict[str, np.ndarray]:
    """Everything that was computed, under names such as `0/exact/loss`."""
    out = {"labels": np.array([run.label for run in runs])}
    for i, run in enumerate(runs):
        out[f"{i}/steps"] = run.steps
        for law, values in run.values.items():
            for name, value in values.items():
                out[f"{i}/{law}/{name}"] = value
    return out


def _values(trajectory: Trajectory, task: Task) -> dict[str, np.ndarray]:
    kernels = jax.vmap(lambda network: ntk(network, task.x))(trajectory.network)
    values = {
        "loss": trajectory.loss,
        "function": trajectory.function,
        "input_representation": trajectory.input_representation,
        "output_representation": trajectory.output_representation,
        "ntk": kernels,
    }
    return {name: np.asarray(value) for name, value in values.items()}
