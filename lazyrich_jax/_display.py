"""How objects introduce themselves: one line of text, and HTML for notebooks.

The line needs shapes alone: it works for batches and under every transformation. The
HTML shows values of one concrete object. Its pictures are SVG.
"""

import html
import math
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from ._checks import ARRAY, is_concrete

MOST = 64  # rows and columns of a picture


def line(
    value: eqx.Module, parts: Callable[[], str], batch: Callable[[], tuple[int, ...]]
) -> str:
    """The class, `parts`, the dtype, the batch and whether the value is traced.

    Trees with other leaves than arrays, which `jax.tree.map` can make, are shown leaf
    by leaf.
    """
    leaves = jax.tree.leaves(value)
    if not _all_arrays(leaves):
        return eqx.tree_pformat(value)
    words = [parts(), leaves[0].dtype.name]
    if batch():
        words.append(f"batch {batch()}")
    if not is_concrete(value):
        words.append("traced")
    return f"{type(value).__name__}({', '.join(words)})"


def shown(
    value: eqx.Module,
    batch: Callable[[], tuple[int, ...]],
    content: Callable[[], tuple[Mapping[str, str], str]],
) -> str | None:
    """The card of one concrete object of finite numbers; `None` for any other.

    `content` gives the rows of a table and a picture. Notebooks show the line of text
    in place of `None`.
    """
    if not is_concrete_one(value, batch):
        return None
    if not all(np.all(np.isfinite(np.asarray(x))) for x in jax.tree.leaves(value)):
        return None
    with jax.ensure_compile_time_eval():  # also where a program is traced
        return card(repr(value), *content())


def is_concrete_one(value: eqx.Module, batch: Callable[[], tuple[int, ...]]) -> bool:
    """Whether a value has arrays with values, and is no batch."""
    return _all_arrays(jax.tree.leaves(value)) and is_concrete(value) and not batch()


def _all_arrays(leaves: list[Any]) -> bool:
    return len(leaves) > 0 and all(isinstance(x, ARRAY) for x in leaves)


def card(title: str, rows: Mapping[str, str], picture: str = "") -> str:
    """A title, a table of names and texts, and a picture, as HTML."""
    cells = "".join(
        f'<tr><td style="text-align:left">{html.escape(name)}</td>'
        f'<td style="text-align:left">{html.escape(text)}</td></tr>'
        for name, text in rows.items()
    )
    return (
        '<div style="display:flex;gap:2em;align-items:center;flex-wrap:wrap">'
        f"<div><b>{html.escape(title)}</b><table>{cells}</table></div>{picture}</div>"
    )


def numbers(values: Float[Array, " values"], most: int = 6) -> str:
    """The first values with four digits."""
    texts = [f"{float(x):.4g}" for x in values[:most]]
    return ", ".join(texts) + (", ..." if len(values) > most else "")


def curve(x: Float[Array, " points"], y: Float[Array, " points"], label: str) -> str:
    """A curve of finite points as SVG, with the range of both axes; or nothing."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    finite = np.isfinite(xs) & np.isfinite(ys)
    xs, ys = xs[finite], ys[finite]
    if len(xs) < 2:
        return ""
    low, high = float(ys.min()), float(ys.max())
    across = 240 * (xs - xs[0]) / ((xs[-1] - xs[0]) or 1.0)
    down = 90 - 80 * (ys - low) / ((high - low) or 1.0)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    caption = (
        f"{label}: {low:.4g} to {high:.4g}; time {float(xs[0]):.4g} to "
        f"{float(xs[-1]):.4g}"
    )
    drawn = (
        f'<polyline points="{points}" fill="none" stroke="#0072B2" stroke-width="2"/>'
        '<path d="M0 0V95H240" fill="none" stroke="currentColor"/>'
    )
    return _figure(240, 96, drawn, caption)


def heat_map(matrix: Float[Array, "rows columns"], label: str) -> str:
    """A matrix as SVG, red above and blue below zero; or nothing if it is large."""
    values = np.asarray(matrix)
    rows, columns = values.shape
    limit = float(np.abs(values).max())
    if max(rows, columns) > MOST or not math.isfinite(limit):
        return ""
    side = min(16, 160 // max(rows, columns))
    cells = []
    for (i, j), x in np.ndenumerate(values / (limit or 1.0)):
        colour = "#B2182B" if x > 0 else "#2166AC"
        cells.append(
            f'<rect x="{side * j}" y="{side * i}" width="{side}" height="{side}" '
            f'fill="{colour}" fill-opacity="{abs(x):.2f}"/>'
        )
    size = side * columns, side * rows
    frame = (
        f'<rect width="{size[0]}" height="{size[1]}" fill="none" '
        'stroke="currentColor" stroke-width="1"/>'
    )
    caption = f"{label}: {rows} x {columns}, at most {limit:.4g} in size"
    return _figure(*size, "".join(cells) + frame, caption)


def _figure(width: int, height: int, drawn: str, caption: str) -> str:
    text = html.escape(caption)
    return (
        f'<figure style="margin:0"><svg width="{width}" height="{height}" role="img" '
        f'aria-label="{text}" style="overflow:visible">{drawn}</svg>'
        f"<figcaption><small>{text}</small></figcaption></figure>"
    )
