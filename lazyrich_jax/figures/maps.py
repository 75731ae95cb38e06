"""Heat maps of matrices, and marks that are visible on dark and bright maps."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import POINTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage


def draw_matrix(
    ax: "Axes", matrix: np.ndarray, title: str = "", limit: float | None = None
) -> "AxesImage":
    """Draw a matrix in colours from -`limit` to `limit` (default: largest entry)."""
    top = float(np.abs(matrix).max()) if limit is None else limit
    image = ax.imshow(matrix, cmap="PuOr", vmin=-top, vmax=top)
    ax.set(title=title, xticks=[], yticks=[])
    return image


def draw_qqt(ax: "Axes", qqt: np.ndarray, title: str, limit: float) -> None:
    """Draw QQ^T of a network with as many inputs as outputs, with separated blocks."""
    draw_matrix(ax, qqt, title, limit)
    border = len(qqt) / 2 - 0.5
    ax.axhline(border, color="k", lw=0.6)
    ax.axvline(border, color="k", lw=0.6)


def guide(style: str | tuple = "-") -> dict[str, Any]:
    """The style of a predicted line: white with black edges."""
    return {"color": "w", "ls": style, "lw": 1.5, "path_effects": _outlined(2.8)}


def sample() -> dict[str, Any]:
    """The style of simulated values, for `scatter`: a ring around their colour."""
    return {"s": 60, "edgecolors": "w", "linewidths": 1.8, "path_effects": _outlined(4)}


def _outlined(width: float) -> list:
    from matplotlib import rcParams
    from matplotlib.patheffects import Normal, withStroke

    width *= rcParams["font.size"] / POINTS
    return [withStroke(linewidth=width, foreground="k"), Normal()]
