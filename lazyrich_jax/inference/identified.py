"""Which numbers an information matrix determines, alone or in combinations."""

import itertools
from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .coordinates import Coordinates

LOOSE = 1.0  # sd of a coordinate that is not identified: a factor of e
SHARP = 0.2  # sd of a combination, against those of its members
POWERS = (1, -1, 2, -2)
ROUNDING = 1e-13  # of an eigenvalue
UNSEEN = 1e4  # variance without information, against the remaining one


class Combination(NamedTuple):
    """A number made of unknown ones, and the standard deviation of its logarithm.

    Sums of entries of a function have a standard deviation of their own.
    """

    text: str
    sd: float


class Identified(NamedTuple):
    """What data determine.

    **Attributes:**

    - `sd`: the standard deviation of each coordinate by its label; infinite for one
      that the data don't determine.
    - `alone`: labels of coordinates with a standard deviation of at most 1.
    - `loose`: all other labels.
    - `together`: combinations of loose ones that are identified.
    """

    sd: dict[str, float]
    alone: tuple[str, ...]
    loose: tuple[str, ...]
    together: tuple[Combination, ...]

    def __str__(self) -> str:
        """One sentence for each kind of number."""
        lines = []
        if self.alone:
            shown = ", ".join(f"{x} (sd {_short(self.sd[x])})" for x in self.alone)
            lines.append(f"Identified: {shown}.")
        if self.loose:
            shown = ", ".join(f"{x} (sd {_short(self.sd[x])})" for x in self.loose)
            lines.append(f"Not identified: {shown}.")
        if self.together:
            shown = ", ".join(f"{x.text} (sd {_short(x.sd)})" for x in self.together)
            lines.append(f"Of these only {shown} is identified.")
        return "\n".join(lines)


def covariance(
    information: Float[np.ndarray, "*points k k"],
    error: Float[np.ndarray, "..."] | float = 0.0,
) -> Float[np.ndarray, "*points k k"]:
    """The inverse of information matrices.

    It is infinite for coordinates along directions without information. `error`, which
    broadcasts against (..., k), is that of the square roots of the diagonal.
    """
    s, vectors, size, blind = _spectrum(information, error)
    kept = vectors / size[..., :, None]
    result = (kept / s[..., None, :]) @ np.swapaxes(kept, -1, -2)
    loose = _is_infinite(kept, s, blind)
    result[loose[..., :, None] & loose[..., None, :]] = np.inf
    result[~np.isfinite(information).all(axis=(-2, -1))] = np.nan
    return result


def deviations(
    information: Float[np.ndarray, "*points k k"],
    error: Float[np.ndarray, "..."] | float = 0.0,
) -> Float[np.ndarray, "*points k"]:
    """The standard deviation of each coordinate."""
    return np.sqrt(np.diagonal(covariance(information, error), axis1=-2, axis2=-1))


def rank(information: Float[np.ndarray, "k k"]) -> int:
    """The number of independent combinations that have information."""
    return int(np.count_nonzero(~_spectrum(information, 0.0)[3]))


def identified(
    information: Float[np.ndarray, "k k"],
    coordinates: Coordinates,
    u: Float[np.ndarray, " k"],
    error: Float[np.ndarray, " k"] | float = 0.0,
) -> Identified:
    """What an information matrix at the coordinates `u` says about each number.

    Products and ratios are of the numbers themselves: the information is first that of
    their logarithms.
    """
    labels = coordinates.labels
    sd = deviations(information, error)
    tight = sd <= LOOSE
    natural, logarithmic = _logarithms(information, coordinates, u)
    loose = [i for i in range(len(labels)) if not tight[i]]
    together = _combinations(natural, labels, loose, logarithmic, error)
    return Identified(
        {label: float(x) for label, x in zip(labels, sd, strict=True)},
        tuple(x for x, good in zip(labels, tight, strict=True) if good),
        tuple(labels[i] for i in loose),
        tuple(together),
    )


def _spectrum(information: np.ndarray, error: np.ndarray | float):
    """Eigenvalues and vectors of the matrix scaled to a unit diagonal.

    Eigenvalues below their error, the last result, are replaced by it.
    """
    information = np.asarray(information, float)
    good = np.all(np.isfinite(information), axis=(-2, -1), keepdims=True)
    information = np.where(good, information, np.eye(information.shape[-1]))
    diagonal = np.diagonal(information, axis1=-2, axis2=-1)
    error = np.broadcast_to(np.asarray(error, float), diagonal.shape)
    # Coordinates without information are set apart: nothing correlates with them.
    known = diagonal > error**2
    size = np.sqrt(np.where(known, diagonal, 1.0))
    scaled = information / size[..., :, None] / size[..., None, :]
    scaled = np.where(known[..., :, None] & known[..., None, :], scaled, 0.0)
    s, vectors = np.linalg.eigh(scaled)
    relative = error / size
    doubt = np.sum(np.abs(vectors) * relative[..., :, None], axis=-2)
    least = np.maximum(doubt**2, ROUNDING)
    return np.maximum(s, least), vectors, size, s <= least


def _is_infinite(along: np.ndarray, s: np.ndarray, blind: np.ndarray) -> np.ndarray:
    """Whether a variance, a sum along eigenvectors, is that of directions unseen.

    It is finite for numbers that hardly move along them.
    """
    shares = along**2 / s[..., None, :]
    unseen = np.sum(shares * blind[..., None, :], axis=-1)
    return unseen > UNSEEN * (np.sum(shares, axis=-1) - unseen)


def _logarithms(
    information: np.ndarray, coordinates: Coordinates, u: np.ndarray
) -> tuple[np.ndarray, list[bool]]:
    """The information on logarithms of numbers, and which coordinates have one.

    A balance near zero has none.
    """
    labels = coordinates.labels
    jacobian = np.eye(len(labels))  # of the coordinates by the logarithms
    logarithmic = [not label.startswith("function") for label in labels]
    balances = [i for i, x in enumerate(labels) if x in ("lmda", "mu")]
    for i in balances:
        slope = 1.0
        if labels[i] == "lmda" and not coordinates.sign:
            slope = np.tanh(u[i])
            logarithmic[i] = bool(abs(u[i]) > 1)
        if not logarithmic[i]:
            continue
        jacobian[i, i] = slope
        if "scale" in labels and np.isnan(float(coordinates.anchor)):
            jacobian[i, labels.index("scale")] = -2 * slope
    return jacobian.T @ information @ jacobian, logarithmic


def _combinations(
    information: np.ndarray,
    labels: Sequence[str],
    loose: Sequence[int],
    logarithmic: Sequence[bool],
    error: np.ndarray | float,
) -> list[Combination]:
    """Simple combinations of loose coordinates, the sharpest first."""
    s, vectors, size, blind = _spectrum(information, error)

    def sd(c: np.ndarray) -> float:
        along = ((c / size) @ vectors)[None]
        if _is_infinite(along, s, blind)[0]:
            return np.inf
        return float(np.linalg.norm(along[0] / np.sqrt(s)) / np.linalg.norm(c))

    own = {i: sd(np.eye(len(labels))[i]) for i in loose}
    found = []
    for count in (2, 3):
        for members in itertools.combinations(loose, count):
            if len({logarithmic[i] for i in members}) > 1:
                continue
            for powers in itertools.product(POWERS, repeat=count):
                if powers[0] < 0 or gcd(*powers) > 1:
                    continue
                c = np.zeros(len(labels))
                c[list(members)] = powers
                spread = sd(c)
                if spread <= min(LOOSE, SHARP * min(own[i] for i in members)):
                    found.append((spread, c))
    chosen: list[tuple[float, np.ndarray]] = []
    for spread, c in sorted(found, key=lambda x: (np.sum(x[1] ** 2), x[0])):
        basis = np.array([*(x for _, x in chosen), c])
        if np.linalg.matrix_rank(basis) == len(basis):
            chosen.append((spread, c))
    return [
        Combination(_text(c, labels, logarithmic), spread * float(np.linalg.norm(c)))
        for spread, c in sorted(chosen, key=lambda x: x[0])
    ]


def _text(c: np.ndarray, labels: Sequence[str], logarithmic: Sequence[bool]) -> str:
    terms = [(int(c[i]), labels[i]) for i in range(len(c)) if c[i]]
    if any(x and log for x, log in zip(c, logarithmic, strict=True)):
        text = ""
        for power, label in terms:
            factor = label if abs(power) == 1 else f"{label}**{abs(power)}"
            text += (" * " if power > 0 else " / ") + factor
        return text[3:]
    text = ""
    for factor, label in terms:
        text += (" + " if factor > 0 else " - ") + (
            label if abs(factor) == 1 else f"{abs(factor)} {label}"
        )
    return text[3:]


def _short(sd: float) -> str:
    return "infinite" if np.isinf(sd) else f"{sd:.2g}"
