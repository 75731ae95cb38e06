"""A report on a model, as points between lazy and rich."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import _checks
from ..richness import Report
from .style import COLOURS, SEQUENTIAL, axes_or_new, check_axes, inches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, ROW = 6.0, 0.42  # inches, of the axes and of a row
SPREAD = 0.25  # of the layers of a row, to both sides
MOST = 8  # layers in the legend
# Rich is right: of those at which it is small, one minus the number is drawn.
ROWS = {
    "weight_movement": "weight movement",
    "linearisation_gap": "linearisation gap",
    "kernel_distance": "kernel distance",
    "rich_lazy_index": "rich-lazy index",
    "dynamical_richness": "1 - dynamical richness",
    "movement": "movement of layers",
    "feature_alignment": "1 - feature alignment",
    "activation_flips": "activation flips",
    "target_alignment": "target alignment",
    "gradient_alignment": "gradient alignment",
}
REVERSED = "dynamical_richness", "feature_alignment"
RISING = "target_alignment", "gradient_alignment"


class Row(NamedTuple):
    """Points of a row: a start (or NaN) and an end each, the model's or a layer's."""

    name: str
    of_layers: bool
    starts: np.ndarray
    ends: np.ndarray


def report(report: Report, *, ax: "Axes | None" = None) -> "Axes":
    """The numbers of a report that tell lazy from rich, on one axis.

    Lazy is left, at zero. Numbers that are small for rich training are drawn as one
    minus the number. Black points are of the whole model, coloured ones of the layers,
    the first layer above. Where a number has a value at the start of training, a line
    leads from there to the point. A triangle at the right stands for a larger number,
    which is written beside it. Below the dashed line are alignments. They rise in rich
    training: their change tells, not their place. Missing numbers are left out, and so
    is the feature alignment of the last layer, as outputs change in all training.

    **Arguments:**

    - `report`: a result of `lazyrich_jax.richness.report`.
    - `ax`: the matplotlib axes to draw on; a new figure if left out.

    **Returns:** the axes.

    **Raises:** `TypeError` for another type than a report; `ValueError` for a report
    without any of these numbers.

    ```python
    import equinox as eqx
    import jax
    import lazyrich_jax as lr

    start = eqx.nn.MLP(4, 2, 16, 1, key=jax.random.key(0))
    end = jax.tree.map(lambda a: 1.1 * a if eqx.is_array(a) else a, start)
    lr.plot.report(lr.richness.report(start, end))
    ```
    """
    _checks.instance("report", report, Report, "see `lazyrich_jax.richness.report`")
    check_axes(ax)
    rows = _rows(report)
    _checks.require(
        len(rows) > 0,
        f"`report` must hold one of {list(ROWS)}, but it held none.",
    )
    ax = axes_or_new(ax, _size(rows))
    colours = _colours(len(report.layer_names))
    for height, row in enumerate(rows):
        _draw(ax, height, row, colours if row.of_layers else ["k"])
        if height % 2:
            ax.axhspan(height - 0.5, height + 0.5, color="0.95", lw=0, zorder=0)
    ax.set(xlim=(-0.03, 1.13), ylim=(len(rows) - 0.5, -0.5))
    ax.set_yticks(range(len(rows)), [ROWS[row.name] for row in rows])
    ax.set_xticks([0, 0.5, 1], ["0\nlazy", "0.5\n", "1\nrich"])
    above = sum(row.name not in RISING for row in rows)
    if 0 < above < len(rows):
        ax.axhline(above - 0.5, color="0.5", ls="--", lw=1, zorder=1)
    if any(row.of_layers for row in rows):
        _legend(ax, report.layer_names, colours)
    return ax


def figure_of(found: Report) -> "Figure":
    """A report in a figure of its own, without a window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches(*_size(_rows(found))), layout="constrained")
    report(found, ax=figure.subplots())
    return figure


def _size(rows: list[Row]) -> tuple[float, float]:
    """Inches of a figure of these rows."""
    return WIDTH, 0.9 + ROW * len(rows)


def _rows(report: Report) -> list[Row]:
    """All rows that have a number."""
    found = []
    for name in ROWS:
        of_layers = name in report.layers
        group = report.layers if of_layers else report.numbers
        if name not in group:
            continue
        values = np.asarray(group[name], float)
        values = values if of_layers else values[None]
        values = 1 - values if name in REVERSED else values
        if name == "feature_alignment":
            values = np.append(values[:-1], np.nan)
        if values.ndim == 1:
            values = np.stack([np.full_like(values, np.nan), values], axis=1)
        if not np.isnan(values[:, 1]).all():
            found.append(Row(name, of_layers, *values.T))
    return found


def _draw(ax: "Axes", height: int, row: Row, colours: list) -> None:
    count = len(row.ends)
    offsets = np.linspace(-SPREAD, SPREAD, count) if count > 1 else [0.0]
    for start, end, offset, colour in zip(
        row.starts, row.ends, offsets, colours, strict=True
    ):
        if np.isnan(end):
            continue
        y, beyond = height + offset, end > 1
        at = min(end, 1.02)
        if np.isfinite(start):
            ax.plot(start, y, "|", color=colour, ms=6)
            ax.plot([start, at], [y, y], "-", color=colour, lw=1.2)
        ax.plot(at, y, ">" if beyond else "o", color=colour, ms=5, gid=row.name)
        if beyond:
            size = "x-small"
            ax.text(1.04, y, f"{end:.2g}", va="center", color=colour, size=size)


def _colours(count: int) -> list:
    """A colour for each layer."""
    from matplotlib import colormaps

    if count <= len(COLOURS):
        return list(COLOURS[:count])
    return list(colormaps[SEQUENTIAL](np.linspace(0, 0.9, count)))


def _legend(ax: "Axes", names: tuple[str, ...], colours: list) -> None:
    """Names of the layers; of many, the first and the last."""
    shown = range(len(names)) if len(names) <= MOST else (0, len(names) - 1)
    handles = [
        ax.plot([], [], "o", color=colours[i], ms=5, label=names[i])[0] for i in shown
    ]
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False
    )
