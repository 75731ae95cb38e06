"""Numbers that are collected by name, and the reasons for missing ones."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import _dtypes


def without_rounding(arrays: Sequence[Array]) -> list[Array]:
    """Arrays of one quantity; one that is rounding beside the largest becomes zero.

    Such are the outputs of a centred start.
    """
    sizes = [float(jnp.max(jnp.abs(a))) for a in arrays]
    noise = 1e3 * _dtypes.rounding(arrays=list(arrays)) * max(sizes)
    return [
        a if size > noise else jnp.zeros_like(a)
        for a, size in zip(arrays, sizes, strict=True)
    ]


class Collected:
    """Numbers by name, and the reasons for those that are left out."""

    def __init__(self, left_out: dict[str, str]):
        self.left_out = left_out
        self.errors: dict[str, float] = {}
        self._found: dict[str, np.ndarray] = {}

    def wants(self, *names: str) -> bool:
        """Whether one of these is not left out."""
        return any(name not in self.left_out for name in names)

    def add(self, **values: Any) -> None:
        """Keep numbers, but for those that are left out."""
        for name, value in values.items():
            if self.wants(name):
                self._found[name] = np.asarray(value, float)

    def leave_out(
        self, names: Iterable[str], why: str, but: Iterable[str] = ()
    ) -> None:
        """Leave out names for a reason, unless they have one."""
        for name in names:
            if name not in but:
                self.left_out.setdefault(name, why)

    def of(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """What was found of these."""
        return {name: self._found[name] for name in names if name in self._found}
