r"""Learning as $\lambda$ goes to zero, and as it goes to infinity.

The limits are for two layers and isotropic inputs, $\Sigma_{xx} = cI$.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .. import _checks, _dtypes
from .._linalg import dot, finite_time, square_norm
from .._network import LinearNetwork
from .._singular import singular_vectors
from .._task import Task
from .._xla import compiled
from .assumptions import balance_of, function_of, is_task, isotropic_variance
from .representations import Representations


def rich_limit(
    ts: Real[ArrayLike, "*times"], function: Real[ArrayLike, "out in"], task: Task
) -> Representations:
    r"""Learning in the limit $\lambda \to 0$: the zero-balanced solution.

    This is the large-time form of Braun et al. (2022; Theorem 2.2.5 of Domine's
    thesis), for `hidden >= min(in, out)`: with $W_2W_1(0) = USV^\top$, $\Sigma =
    \tilde U\tilde S\tilde V^\top$, $B = U^\top\tilde U + V^\top\tilde V$,
    $C = U^\top\tilde U - V^\top\tilde V$ and $E = e^{-\tilde St}$, $QQ^\top =
    ZM^{-1}Z^\top$. The printed M lacks an inverse, a factor 4 and a square. The right M
    is

    $$M = 4EB^{-1}S^{-1}B^{-\top}E + (I - E^2)\tilde S^{-1}
    + EB^{-1}C(I - E^2)\tilde S^{-1}C^\top B^{-\top}E + 4t\,EB^{-1}(V^\top\tilde V_\perp
    \tilde V_\perp^\top V + U^\top\tilde U_\perp\tilde U_\perp^\top U)B^{-\top}E.$$

    The form uses other matrices than `ExactSolution`, and needs further assumptions. It
    is a check of `ExactSolution`, and the limit of networks of small $\lambda$.

    **Arguments:**

    - `ts`: times, any shape, in units of learning rate x step; infinity is allowed.
    - `function`: $W_2W_1(0)$, of full rank.
    - `task`: a task with isotropic inputs and a correlation of full rank.

    **Returns:** `Representations` with the axes of `ts` first. They are differentiable
    where singular values are distinct.

    **Raises:** `ValueError` for a function or task that is not of full rank, for
    anisotropic inputs, and for a singular B: a saddle, where the limit of small
    $\lambda$ is not the solution at zero. Traced bad values give NaN. Derivatives at
    equal singular values are refused.
    """
    ts = _checks.as_times("ts", ts)
    is_task("task", task)
    noise = 64 * _dtypes.rounding(
        function=_dtypes.as_real("function", function), task=task
    )
    function, finer = function_of("function", function, task)
    variance = isotropic_variance(task, function.dtype)
    result, sizes = _rich(ts.ravel(), function, finer, variance, noise)
    for name, (low, high) in sizes.items():
        regular = low > noise * high
        if _checks.is_concrete(regular):
            _checks.require(
                bool(regular),
                f"{name}, but the smallest singular value was "
                f"{_checks.number(low, '.3g')} (of {_checks.number(high, '.3g')}); use "
                "`ExactSolution`.",
            )
    return jax.tree.map(lambda x: x.reshape(*ts.shape, *x.shape[1:]), result)


@eqx.filter_jit
def _rich(
    ts: Float[Array, " times"],
    function: Float[Array, "out in"],
    task: Task,
    c: Float[Array, ""],
    noise: float,
) -> tuple[Representations, dict[str, tuple[Float[Array, ""], Float[Array, ""]]]]:
    """The solution, and singular values (smallest, largest) that must be regular."""
    sigma = task.input_output_correlation
    k = min(sigma.shape)

    def vectors(name: str, matrix: Array) -> list[Array]:
        s = jnp.linalg.svd(jax.lax.stop_gradient(matrix), compute_uv=False)
        sizes[name] = s[-1], s[0]
        # NaN avoids a second refusal, by the derivative, of a refused value.
        matrix = jnp.where(s[-1] > noise * s[0], matrix, jnp.nan)
        return [x[..., :k] for x in singular_vectors(matrix)]

    sizes = {}
    u, s, v = vectors("`function` must have full rank", c * function)
    name = "`task` must have a correlation of full rank"
    tu, s_task, tv = vectors(name, sigma)
    overlap_u, overlap_v = dot(u.mT, tu), dot(v.mT, tv)
    b = overlap_u + overlap_v
    least = jnp.linalg.svd(b, compute_uv=False)[-1]
    name = "`function` must not be at a saddle of `task` (B singular)"
    sizes[name] = least, jnp.full_like(least, 2.0)
    b = jnp.where(least > 2 * noise, b, jnp.nan)
    inverse = jnp.linalg.inv(b)
    ratio = dot(inverse, overlap_u - overlap_v)  # B^-1 C
    start = 4 * dot(inverse / s[None], inverse.mT)
    # The part of the start outside of the task's singular vectors.
    rest_u, rest_v = (
        dot(x, inverse.mT)
        for x in (u - dot(tu, overlap_u.mT), v - dot(tv, overlap_v.mT))
    )
    drift = 4 * (dot(rest_u.mT, rest_u) + dot(rest_v.mT, rest_v))

    def at(t):
        t = finite_time(t)
        e = jnp.exp(-s_task * t)
        learned = (1 - e * e) / s_task
        inner = start + dot(ratio * learned[None], ratio.mT) + t * drift
        middle = jnp.diag(learned) + e[:, None] * inner * e[None]
        turned = (ratio * e[None]).mT * e[None]  # E C^T B^-T E
        eye = jnp.eye(k, dtype=e.dtype)
        z_in = dot(tv, eye - turned) + 2 * rest_v * e[None]
        z_out = dot(tu, eye + turned) + 2 * rest_u * e[None]
        right_in, right_out = (jnp.linalg.solve(middle, z.mT) for z in (z_in, z_out))
        return Representations(
            dot(z_out, right_in) / c, dot(z_in, right_in) / c, dot(z_out, right_out) / c
        )

    return jax.vmap(at)(ts.astype(s.dtype)), sizes


def lazy_limit(
    ts: Real[ArrayLike, "*times"], network: LinearNetwork, task: Task
) -> Representations:
    r"""Learning in the limit $|\lambda| \to \infty$, to first order in $1/|\lambda|$.

    For $\lambda > 0$, with $\Pi$ the projector onto the range of $W_2(0)$ and $c = 1$,

    $$f(t) = f_0 + (\Pi\Sigma - f_0)(1 - e^{-\lambda t}), \quad
    W_1^\top W_1 = f^\top f / \lambda,$$
    $$W_2W_2^\top = W_2W_2^\top(0) + (ff^\top - f_0f_0^\top) / \lambda
    + (I - \Pi)\Sigma\left(\int_0^t f\right)^\top + (\dots)^\top,$$

    and the mirror image for $\lambda < 0$. With `hidden = out` (for $\lambda < 0$,
    `hidden = in`) $\Pi = I$: the function learns like a shallow network (theorems 3.2.2
    and 4.2.3 of Domine's thesis), and the change of the NTK falls as $1/|\lambda|$
    (Theorem 4.1.3, which prints only the first of two terms of that order: both
    representations change). With fewer hidden units only $\Pi\Sigma$ is learned at that
    rate. The remaining part is learned later, by rich learning (`delayed_rich_time`).

    **Arguments:**

    - `ts`: times, any shape, in units of learning rate x step; they must be short
      against a nonzero `delayed_rich_time`.
    - `network`: the balanced two-layer network at time zero.
    - `task`: a task with isotropic inputs.

    **Returns:** `Representations` with the axes of `ts` first.

    **Raises:** `ValueError` for another depth, a network that isn't balanced or doesn't
    fit the task, a balance of zero and anisotropic inputs (traced: NaN).
    """
    ts = _checks.as_times("ts", ts)
    lmda = balance_of("network", network, task)
    noise = 64 * _dtypes.rounding(network=network)
    variance = isotropic_variance(task, lmda.dtype)
    network, task = _dtypes.promoted(network=network, task=task)
    balanced = _is_balanced(lmda, network, noise)
    if _checks.is_concrete(balanced):
        _checks.require(
            bool(balanced),
            "`network` must have a balance that is not zero for its lazy limit, but it "
            f"was {_checks.number(lmda, '.3g')}.",
        )
    n_in, hidden, n_out = network.sizes
    _checks.require(
        hidden <= max(n_in, n_out),
        "`network` must have at most as many hidden units as inputs or outputs to have "
        f"a balance, but its sizes were {_checks.sizes_text(network.sizes)}.",
    )
    lmda = jnp.where(balanced, lmda, jnp.nan)
    result = _lazy_limit(ts.ravel(), network, task, lmda, variance)
    return jax.tree.map(lambda x: x.reshape(*ts.shape, *x.shape[1:]), result)


@functools.partial(compiled, static_argnames="noise")
def _is_balanced(
    lmda: Float[Array, ""], network: LinearNetwork, noise: float
) -> Bool[Array, ""]:
    """Whether a balance is nonzero beyond rounding."""
    w1, w2 = network.weights
    size = square_norm(w1) + square_norm(w2)
    return jnp.abs(lmda) > noise * size


@compiled
def _lazy_limit(
    ts: Float[Array, " times"],
    network: LinearNetwork,
    task: Task,
    lmda: Float[Array, ""],
    variance: Float[Array, ""],
) -> Representations:
    (w1, w2), (n_in, hidden, n_out) = network.weights, network.sizes
    sigma = task.input_output_correlation / variance
    scaled, size = variance * ts.astype(sigma.dtype), jnp.abs(lmda)
    signs = []
    if hidden <= n_out:
        signs.append((lmda > 0, _lazy(scaled, w2, w1, sigma, size)))
    if hidden <= n_in:
        f, of_small, of_large = _lazy(scaled, w1.mT, w2.mT, sigma.mT, size)
        signs.append((lmda < 0, (f.mT, of_large, of_small)))
    result = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), signs[0][1])
    for right, parts in signs:
        result = jax.tree.map(lambda x, y, ok=right: jnp.where(ok, x, y), parts, result)
    return Representations(*result)


def _lazy(
    ts: Float[Array, " times"],
    large: Float[Array, "out hidden"],
    small: Float[Array, "hidden in"],
    sigma: Float[Array, "out in"],
    rate: Float[Array, ""],
) -> tuple[
    Float[Array, "times out in"],
    Float[Array, "times in in"],
    Float[Array, "times out out"],
]:
    """Function, small and large layer's representations for a nearly fixed `large`."""
    function = dot(large, small)
    q, _ = jnp.linalg.qr(large)
    goal = dot(q, q.mT, sigma)
    complete = large.shape[1] == large.shape[0]

    def at(t):
        finite = jnp.isfinite(t) | jnp.isnan(t)
        short = jnp.where(finite, t, 0.0)
        done = jnp.where(finite, -jnp.expm1(-rate * short), 1.0)
        f = function + (goal - function) * done
        change = dot(f, f.mT) - dot(function, function.mT)
        of_large = dot(large, large.mT) + change / rate
        if not complete:
            area = goal * t + (function - goal) * (done / rate)
            side = dot(sigma - goal, area.mT)
            of_large = of_large + side + side.mT
        return f, dot(f.mT, f) / rate, of_large

    return jax.vmap(at)(ts)
