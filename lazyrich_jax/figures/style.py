"""The style of all figures."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..plot.style import COLOURS as COLOURS
from ..plot.style import inches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 10.0  # matplotlib's font, for which the figures are designed
# Settings in points or inches, which shrink with the font.
LENGTHS: tuple[Any, ...] = (  # keys of matplotlib's settings
    *("figure.constrained_layout.h_pad", "figure.constrained_layout.w_pad"),
    *("axes.labelpad", "axes.linewidth", "axes.titlepad", "legend.borderaxespad"),
    *(f"{axis}tick.{x}" for axis in "xy" for x in ("major.size", "minor.size")),
    *(f"{axis}tick.{x}" for axis in "xy" for x in ("major.width", "minor.width")),
    *(f"{axis}tick.{x}" for axis in "xy" for x in ("major.pad", "minor.pad")),
)


def new_figure(width: int | float, height: int | float) -> "Figure":
    """An empty figure of this size (inches), without a window.

    Inside `plot.style` it has the style's width. Fonts then shrink as the width does:
    the style's settings change until its end. `thinned` shrinks lines and markers.
    """
    from matplotlib import rcParams, rcParamsDefault
    from matplotlib.figure import Figure

    size = inches(width, height)
    if size[0] != width:
        font = min(rcParams["font.size"], POINTS * size[0] / width)
        rcParams["font.size"] = font
        rcParams["lines.linewidth"] = rcParamsDefault["lines.linewidth"]
        for name in LENGTHS:
            rcParams[name] = rcParamsDefault[name] * font / POINTS
    return Figure(figsize=size, layout="constrained")


def thinned(figure: "Figure") -> None:
    """Shrink the lines and markers of a figure in the proportion of its fonts."""
    from matplotlib import rcParams
    from matplotlib.collections import PathCollection
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

    scale = rcParams["font.size"] / POINTS
    drawn: list[Any] = [
        x for ax in figure.axes for x in (*ax.lines, *ax.collections, *ax.patches)
    ]
    legends: list[Any] = figure.findobj(Legend)
    drawn += [x for legend in legends for x in legend.legend_handles if x]
    for artist in drawn:
        artist.set_linewidth(np.multiply(artist.get_linewidth(), scale))
        if isinstance(artist, Line2D):
            artist.set_markersize(artist.get_markersize() * scale)
            artist.set_markeredgewidth(artist.get_markeredgewidth() * scale)
        elif isinstance(artist, PathCollection):
            artist.set_sizes(artist.get_sizes() * scale**2)


def law_legend(figure: "Figure") -> None:
    """Draw a legend of simulated and exact lines under the figure."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[0], lw=2, label="gradient descent"),
        Line2D([], [], color="k", ls=":", lw=1.3, label="exact solution"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
