"""What an experiment cannot determine, whatever its data."""

import numpy as np

from .coordinates import Coordinates
from .experiment import Experiment
from .members import Members
from .observables import OBSERVABLES

MODES = "task_strengths", "strengths"  # numbers of each mode
SUMS = {"loss", "log excess"}  # over modes


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
    if both_signs and is_even(experiment):
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
        also = ", whose rate is unknown too" if "rate" in names else ""
        texts.append(
            "A loss with an unknown start function contains lmda in its late decay "
            f"alone{also}; the function's trajectory identifies it."
        )
    return texts


def is_even(experiment: Experiment) -> bool:
    """Whether the observables of lmda and of -lmda are equal."""
    n_in, hidden, n_out = experiment.sizes
    even = experiment.start == "aligned" or n_in == hidden == n_out
    layers = any(OBSERVABLES[x].layers for x in experiment.observe)
    return not layers and (even or experiment.model == "wide")


def exchangeable(experiment: Experiment, coordinates: Coordinates) -> np.ndarray:
    """Coordinates of modes that can be exchanged without a trace, (numbers, modes).

    The first row orders the modes. It is empty where data distinguish modes.
    """
    none = np.zeros((0, 0), int)
    if experiment.start != "aligned" or not set(experiment.observe) <= SUMS:
        return none
    modes = min(experiment.sizes)
    known = {name: np.asarray(x, float) for name, x in experiment.known.items()}
    if "task_strengths" not in known:
        sigma = np.asarray(experiment.task.input_output_correlation, float)
        known["task_strengths"] = np.linalg.svd(sigma, compute_uv=False)
    rows, at = {}, 0
    for name, shape in zip(coordinates.names, coordinates.shapes, strict=True):
        rows[name] = at + np.arange(modes)
        at += int(np.prod(shape))
    both = [rows[n] for n in MODES if n in rows]
    fixed = [known[n][:modes] for n in MODES if n not in rows]
    if not both or any(np.ptp(x) > 1e-9 * np.max(x) for x in fixed):
        return none
    return np.array(both)


def ordered(
    experiment: Experiment, coordinates: Coordinates, members: Members
) -> Members:
    """Members with exchangeable modes from the strongest to the weakest."""
    rows = exchangeable(experiment, coordinates)
    if rows.size == 0:
        return members
    count, size = members.u.shape
    place = np.tile(np.arange(size), (count, 1))
    order = np.argsort(-members.u[:, rows[0]], axis=1, kind="stable")
    for row in rows:
        place[:, row] = row[order]
    each = np.arange(count)[:, None]
    hessian = members.hessian[each[:, :, None], place[:, :, None], place[:, None]]
    return members._replace(
        u=members.u[each, place],
        gradient=members.gradient[each, place],
        hessian=hessian,
        size=members.size[each, place],
    )
