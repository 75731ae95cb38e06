"""The balanced starts of a design, and which balances its constraints allow."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from .._feasible import feasible_lmda
from .._init import balanced_network
from .._linalg import dot, safe_hypot
from .._network import LinearNetwork
from .._task import Task
from .implicit import with_derivative

_BELOW = 1 - 1e-6  # of a bound that must not be reached


class BalancedStart(eqx.Module):
    """Balanced networks with the function of a network, or with parts of it changed.

    With `norm`, the scale is the one at which the squares of all weights add up to it.
    """

    network: LinearNetwork
    norm: Float[Array, ""] | None
    u: Float[Array, "out modes"]
    s: Float[Array, " modes"]
    v: Float[Array, "in modes"]

    def __init__(self, network: LinearNetwork, norm: Array | None):
        _checks.require(
            network.depth == 2,
            f"`start` must have two layers, but it had {network.depth}.",
        )
        self.network = network
        dtype = network.weights[0].dtype
        self.norm = None if norm is None else norm.astype(dtype)
        k = min(network.sizes)
        u, s, vt = jnp.linalg.svd(network.function, full_matrices=False)
        self.u, self.s, self.v = u[:, :k], s[:k], vt[:k].mT

    def __call__(
        self,
        *,
        lmda: Float[Array, ""] | None = None,
        scale: Float[Array, ""] | None = None,
        strengths: Float[Array, "..."] | None = None,
    ) -> LinearNetwork:
        """The start; without any argument and norm the network itself."""
        if lmda is None and scale is None and strengths is None and self.norm is None:
            return self.network
        lmda = self.network.lmda if lmda is None else lmda
        a = self.s if strengths is None else jnp.broadcast_to(strengths, self.s.shape)
        if self.norm is not None:
            square = squared_scale(self.norm, a, lmda, self.network.sizes[1])
        else:
            square = jnp.ones_like(lmda) if scale is None else scale**2
        function = dot(self.u * (square * a)[None], self.v.mT)
        size = self.network.sizes[1]
        return balanced_network(function, lmda, size, throw=False)

    def largest_balance(self) -> float:
        """The size of the balance at which `norm` leaves nothing for the function."""
        if self.norm is None:
            return np.inf
        return _BELOW * float(self.norm) / self.network.sizes[1]

    def check_balances(self, name: str, *lmda: float) -> None:
        """Refuse balances that the sizes don't allow."""
        for one in lmda:
            try:
                feasible_lmda(jnp.asarray(one), self.network.sizes)
            except ValueError as error:
                raise ValueError(str(error).replace("`lmda`", f"`{name}`")) from None


def squared_scale(
    norm: Float[Array, ""], a: Float[Array, " modes"], lmda: Float[Array, ""], size: int
) -> Float[Array, ""]:
    r"""The factor of strengths `a` at which all squared weights add up to `norm`.

    They are $\sum_i \sqrt{\lambda^2 + 4x^2a_i^2}$ for the factor x, and $|\lambda|$ for
    each unit without a mode.
    """

    def excess(x, norm, a, lmda):
        """The squares less the norm, and their slope by x."""
        rates = safe_hypot(lmda, 2 * x * a)
        rest = (size - a.size) * jnp.abs(lmda)
        return jnp.sum(rates) + rest - norm, jnp.sum(4 * a**2 * x / rates)

    fixed = jax.lax.stop_gradient((norm, a, lmda))

    def newton(_, x):  # a convex function falls to its root
        value, slope = excess(x, *fixed)
        return jnp.maximum(x - value / slope, x / 4)

    first = fixed[0] / (2 * jnp.sum(fixed[1]))
    root = jax.lax.fori_loop(0, 60, newton, first)
    possible = norm > size * jnp.abs(lmda)
    root = with_derivative(root, *excess(root, norm, a, lmda))
    return jnp.where(possible, root, jnp.nan)


def largest_stable_balance(learning_rate: float, tasks: tuple[Task, ...]) -> float:
    r"""The $|\lambda|$ up to which descent is stable where each task is learned.

    It inverts `lazyrich_jax.theory.largest_stable_step`.

    **Raises:** `ValueError` if no balance is stable.
    """
    bounds = []
    for task in tasks:
        c = float(task.input_variance)
        s = np.linalg.norm(np.asarray(task.input_output_correlation), 2)
        most = 1 / float(s)
        _checks.require(
            learning_rate < most,
            f"`learning_rate` must be below {most:.6g}, above which descent is not "
            f"stable at any balance, but it was {learning_rate:.6g}.",
        )
        bounds.append(2 / c * np.sqrt(1 / learning_rate**2 - s**2))
    return _BELOW * float(min(bounds))
