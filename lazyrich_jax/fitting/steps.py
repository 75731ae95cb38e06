"""What a report says of the steps of descent.

In: a table and its fit. Out: sentences. docs/inference.md has the law of steps.
"""

import math

import numpy as np

from ..inference import Fit
from .table import Table


def said_of_steps(table: Table, found: Fit) -> list[str]:
    """What the theory knows of steps of a known size, or its error without them."""
    experiment = found.experiment
    is_known = table.clock == "step" and "rate" not in found.unknown
    if not is_known or experiment.model != "balanced":
        return []
    if experiment.steps:
        rate = float(experiment.known["rate"])
        return [f"The theory has descent in steps of {rate:g}, to first order in them."]
    values = {**experiment.known, **found.values}
    variance = float(experiment.task.input_variance)
    if "task_strengths" in values:
        strongest = np.max(values["task_strengths"])
    else:
        strongest = np.linalg.norm(experiment.task.input_output_correlation, 2)
    # Descent multiplies the distance from the optimum by 1 - z, not exp(-z).
    z = float(values["rate"]) * math.hypot(
        variance * float(values["lmda"]), 2 * float(strongest)
    )
    return [
        f"The theory has no steps. The steps of descent at the rate "
        f"{float(values['rate']):g} change the speed of learning by up to "
        f"{50 * z:.2g} %. The intervals leave this out."
    ]
