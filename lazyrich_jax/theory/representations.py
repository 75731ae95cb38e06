r"""Representations of balanced networks, given the function, and after convergence.

Converged representations are for two layers and isotropic inputs, $\Sigma_{xx} = cI$.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .. import _checks, _dtypes
from .._balanced import (
    OF_LMDA,
    Modes,
    balanced_pair,
    beside_modes,
    leading_part,
    modes_of_matrix,
)
from .._exactness import exactness_tolerance, is_network
from .._linalg import dot, nearest_isometry, square_norm
from .._network import LinearNetwork
from .._task import Task
from .._xla import compiled
from ..kernels import ntk_of_representations
from .assumptions import (
    balance_of,
    cuts_through,
    feasible_balance,
    is_task,
    isotropic_variance,
    refuse_cut,
)


class Representations(eqx.Module):
    r"""The function of a two-layer network and its representations.

    **Attributes:** (with leading axes for times, if any)

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
    r"""The representations of a balanced network with this function.

    With $W_2 W_1 = U S V^\top$ (Domine's thesis, theorems 4.1.1 and 4.1.2)

    $$W_2 W_2^\top = U \tfrac{\sqrt{\lambda^2 + 4S^2} + \lambda}2 U^\top, \qquad
    W_1^\top W_1 = V \tfrac{\sqrt{\lambda^2 + 4S^2} - \lambda}2 V^\top,$$

    on the leading `k = min(hidden, in, out)` singular vectors, and $|\lambda|$ on
    `hidden - k` further directions of the larger layer. (The printed number of these,
    `max(0, out - in)`, is right only for `hidden = max(in, out)`.) They hold at every
    time of learning.

    **Arguments:**

    - `function`: (out, in). A function of rank above `k` is replaced by its best
      approximation of rank `k`.
    - `lmda`: the balance.
    - `hidden_size`: the number of hidden units.

    **Raises:** `ValueError` for sizes that don't allow the sign of `lmda`, and if
    the function doesn't determine the further directions: `lmda > 0` and
    `in < hidden < out`, or `lmda < 0` and `out < hidden < in`. Traced bad values give
    NaN. Derivatives that don't exist are refused: those by a function whose equal
    singular values are cut by `k`, or (except for `in = hidden = out` and `lmda != 0`)
    by a function with a zero singular value.
    """
    function = _checks.as_matrix("function", function)
    lmda = _checks.as_scalar("lmda", lmda)
    function, lmda = _dtypes.promoted(function=function, lmda=lmda)
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
    return _representations(function, modes_of_matrix(function), lmda, hidden, None)


def converged_representations(
    task: Task,
    lmda: Real[ArrayLike, ""],
    hidden_size: int,
    *,
    start: LinearNetwork | None = None,
) -> Representations:
    r"""The function and representations of a converged balanced network of any sizes.

    The function is $\Sigma / c$, or its best approximation with `hidden` modes. The
    representations are those of `balanced_representations` (Theorem 4.1.2 of Domine's
    thesis; the second limit printed there for $\lambda \to \infty$ should be
    $W_1^\top W_1 \to V S^2 V^\top / \lambda$). With $\lambda = 0$ both are
    task-specific, $U S U^\top$ and $V S V^\top$. For large $|\lambda|$ the larger
    layer's representation is $|\lambda|$ times the identity, task-agnostic, if `hidden`
    is its width. If the layer is wider, it is $|\lambda|$ times a projector onto the
    task's leading directions, and onto further ones that `start` determines.

    **Arguments:**

    - `task`: a task with isotropic inputs.
    - `lmda`, `hidden_size`: the network's balance and number of hidden units.
    - `start`: the network at time zero, with that balance. If `hidden` lies strictly
      between `in` and `out`, it determines which further directions the larger layer
      keeps. Nothing else depends on it, unless it is a saddle.

    **Raises:** `ValueError` for sizes that don't allow the sign of `lmda`; if
    `start` is needed and missing, or has another balance; for anisotropic inputs; and
    if the hidden size cuts through equal singular values of the task: the start then
    determines which are learned. Traced bad values give NaN. Derivatives that don't
    exist are refused, as in `balanced_representations`.

    ```python
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(3)
    rich = lr.theory.converged_representations(task, 0.0, 8)
    lazy = lr.theory.converged_representations(task, 50.0, 8)
    print(rich.output_representation.shape, lazy.ntk(task.x).shape)
    ```
    """
    is_task("task", task)
    finer, balance = _dtypes.promoted(task=task, lmda=_checks.as_scalar("lmda", lmda))
    if start is not None:
        is_network("start", start)
        finer, balance, _ = _dtypes.promoted(task=finer, lmda=balance, start=start)
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
    noise = 4 * max(sizes) * _dtypes.rounding(task=task)
    of_start = jax.tree.map(lambda w: w.astype(balance.dtype), start)
    found, s, tie = _converged(sigma / variance, balance, hidden, of_start, noise)
    refuse_cut(tie, hidden, s)
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
    """Whether the balances are equal up to rounding in weights of this size."""
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
    """Converged representations, singular values, and whether equal ones are cut."""
    n_out, n_in = end.shape
    modes = modes_of_matrix(end)
    values = modes.s
    tie = cuts_through(values, hidden, noise)
    modes = modes._replace(s=jnp.where(tie, jnp.nan, values))
    end = jnp.where(tie, jnp.nan, end)
    is_between = n_in < hidden < n_out or n_out < hidden < n_in
    found = _representations(end, modes, lmda, hidden, start if is_between else None)
    return found, values, tie


def _representations(
    function: Float[Array, "out in"],
    modes: Modes,
    lmda: Float[Array, ""],
    hidden: int,
    start: LinearNetwork | None,
) -> Representations:
    """The representations of the leading modes and of surplus hidden units.

    The latter lie along the complement of the modes, or along the part of it that
    `start` determines.
    """
    k = min(hidden, *function.shape)
    function = leading_part(function, modes, k)
    pair = balanced_pair(function, lmda, Modes(*(x[..., :k] for x in modes)))
    of_input, of_output = dot(pair[0].mT, pair[0]), dot(pair[1], pair[1].mT)
    inputs = outputs = None
    if start is not None:
        inputs, outputs = beside_modes(pair, *start.weights)[1]
    elif k < hidden < max(function.shape):  # `lmda` is zero
        lmda = _checks.refuse_derivative(lmda, jnp.array(True), message=OF_LMDA)
    if k < hidden <= function.shape[0]:  # and `lmda` is not negative
        of_output += lmda * _beyond(pair[1], outputs)
    if k < hidden <= function.shape[1]:  # and not positive
        of_input -= lmda * _beyond(pair[0].mT, None if inputs is None else inputs.mT)
    return Representations(function + 0 * lmda, of_input, of_output)


def _beyond(
    columns: Float[Array, "n k"], along: Float[Array, "n more"] | None
) -> Float[Array, "n n"]:
    """The projector onto `along`, or onto the complement of `columns`."""
    if along is not None:
        return dot(along, along.mT)
    basis = nearest_isometry(columns)
    return jnp.eye(basis.shape[0], dtype=basis.dtype) - dot(basis, basis.mT)
