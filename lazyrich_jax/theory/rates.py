r"""Rates of convergence, and the time scale of delayed rich learning.

They are for two layers and isotropic inputs, $\Sigma_{xx} = cI$.
"""

import functools

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._linalg import safe_hypot
from .._task import Task
from .._xla import compiled
from .assumptions import feasible_balance, is_task, isotropic_variance


def convergence_rates(
    task: Task, lmda: Real[ArrayLike, ""], hidden_size: int
) -> Float[Array, " modes"]:
    r"""The rates at which the learned modes approach their limits.

    The deviation of $QQ^\top$ from its limit falls as $e^{-rt}$ along mode i with
    $r_i = \kappa_i + \min(|w_1|, \dots, |w_h|, -w_{h+1})$. Here $w$ are the
    eigenvalues of F in falling order, and $h$ is the number of hidden units, which take
    the first h. The learned modes have $\kappa = \sqrt{s^2 + (c\lambda)^2/4}$. The
    slowest mode of a square network has the rate
    $2\kappa = \sqrt{(c\lambda)^2 + 4s^2}$. If $\lambda$ favours a layer wider than
    `hidden`, the slow rate is $\kappa - c|\lambda|/2$ (the delayed-rich regime). In a
    bottleneck it is $\kappa_i - \kappa_{h+1}$. The rates follow from the closed form of
    `ExactSolution`. The loss falls twice as fast near its end.

    **Arguments:** `task` with isotropic inputs; `lmda` and `hidden_size` of the
    network.

    **Returns:** the rates in units of 1 / (learning rate x step), in the order of the
    singular values, (min(hidden, in, out),). Zero means algebraic convergence, or a
    zero singular value. Directions that learn nothing may take longer: at `lmda = 0`
    the weights of surplus hidden units decay as 1/t.

    **Raises:** `ValueError` for sizes that don't allow the sign of `lmda` and
    anisotropic inputs (traced: NaN).
    """
    return _rates(*_arguments(task, lmda, hidden_size))


@functools.partial(compiled, static_argnames="sizes")
def _rates(
    sigma: Float[Array, "out in"], half: Float[Array, ""], sizes: tuple[int, int, int]
) -> Float[Array, " modes"]:
    kappa, s = _spectrum(sigma, half)
    n_in, hidden, n_out = sizes
    surplus = abs(n_out - n_in)
    side = half if n_out > n_in else -half
    zeros = jnp.zeros(surplus, s.dtype)
    rates = jnp.concatenate([kappa, side + zeros, -kappa])
    strengths = jnp.concatenate([s, zeros, s])
    order = jnp.argsort(-rates)
    rates, strengths = rates[order], strengths[order]
    learned, s = kappa[: min(sizes)], s[: min(sizes)]
    slowest = learned + jnp.min(jnp.abs(rates[:hidden]))
    if hidden >= rates.size:
        return slowest
    # Division gives the gap of rates: subtraction loses its digits for large lmda.
    lost, total = rates[hidden], learned + rates[hidden]
    growing = (lost > 0) & (total > 0)
    squares = (s - strengths[hidden]) * (s + strengths[hidden])
    gap = jnp.where(growing, squares / jnp.where(growing, total, 1.0), learned - lost)
    return jnp.minimum(slowest, gap)


def delayed_rich_time(
    task: Task, lmda: Real[ArrayLike, ""], hidden_size: int
) -> Float[Array, " modes"]:
    r"""The time scale $1 / (\kappa - c|\lambda|/2)$ of delayed rich learning.

    If $\lambda$ favours a layer wider than `hidden` (`lmda > 0` and `hidden < out`,
    or `lmda < 0` and `hidden < in`), the large layer spans only `hidden` of its
    directions. A lazy phase of duration $1/c|\lambda|$ fits the targets within these
    directions. Over the delayed-rich time, $\approx c|\lambda| / s^2$, the directions
    turn to the task (funnel networks of Domine et al. 2025).

    **Arguments:** as for `convergence_rates`.

    **Returns:** the times in units of learning rate x step, in the order of the
    singular values, (min(hidden, in, out),); zero if nothing is delayed, infinite for a
    zero singular value.

    **Raises:** `ValueError` for sizes that don't allow the sign of `lmda` and
    anisotropic inputs (traced: NaN).
    """
    return _delay(*_arguments(task, lmda, hidden_size))


@functools.partial(compiled, static_argnames="sizes")
def _delay(
    sigma: Float[Array, "out in"], half: Float[Array, ""], sizes: tuple[int, int, int]
) -> Float[Array, " modes"]:
    kappa, s = _spectrum(sigma, half)
    n_in, hidden, n_out = sizes
    delayed = ((half > 0) & (hidden < n_out)) | ((half < 0) & (hidden < n_in))
    k = min(sizes)
    # Division gives kappa - |half|: subtraction loses its digits for large lmda.
    total = kappa[:k] + jnp.abs(half)
    rate = s[:k] ** 2 / jnp.where(total > 0, total, 1.0)
    time = jnp.where(rate > 0, 1 / jnp.where(rate > 0, rate, 1.0), jnp.inf)
    return jnp.where(delayed, time, 0 * half)


def _arguments(
    task: Task, lmda: Real[ArrayLike, ""], hidden_size: int
) -> tuple[Float[Array, "out in"], Float[Array, ""], tuple[int, int, int]]:
    """The correlation, c lmda / 2 and the sizes (in, hidden, out)."""
    is_task("task", task)
    finer, balance = _dtypes.promoted(task=task, lmda=_checks.as_scalar("lmda", lmda))
    variance = isotropic_variance(task, balance.dtype)
    sigma = finer.input_output_correlation
    balance, sizes = feasible_balance(balance, hidden_size, sigma.shape)
    return sigma, variance * balance / 2, sizes


def _spectrum(
    sigma: Float[Array, "out in"], half: Float[Array, ""]
) -> tuple[Float[Array, " modes"], Float[Array, " modes"]]:
    """The positive eigenvalues of F and the singular values."""
    s = jnp.linalg.svd(sigma, compute_uv=False)
    return safe_hypot(s, half), s
