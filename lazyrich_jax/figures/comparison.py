"""The laws that figures compare: one start learned by all, and their differences."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .._dynamics import (
    AbstractDynamics,
    Exact,
    GradientDescent,
    GradientFlow,
    NearlyExact,
)
from .._learn import learn
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import RESULTS, Trajectory
from ..kernels import ntk
from .record import Data, Difference, against_descent, difference

COMPARED = ("exact", "descent", "corrected")  # for the finite steps of descent
LAWS = ("flow", *COMPARED)
QUANTITIES = (
    "loss",
    "function",
    "input_representation",
    "output_representation",
    "ntk",
)


class Corrected(AbstractDynamics):
    """The exact solution corrected for descent's finite steps; NaN where it is refused.

    It is refused off the class, and where its own estimate of the error is above 1%.
    """

    law: NearlyExact

    def __init__(self, learning_rate: Real[ArrayLike, ""]):
        self.law = NearlyExact(learning_rate=learning_rate)

    def check(self, network: LinearNetwork, task: Task, ts: Array) -> None:
        """Refuse faults that can be seen before any computation."""
        if network.depth == 2:
            self.law.check(network, task, ts)

    def run(
        self, network: LinearNetwork, task: Task, ts: Float[Array, " times"]
    ) -> Trajectory:
        """The trajectory."""
        if network.depth != 2:
            nothing = jax.tree.map(
                lambda w: jnp.full((ts.size, *w.shape), jnp.nan, w.dtype), network
            )
            return Trajectory(ts, ts * jnp.nan, nothing, RESULTS.successful)
        found = self.law.run(network, task, ts)
        mark = jnp.where(found.result == RESULTS.successful, 0.0, jnp.nan)
        loss, network = jax.tree.map(lambda x: x + mark, (found.loss, found.network))
        return Trajectory(found.ts, loss, network, RESULTS.successful)


def descents(learning_rate: Real[ArrayLike, ""]) -> dict[str, AbstractDynamics]:
    """Gradient descent, and theory for its finite steps, by their names in `COMPARED`.

    A figure computes the same quantities by both: `against_descent` compares them.
    """
    return {
        "descent": GradientDescent(learning_rate),
        "corrected": Corrected(learning_rate),
    }


def run(
    network: LinearNetwork,
    task: Task,
    steps: np.ndarray,
    learning_rate: float,
) -> dict[str, np.ndarray]:
    """Every quantity by every law, time first, with names such as `exact/loss`."""
    ts = steps * learning_rate
    laws = {"exact": Exact(), "flow": GradientFlow(), **descents(learning_rate)}
    out = {}
    for law, dynamics in laws.items():
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

    names = {f"{start}: {name.replace('_', ' ')}": name for name in QUANTITIES}

    def by(name: str, *laws: str) -> list[np.ndarray]:
        return [data[f"{prefix}{law}/{name}"] for law in laws]

    return [
        Difference(what, "flow", difference(*by(name, "exact", "flow")), flow)
        for what, name in names.items()
    ] + [
        against_descent(what, *by(name, *COMPARED), bound=descent)
        for what, name in names.items()
    ]


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
