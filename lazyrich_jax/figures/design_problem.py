"""What the panels of designs share: a task, starts, and a comparison with a sweep.

In: `Settings`. Out: the task, functions and balanced starts of the figure `design`, and
how much worse a design is than the best point of a sweep.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._init import balanced_network
from .._network import LinearNetwork
from .._task import Task
from .record import Difference


class Settings(NamedTuple):
    """All parameters of the figure."""

    strengths: tuple[float, ...] = (2.0, 0.5)
    start: tuple[float, ...] = (1.0, 0.5)
    angle: float = 0.8
    norm: float = 4.0
    deadlines: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0)
    small: float = 0.1
    targets: tuple[float, ...] = (0.02, 0.05, 0.08)
    largest: float = 10.0
    tasks: int = 3
    duration: float = 1.0
    observed: tuple[float, float] = (0.5, 0.3)  # the balance and the scale
    noise: float = 0.01
    last: float = 2.0
    points: int = 60
    seed: int = 1


def _bases(settings: Settings) -> tuple[Array, Array, Array]:
    """Singular vectors of the task, and the start's left ones."""
    key1, key2 = jax.random.split(jax.random.key(settings.seed))
    u, v = (jax.random.orthogonal(key, 2) for key in (key1, key2))
    c, s = np.cos(settings.angle), np.sin(settings.angle)
    return u, v, u @ jnp.array([[c, -s], [s, c]])


def task_of(settings: Settings) -> Task:
    """The task."""
    u, v, _ = _bases(settings)
    return Task.from_correlation((u * jnp.array(settings.strengths)[None]) @ v.T)


def function_of(settings: Settings, factor: float = 1.0) -> Float[Array, "out in"]:
    """The function of the starts, times a factor."""
    _, v, u = _bases(settings)
    return factor * (u * jnp.array(settings.start)[None]) @ v.T


@eqx.filter_jit
def balanced(
    function: Float[Array, "out in"], lmdas: Float[Array, " lmdas"]
) -> LinearNetwork:
    """The balanced networks of a function."""
    return jax.vmap(lambda x: balanced_network(function, x, throw=False))(lmdas)


def not_worse(what: str, best: np.ndarray, swept: np.ndarray) -> Difference:
    """By how much the best points of a sweep are better than the designs."""
    worse = float(np.max((best - swept) / np.abs(swept)))
    return Difference(f"{what}: excess of the design", "sweep", max(worse, 0.0), 1e-6)


def star(colour: str) -> dict:
    """How a design is drawn."""
    return {"color": colour, "mec": "k", "ms": 15, "clip_on": False, "zorder": 5}
