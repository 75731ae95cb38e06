r"""Unconstrained coordinates of unknown numbers.

$\mathrm{asinh}(\lambda / \mathrm{scale}^2)$ is linear for small balances, where a loss
may be even in $\lambda$, and logarithmic for large ones. Positive numbers have their
logarithms, and so has a balance of one feasible sign. The start function has its
entries. With a constant unit in place of `scale**2` the first coordinate stands for
$\lambda$ itself.
"""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .experiment import Experiment

# Balances beyond exp(16) units are lazy; other numbers make up for them.
FARTHEST = {"lmda": 16.0, "mu": 16.0, "function": 1e12}
FURTHER = 40.0


class Coordinates(eqx.Module):
    """The unknown numbers of an experiment as one vector.

    `sign` is the feasible sign of the balance; 0 is both. `anchor` is a unit of
    balances instead of `scale**2`, or NaN.
    """

    anchor: Float[Array, ""]

    names: tuple[str, ...] = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    sign: int = eqx.field(static=True)

    def __init__(self, experiment: Experiment, names: tuple[str, ...]):
        n_in, hidden, n_out = experiment.sizes
        self.names = names
        self.anchor = jnp.full((), jnp.nan, experiment.times.dtype)
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
        ends = [np.full(shape, FARTHEST.get(name, FURTHER)) for name, shape in pairs]
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

    def encode(self, values: Mapping[str, Array]) -> Float[np.ndarray, " unknowns"]:
        """The coordinates of these numbers."""
        unit = float(self.anchor)
        unit = float(values["scale"]) ** 2 if np.isnan(unit) else unit
        parts = []
        for name in self.names:
            x = np.asarray(values[name], float).ravel()
            if name == "lmda" and not self.sign:
                x = np.arcsinh(x / unit)
            elif name == "lmda":
                x = np.log(np.maximum(self.sign * x / unit, np.exp(-16.0)))
            elif name == "mu":
                x = np.log(x / unit)
            elif name != "function":
                x = np.log(x)
            parts.append(x)
        return np.concatenate(parts)
