"""What a report asks: two states of a model, samples and targets."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .. import _checks, _dtypes
from .model import Function

Apply = Callable[[Any, Array], Any]


class Targets(NamedTuple):
    """The loss by its name, its targets, and these as one number per output."""

    loss: str
    values: Array
    matrix: Float[Array, "samples outputs"]

    @property
    def labels(self) -> Array | None:
        """The classes of the samples, if targets are classes."""
        return self.values if self.loss == "cross_entropy" else None


class Question(NamedTuple):
    """Two states of a model, and the samples that a report asks them about."""

    states: tuple[PyTree, PyTree]
    functions: tuple[Function, Function]
    x: Array
    targets: Targets | None
    apply: Apply | None
    memory: float
    key: PRNGKeyArray


def one_key(key: Any) -> PRNGKeyArray:
    """`key`, checked.

    **Raises:** `TypeError` for all but one key of random numbers.
    """
    try:
        jax.eval_shape(jax.random.bits, key)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`key` must be one key, such as `jax.random.key(0)`, but it was {key!r}."
        ) from error
    return key


def require_concrete(**models: Any) -> None:
    """Refuse traced models; their names are the keywords."""
    for name, model in models.items():
        if not _checks.is_concrete(model):
            raise TypeError(
                f"`{name}` must be concrete, outside of `jax.jit` and the like, but it "
                "was traced."
            )


def drawn(
    x: Any, y: Any, samples: int, key: PRNGKeyArray
) -> tuple[Array, Array | None]:
    """Some of the samples, in their order, and their targets."""
    x = _dtypes.as_real("x", x, whole=True)
    y = None if y is None else _dtypes.as_real("y", y, whole=True)
    _checks.require(
        x.ndim > 0 and x.shape[0] > 0,
        f"`x` must hold samples along its first axis, but its shape was {x.shape}.",
    )
    _checks.require(
        y is None or y.shape[:1] == x.shape[:1],
        f"`y` must have a row for each of {x.shape[0]} samples, but its shape was "
        f"{None if y is None else y.shape}.",
    )
    if x.shape[0] <= samples:
        return x, y
    chosen = jax.random.choice(key, x.shape[0], (samples,), replace=False)
    chosen = jnp.sort(chosen)
    return x[chosen], None if y is None else y[chosen]


def targets_of(y: Array | None, outputs: int) -> Targets | None:
    """Classes if each sample has a whole number and the model several outputs."""
    if y is None:
        return None
    whole = jnp.issubdtype(y.dtype, jnp.integer)
    if whole and y.ndim == 1 and outputs > 1:
        low, high = int(y.min()), int(y.max())
        _checks.require(
            0 <= low and high < outputs,
            f"`y` must hold classes from 0 to {outputs - 1}, one for each output, but "
            f"they were from {low} to {high}.",
        )
        return Targets("cross_entropy", y, jax.nn.one_hot(y, outputs))
    _checks.require(
        y.size == y.shape[0] * outputs,
        f"`y` must have a number for each of {outputs} outputs, or a class per sample, "
        f"but its shape was {y.shape}.",
    )
    y = _checks.finite("y", y.astype(float) if whole else y).reshape(-1, outputs)
    return Targets("mse", y, y)
