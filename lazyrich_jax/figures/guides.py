"""Marks over a heat map that are seen on dark and on bright."""

from typing import Any


def guide(style: str | tuple = "-") -> dict[str, Any]:
    """How a predicted line is drawn: white with black edges."""
    return {"color": "w", "ls": style, "lw": 1.5, "path_effects": _outlined(2.8)}


def sample() -> dict[str, Any]:
    """How simulated values are drawn, for `scatter`: a ring around their colour."""
    return {"s": 60, "edgecolors": "w", "linewidths": 1.8, "path_effects": _outlined(4)}


def _outlined(width: float) -> list:
    from matplotlib.patheffects import Normal, withStroke

    return [withStroke(linewidth=width, foreground="k"), Normal()]
