"""One start learned by every law, and the differences between them."""

import jax
import numpy as np

from .._dynamics import Exact, GradientDescent, GradientFlow, NearlyExact
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import Trajectory
from ..kernels import ntk
from .record import Data, Difference, difference

LAWS = ("exact", "flow", "descent", "corrected")  # for the finite steps of descent
QUANTITIES = (
    "loss",
    "function",
    "input_representation",
    "output_representation",
    "ntk",
)


def run(
    network: LinearNetwork,
    task: Task,
    steps: np.ndarray,
    learning_rate: float,
) -> dict[str, np.ndarray]:
    """Every quantity by every law, time first, with names such as `exact/loss`."""
    ts = steps * learning_rate
    laws = (
        Exact(),
        GradientFlow(),
        GradientDescent(learning_rate),
        NearlyExact(learning_rate=learning_rate),
    )
    out = {}
    for law, dynamics in zip(LAWS, laws, strict=True):
        values = _values(learn(network, task, ts, dynamics=dynamics), task)
        out.update({f"{law}/{name}": value for name, value in values.items()})
    return out


def steps_to(last: int, count: int = 200) -> np.ndarray:
    """Step 0 and about `count` logarithmically spaced steps up to `last`."""
    return np.unique(np.r_[0, np.geomspace(1, last, count).round()]).astype(int)


def differences(
    start: str, data: Data, prefix: str = "", *, flow: float, descent: float
) -> list[Difference]:
    """Differences of the exact solution from each simulation, with their bounds."""

    def off(law: str, against: str, name: str) -> float:
        return difference(*(data[f"{prefix}{x}/{name}"] for x in (law, against)))

    found = []
    for against, bound in (("flow", flow), ("descent", descent)):
        for name in QUANTITIES:
            what, value = (
                f"{start}: {name.replace('_', ' ')}",
                off("exact", against, name),
            )
            corrected = (
                off("corrected", against, name) if against == "descent" else None
            )
            found.append(Difference(what, against, value, bound, corrected))
    return found


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
