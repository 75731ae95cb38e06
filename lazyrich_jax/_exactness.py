"""Conditions of closed forms: fitting sizes, balanced weights, isotropic inputs.

In: networks and tasks. Out: refusals, whether a condition holds up to rounding, and
sentences that say how far it is from it. docs/laws.md has the conditions of each law.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from . import _checks, _dtypes
from ._linalg import dot, norm, safe_hypot, square_norm
from ._network import LinearNetwork
from ._task import Task
from ._xla import compiled


def exactness_tolerance(dtype: jnp.dtype) -> float:
    """The relative imbalance and anisotropy that count as rounding."""
    return float(jnp.finfo(dtype).eps) ** 0.5


def is_task(name: str, task: Task) -> None:
    """Refuse another type than `Task`, and a batch."""
    hint = "build one with `Task(x, y)` or `Task.from_correlation(sigma)`"
    _checks.instance(name, task, Task, hint)


def is_network(name: str, network: LinearNetwork, *, batched: bool = False) -> None:
    """Refuse another type than `LinearNetwork`, and, unless `batched`, a batch."""
    hint = "draw one: `LambdaBalanced(lmda)(in_size, hidden_size, out_size, key=key)`"
    _checks.instance(name, network, LinearNetwork, hint, batched=batched)


def are_network_and_task(
    network: LinearNetwork, task: Task, name: str = "network"
) -> None:
    """Refuse other types, batches, and a network and a task in each other's place."""
    _checks.not_swapped(**{name: (network, LinearNetwork), "task": (task, Task)})
    is_network(name, network)
    is_task("task", task)


def check_fit(network: LinearNetwork, task: Task, name: str = "network") -> None:
    """Refuse other types, and a network without the task's input and output sizes."""
    are_network_and_task(network, task, name)
    sizes = network.sizes
    _checks.require(
        (sizes[0], sizes[-1]) == (task.in_size, task.out_size),
        f"`{name}` must have the task's {task.in_size} inputs and {task.out_size} "
        f"outputs, but its sizes were {_checks.sizes_text(sizes)}.",
    )


def check_two_layers(network: LinearNetwork, name: str = "network") -> None:
    """Refuse a network without exactly two layers."""
    _checks.require(
        network.depth == 2,
        f"`{name}` must have two layers, but it had {network.depth}.",
    )


def is_balanced(
    network: LinearNetwork,
    variance: Float[Array, ""],
    s: Float[Array, " modes"],
    tolerance: float,
) -> Bool[Array, ""]:
    """Whether closed forms are exact for a network, up to rounding.

    `variance` is the inputs' variance, `s` the singular values of the correlation of
    inputs and targets.
    """
    most = tolerated_imbalance(network, variance, s, network.lmda, tolerance)
    return network.balance_residual <= most


@functools.partial(compiled, static_argnums=4)
def tolerated_imbalance(
    network: LinearNetwork,
    variance: Float[Array, ""],
    s: Float[Array, " modes"],
    lmda: Float[Array, "*balances"],
    tolerance: float,
) -> Float[Array, ""]:
    r"""The largest allowed $|W_2^\top W_2 - W_1 W_1^\top - \lambda I|$.

    An imbalance changes every mode, relative to the mode, by about the imbalance over
    the mode's rate. It must therefore be small against the slowest rate, not only
    against the weights, which may belong to other modes. The rounding of large weights
    is allowed.
    """
    square = sum(square_norm(w) for w in network.weights)
    # A rate over the inputs' variance has the units of a squared weight.
    rates = safe_hypot(s / variance, lmda / 2)
    noise = 4 * max(network.sizes) * jnp.finfo(s.dtype).eps * jnp.max(rates)
    slowest = jnp.min(jnp.where(rates > noise, rates, jnp.inf))
    by_rate = _PER_RATE * tolerance * (slowest + tolerance * square)
    return jnp.minimum(tolerance * square, by_rate)


_PER_RATE = 64  # allows relative changes of 1e-6 of each mode in double precision


def imbalance_text(network: LinearNetwork, task: Task) -> str:
    """A sentence on the imbalance of a network."""
    tolerance = exactness_tolerance(network.weights[0].dtype)
    finer, task = _dtypes.promoted(network=network, task=task)
    s = jnp.linalg.svd(task.input_output_correlation, compute_uv=False)
    most = tolerated_imbalance(finer, task.input_variance, s, finer.lmda, tolerance)
    square = sum(square_norm(w) for w in finer.weights)
    residual = _checks.number(finer.balance_residual / square, ".3g")
    return (
        f"|W2.T W2 - W1 W1.T - lambda I| / (|W1|^2 + |W2|^2) was {residual} at the "
        f"nearest lambda, {_checks.number(network.lmda, '.6g')}; at most "
        f"{_checks.number(most / square, '.3g')} is taken for rounding: "
        f"{tolerance:.2g}, and {_PER_RATE * tolerance:.2g} of the slowest rate."
    )


def may_be_wide(sizes: tuple[int, ...]) -> bool:
    """Whether there are enough hidden units: P has full rank in the wide class."""
    n_in, hidden, n_out = sizes
    return hidden >= n_in + n_out


class Scales(eqx.Module):
    """The scales of a network that is, or is nearly, in the wide class."""

    laziness: Float[Array, ""]  # the sum of both scales, with derivatives
    side: Float[Array, ""]  # output scale less input scale
    residual: Float[Array, ""]  # of the imbalance, in the norm of `balance_residual`


@compiled
def scales_of(network: LinearNetwork) -> Scales:
    r"""The scales of a network of `in + out` hidden units.

    In the class the imbalance $L = W_2^\top W_2 - W_1 W_1^\top$ has the output scale as
    an eigenvalue `out` times and minus the input scale `in` times. Both follow from the
    traces of L and of its square.
    """
    n_in, hidden, n_out = network.sizes
    w1, w2 = jax.lax.stop_gradient(network.weights)
    imbalance = dot(w2.mT, w2) - dot(w1, w1.mT)
    trace = jnp.trace(imbalance)
    square = (hidden * square_norm(imbalance) - trace**2) / (n_in * n_out)
    sum_of_scales = jnp.sqrt(jnp.maximum(square, 0.0))
    first = (n_out * sum_of_scales - trace) / hidden
    second = (n_in * sum_of_scales + trace) / hidden
    eye = jnp.eye(hidden, dtype=trace.dtype)
    apart = dot(imbalance + first * eye, imbalance - second * eye)
    is_zero = sum_of_scales == 0
    residual = norm(apart.ravel()) / jnp.where(is_zero, 1.0, sum_of_scales)
    # The square as a polynomial of the weights has all derivatives. Its value would
    # lose digits of small scales.
    w1, w2 = network.weights
    x, y, a = dot(w1.mT, w1), dot(w2, w2.mT), dot(w2, w1)
    of_square = jnp.sum(x * x) + jnp.sum(y * y) - 2 * jnp.sum(a * a)
    trace = jnp.trace(y) - jnp.trace(x)
    moving = (hidden * of_square - trace**2) / (n_in * n_out)
    moving += jax.lax.stop_gradient(square - moving)
    root = jnp.sqrt(jnp.where(is_zero, 1.0, moving))
    return Scales(jnp.where(is_zero, 0.0, root), second - first, residual)


def wide_text(network: LinearNetwork, task: Task) -> str:
    """A sentence on the distance from the wide class, of a network wide enough."""
    tolerance = exactness_tolerance(network.weights[0].dtype)
    finer, task = _dtypes.promoted(network=network, task=task)
    scales = scales_of(finer.compressed()[0])
    s = jnp.linalg.svd(task.input_output_correlation, compute_uv=False)
    most = tolerated_imbalance(
        finer, task.input_variance, s, scales.laziness, tolerance
    )
    square = sum(square_norm(w) for w in finer.weights)
    first = (scales.laziness - scales.side) / 2
    second = first + scales.side
    return (
        "The eigenvalues of W2.T W2 - W1 W1.T were off those of the wide class by "
        f"{_checks.number(scales.residual / square, '.3g')} of |W1|^2 + |W2|^2, at the "
        f"input scale {_checks.number(first, '.6g')} and the output scale "
        f"{_checks.number(second, '.6g')}; at most "
        f"{_checks.number(most / square, '.3g')} is taken for rounding. "
        "`dynamics=WideLimit()` approximates it, and estimates its own error; "
        "`NearlyExact()` does so to the next order."
    )


def near_hint(network: LinearNetwork, task: Task) -> str:
    """A sentence for nearly balanced networks and nearly isotropic inputs, or none."""
    square = sum(square_norm(w) for w in network.weights)
    if network.balance_residual > _NEAR * square or task.anisotropy > _NEAR:
        return ""
    return (
        " It is near, though: `dynamics=NearlyExact()` corrects the nearest exact "
        "solution to first order, and estimates its own error."
    )


_NEAR = 0.1  # relative imbalance and anisotropy whose square is small


@compiled
def largest_stable_rate(network: LinearNetwork, task: Task) -> Float[Array, ""]:
    r"""Two over the sharpness where gradient flow has learned the task, or more.

    Descent with a larger learning rate does not stay there. The sharpness is
    $\sqrt{(c l)^2 + 4s_1^2}$ for the laziness l of balanced and wide networks, and
    inputs of variance c. For any two layers it is at least $2s_1$, by the inequality of
    arithmetic and geometric means (if the inputs are not isotropic, of full rank).
    """
    s = jnp.linalg.svd(task.input_output_correlation, compute_uv=False)
    tolerance, variance = exactness_tolerance(s.dtype), task.input_variance
    exact = jnp.array(False)
    if may_be_wide(network.sizes):
        network = network.compressed()[0]
        scales = scales_of(network)
        most = tolerated_imbalance(network, variance, s, scales.laziness, tolerance)
        exact = scales.residual <= most
    exact |= is_balanced(network, variance, s, tolerance)
    isotropic = task.anisotropy <= tolerance
    laziness = network.effective_laziness * variance
    laziness = jnp.where(exact & isotropic, laziness, 0.0)
    known = isotropic | (network.sizes[1] >= min(task.in_size, task.out_size))
    return jnp.where(known, 2 / safe_hypot(laziness, 2 * s[0]), jnp.inf)


def refined(network: LinearNetwork, dtype: jnp.dtype) -> LinearNetwork:
    """A network in a wider `dtype`; a network balanced to its own rounding stays so.

    It becomes balanced to the rounding of `dtype`, by which learning in several stages
    judges the later stages.
    """
    own = network.weights[0].dtype
    finer = jax.tree.map(lambda w: w.astype(dtype), network)
    if dtype == own:
        return finer
    square = sum(square_norm(w) for w in finer.weights)
    balanced = finer.balance_residual <= 64 * float(jnp.finfo(own).eps) * square
    there = finer.rebalanced(jnp.where(balanced, finer.lmda, 0.0))
    return jax.tree.map(lambda x, y: jnp.where(balanced, x, y), there, finer)


def anisotropy_text(task: Task) -> str:
    """A sentence on the anisotropy of the inputs."""
    tolerance = exactness_tolerance(task.x.dtype)
    return (
        f"|Sxx - c I| / |c I| was {_checks.number(task.anisotropy, '.3g')} at the "
        f"nearest c, {_checks.number(task.input_variance, '.6g')}; at most "
        f"{tolerance:.2g} is taken for rounding."
    )
