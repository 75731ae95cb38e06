r"""Unconstrained coordinates of unknown numbers.

$\mathrm{asinh}(\lambda / \mathrm{scale}^2)$ is linear for small balances, where a loss
may be even in $\lambda$, and logarithmic for large ones. Positive numbers have their
logarithms, and so has a balance of one feasible sign. The start function has its
entries. With a constant unit in place of `scale**2` the first coordinate stands for
$\lambda$ itself.
"""

from collections.abc import Container, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from .experiment import Experiment

# Balances beyond exp(16) scales, or strengths of the task, are lazy; other numbers make
# up for them.
FARTHEST = 16.0
FURTHER = 40.0


class Coordinates(eqx.Module):
    """The unknown numbers of an experiment as one vector.

    `sign` is the feasible sign of the balance; 0 is both. `anchor` is a unit of
    balances instead of `scale**2`, or NaN.
    """

    anchor: Float[Array, ""]
    far: Float[Array, ""]  # balances beyond exp(far) units are lazy

    names: tuple[str, ...] = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    sign: int = eqx.field(static=True)

    def __init__(self, experiment: Experiment, names: tuple[str, ...]):
        n_in, hidden, n_out = experiment.sizes
        self.names = names
        self.anchor = jnp.full((), jnp.nan, experiment.times.dtype)
        task, scale = experiment.task, experiment.known["scale"]
        strength = jnp.linalg.norm(task.input_output_correlation) / task.input_variance
        self.far = FARTHEST + jnp.log(jnp.maximum(strength / scale**2, 1.0))
        shapes = {
            "strengths": (min(experiment.sizes),),
            "function": (n_out, n_in),
            "task_strengths": (min(n_in, n_out),),
        }
        self.shapes = tuple(shapes.get(name, ()) for name in names)
        only_positive = experiment.model == "balanced" and hidden > n_in
        only_negative = experiment.model == "balanced" and hidden > n_out
        self.sign = only_positive - only_negative

    def anchored(self, unit: float) -> "Coordinates":
        """These coordinates with a constant unit of balances."""
        anchor = jnp.asarray(unit, self.anchor.dtype)
        return eqx.tree_at(lambda c: c.anchor, self, anchor)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each coordinate."""
        labels = []
        for name, shape in zip(self.names, self.shapes, strict=True):
            for index in np.ndindex(shape):
                inside = ", ".join(str(i) for i in index)
                labels.append(f"{name}[{inside}]" if index else name)
        return tuple(labels)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest coordinates."""
        pairs = zip(self.names, self.shapes, strict=True)
        ends = {"lmda": float(self.far), "mu": float(self.far), "function": 1e12}
        ends = [np.full(shape, ends.get(name, FURTHER)) for name, shape in pairs]
        far = np.concatenate([x.ravel() for x in ends])
        return -far, far

    def decode(
        self, u: Float[Array, " unknowns"], known: Mapping[str, Array]
    ) -> dict[str, Array]:
        """All numbers at these coordinates: `known` ones, with the unknown replaced."""
        values, at = dict(known), 0
        raw = {}
        for name, shape in zip(self.names, self.shapes, strict=True):
            count = int(np.prod(shape))
            raw[name] = u[at : at + count].reshape(shape)
            at += count
        if "scale" in raw:
            values["scale"] = jnp.exp(raw["scale"])
        unit = jnp.where(jnp.isnan(self.anchor), values["scale"] ** 2, self.anchor)
        for name, x in raw.items():
            if name == "lmda":
                values[name] = unit * (
                    self.sign * jnp.exp(x) if self.sign else jnp.sinh(x)
                )
            elif name == "mu":
                values[name] = unit * jnp.exp(x)
            elif name == "function":
                values[name] = x
            else:
                values[name] = jnp.exp(x)
        return values

    def encode(self, values: Mapping[str, Any]) -> Float[np.ndarray, "*many unknowns"]:
        """The coordinates of these numbers, all with the leading axes of `scale`."""
        scale = np.asarray(values["scale"], float)
        unit = float(self.anchor)
        unit = scale[..., None] ** 2 if np.isnan(unit) else unit
        parts = []
        for name in self.names:
            x = np.asarray(values[name], float).reshape(*scale.shape, -1)
            if name == "lmda" and not self.sign:
                x = np.arcsinh(x / unit)
            elif name == "lmda":
                x = np.log(np.maximum(self.sign * x / unit, np.exp(-16.0)))
            elif name == "mu":
                x = np.log(x / unit)
            elif name != "function":
                x = np.log(x)
            parts.append(x)
        return np.concatenate(parts, axis=-1)


def checked_names(
    experiment: Experiment, unknown: Any, given: Container[str] = ()
) -> tuple[str, ...]:
    """Names of unknown parameters, in the experiment's order.

    `given` are names of numbers that replace the known ones.

    **Raises:** `ValueError` for other names, none, and redundant ones.
    """
    names = (unknown,) if isinstance(unknown, str) else tuple(unknown)
    for name in names:
        aligned = name == "function" and experiment.start == "aligned"
        hint = '; `start="any"` makes it a parameter of the experiment'
        _checks.require(
            name in experiment.parameters,
            f"`unknown` must be names of {list(experiment.parameters)}, but it had "
            f"{name!r}{hint if aligned else ''}.",
        )
    _checks.require(
        len(names) > 0 and len(set(names)) == len(names),
        f"`unknown` must be different names, at least one, but it was {names}.",
    )
    start = "strengths" if experiment.start == "aligned" else "function"
    _checks.require(
        not {"scale", start} <= set(names),
        f'`unknown` must not have "scale" beside {start!r}, which contains it, but it '
        f"was {names}.",
    )
    for name in experiment.without_value:
        _checks.require(
            name in names or name in given,
            f"`unknown` must have {name!r}, of which the experiment knows nothing, but "
            f"it was {names}.",
        )
    return tuple(name for name in experiment.parameters if name in names)
