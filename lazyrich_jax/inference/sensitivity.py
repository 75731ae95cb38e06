"""The derivatives of a course of learning by every initial condition."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._dynamics import ExactSolution
from .._linalg import dot
from .._network import LinearNetwork
from .._task import Task
from ..theory.assumptions import balance_of, isotropic_variance

CURVES = {
    "loss": ExactSolution.loss,
    "function": ExactSolution.function,
    "input_representation": ExactSolution.input_representation,
    "output_representation": ExactSolution.output_representation,
    "qqt": ExactSolution.qqt,
}


class Sensitivity(eqx.Module):
    r"""A curve, and its derivatives by the start.

    The last three are along the class of balanced weights: they are the derivatives by
    the weights, times changes of the weights that keep them balanced.

    **Attributes:**

    - `ts`: the times, (times,).
    - `curve`: the observable, (times, ...).
    - `w1`: derivatives by the weights of the first layer, (times, ..., hidden, in).
    - `w2`: derivatives by those of the second, (times, ..., out, hidden).
    - `lmda`: derivatives by the balance at a fixed function, (times, ...).
    - `scale`: derivatives by the logarithm of the scale at a fixed balance, (times,
      ...): the function is multiplied by the square of the scale.
    - `strengths`: derivatives by the singular values of the start's function at a fixed
      balance, in falling order, (times, ..., modes).
    """

    ts: Float[Array, " times"]
    curve: Float[Array, "times ..."]
    w1: Float[Array, "times ..."]
    w2: Float[Array, "times ..."]
    lmda: Float[Array, "times ..."]
    scale: Float[Array, "times ..."]
    strengths: Float[Array, "times ..."]


def sensitivity(
    network: LinearNetwork,
    task: Task,
    ts: Real[ArrayLike, " times"] | Sequence[float],
    *,
    observe: str | Callable[[ExactSolution, Array], Array] = "loss",
    flow_derivatives: bool = True,
) -> Sensitivity:
    r"""The derivatives of a curve by every weight, the balance and the scale.

    A change of a single weight makes the network unbalanced. With `flow_derivatives`
    the derivatives by weights are those of gradient flow in every direction, to the
    tolerance of a linear ODE. Without it they are the derivatives of the exact solution
    as a formula: they are the flow's only in sums along changes that keep the weights
    balanced, and take less time. The derivatives by balance, scale and strengths are
    such sums, and the same in both cases (docs/theory.md, section 3).

    **Arguments:**

    - `network`: a balanced network of two layers.
    - `task`: a task with isotropic inputs.
    - `ts`: times, (times,), in units of learning rate x step; infinity is allowed.
    - `observe`: "loss", "function", "input_representation", "output_representation",
      "qqt"; or a callable of an `ExactSolution` and the times, which puts the times
      first.
    - `flow_derivatives`: see above.

    **Returns:** a `Sensitivity`.

    **Raises:** `ValueError` for other networks, tasks, times and names; a runtime error
    where a mode has strength zero, or a hidden unit is zero in both layers: balanced
    weights have no derivative there.
    """
    _checks.require(
        callable(observe) or observe in CURVES,
        f"`observe` must be callable or one of {', '.join(CURVES)}, but it was "
        f"{observe!r}.",
    )
    curve = observe if callable(observe) else CURVES[observe]
    lmda = balance_of("network", network, task)
    isotropic_variance(task, lmda.dtype)
    times = _checks.as_times("ts", ts)
    _checks.require(
        times.ndim == 1 and times.size > 0,
        f"`ts` must be a vector of times, but its shape was {times.shape}.",
    )
    network, task, times, lmda = _dtypes.promoted(
        network=network, task=task, ts=times, lmda=lmda
    )
    return _sensitivity(network, task, times, lmda, curve, flow_derivatives)


@eqx.filter_jit
def _sensitivity(
    network: LinearNetwork,
    task: Task,
    ts: Float[Array, " times"],
    lmda: Float[Array, ""],
    curve: Callable[[ExactSolution, Array], Array],
    flow_derivatives: bool,
) -> Sensitivity:
    def observed(network):
        solution = ExactSolution(
            network, task, throw=False, flow_derivatives=flow_derivatives
        )
        value = curve(solution, ts)
        return value, value

    slopes, value = jax.jacfwd(observed, has_aux=True)(network)
    by_w1, by_w2 = slopes.weights

    def along(change):
        """Derivatives along changes of the weights, with a leading axis or not."""
        sides = zip((by_w1, by_w2), change.weights, strict=True)
        axes = (-2, -1)
        products = [
            jnp.tensordot(j, dw, axes=(axes, axes), precision="highest")
            for j, dw in sides
        ]
        return products[0] + products[1]

    u, s, vt = jnp.linalg.svd(network.function, full_matrices=False)
    k = min(network.sizes)
    w1, w2 = network.weights
    back = dot(vt[:k], jnp.linalg.pinv(w1))  # of the modes' inputs, from hidden units

    def with_strengths(change):
        return LinearNetwork((w1, w2 + dot(u[:, :k] * change[None], back)))

    one = jnp.ones_like(lmda)
    by_lmda = jax.jvp(network.rebalanced, (lmda,), (one,))[1]
    by_strengths = jax.jacfwd(lambda x: with_strengths(x).rebalanced(lmda))
    by_strengths = by_strengths(jnp.zeros_like(s[:k]))
    by_strengths = jax.tree.map(lambda w: jnp.moveaxis(w, -1, 0), by_strengths)
    each = along(by_strengths)
    return Sensitivity(
        ts=ts,
        curve=value,
        w1=by_w1,
        w2=by_w2,
        lmda=along(by_lmda),
        scale=2 * jnp.tensordot(each, s[:k], axes=1, precision="highest"),
        strengths=each,
    )
