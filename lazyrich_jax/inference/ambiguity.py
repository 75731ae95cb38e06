"""What an experiment cannot determine, whatever its data."""

import numpy as np

from .coordinates import Coordinates
from .experiment import Experiment
from .observables import OBSERVABLES


def ambiguities(
    experiment: Experiment,
    names: tuple[str, ...],
    box: tuple[np.ndarray, np.ndarray],
    coordinates: Coordinates,
) -> list[str]:
    """What no data of these observables determine, in words."""
    if "lmda" not in names or any(OBSERVABLES[x].layers for x in experiment.observe):
        return []
    observed = " and ".join(experiment.observe)
    texts = []
    if experiment.model == "wide":
        if "mu" in names:
            texts.append(
                f"`unknown` must not have both lmda and mu to be identified: the "
                f"{observed} of a wide network depend on lmda**2 / 4 + mu**2 alone."
            )
    i = coordinates.labels.index("lmda")
    both_signs = coordinates.sign == 0 and box[0][i] < 0 < box[1][i]
    n_in, hidden, n_out = experiment.sizes
    even = experiment.start == "aligned" or n_in == hidden == n_out
    if both_signs and (even or experiment.model == "wide"):
        why = (
            "with a start aligned with the task"
            if experiment.start == "aligned"
            else "with as many inputs, hidden units and outputs"
        )
        texts.append(
            f"The sign of lmda is not identified: {why} the {observed} of lmda and "
            "-lmda are equal. A representation tells them apart; "
            '`bounds={"lmda": (0, inf)}` chooses one.'
        )
    if "function" in names and set(experiment.observe) == {"loss"}:
        texts.append(
            "lmda is hardly identified by a loss with an unknown start function; the "
            "function's trajectory identifies it."
        )
    return texts
