"""The status of every point of a sweep."""

from typing import TYPE_CHECKING

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool

from .._trajectory import RESULTS

if TYPE_CHECKING:
    import xarray

STATUS = ("pending", "ok", "nan", "error")  # the results of a trajectory follow
FAILURES = (
    "unbalanced_weights",
    "anisotropic_inputs",
    "nonfinite_values",
    "invalid_times",
    "diverged",
    "solver_failed",
    "invalid_setting",
    "unaligned_weights",
    "too_far",
    "other_balance",
)
MEANINGS = STATUS + FAILURES
# Attributes of the status, after the CF conventions.
FLAGS = {
    "flag_values": list(range(len(MEANINGS))),
    "flag_meanings": " ".join(MEANINGS),
}


class Refused(eqx.Module):
    """An entry of a function's result: whether the function refuses the point."""

    is_refused: Bool[Array, ""]


def meaning(code: int) -> str | None:
    """The message of a status; `None` if its name suffices."""
    if code < len(STATUS):
        refused = "the points must be such that `fn` takes them, but it refused some."
        return refused if STATUS[code] == "error" else None
    return RESULTS[getattr(RESULTS, MEANINGS[code])]


def summary(status: np.ndarray, error: str | None = None) -> str:
    """The number of points of each status, and the index of the first one.

    `error` is the reason of the first failure, as in the attributes of a dataset.
    """
    counts = np.bincount(np.ravel(status), minlength=len(MEANINGS))
    ok = counts[STATUS.index("ok")]
    text = f"{ok} of {counts.sum()} points computed without failure"
    for i in np.flatnonzero(counts):
        if i != STATUS.index("ok"):
            first = tuple(int(k) for k in np.argwhere(status == i)[0])
            text += f"; {counts[i]} {MEANINGS[i]} (the first at index {first})"
    return f"{text}. The first error: {error}" if error else f"{text}."


def succeeded(data: "xarray.Dataset") -> "xarray.DataArray":
    """A mask of the points of a sweep that were computed without failure.

    `data.where(lr.sweeps.succeeded(data))` has NaN for the others.

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    grid = lr.sweeps.Grid(x=jnp.array([1.0, -1.0]))
    data = lr.sweeps.run(lambda p: {"root": jnp.sqrt(p["x"])}, grid, progress=False)
    print(lr.sweeps.succeeded(data).values)  # [ True False]
    ```
    """
    return data.status == STATUS.index("ok")
