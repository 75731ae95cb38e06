r"""Linear equations whose coefficients are the solution at the same time.

They have no closed form: the rotation of the hidden units, derivatives off the balanced
class, expansions in small deviations from it. Dopri8 integrates them in the inner time
log(1 + rate t), in which early and late changes take about equally long.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..frame import Frame


def along(
    frame: Frame,
    ts: Float[Array, " times"],
    velocity: Callable[[Array, PyTree], PyTree],
    start: PyTree,
    *,
    rtol: float | Array,
    atol: float | Array,
    max_steps: int = 2**17,
    throw: bool = False,
    reverse: bool = True,
) -> PyTree:
    """The solution of dy/dt = velocity(t, y) at finite times, in any order.

    Nothing changes after `last_along`. If the solver takes too many steps the solution
    is NaN, or with `throw` a runtime error. Derivatives are in reverse mode, or without
    `reverse` in forward mode.
    """
    import diffrax  # takes half a second: imported on first use

    order = jnp.argsort(ts)
    times = inner_time(frame, jnp.minimum(ts, last_along(frame, rtol)))[order]

    def by_inner_time(s, y, args):
        s, rate = jnp.asarray(s), _rate(frame)
        # At time zero itself a square root would have no derivative.
        t = jnp.expm1(s) / rate + 1e8 * jnp.finfo(ts.dtype).tiny
        pace = jnp.exp(s) / rate
        return jax.tree.map(lambda dy: dy * pace, velocity(t, y))

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(by_inner_time),
        diffrax.Dopri8(),
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=start,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=max_steps,
        adjoint=diffrax.RecursiveCheckpointAdjoint()
        if reverse
        else diffrax.ForwardMode(),
        throw=throw,
    )
    good = solution.result == diffrax.RESULTS.successful
    back = jnp.argsort(order)
    return jax.tree.map(lambda y: jnp.where(good, y, jnp.nan)[back], solution.ys)


def tolerances(dtype: jnp.dtype) -> tuple[float, float]:
    """The relative and the absolute tolerance of a step."""
    return (1e-10, 1e-13) if jnp.finfo(dtype).bits > 32 else (1e-5, 1e-8)


def inner_time(frame: Frame, t: Float[Array, "*ts"]) -> Float[Array, "*ts"]:
    """log(1 + rate t)."""
    return jnp.log1p(_rate(frame) * t)


def last_along(frame: Frame, rtol: float | Array) -> Float[Array, ""]:
    """The time after which the rounding of the coefficients exceeds the tolerance."""
    return rtol / (jnp.finfo(frame.rates.dtype).eps * _rate(frame))


def _rate(frame: Frame) -> Float[Array, ""]:
    return jnp.where(frame.rates[0] > 0, frame.rates[0], 1.0)
