"""One start learned by the three laws, and the differences between them."""

import jax
import numpy as np

from .._dynamics import Exact, GradientDescent, GradientFlow
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import Trajectory
from ..kernels import ntk
from .record import Data, Difference, difference

LAWS = ("exact", "flow", "descent")
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
    laws = (Exact(), GradientFlow(), GradientDescent(learning_rate))
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
    found = []
    for against, bound in (("flow", flow), ("descent", descent)):
        for name in QUANTITIES:
            exact, other = (data[f"{prefix}{law}/{name}"] for law in ("exact", against))
            what = f"{start}: {name.replace('_', ' ')}"
            found.append(Difference(what, against, difference(exact, other), bound))
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
