"""The style of all plots; matplotlib's defaults are never changed."""

from typing import TYPE_CHECKING

from .. import _checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette for colour-blind readers.
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#999999",
)

# A style for every trajectory. The first is solid and thick, so that a coinciding thin
# broken line, such as the exact solution's, leaves both visible.
LINESTYLES = ("-", ":", (0, (4, 2)), "-.", (0, (5, 1.5, 1, 1.5, 1, 1.5)))

# Colour maps for colour-blind readers: red and blue, white at zero; blue to yellow.
DIVERGING = "RdBu_r"
SEQUENTIAL = "cividis"

TIME = r"time (learning rate $\times$ step)"


def line(trajectory: int, entry: int | None = None) -> dict:
    """The style of the line of one trajectory, or of one entry of a trajectory.

    Trajectories differ in colour and line style. If colour distinguishes entries,
    trajectories differ in line style and shade.
    """
    from matplotlib.colors import to_rgb

    colour = COLOURS[(trajectory if entry is None else entry) % len(COLOURS)]
    if entry is not None and trajectory > 0:
        red, green, blue = to_rgb(colour)
        colour = (0.5 * red, 0.5 * green, 0.5 * blue)
    return {
        "color": colour,
        "linestyle": LINESTYLES[trajectory % len(LINESTYLES)],
        "linewidth": 2.2 if trajectory == 0 else 1.7,
    }


def check_axes(ax: object) -> None:
    """Refuse other types than axes, such as the array returned by `subplots`."""
    from matplotlib.axes import Axes

    if ax is not None:
        _checks.instance("ax", ax, Axes, "pass one `Axes`, or leave it out")


def axes_or_new(ax: "Axes | None", size: tuple[float, float]) -> "Axes":
    """`ax`, or the axes of a new figure of this size (inches), shown by notebooks."""
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    return ax
