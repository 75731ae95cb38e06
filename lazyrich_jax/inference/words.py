"""What the print of a fit says beside its numbers."""

import numpy as np

from .ambiguity import exchangeable
from .estimate import Estimate

ANY_START = '`start="any"`'


def unordered(fit: Estimate) -> list[str]:
    """That the data do not order the modes, if they don't and strengths are unknown."""
    if exchangeable(fit.experiment, fit.coordinates).shape[-1] < 2:
        return []
    return ["  Modes have no order: an interval of one strength may hold another's."]


def quality(fit: Estimate) -> list[str]:
    """How surely the estimates were found, and how well the theory fits."""
    lines = [f"Found by {fit.reached} of {fit.starts} starts."]
    if not fit.success:
        lines.append("The best start has not converged: no success.")
    if fit.known_noise:
        lines.append(
            f"Deviance {fit.deviance:.4g} for {fit.freedom} degrees of freedom, "
            f"p = {fit.p_value:.2g}."
        )
    else:
        levels = ", ".join(f"{x:.2g} ({name})" for name, x in fit.noise.items())
        lines.append(f"Noise, estimated: {levels}.")
    return lines + faults(fit)


def faults(fit: Estimate) -> list[str]:
    """Why the theory does not describe the data, and what follows; or nothing."""
    lines = []
    if fit.known_noise and fit.p_value < 0.01:
        lines.append("The theory does not describe the data at this level of noise.")
    if abs(fit.correlation) > 4 / np.sqrt(max(fit.observations, 1)):
        lines.append(
            f"Residuals of neighbouring times are correlated ({fit.correlation:.2f}): "
            "the theory does not describe the data."
        )
    if lines:
        lines.append(
            "The estimates and intervals hold only for a theory that describes the "
            "data."
        )
        if fit.experiment.start == "aligned":
            lines.append(
                "This one has a start aligned with the task. An unknown start "
                f"({ANY_START}) assumes less."
            )
    return lines
