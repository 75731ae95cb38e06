"""The style of all figures."""

from typing import TYPE_CHECKING

from ..plot.style import COLOURS as COLOURS
from ..plot.style import inches

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: int | float, height: int | float) -> "Figure":
    """An empty figure of this size (inches), without a window or global state.

    Inside `plot.style` it has the width of the style.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=inches(width, height), layout="constrained")


def law_legend(figure: "Figure") -> None:
    """Draw a legend of simulated and exact lines under the figure."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[0], lw=2, label="gradient descent"),
        Line2D([], [], color="k", ls=":", lw=1.3, label="exact solution"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
