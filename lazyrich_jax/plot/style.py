"""The style of all plots; matplotlib's defaults are never changed."""

import contextlib
import contextvars
from collections.abc import Iterator
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

WIDTHS = {"column": 3.35, "page": 6.9}  # inches, of journals with two columns

# The width of new figures, inside `style`.
_width: contextvars.ContextVar[float | None] = contextvars.ContextVar(
    "width", default=None
)


@contextlib.contextmanager
def style(
    width: float | str = "column", *, font_size: float = 8.0, family: str = "sans-serif"
) -> Iterator[None]:
    """Draw inside this context for a paper: its width, its fonts, vector graphics.

    New figures have the width, in the proportions that they have outside. Lines are
    thinner, the colours of `axes.plot` are those for colour-blind readers, and PDF
    files hold their text as text. Matplotlib's settings are restored at the end.

    **Arguments:**

    - `width`: of a figure in inches, or `"column"` (3.35) or `"page"` (6.9).
    - `font_size`: of labels and titles, in points. Ticks and legends are smaller.
    - `family`: of the font: `"sans-serif"`, `"serif"` (formulas too), or a font's name.

    **Raises:** `ValueError` unless `width` and `font_size` are positive.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(2)
    network = lr.LambdaBalanced(0.0, scale=0.1)(4, 4, 4, key=jax.random.key(0))
    with lr.plot.style("column", family="serif"):
        ax = lr.plot.loss(lr.learn(network, task, jnp.linspace(0, 60, 100)))
        ax.figure.savefig("loss.pdf")
    ```
    """
    import matplotlib

    if isinstance(width, str):
        _checks.require(
            width in WIDTHS,
            f"`width` must be a number of inches or one of {', '.join(WIDTHS)}, but it "
            f"was {width!r}.",
        )
        width = WIDTHS[width]
    for name, value in (("width", width), ("font_size", font_size)):
        _checks.positive(name, _checks.as_scalar(name, value))
    width, font_size = float(width), float(font_size)
    token = _width.set(width)
    try:
        with matplotlib.rc_context(_settings(width, font_size, family)):
            yield
    finally:
        _width.reset(token)


def _settings(width: float, font_size: float, family: str) -> dict:
    """The settings of matplotlib inside `style`."""
    from matplotlib.rcsetup import cycler

    tick = {"major.width": 0.6, "major.size": 2.5, "labelsize": "small"}
    return {
        **{f"{axis}tick.{name}": x for axis in "xy" for name, x in tick.items()},
        "figure.figsize": (width, width / 1.45),
        "font.family": family,
        "font.size": font_size,
        "mathtext.fontset": "stix" if family == "serif" else "dejavusans",
        "axes.titlesize": "medium",
        "axes.labelsize": "medium",
        "axes.linewidth": 0.6,
        "axes.prop_cycle": cycler(color=list(COLOURS)),
        "legend.fontsize": "small",
        "lines.linewidth": 1.0,
        "pdf.fonttype": 42,
        "svg.hashsalt": "lazyrich_jax",
        "savefig.dpi": 300,
    }


def inches(width: int | float, height: int | float) -> tuple[float, float]:
    """The size of a new figure, given its size outside `style`."""
    styled = _width.get()
    if styled is None:
        return float(width), float(height)
    return styled, styled * height / width


def line(trajectory: int, entry: int | None = None) -> dict:
    """The style of the line of one trajectory, or of one entry of a trajectory.

    Trajectories differ in colour and line style. If colour distinguishes entries,
    trajectories differ in line style and shade.
    """
    from matplotlib import rcParams
    from matplotlib.colors import to_rgb

    colour = COLOURS[(trajectory if entry is None else entry) % len(COLOURS)]
    if entry is not None and trajectory > 0:
        red, green, blue = to_rgb(colour)
        colour = (0.5 * red, 0.5 * green, 0.5 * blue)
    width = 2.2 if trajectory == 0 else 1.7
    return {
        "color": colour,
        "linestyle": LINESTYLES[trajectory % len(LINESTYLES)],
        "linewidth": width * rcParams["lines.linewidth"] / 1.5,  # by default 1.5
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
        _, ax = plt.subplots(figsize=inches(*size), layout="constrained")
    return ax
