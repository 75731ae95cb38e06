"""Loss, forgetting and their rates, from the correlations of tasks."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._exactness import check_two_layers
from .._linalg import dot, square_norm
from .._network import LinearNetwork
from .._task import Task
from .assumptions import function_of
from .representations import Representations


def loss(function: Real[ArrayLike, "out in"], task: Task) -> Float[Array, ""]:
    r"""The loss of the linear map `function`, from correlations.

    It is $\frac12\operatorname{tr} W\Sigma_{xx}W^\top - \operatorname{tr} W\Sigma^\top
    + \frac12\operatorname{tr}\Sigma_{yy}$; for white inputs
    $\frac12|W - \Sigma|^2$ plus a constant (Braun et al. 2022; Domine's thesis, section
    2.3.4).
    """
    function, task = function_of("function", function, task)
    sigma, sxx = task.input_output_correlation, task.input_correlation
    linear = jnp.sum(function * (dot(function, sxx) / 2 - sigma))
    return linear + square_norm(task.y) / (2 * task.samples)


def forgetting(
    before: Real[ArrayLike, "out in"], after: Real[ArrayLike, "out in"], task: Task
) -> Float[Array, ""]:
    r"""The growth of the loss on `task` as the function goes from `before` to `after`.

    If j and then k are learned to the end with white inputs, `before` is $\Sigma_j$ and
    `after` is $\Sigma_k$. The forgetting of task i is then
    $\frac12(|\Sigma_k - \Sigma_i|^2 - |\Sigma_j - \Sigma_i|^2)$ (Braun et al. 2022;
    Domine's thesis, section 4.4). It is evaluated as
    $\langle W' - W, \frac12(W' + W)\Sigma_{xx} - \Sigma\rangle$, which keeps its digits
    if little is forgotten. It is negative if learning lowers the loss.

    **Arguments:** `before` and `after`, (out, in); `task`, the forgotten task.
    """
    before, task = function_of("before", before, task)
    after, task = function_of("after", after, task)
    before, after = _dtypes.promoted(before=before, after=after)
    middle = (before + after) / 2
    return jnp.sum((after - before) * task.loss_gradient(middle))


def function_rate(
    state: LinearNetwork | Representations, task: Task
) -> Float[Array, "out in"]:
    r"""The velocity of a two-layer network's function while it learns `task`.

    $\frac{d}{dt} W_2W_1 = (\Sigma - W_2W_1\Sigma_{xx})\,W_1^\top W_1
    + W_2W_2^\top(\Sigma - W_2W_1\Sigma_{xx})$. `state` is a network or
    `Representations` at one time (`solution.network(t)` for an `ExactSolution`).
    """
    _checks.one("state", state)
    if isinstance(state, LinearNetwork):
        check_two_layers(state)
    _, task = function_of("state", state.function, task)
    state, task = _dtypes.promoted(state=state, task=task)
    error = -task.loss_gradient(state.function)
    return dot(error, state.input_representation) + dot(
        state.output_representation, error
    )


def loss_rate(
    state: LinearNetwork | Representations, task: Task, *, learning: Task
) -> Float[Array, ""]:
    r"""The rate of the loss on `task`, and of its forgetting, while learning another.

    $\frac{dL_i}{dt} = \operatorname{tr}\frac{d(W_2W_1)}{dt}
    (W_2W_1\Sigma_{xx} - \Sigma_i)^\top$ (Theorem 4.4.1 of Domine's thesis; the bracket
    of its equation 4.36 and the factor $1/P$ of 4.40 are misprints). Its unit is the
    inverse of learning rate x step.

    **Arguments:** `state` as for `function_rate`; `task`, the task of the loss;
    `learning`, the task that is being learned, which may be the same.
    """
    state, task, learning = _dtypes.promoted(state=state, task=task, learning=learning)
    velocity = function_rate(state, learning)
    function, task = function_of("state", state.function, task)
    return jnp.sum(velocity * task.loss_gradient(function))
