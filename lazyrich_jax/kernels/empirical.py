"""The tangent kernel of any Equinox model, from its derivatives.

In: a model that maps one sample, and samples. Out: its kernel, outputs before samples.
The docstring of `empirical_ntk` has the formula.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from .. import _checks, _dtypes
from .._linalg import dot


def empirical_ntk(
    model: Callable[[Array], Array], x: Real[ArrayLike, "samples *in"]
) -> Float[Array, "outputs outputs"]:
    r"""The neural tangent kernel of any Equinox model, from its derivatives.

    $K_{(i,n),(j,m)} = \sum_\theta \partial_\theta \hat y_i(x_n)\,
    \partial_\theta \hat y_j(x_m)$ over all floating-point arrays of the model. For a
    `LinearNetwork` it equals `ntk`. A complex parameter counts as two: its real and
    imaginary parts. The derivatives of all outputs take memory for outputs x samples x
    parameters numbers.

    **Arguments:**

    - `model`: a module (or any callable tree) that maps one sample to an array of real
      outputs, of any shape. It must have no randomness (`eqx.nn.inference_mode`).
    - `x`: the samples, along the first axis. Whole numbers, such as tokens, reach the
      model as they are.

    **Returns:** (outputs * samples, outputs * samples), outputs before samples.

    **Raises:** `ValueError` if `x` has no axis of samples or the model can't map a
    sample; `TypeError` for a model without parameters, such as a plain function, for
    half precision, and for outputs that are not real.
    """
    _checks.one("model", model)
    samples = _dtypes.as_real("x", x, whole=True)
    _checks.require(
        samples.ndim > 0 and samples.shape[0] > 0,
        "`x` must hold samples along its first axis, but its shape was "
        f"{samples.shape}.",
    )
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    if not jax.tree.leaves(parameters):
        raise TypeError(
            "`model` must hold its parameters as floating-point arrays, but it had "
            f"none: it was {model!r}. Pass the module itself, for one sample."
        )
    real = jax.tree.map(jnp.real, parameters)
    imaginary = jax.tree.map(
        lambda p: p.imag if jnp.iscomplexobj(p) else None, parameters
    )
    parts = real, imaginary
    parts, samples = _dtypes.promoted(model=parts, x=samples)  # whole numbers stay
    try:
        output = jax.eval_shape(lambda x: _outputs(parts, rest, x), samples[0])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`model` must map one sample, of shape {samples.shape[1:]}, to an array, "
            f"but it failed: {error} (`x` holds samples along its first axis.)"
        ) from error
    _dtypes.require_precision("model(x[0])", output.dtype)
    return _empirical(parts, rest, samples)


def _outputs(parts: tuple[PyTree, PyTree], rest: PyTree, sample: Array) -> Array:
    """The model's outputs, given the real and imaginary parts of its parameters."""

    def whole(real: Any, imaginary: Any) -> Any:
        return real if imaginary is None else jax.lax.complex(real, imaginary)

    parameters = jax.tree.map(whole, *parts, is_leaf=lambda x: x is None)
    return jnp.ravel(eqx.combine(parameters, rest)(sample))


@eqx.filter_jit
def _empirical(parts: tuple[PyTree, PyTree], rest: PyTree, x: Array) -> Array:
    def derivatives(sample):
        return jax.tree.leaves(jax.jacrev(_outputs)(parts, rest, sample))

    grams = []
    for leaf in jax.vmap(derivatives)(x):  # (samples, outputs, ...)
        rows = leaf.swapaxes(0, 1).reshape(leaf.shape[0] * leaf.shape[1], -1)
        grams.append(dot(rows, rows.T))
    return sum(grams[1:], grams[0])
