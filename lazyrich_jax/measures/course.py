"""Measures of learning over time: the conserved balance and the convergence time."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._linalg import dot, norm
from .._xla import compiled


def balance(
    w1: Real[ArrayLike, "hidden in"], w2: Real[ArrayLike, "out hidden"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""The balance nearest to two layers' weights, and the residual.

    $\lambda^* = \operatorname{tr}(W_2^\top W_2 - W_1W_1^\top) / N_h$ minimises
    $|W_2^\top W_2 - W_1W_1^\top - \lambda I|_F$ (Theorem 4.5.1 of Domine's thesis,
    whose statement omits the $1/N_h$). The residual is that minimum. Nonlinear networks
    are allowed too.

    **Raises:** `ValueError` for weights that don't chain.
    """
    w1, w2 = _checks.as_matrix("w1", w1), _checks.as_matrix("w2", w2)
    _checks.require(
        w2.shape[1] == w1.shape[0],
        "`w2` must have as many columns as `w1` has rows, but their shapes were "
        f"{w2.shape} and {w1.shape}.",
    )
    return _balance(*_dtypes.promoted(w1=w1, w2=w2))


@compiled
def _balance(
    w1: Float[Array, "hidden in"], w2: Float[Array, "out hidden"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    difference = dot(w2.T, w2) - dot(w1, w1.T)
    lmda = jnp.trace(difference) / w1.shape[0]
    residual = difference - lmda * jnp.eye(w1.shape[0], dtype=lmda.dtype)
    return lmda, norm(residual)


def convergence_time(
    ts: Real[ArrayLike, " times"],
    loss: Real[ArrayLike, " times"],
    threshold: Real[ArrayLike, ""],
) -> Float[Array, ""]:
    r"""The first time at which `loss` is at or below `threshold`, or infinity.

    The time is interpolated linearly between the two times around it, so that it has a
    derivative. Divided by the learning rate it is the number of steps. The threshold is
    absolute: for noisy targets add the final loss, `solution.loss(jnp.inf)`.

    **Arguments:** `ts`, non-decreasing times, (times,); `loss` at them, (times,);
    `threshold`, a scalar.

    **Raises:** `ValueError` for vectors of different lengths and times that are
    negative or decrease (traced: NaN). A NaN loss or threshold gives NaN.
    """
    ts, loss = _dtypes.as_real("ts", ts), _dtypes.as_real("loss", loss)
    threshold = _checks.as_scalar("threshold", threshold)
    _checks.require(
        ts.ndim == 1 and ts.size > 0,
        f"`ts` must be a vector of times, but its shape was {ts.shape}.",
    )
    _checks.same_shape(ts=ts, loss=loss)
    values = _checks.known(ts)
    if values is not None:
        fault = _checks.times_fault(values, ordered=True, infinite=True)
        _checks.require(fault is None, str(fault))
    return _time(*_dtypes.promoted(ts=ts, loss=loss, threshold=threshold))


@compiled
def _time(
    ts: Float[Array, " times"],
    loss: Float[Array, " times"],
    threshold: Float[Array, ""],
) -> Float[Array, ""]:
    below = loss <= threshold
    i = jnp.argmax(below)
    before = jnp.maximum(i - 1, 0)
    drop = loss[before] - loss[i]
    # No interpolation at the first time, and before an infinite time.
    between = (i > 0) & (drop > 0) & jnp.isfinite(ts[i])
    part = (loss[before] - threshold) / jnp.where(between, drop, 1.0)
    gap = jnp.where(between, ts[i] - ts[before], 0.0)
    time = jnp.where(between, ts[before] + part * gap, ts[i])
    time = jnp.where(jnp.any(below), time, jnp.inf)
    valid = _checks.times_valid(ts, infinite=True)
    valid &= ~jnp.any(jnp.isnan(loss)) & ~jnp.isnan(threshold)
    return jnp.where(valid, time, jnp.nan)
