r"""What learning tends to: in time, and as $\lambda$ goes to zero or to infinity.

For two layers and isotropic inputs, $\Sigma_{xx} = cI$.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .. import _checks
from .._linalg import complete_basis, dot, split_singular_values, square_norm
from .._network import LinearNetwork, check_feasible
from .._task import Task
from ..kernels import ntk_of_representations
from .assumptions import balance_of, isotropic_variance


class Representations(eqx.Module):
    r"""The function of a two-layer network and its representations.

    **Attributes:** with leading axes for times, where there are any,

    - `function`: $W_2 W_1$, (out, in).
    - `input_representation`: $W_1^\top W_1$, (in, in).
    - `output_representation`: $W_2 W_2^\top$, (out, out).
    """

    function: Float[Array, "*batch out in"]
    input_representation: Float[Array, "*batch in in"]
    output_representation: Float[Array, "*batch out out"]

    def ntk(
        self, x: Real[ArrayLike, "samples in"]
    ) -> Float[Array, "*batch outputs outputs"]:
        """The neural tangent kernel on inputs `x`, as `lazyrich_jax.kernels.ntk`."""
        x = _checks.as_matrix("x", x)
        n_in = self.input_representation.shape[-1]
        _checks.require(
            x.shape[1] == n_in,
            f"`x` must have {n_in} inputs (columns), but its shape was {x.shape}.",
        )
        of_one = ntk_of_representations
        for _ in range(self.function.ndim - 2):
            of_one = jax.vmap(of_one, in_axes=(0, 0, None))
        return of_one(self.input_representation, self.output_representation, x)


def balanced_representations(
    function: Real[ArrayLike, "out in"],
    lmda: Real[ArrayLike, ""],
    hidden_size: int,
) -> Representations:
    r"""The representations that a balanced network with this function must have.

    With $W_2 W_1 = U S V^\top$ (Domine's thesis, theorems 4.1.1 and 4.1.2)

    $$W_2 W_2^\top = U \tfrac{\sqrt{\lambda^2 + 4S^2} + \lambda}2 U^\top, \qquad
    W_1^\top W_1 = V \tfrac{\sqrt{\lambda^2 + 4S^2} - \lambda}2 V^\top,$$

    on the leading `k = min(hidden, in, out)` singular vectors; and $|\lambda|$ on
    `hidden - k` further directions of the larger layer. (The printed number of those,
    `max(0, out - in)`, is right only for `hidden = max(in, out)`.) At every time of
    learning, not only at its end.

    **Arguments:**

    - `function`: (out, in). Of rank above `k`, its best approximation of rank `k`.
    - `lmda`: the balance.
    - `hidden_size`: the number of hidden units.

    **Raises:** `ValueError` for sizes that don't allow the sign of `lmda`, and where
    the function doesn't determine the further directions: `lmda > 0` and
    `in < hidden < out`, or `lmda < 0` and `out < hidden < in`. Traced values of that
    kind give NaN. Differentiable where singular values are distinct and nonzero.
    """
    function = _checks.as_matrix("function", function)
    lmda, sizes = _balance_of(function, lmda, hidden_size)
    n_in, hidden, n_out = sizes
    lmda = jnp.where(check_feasible(lmda, sizes), lmda, jnp.nan)
    vague = ((lmda > 0) & (n_in < hidden < n_out)) | (
        (lmda < 0) & (n_out < hidden < n_in)
    )
    if _checks.is_concrete((vague, lmda)):
        _checks.require(
            not bool(vague),
            f"`lmda` must be zero for sizes {_checks.sizes_text(sizes)}, where the "
            "function does not determine the representations, but it was "
            f"{float(lmda)}.",
        )
    u, s, vt = jnp.linalg.svd(function, full_matrices=False)
    lmda = jnp.where(vague, jnp.nan, lmda)
    return _representations(u, s[: min(sizes)], vt.mT, lmda, hidden, None, None)


def converged_representations(
    task: Task,
    lmda: Real[ArrayLike, ""],
    hidden_size: int,
    *,
    start: LinearNetwork | None = None,
) -> Representations:
    r"""What a balanced network has learned at the end, for every architecture.

    The function is $\Sigma / c$, or its best approximation with `hidden` modes, and the
    representations are those of `balanced_representations` (Theorem 4.1.2 of Domine's
    thesis; the second limit printed there for $\lambda \to \infty$ is
    $W_1^\top W_1 \to V S^2 V^\top / \lambda$). With $\lambda = 0$ both are
    task-specific, $U S U^\top$ and $V S V^\top$; for large $|\lambda|$ the larger layer
    is task-agnostic.

    **Arguments:**

    - `task`: a task with isotropic inputs.
    - `lmda`, `hidden_size`: of the network.
    - `start`: the network at time zero, with that balance. Where `hidden` lies strictly
      between `in` and `out`, it decides which further directions the larger layer
      keeps; nothing else depends on it, unless it is a saddle.

    **Raises:** `ValueError` for sizes that don't allow the sign of `lmda`; where
    `start` is needed and missing, or has another balance; for anisotropic inputs; and
    where the hidden size cuts through equal singular values of the task, so that the
    start decides which are learned. Traced values of that kind give NaN. Differentiable
    where the singular values are distinct and nonzero (not with respect to `start`).

    ```python
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(3)
    rich = lr.theory.converged_representations(task, 0.0, 8)
    lazy = lr.theory.converged_representations(task, 50.0, 8)
    print(rich.output_representation.shape, lazy.ntk(task.x).shape)
    ```
    """
    sigma = task.input_output_correlation
    lmda, sizes = _balance_of(sigma, lmda, hidden_size)
    n_in, hidden, n_out = sizes
    lmda = jnp.where(check_feasible(lmda, sizes), lmda, jnp.nan)
    u, s, vt = jnp.linalg.svd(sigma / isotropic_variance(task), full_matrices=False)
    v, k = vt.mT, min(sizes)
    if k < s.size:
        tie = s[k - 1] - s[k] <= 4 * max(sizes) * jnp.finfo(s.dtype).eps * s[0]
        tie &= s[k - 1] > 0
        if _checks.is_concrete((tie, s)):
            _checks.require(
                not bool(tie),
                "`hidden_size` must not cut through equal singular values of the task, "
                f"but it was {hidden} and the singular values were {s}: which of them "
                "are learned depends on the start.",
            )
        s = jnp.where(tie, jnp.nan, s)
    between = n_in < hidden < n_out or n_out < hidden < n_in
    further_u = further_v = None
    if start is not None:
        _checks.require(
            start.sizes == sizes,
            f"`start` must have sizes {_checks.sizes_text(sizes)}, but its sizes were "
            f"{_checks.sizes_text(start.sizes)}.",
        )
        own = balance_of("start", start, task)
        w1, w2 = start.weights
        size = square_norm(w1) + square_norm(w2)
        same = jnp.abs(own - lmda) <= jnp.finfo(own.dtype).eps ** 0.5 * size
        if _checks.is_concrete((same, own, lmda)):
            _checks.require(
                bool(same),
                f"`start` must have the balance `lmda`, {float(lmda):.6g}, but it was "
                f"{float(own):.6g}.",
            )
        lmda = jnp.where(same, lmda, jnp.nan)
    if between and start is not None:
        first, second = split_singular_values(s[:k], lmda)
        # Hidden directions that the learned modes leave free.
        used = dot(w1, v[:, :k]) * first[None] + dot(w2.mT, u[:, :k]) * second[None]
        free = complete_basis(jnp.linalg.qr(used)[0])
        if hidden < n_out:
            further, _ = jnp.linalg.qr(dot(_beside(u), w2, free))
            further_u = dot(further, further.mT)
        else:
            further, _ = jnp.linalg.qr(dot(_beside(v), w1.mT, free))
            further_v = dot(further, further.mT)
    elif between:
        vague = lmda > 0 if hidden < n_out else lmda < 0
        if _checks.is_concrete((vague, lmda)):
            _checks.require(
                not bool(vague),
                "`start` must be given for a hidden size strictly between the others "
                f"and a balance, but it was None for sizes {_checks.sizes_text(sizes)} "
                f"and `lmda` {float(lmda)}: it decides which directions the larger "
                "layer keeps.",
            )
        lmda = jnp.where(vague, jnp.nan, lmda)
    return _representations(u, s[:k], v, lmda, hidden, further_u, further_v)


def _balance_of(
    function: Float[Array, "out in"], lmda: Real[ArrayLike, ""], hidden_size: int
) -> tuple[Float[Array, ""], tuple[int, int, int]]:
    lmda = _checks.as_scalar("lmda", lmda).astype(function.dtype)
    n_out, n_in = function.shape
    return lmda, (n_in, _checks.size("hidden_size", hidden_size), n_out)


def _beside(columns: Float[Array, "n k"]) -> Float[Array, "n n"]:
    """The projector onto what orthonormal columns leave over."""
    eye = jnp.eye(columns.shape[0], dtype=columns.dtype)
    return eye - dot(columns, columns.mT)


def _representations(
    u: Float[Array, "out smaller"],
    s: Float[Array, " modes"],
    v: Float[Array, "in smaller"],
    lmda: Float[Array, ""],
    hidden: int,
    further_u: Float[Array, "out out"] | None,
    further_v: Float[Array, "in in"] | None,
) -> Representations:
    """Of the leading modes, and of hidden units beyond: projectors onto theirs."""
    k = s.size
    first, second = split_singular_values(s, lmda)
    of_input = dot(v[:, :k] * first[None] ** 2, v[:, :k].mT)
    of_output = dot(u[:, :k] * second[None] ** 2, u[:, :k].mT)
    if k < hidden <= u.shape[0]:
        further = _beside(u) if further_u is None else further_u
        of_output += jnp.where(lmda > 0, lmda, 0.0) * further
    if k < hidden <= v.shape[0]:
        further = _beside(v) if further_v is None else further_v
        of_input += jnp.where(lmda < 0, -lmda, 0.0) * further
    function = dot(u[:, :k] * (s + 0 * lmda)[None], v[:, :k].mT)
    return Representations(function, of_input, of_output)


def rich_limit(
    ts: Real[ArrayLike, "*times"], function: Real[ArrayLike, "out in"], task: Task
) -> Representations:
    r"""Learning in the limit $\lambda \to 0$: the zero-balanced solution.

    The large-time form of Braun et al. (2022; Theorem 2.2.5 of Domine's thesis), for
    `hidden >= min(in, out)`: with $W_2W_1(0) = USV^\top$, $\Sigma = \tilde U\tilde S
    \tilde V^\top$, $B = U^\top\tilde U + V^\top\tilde V$,
    $C = U^\top\tilde U - V^\top\tilde V$ and $E = e^{-\tilde St}$, $QQ^\top =
    ZM^{-1}Z^\top$. The printed M lacks an inverse, a factor 4 and a square; used here:

    $$M = 4EB^{-1}S^{-1}B^{-\top}E + (I - E^2)\tilde S^{-1}
    + EB^{-1}C(I - E^2)\tilde S^{-1}C^\top B^{-\top}E + 4t\,EB^{-1}(V^\top\tilde V_\perp
    \tilde V_\perp^\top V + U^\top\tilde U_\perp\tilde U_\perp^\top U)B^{-\top}E.$$

    Written with other matrices than `ExactSolution`, and with the assumptions that
    those need: it is a check of it, and what networks of small $\lambda$ tend to.

    **Arguments:**

    - `ts`: times, any shape, in units of learning rate x step; infinity is allowed.
    - `function`: $W_2W_1(0)$, of full rank.
    - `task`: a task with isotropic inputs and a correlation of full rank.

    **Returns:** `Representations` with the axes of `ts` first. Differentiable where
    singular values are distinct.

    **Raises:** `ValueError` for a function or task that is not of full rank,
    anisotropic inputs, and where B is singular: a saddle, where the limit of small
    $\lambda$ is not the solution at zero. Traced values of that kind give NaN.
    """
    ts = _checks.as_times("ts", ts)
    function = _checks.as_matrix("function", function)
    _fits("function", function, task)
    result, sizes = _rich(ts.ravel(), function, task, isotropic_variance(task))
    for name, (low, high) in sizes.items():
        if _checks.is_concrete((low, high)):
            _checks.require(
                bool(_regular(low, high)),
                f"{name}, but the smallest singular value was {float(low):.3g} (of "
                f"{float(high):.3g}); use `ExactSolution`.",
            )
    return jax.tree.map(lambda x: x.reshape(*ts.shape, *x.shape[1:]), result)


def _regular(low: Float[Array, ""], high: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether a smallest singular value is one, and not rounding."""
    return low > 64 * jnp.finfo(low.dtype).eps * high


@eqx.filter_jit
def _rich(
    ts: Float[Array, " times"],
    function: Float[Array, "out in"],
    task: Task,
    c: Float[Array, ""],
) -> tuple[Representations, dict[str, tuple[Float[Array, ""], Float[Array, ""]]]]:
    """The solution, and what must be regular for it: smallest and largest values."""
    sigma = task.input_output_correlation
    k = min(sigma.shape)
    u, s, vt = jnp.linalg.svd(c * function, full_matrices=False)
    tu, s_task, tvt = jnp.linalg.svd(sigma, full_matrices=False)
    v, tv = vt.mT, tvt.mT
    overlap_u, overlap_v = dot(u.mT, tu), dot(v.mT, tv)
    b = overlap_u + overlap_v
    least = jnp.linalg.svd(b, compute_uv=False)[-1]
    sizes = {
        "`function` must have full rank": (s[-1], s[0]),
        "`task` must have a correlation of full rank": (s_task[-1], s_task[0]),
        "`function` must not be at a saddle of `task` (B singular)": (
            least,
            jnp.full_like(least, 2.0),
        ),
    }
    for low, high in sizes.values():
        b = jnp.where(_regular(low, high), b, jnp.nan)
    inverse = jnp.linalg.inv(b)
    ratio = dot(inverse, overlap_u - overlap_v)  # B^-1 C
    start = 4 * dot(inverse / s[None], inverse.mT)
    # What the start has outside of the task's singular vectors.
    rest_u, rest_v = (
        dot(x, inverse.mT)
        for x in (u - dot(tu, overlap_u.mT), v - dot(tv, overlap_v.mT))
    )
    drift = 4 * (dot(rest_u.mT, rest_u) + dot(rest_v.mT, rest_v))

    def at(t):
        finite = jnp.isfinite(t) | jnp.isnan(t)
        t = jnp.where(finite, t, 0.0)
        e = jnp.where(finite, jnp.exp(-s_task * t), 0.0)
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
    `hidden = in`) $\Pi = I$: the function learns like that of a shallow network
    (theorems 3.2.2 and 4.2.3 of Domine's thesis), and the change of the NTK falls as
    $1/|\lambda|$ (Theorem 4.1.3, which prints only the first of two terms of that
    order: both representations change). With fewer hidden units only $\Pi\Sigma$ is
    learned at that pace, and the rest later, in the rich way (`delayed_rich_time`).

    **Arguments:**

    - `ts`: times, any shape, in units of learning rate x step; short against
      `delayed_rich_time` where that is not zero.
    - `network`: the balanced two-layer network at time zero.
    - `task`: a task with isotropic inputs.

    **Returns:** `Representations` with the axes of `ts` first.

    **Raises:** `ValueError` for another depth, a network that isn't balanced or doesn't
    fit the task, a balance of zero and anisotropic inputs (traced: NaN).
    """
    ts = _checks.as_times("ts", ts)
    lmda = balance_of("network", network, task)
    w1, w2 = network.weights
    rounding = 64 * jnp.finfo(lmda.dtype).eps * (square_norm(w1) + square_norm(w2))
    balanced = jnp.abs(lmda) > rounding
    if _checks.is_concrete((balanced, lmda)):
        _checks.require(
            bool(balanced),
            "`network` must have a balance that is not zero for its lazy limit, but it "
            f"was {float(lmda):.3g}.",
        )
    variance = isotropic_variance(task)
    sigma = task.input_output_correlation / variance
    n_in, hidden, n_out = network.sizes
    _checks.require(
        hidden <= max(n_in, n_out),
        "`network` must have at most as many hidden units as inputs or outputs to have "
        f"a balance, but its sizes were {_checks.sizes_text(network.sizes)}.",
    )
    scaled = (variance * ts.astype(sigma.dtype)).ravel()
    size = jnp.where(balanced, jnp.abs(lmda), jnp.nan)
    signs = []
    if hidden <= n_out:
        signs.append((lmda > 0, _lazy(scaled, w2, w1, sigma, size)))
    if hidden <= n_in:
        f, of_small, of_large = _lazy(scaled, w1.mT, w2.mT, sigma.mT, size)
        signs.append((lmda < 0, (f.mT, of_large, of_small)))
    result = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), signs[0][1])
    for right, parts in signs:
        result = jax.tree.map(lambda x, y, ok=right: jnp.where(ok, x, y), parts, result)
    return Representations(*(x.reshape(*ts.shape, *x.shape[1:]) for x in result))


@jax.jit
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
    """Function and representations (small layer's first), `large` being frozen."""
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


def convergence_rates(
    task: Task, lmda: Real[ArrayLike, ""], hidden_size: int
) -> Float[Array, " modes"]:
    r"""The rates at which the learned modes approach their end.

    The deviation of $QQ^\top$ from its limit falls as $e^{-rt}$ along mode i with
    $r_i = \kappa_i + \min(|w_1|, \dots, |w_h|, -w_{h+1})$. Here $w$ are the
    eigenvalues of F in falling order, of which `hidden` units take the first h, and
    $\kappa = \sqrt{s^2 + (c\lambda)^2/4}$ those that learn. The slowest mode of a
    square network has $2\kappa = \sqrt{(c\lambda)^2 + 4s^2}$; where $\lambda$ favours a
    layer wider than `hidden`, there is the slow $\kappa - c|\lambda|/2$ of the
    delayed-rich regime; in a bottleneck $\kappa_i - \kappa_{h+1}$. (Read off the closed
    form of `ExactSolution`; near its end the loss falls twice as fast.)

    **Arguments:** `task` with isotropic inputs; `lmda` and `hidden_size` of the
    network.

    **Returns:** the rates in units of 1 / (learning rate x step), in the order of the
    singular values, (min(hidden, in, out),). Zero means algebraic, or a singular value
    of zero. Directions that learn nothing may take longer: at `lmda = 0` those of
    surplus hidden units decay as 1/t.

    **Raises:** `ValueError` for sizes that don't allow the sign of `lmda` and
    anisotropic inputs (traced: NaN).
    """
    kappa, s, half, sizes = _spectrum(task, lmda, hidden_size)
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
    # A difference of rates by division: subtraction loses its digits for large lmda.
    lost, total = rates[hidden], learned + rates[hidden]
    growing = (lost > 0) & (total > 0)
    squares = (s - strengths[hidden]) * (s + strengths[hidden])
    gap = jnp.where(growing, squares / jnp.where(growing, total, 1.0), learned - lost)
    return jnp.minimum(slowest, gap)


def delayed_rich_time(
    task: Task, lmda: Real[ArrayLike, ""], hidden_size: int
) -> Float[Array, " modes"]:
    r"""The time scale $1 / (\kappa - c|\lambda|/2)$ of delayed rich learning.

    Where $\lambda$ favours a layer wider than `hidden` (`lmda > 0` and `hidden < out`,
    or `lmda < 0` and `hidden < in`), the large layer spans only `hidden` of its
    directions: a lazy phase of duration $1/c|\lambda|$ fits what can be fitted with
    them, and then, over this time, $\approx c|\lambda| / s^2$, they turn to the task
    (the delayed-rich regime of funnel networks, Domine et al. 2025).

    **Arguments:** as for `convergence_rates`.

    **Returns:** the times in units of learning rate x step, in the order of the
    singular values, (min(hidden, in, out),); zero where nothing is delayed, infinite
    for a singular value of zero.

    **Raises:** `ValueError` for sizes that don't allow the sign of `lmda` and
    anisotropic inputs (traced: NaN).
    """
    kappa, s, half, sizes = _spectrum(task, lmda, hidden_size)
    n_in, hidden, n_out = sizes
    delayed = ((half > 0) & (hidden < n_out)) | ((half < 0) & (hidden < n_in))
    k = min(sizes)
    # kappa - |half| by division: subtraction loses its digits for large lmda.
    total = kappa[:k] + jnp.abs(half)
    rate = s[:k] ** 2 / jnp.where(total > 0, total, 1.0)
    time = jnp.where(rate > 0, 1 / jnp.where(rate > 0, rate, 1.0), jnp.inf)
    return jnp.where(delayed, time, 0 * half)


def _spectrum(
    task: Task, lmda: Real[ArrayLike, ""], hidden_size: int
) -> tuple[Float[Array, " modes"], Float[Array, " modes"], Float[Array, ""], tuple]:
    """The positive eigenvalues of F, the singular values, c lmda / 2, and the sizes."""
    sigma = task.input_output_correlation
    lmda, sizes = _balance_of(sigma, lmda, hidden_size)
    lmda = jnp.where(check_feasible(lmda, sizes), lmda, jnp.nan)
    s = jnp.linalg.svd(sigma, compute_uv=False)
    half = isotropic_variance(task) * lmda / 2
    return jnp.hypot(s, half), s, half, sizes


def _fits(name: str, function: Float[Array, "out in"], task: Task) -> None:
    shape = (task.out_size, task.in_size)
    _checks.require(
        function.shape == shape,
        f"`{name}` must fit the task's {task.in_size} inputs and {task.out_size} "
        f"outputs, but its function had shape {function.shape}.",
    )
