"""Inputs that are not isotropic but share the singular vectors of the task."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._alignment import misalignment, shared_basis
from .._exactness import check_fit, check_two_layers, exactness_tolerance
from .._linalg import dot, norm
from .._network import LinearNetwork
from .._task import Task
from .reduction import Reduction, only_if, unit, without_rounding


def commuting_inputs(network: LinearNetwork, task: Task) -> Reduction:
    r"""An aligned network on inputs whose covariance shares the task's vectors.

    With $\Sigma = USV^\top$ and $\Sigma_{xx} = VDV^\top$, a mode of an aligned network
    obeys $\dot w_1 = w_2(s - d\,w_2w_1)$, $\dot w_2 = (s - d\,w_2w_1)w_1$ (Saxe et al.
    2014). The network with $\sqrt d\,w_1$ and $\sqrt d\,w_2$ in every mode learns
    $\Sigma$ from white inputs, in the same time. The weights may have any balances.

    **Arguments:**

    - `network`: two layers, its function and both representations diagonal in U, V.
      `lazyrich_jax.Aligned` draws such networks.
    - `task`: a task with $\Sigma^\top\Sigma$ and $\Sigma_{xx}$ that commute.

    **Returns:** a `Reduction`. Times are learning rate x step.

    **Raises:** `ValueError` for another depth, sizes that don't fit, and a network or
    inputs that don't share the task's singular vectors (traced: NaN).
    """
    check_fit(network, task)
    check_two_layers(network)
    tolerance = max(exactness_tolerance(x.dtype) for x in (network.weights[0], task.x))
    own = network.weights[0].dtype
    eps = _dtypes.rounding(network=network, task=task)
    network, task = _dtypes.promoted(network=network, task=task)
    sxx = task.input_correlation
    mean = task.y / task.samples, task.x
    sigma = without_rounding(task.input_output_correlation, eps, *mean)
    function = without_rounding(network.function, eps, *network.weights)
    # Modes that one of these repeats are told apart by the others.
    mixed = (
        unit(sigma) + 0.5432 * unit(dot(sigma, sxx)) + 0.4219 * unit(dot(function, sxx))
    )
    basis = shared_basis(network, mixed)
    left, right = basis
    k = min(sigma.shape)
    core = dot(right.mT, sxx, right)
    variances = jnp.diagonal(core)[:k]
    # Inputs beyond the modes are not learned; they may have any covariance.
    between = core.at[k:, k:].set(0.0) - jnp.diag(
        jnp.pad(variances, (0, core.shape[0] - k))
    )
    fault = norm(between.ravel()) / norm(core.ravel())
    square = sum(jnp.sum(w * w) for w in network.weights)
    total = jnp.maximum(square, jnp.linalg.norm(sigma))
    off = misalignment(network, sigma, basis) / jnp.where(total > 0, total, 1.0)
    least = jnp.min(variances) / jnp.max(jnp.diagonal(core))
    found = jax.lax.stop_gradient((fault, off, least))
    network = only_if(
        (found[0] <= tolerance) & (found[1] <= tolerance) & (found[2] > tolerance),
        lambda: (
            "`network` and `task` must share singular vectors (function, "
            "representations and inputs diagonal in those of the task, with inputs in "
            "every mode), but entries between modes were "
            f"{_checks.number(found[0], '.3g')} of the inputs' covariance and "
            f"{_checks.number(found[1], '.3g')} of the weights and the task, and the "
            f"least variance of a mode was {_checks.number(found[2], '.3g')} of the "
            "largest: use `lazyrich_jax.learn` with `dynamics=GradientFlow()`."
        ),
        network,
    )
    roots = jnp.sqrt(variances)
    w1, w2 = _stretched(left, right, roots, network.weights)
    return Reduction(
        LinearNetwork((w1.astype(own), w2.astype(own))),
        Task.from_correlation(sigma),
        own_task=task,
        to_function=Partial(_unstretched, right, 1 / variances),
        to_weights=Partial(_stretched, left, right, 1 / roots),
        start="aligned",
    )


def _stretched(
    left: Float[Array, "out out"],
    right: Float[Array, "in in"],
    factors: Float[Array, " modes"],
    weights: tuple[Array, ...],
) -> tuple[Array, Array]:
    """Both layers with a factor for every mode."""
    w1, w2 = weights
    return dot(w1, _along(right, factors)), dot(_along(left, factors), w2)


def _unstretched(
    right: Float[Array, "in in"], factors: Float[Array, " modes"], function: Array
) -> Array:
    return dot(function, _along(right, factors))


def _along(
    vectors: Float[Array, "n n"], factors: Float[Array, " modes"]
) -> Float[Array, "n n"]:
    """The matrix with these eigenvectors and eigenvalues, one beyond the modes."""
    rest = jnp.ones(vectors.shape[0] - factors.size, factors.dtype)
    values = jnp.concatenate([factors, rest])
    return dot(vectors * values[None], vectors.mT)


def denoising_autoencoder(
    network: LinearNetwork,
    x: Real[ArrayLike, "samples in"],
    noise: Real[ArrayLike, ""] = 0.0,
) -> Reduction:
    r"""A linear autoencoder that removes noise (Pretorius et al. 2018).

    The loss is $\frac12\mathbb E\|x - W_2W_1(x + \xi)\|^2$ over samples x and noise
    $\xi$ of variance $\sigma^2$ in every input, without noise an autoencoder's. The
    targets have the correlation $C = \langle xx^\top\rangle$ and the inputs
    $C + \sigma^2I$. It is exact for white samples, $C = cI$, with any balanced or wide
    network, and for other samples with networks that are aligned with them
    (`commuting_inputs`).

    **Arguments:**

    - `network`: two layers, with as many outputs as inputs.
    - `x`: the clean samples. Those traced by `jax.jit` are not taken for white.
    - `noise`: the standard deviation $\sigma$.

    **Returns:** a `Reduction`. Times are learning rate x step.

    **Raises:** as `commuting_inputs`; `ValueError` for a negative `noise` (traced:
    NaN).
    """
    noise = _checks.as_scalar("noise", noise)
    noise = _checks.positive("noise", noise, zero=True)
    samples, noise = _dtypes.promoted(x=_checks.as_matrix("x", x), noise=noise)
    count, n = samples.shape
    # The noise as further samples with targets zero. All have weight 1 / count.
    root = jnp.asarray(((count + n) / count) ** 0.5, samples.dtype)
    extra = jnp.asarray(count**0.5, noise.dtype) * noise * jnp.eye(n, dtype=noise.dtype)
    task = Task(
        root * jnp.concatenate([samples, extra]),
        root * jnp.concatenate([samples, jnp.zeros_like(extra)]),
    )
    if not _is_white(x):
        return commuting_inputs(network, task)
    check_fit(network, task)
    check_two_layers(network)
    return Reduction(network, task)


def _is_white(x: Real[ArrayLike, "samples in"]) -> bool:
    """Whether samples are known to be white, up to rounding; the noise always is."""
    samples = _checks.known(x) if isinstance(x, jax.Array) else np.asarray(x)
    if samples is None:
        return False
    with jax.ensure_compile_time_eval():
        task = Task(samples, samples)
        white = task.anisotropy <= exactness_tolerance(task.x.dtype)
        return bool(white) or not samples.any()
