"""The benchmark's problems: many networks learning at many times."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._dynamics import ExactSolution
from .._init import LambdaBalanced
from .._network import LinearNetwork
from .._task import Task

SCALE = 0.5  # scale of the initial weights
LAST = 10.0  # last time; most modes are learned by then


class Problem(NamedTuple):
    """Networks of one size, each with its own task or all with one, and times."""

    w1: Float[Array, "batch hidden in"]
    w2: Float[Array, "batch out hidden"]
    sigma: Float[Array, "batch out in"] | Float[Array, "out in"]
    lmda: float
    ts: Float[Array, " times"]

    @property
    def evaluations(self) -> int:
        """The number of pairs (network, time)."""
        return self.w1.shape[0] * self.ts.size

    def first(self, batch: int) -> "Problem":
        """The problem with only the first `batch` networks."""
        sigma = self.sigma if self.sigma.ndim == 2 else self.sigma[:batch]
        return self._replace(w1=self.w1[:batch], w2=self.w2[:batch], sigma=sigma)

    def rounded(self, dtype: str) -> "Problem":
        """The problem in another precision."""
        w1, w2, sigma, ts = (
            x.astype(dtype) for x in (self.w1, self.w2, self.sigma, self.ts)
        )
        return Problem(w1, w2, sigma, self.lmda, ts)

    def with_one_task(self) -> "Problem":
        """The problem with the first network's task for all networks."""
        return self._replace(sigma=self.sigma[0])


def problem(
    sizes: tuple[int, int, int],
    batch: int,
    times: int,
    lmda: float = 1.0,
) -> Problem:
    """A problem of random tasks and balanced starts."""
    n_in, hidden, n_out = sizes

    @jax.jit
    @jax.vmap
    def draw(key):
        one, two = jax.random.split(key)
        task = Task.random_regression(n_in, n_out, 4 * max(n_in, n_out), key=one)
        network = LambdaBalanced(lmda, SCALE)(n_in, hidden, n_out, key=two)
        return (*network.weights, task.input_output_correlation)

    w1, w2, sigma = draw(jax.random.split(jax.random.key(0), batch))
    ts = jnp.asarray(np.linspace(LAST / times, LAST, times))
    return Problem(w1, w2, sigma, lmda, ts)


def solution(w1: Array, w2: Array, sigma: Array) -> ExactSolution:
    """The exact solution of one network, as measured."""
    task = Task.from_correlation(sigma)
    return ExactSolution(LinearNetwork((w1, w2)), task, throw=False)
