r"""The representations that a function and a balance determine, in time and at the end.

For two layers and isotropic inputs, $\Sigma_{xx} = cI$.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .. import _checks
from .._compiled import compiled
from .._exactness import exactness_tolerance
from .._linalg import (
    complete_basis,
    dot,
    safe_hypot,
    split_singular_values,
    square_norm,
)
from .._network import LinearNetwork
from .._task import Task
from ..kernels import ntk_of_representations
from .assumptions import balance_of, feasible_balance, is_task, isotropic_variance


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
    lmda = _checks.as_scalar("lmda", lmda)
    function, lmda = _checks.promoted(function=function, lmda=lmda)
    lmda, sizes = feasible_balance(lmda, hidden_size, function.shape)
    n_in, hidden, n_out = sizes
    vague = ((lmda > 0) & (n_in < hidden < n_out)) | (
        (lmda < 0) & (n_out < hidden < n_in)
    )
    if _checks.is_concrete(vague):
        _checks.require(
            not bool(vague),
            f"`lmda` must be zero for sizes {_checks.sizes_text(sizes)}, where the "
            "function does not determine the representations, but it was "
            f"{_checks.number(lmda)}.",
        )
    lmda = jnp.where(vague, jnp.nan, lmda)
    return _balanced(function, lmda, hidden)


@functools.partial(compiled, static_argnames="hidden")
def _balanced(
    function: Float[Array, "out in"], lmda: Float[Array, ""], hidden: int
) -> Representations:
    u, s, vt = jnp.linalg.svd(function, full_matrices=False)
    k = min(hidden, *function.shape)
    return _representations(u, s[:k], vt.mT, lmda, hidden, None, None)


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
    is $|\lambda|$ times the identity, task-agnostic, if `hidden` is its width, and
    $|\lambda|$ times a projector if it is wider: onto the task's leading directions,
    and further ones that `start` decides.

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
    is_task("task", task)
    finer, balance = _checks.promoted(task=task, lmda=_checks.as_scalar("lmda", lmda))
    if start is not None:
        hint = "draw one with `LambdaBalanced`"
        _checks.instance("start", start, LinearNetwork, hint)
        finer, balance, _ = _checks.promoted(task=finer, lmda=balance, start=start)
    variance = isotropic_variance(task, balance.dtype)
    sigma = finer.input_output_correlation
    balance, sizes = feasible_balance(balance, hidden_size, sigma.shape)
    n_in, hidden, n_out = sizes
    if start is not None:
        balance = _balance_at(start, finer, balance, sizes)
    elif n_in < hidden < n_out or n_out < hidden < n_in:
        vague = balance > 0 if hidden < n_out else balance < 0
        if _checks.is_concrete(vague):
            _checks.require(
                not bool(vague),
                "`start` must be given for a hidden size strictly between the others "
                f"and a balance, but it was None for sizes {_checks.sizes_text(sizes)} "
                f"and `lmda` {_checks.number(balance)}: it decides which directions "
                "the larger layer keeps.",
            )
        balance = jnp.where(vague, jnp.nan, balance)
    noise = 4 * max(sizes) * _checks.rounding(task=task)
    of_start = jax.tree.map(lambda w: w.astype(balance.dtype), start)
    found, s, tie = _converged(sigma / variance, balance, hidden, of_start, noise)
    if _checks.is_concrete(tie):
        _checks.require(
            not bool(tie),
            "`hidden_size` must not cut through equal singular values of the task, "
            f"but it was {hidden} and the singular values were {_checks.known(s)}: "
            "which of them are learned depends on the start.",
        )
    return found


def _balance_at(
    start: LinearNetwork, task: Task, lmda: Float[Array, ""], sizes: tuple[int, ...]
) -> Float[Array, ""]:
    """`lmda`, which must be the balance of `start` (traced: NaN)."""
    _checks.require(
        start.sizes == sizes,
        f"`start` must have sizes {_checks.sizes_text(sizes)}, but its sizes were "
        f"{_checks.sizes_text(start.sizes)}.",
    )
    own = balance_of("start", start, task)
    tolerance = exactness_tolerance(start.weights[0].dtype)
    finer = jax.tree.map(lambda w: w.astype(own.dtype), start)
    same = _same_balance(own, lmda, finer, tolerance)
    if _checks.is_concrete(same):
        _checks.require(
            bool(same),
            f"`start` must have the balance `lmda`, {_checks.number(lmda, '.6g')}, but "
            f"it was {_checks.number(own, '.6g')}.",
        )
    return jnp.where(same, lmda, jnp.nan)


@functools.partial(compiled, static_argnames="tolerance")
def _same_balance(
    own: Float[Array, ""],
    lmda: Float[Array, ""],
    network: LinearNetwork,
    tolerance: float,
) -> Bool[Array, ""]:
    """Up to rounding in weights of that size."""
    w1, w2 = network.weights
    size = square_norm(w1) + square_norm(w2)
    return jnp.abs(own - lmda) <= tolerance * size


@functools.partial(compiled, static_argnames=("hidden", "noise"))
def _converged(
    end: Float[Array, "out in"],
    lmda: Float[Array, ""],
    hidden: int,
    start: LinearNetwork | None,
    noise: float,
) -> tuple[Representations, Float[Array, " smaller"], Bool[Array, ""]]:
    """What is learned; the singular values, and whether `hidden` cuts equal ones."""
    n_out, n_in = end.shape
    u, s, vt = jnp.linalg.svd(end, full_matrices=False)
    values, v, k = s, vt.mT, min(hidden, n_in, n_out)
    tie = jnp.array(False)
    if k < s.size:
        tie = (s[k - 1] - s[k] <= noise * s[0]) & (s[k - 1] > 0)
        s = jnp.where(tie, jnp.nan, s)
    further_u = further_v = None
    if start is not None and (n_in < hidden < n_out or n_out < hidden < n_in):
        w1, w2 = start.weights
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
    found = _representations(u, s[:k], v, lmda, hidden, further_u, further_v)
    return found, values, tie


def squared_strengths(
    s: Float[Array, "*modes"], lmda: Float[Array, ""]
) -> tuple[Float[Array, "*modes"], Float[Array, "*modes"]]:
    r"""The squared strengths of both layers, $(\sqrt{\lambda^2 + 4s^2} \mp \lambda)/2$.

    The smaller by division. At `s = lmda = 0` the derivative by `lmda` is the one from
    above.
    """
    rate = safe_hypot(lmda, 2 * s)
    size = jnp.abs(lmda)
    larger = jnp.where(rate == 0, size, (size + rate) / 2)
    smaller = s * (s / jnp.where(rate == 0, 1.0, larger))
    return (
        jnp.where(lmda >= 0, smaller, larger),
        jnp.where(lmda >= 0, larger, smaller),
    )


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
    first, second = squared_strengths(s, lmda)
    of_input = dot(v[:, :k] * first[None], v[:, :k].mT)
    of_output = dot(u[:, :k] * second[None], u[:, :k].mT)
    if k < hidden <= u.shape[0]:
        further = _beside(u) if further_u is None else further_u
        of_output += lmda * further  # not negative: the sizes don't allow it
    if k < hidden <= v.shape[0]:
        further = _beside(v) if further_v is None else further_v
        of_input += -lmda * further  # not positive
    function = dot(u[:, :k] * (s + 0 * lmda)[None], v[:, :k].mT)
    return Representations(function, of_input, of_output)
