"""The sharpness of the training loss of any model."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, PyTree, Real, Shaped

from .. import _checks, _dtypes
from ..measures.curvature import largest_eigenvalue
from .chunks import in_chunks
from .cost import costs_of_samples, most_samples
from .model import Function, function_of

Loss = Callable[[Array, Array], Array]


def half_square(outputs: Float[Array, " outputs"], target: Array) -> Array:
    """Half of the squared error of one sample, summed over outputs."""
    return jnp.sum((outputs - jnp.ravel(target)) ** 2) / 2


def cross_entropy(outputs: Float[Array, " outputs"], target: Array) -> Array:
    """The cross entropy of one sample's logits and its label, a whole number."""
    return jax.nn.logsumexp(outputs) - outputs[target]


LOSSES: dict[str, Loss] = {"mse": half_square, "cross_entropy": cross_entropy}


def sharpness(
    model: PyTree,
    x: Shaped[ArrayLike, "samples ..."],
    y: Real[ArrayLike, "samples ..."],
    *,
    apply: Callable[[Any, Array], Any] | None = None,
    loss: str | Loss = "mse",
    rtol: float = 1e-4,
    memory: float = 1e9,
) -> Float[Array, ""]:
    r"""The largest eigenvalue of the training loss's Hessian by all parameters.

    ARPACK's Lanczos iteration asks for products with the Hessian alone. Gradient
    descent at a minimum is stable for learning rates below two over the sharpness
    (Cohen et al. 2021). Rich learning from small weights ends flat, lazy learning at
    large weights stays sharp. For a linear network it equals
    `lazyrich_jax.measures.sharpness`.

    **Arguments:**

    - `model`, `x`, `apply`: as in `kernel_products`. They must be concrete.
    - `y`: the targets; for the cross entropy a label, a whole number, per sample.
    - `loss`: `"mse"`, half the squared error summed over outputs, the loss of the
      library; `"cross_entropy"` of logits; or a function of one sample's outputs (a
      vector) and its target. The mean over samples is taken.
    - `rtol`: the relative tolerance of the eigenvalue.
    - `memory`: the most bytes to use for samples at a time, and for the vectors of the
      iteration. It keeps 20 vectors of double precision, or as many as fit, but at
      least 8. Fewer vectors may take more products.

    **Raises:** `ValueError` for targets that don't fit the samples, labels that
    aren't classes, and a loss that isn't one finite number per sample; `TypeError` for
    labels that aren't whole numbers, and as `kernel_products` for models.

    ```python
    import equinox as eqx
    import jax
    import lazyrich_jax as lr

    model = eqx.nn.MLP(3, 2, 8, 1, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (20, 3))
    print(lr.richness.sharpness(model, x, x[:, :2]))
    ```
    """
    tolerance = _checks.positive("rtol", _checks.as_scalar("rtol", rtol))
    memory = float(_checks.positive("memory", _checks.as_scalar("memory", memory)))
    if not callable(loss) and loss not in LOSSES:
        raise ValueError(
            f"`loss` must be one of {', '.join(map(repr, LOSSES))} or a function of "
            f"outputs and a target, but it was {loss!r}."
        )
    function, samples = function_of("model", model, x, apply)
    outputs = jax.eval_shape(function, function.parameters, samples[0]).shape[0]
    targets = _targets(y, samples.shape[0], outputs, loss)
    of_sample = loss if callable(loss) else LOSSES[loss]
    function, targets, samples = _dtypes.promoted(f=function, y=targets, x=samples)
    _require_loss(of_sample, function, samples[0], targets[0])
    flat = ravel_pytree(function.parameters)[0]
    once, each = costs_of_samples(
        lambda part: _part(function, *part, loss=of_sample, vector=flat),
        (samples, targets, jnp.ones(samples.shape[:1], bool)),
    )
    size = most_samples(memory, once.bytes, each.bytes, samples.shape[0])
    (xs, ys), keep = in_chunks((samples, targets), max(size, 1))

    def product(vector: Array) -> Array:
        total = jnp.zeros_like(vector)
        for chunk in zip(xs, ys, keep, strict=True):  # no loop of XLA: see `jacobian`
            total += _product(function, *chunk, loss=of_sample, vector=vector)
        return total / samples.shape[0]

    return largest_eigenvalue(product, flat.size, flat.dtype, float(tolerance), memory)


def _require_loss(loss: Loss, function: Function, sample: Array, target: Array) -> None:
    """Refuse a loss that is not one finite number."""
    value = loss(function(function.parameters, sample), target)
    _checks.require(
        jnp.shape(value) == (),
        "`loss` must give one number per sample, but the shape of its result was "
        f"{jnp.shape(value)}.",
    )
    _checks.finite("loss(model(x[0]), y[0])", value)


def _targets(y: Any, samples: int, outputs: int, loss: str | Loss) -> Array:
    targets = _checks.finite("y", _dtypes.as_real("y", y, whole=loss != "mse"))
    _checks.require(
        targets.ndim > 0 and targets.shape[0] == samples,
        f"`y` must have a row for each of {samples} samples, but its shape was "
        f"{targets.shape}.",
    )
    if loss == "mse":
        _checks.require(
            targets.size == samples * outputs,
            f"`y` must have a number for each of {outputs} outputs, but its shape was "
            f"{targets.shape}.",
        )
    if loss == "cross_entropy":
        if not jnp.issubdtype(targets.dtype, jnp.integer):
            raise TypeError(
                "`y` must hold labels, whole numbers, for the cross entropy, but its "
                f"dtype was {targets.dtype}."
            )
        low, high = int(targets.min()), int(targets.max())
        _checks.require(
            targets.ndim == 1 and 0 <= low and high < outputs,
            f"`y` must hold one label from 0 to {outputs - 1} per sample, but its "
            f"shape was {targets.shape} and its labels were from {low} to {high}.",
        )
    return targets


def _part(
    function: Function,
    samples: Array,
    targets: Array,
    keep: Array,
    loss: Loss,
    vector: Array,
) -> Array:
    """The product of the Hessian of some samples' losses, summed, with a vector."""
    flat, restored = ravel_pytree(function.parameters)

    def total(flat: Array) -> Array:
        parameters = restored(flat)

        def of_sample(sample: Array, target: Array) -> Array:
            return loss(function(parameters, sample), target)

        return jnp.sum(jnp.where(keep, jax.vmap(of_sample)(samples, targets), 0))

    return jax.jvp(jax.grad(total), (flat,), (vector,))[1]


_product = eqx.filter_jit(_part)
