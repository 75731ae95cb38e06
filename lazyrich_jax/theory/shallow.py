"""Networks of one layer, for any inputs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .. import _checks, _dtypes
from .._decays import decay_difference
from .._linalg import dot, finite_time, mean_decay, square_norm
from .._task import Task
from .._xla import compiled
from .assumptions import function_of


def shallow_function(
    ts: Real[ArrayLike, "*times"], function: Real[ArrayLike, "out in"], task: Task
) -> Float[Array, "*times out in"]:
    r"""The exact learning of a network of one layer.

    $\dot W = \Sigma - W\Sigma_{xx}$ gives $W(t) = W_0 + (\Sigma - W_0\Sigma_{xx})\,
    \Sigma_{xx}^{-1}(1 - e^{-\Sigma_{xx}t})$; for white inputs
    $\Sigma + (W_0 - \Sigma)e^{-t}$ (theorems 2.2.3 and 4.2.2 of Domine's thesis).
    Inputs may be anisotropic, and may span only some directions: $W$ is constant along
    the others. The converged representations are $W^\top W = VS^2V^\top$ and
    $WW^\top = US^2U^\top$ for white inputs (Theorem 4.2.1, which prints S for $S^2$).

    **Arguments:**

    - `ts`: times, any shape, in units of learning rate x step; infinity is allowed.
    - `function`: $W_0$, (out, in).
    - `task`: any task.

    **Returns:** $W(t)$, with the axes of `ts` first. First derivatives are right also
    at repeated and zero eigenvalues of the inputs. At infinity they hold for inputs
    that stay in their span: the limit jumps when a direction gets its first input.

    **Raises:** `ValueError` for negative times (traced: NaN) and a function that
    doesn't fit the task.
    """
    ts = _checks.as_times("ts", ts)
    function, task = function_of("function", function, task)
    w = _shallow(ts.ravel(), function, task)
    return w.reshape(*ts.shape, *function.shape)


@compiled
def _shallow(
    ts: Float[Array, " times"], function: Float[Array, "out in"], task: Task
) -> Float[Array, "times out in"]:
    sxx = task.input_correlation
    gradient = task.input_output_correlation - dot(function, sxx)
    # The gradient along directions without inputs is zero, but has a derivative.
    rates, basis = _spectrum(jax.lax.stop_gradient(sxx))
    empty = basis * jnp.where(rates > 0, 0.0, 1.0)[None]
    part = jax.lax.stop_gradient(dot(gradient, empty, empty.T))
    noise = 32 * rates.size * jnp.finfo(rates.dtype).eps
    is_zero = square_norm(part) <= noise**2 * square_norm(gradient)
    gradient = gradient - jnp.where(is_zero, part, 0.0)
    times = finite_time(ts.astype(sxx.dtype))
    gain = jax.vmap(_decay_integral, in_axes=(None, 0))(sxx, times)
    return function[None] + dot(gradient, gain)


@jax.custom_jvp
def _decay_integral(
    matrix: Float[Array, "n n"], t: Float[Array, ""]
) -> Float[Array, "n n"]:
    r"""$\int_0^t e^{-Ss} ds$ for a positive semidefinite matrix S.

    At late times, which would amplify rounding, it is restricted to the range of S.
    """
    rates, basis = _spectrum(matrix)
    gain = jnp.where(_counts(rates, t), t * mean_decay(rates * t), 0.0)
    return dot(basis * gain[None], basis.T)


@_decay_integral.defjvp
def _decay_integral_jvp(primals, tangents):
    (matrix, t), (dmatrix, dt) = primals, tangents
    rates, basis = _spectrum(matrix)
    counts = _counts(rates, t)
    half = rates / 2
    slope = decay_difference(half, jnp.abs(half[:, None] - half[None]), t) / 2
    slope = jnp.where(counts[:, None] & counts[None], slope, 0.0)
    change = -slope * dot(basis.T, dmatrix, basis)
    decayed = jnp.where(counts, jnp.exp(-rates * t), 0.0)
    change = change + jnp.diag(dt * decayed)
    return _decay_integral(matrix, t), dot(basis, change, basis.T)


def _counts(rates: Float[Array, " n"], t: Float[Array, ""]) -> Bool[Array, " n"]:
    """A mask of the rates; at late times it excludes rates that count as zero."""
    return (rates > 0) | (rates[-1] * t < jnp.finfo(rates.dtype).eps ** -0.5)


def _spectrum(
    matrix: Float[Array, "n n"],
) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Eigenvalues, with zero for those at rounding level, and eigenvectors."""
    rates, basis = jnp.linalg.eigh(matrix)
    noise = 4 * rates.size * jnp.finfo(rates.dtype).eps * rates[-1]
    return jnp.where(rates > noise, rates, 0.0), basis


def shallow_steps(
    excess: Real[ArrayLike, ""],
    tolerance: Real[ArrayLike, ""],
    learning_rate: Real[ArrayLike, ""],
) -> Float[Array, ""]:
    r"""The number of gradient descent steps until a shallow network's loss converges.

    For white inputs the loss above its optimum falls by $(1 - \eta)^2$ a step. The
    number of steps is $\ln(\text{excess}/\text{tolerance}) / (-2\ln(1 - \eta))$, not
    rounded. The general bound for 1-strongly convex, 1-smooth losses (Domine's thesis,
    section on continual learning) is twice that.

    **Arguments:** scalars. `excess`: the loss above its optimum at the start;
    `tolerance`: the excess to reach; `learning_rate`: below one.

    **Raises:** `ValueError` for values that aren't positive, and a rate of one or more
    (traced: NaN).
    """
    values = []
    for name, value in (
        ("excess", excess),
        ("tolerance", tolerance),
        ("learning_rate", learning_rate),
    ):
        value = _checks.as_scalar(name, value)
        values.append(_checks.positive(name, value))
    below = "be less than 1"
    values[2] = _checks.checked("learning_rate", values[2], below, lambda x: x < 1)
    excess, tolerance, rate = values
    one = _dtypes.promoted(excess=excess, tolerance=tolerance, learning_rate=rate)
    return _steps(*one)


@compiled
def _steps(
    excess: Float[Array, ""], tolerance: Float[Array, ""], rate: Float[Array, ""]
) -> Float[Array, ""]:
    steps = jnp.log(excess / tolerance) / (-2 * jnp.log1p(-rate))
    return jnp.maximum(steps, 0.0)
