"""Fisher information: the precision with which data determine the unknowns."""

import dataclasses
from functools import cached_property

import numpy as np
from jaxtyping import Float

from .. import _checks
from .coordinates import Coordinates
from .experiment import Experiment
from .identified import Identified, covariance, deviations, identified
from .noise import Relative

NOMINAL = 0.01  # noise that words are about where its level is unknown


@dataclasses.dataclass(frozen=True)
class FisherInformation:
    """Fisher information at one or many points. `print(information)` explains one.

    Coordinates are those of `lazyrich_jax.inference.fit`: asinh(lmda / scale**2),
    logarithms of positive numbers, entries of a function. The leading axes of all
    arrays are those of the points.

    **Attributes:**

    - `labels`: a name for each of the k coordinates.
    - `matrix`: (..., k, k). With an unknown level of noise it is in units of
      1 / level**2, and standard deviations are in units of the level. NaN where the
      theory has no value.
    - `per_time`: (..., times, k, k), the share of each time.
    """

    experiment: Experiment
    coordinates: Coordinates
    u: Float[np.ndarray, "*points k"]
    matrix: Float[np.ndarray, "*points k k"]
    per_time: Float[np.ndarray, "*points times k k"]
    error: Float[np.ndarray, "*points k"]  # of the root of the matrix's diagonal
    largest: Float[np.ndarray, "*points"]  # prediction

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each coordinate."""
        return self.coordinates.labels

    @property
    def level(self) -> float | None:
        """None if the levels of noise are known, else the one that `identified` takes.

        It is one percent, of the largest prediction where noise is additive.
        """
        if all(law.sd is not None for law in self.experiment.noise):
            return None
        (law,), (name,) = self.experiment.noise, self.experiment.observe
        relative = isinstance(law, Relative) or name == "log excess"
        return NOMINAL * (1.0 if relative else float(np.max(self.largest)))

    @cached_property
    def covariance(self) -> Float[np.ndarray, "*points k k"]:
        """The inverse of the matrix, infinite along directions without information."""
        return covariance(self.matrix, self.error)

    @cached_property
    def sd(self) -> dict[str, np.ndarray]:
        """The least standard deviation of each coordinate by its label.

        The other unknown numbers are unknown. No unbiased estimate has a smaller one.
        """
        return self._by_label(deviations(self.matrix, self.error))

    @cached_property
    def sd_until(self) -> dict[str, np.ndarray]:
        """`sd` from the observations up to each time, (..., times)."""
        so_far = np.cumsum(self.per_time, axis=-3)
        return self._by_label(deviations(so_far, self.error[..., None, :]))

    @property
    def identified(self) -> Identified:
        """What the experiment determines, alone and in combinations (one point only).

        A coordinate is identified if its standard deviation is at most 1: a positive
        number is then known within a factor of e. With an unknown level of noise the
        noise is that of `level`.
        """
        _checks.require(
            self.matrix.ndim == 2,
            "`values` must be one point to say in words what is identified, but there "
            f"were points of shape {self.matrix.shape[:-2]}.",
        )
        unit = 1.0 if self.level is None else self.level
        return identified(
            self.matrix / unit**2, self.coordinates, self.u, self.error / unit
        )

    def knowing(self, *names: str) -> "FisherInformation":
        """The information if these unknown numbers were known.

        **Raises:** `ValueError` for names that are not unknown, and for all names.
        """
        own = self.coordinates.names
        rest = tuple(name for name in own if name not in names)
        _checks.require(
            set(names) <= set(own) and len(rest) > 0,
            f"`names` must be some of the unknown {list(own)}, not all, but they were "
            f"{list(names)}.",
        )
        kept = [i for i, x in enumerate(self.labels) if x.split("[")[0] in rest]
        return dataclasses.replace(
            self,
            coordinates=Coordinates(self.experiment, rest),
            u=self.u[..., kept],
            matrix=self.matrix[..., kept, :][..., kept],
            per_time=self.per_time[..., kept, :][..., kept],
            error=self.error[..., kept],
        )

    def _by_label(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {label: rows[..., i] for i, label in enumerate(self.labels)}

    def __str__(self) -> str:
        """What is identified, and when."""
        observed = " and ".join(self.experiment.observe)
        names = ", ".join(self.coordinates.names)
        lines = [f"Fisher information of {observed} on {names}"]
        if self.matrix.ndim > 2:
            lines.append(f"at {np.prod(self.matrix.shape[:-2])} points")
            for label, sd in self.sd.items():
                low, high = np.nanmin(sd), np.nanmax(sd)
                lines.append(f"sd of {label}: {low:.2g} to {high:.2g}")
            return "\n".join(lines)
        if self.level is not None:
            lines[0] += f" (noise of unknown level: words are for {self.level:.2g})"
        lines.append(str(self.identified))
        times = np.asarray(self.experiment.times)
        for label, sd in self.sd_until.items():
            if np.isfinite(sd[-1]):
                i = int(np.argmax(sd <= 2 * sd[-1]))
                lines.append(
                    f"The sd of {label} is within a factor of 2 at time {times[i]:.3g}."
                )
        return "\n".join(lines)
