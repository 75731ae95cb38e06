"""A self-contained HTML file that shows a reproduction."""

import base64
import html
import importlib.metadata
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from .record import HEAD, Difference
from .registry import FIGURES, Reproduction

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem;
       margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 3rem }
img { max-width: 100%; height: auto }
table { border-collapse: collapse; font-size: 14px }
td, th { padding: 0.15rem 0.8rem 0.15rem 0; text-align: left; vertical-align: top }
th { border-bottom: 1px solid #999 }
td.number { font-variant-numeric: tabular-nums }
.bad { color: #b00; font-weight: bold }
summary { cursor: pointer; margin: 0.5rem 0 }
nav li { margin: 0.1rem 0 }
"""


def write_report(path: Path, done: Sequence[Reproduction], out: Path) -> None:
    """Write the report of the figures in `done`; their files are in `out`."""
    sections = "".join(_section(one, out) for one in done)
    contents = "".join(
        f'<li><a href="#{one.name}">{_text(FIGURES[one.name].TITLE)}</a> '
        f"<small>({_text(FIGURES[one.name].SOURCE)})</small>{_worst(one)}</li>"
        for one in done
    )
    seconds = sum(one.seconds for one in done)
    path.write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        "<title>lazyrich: theory and simulation</title>"
        f"<style>{STYLE}</style></head><body>"
        "<h1>Exact learning dynamics, and the simulations beside them</h1>"
        f"<p>{len(done)} figures, {seconds:.0f} s of work. Differences are relative: "
        "the largest distance over all times, by the largest norm. The last column is "
        "the difference of descent from the solution that is corrected for its finite "
        "steps; a dash means that this solution was refused or not compared.</p>"
        f"<nav><ol>{contents}</ol></nav>{sections}"
        f"<h2>Versions</h2>{_rows(_versions())}</body></html>\n",
        encoding="utf-8",
    )


def _section(one: Reproduction, out: Path) -> str:
    figure = FIGURES[one.name]
    image = base64.b64encode((out / f"{one.name}.png").read_bytes()).decode("ascii")
    settings = {name: str(value) for name, value in one.settings._asdict().items()}
    return (
        f'<section id="{one.name}"><h2>{_text(figure.TITLE)}</h2>'
        f"<p><small>{one.name}: {_text(figure.SOURCE)}</small></p>"
        f'<img alt="{_text(figure.TITLE)}" src="data:image/png;base64,{image}">'
        f"<p>{_text(figure.caption(one.settings))}</p>"
        f"<details><summary>Exact against simulation ({len(one.differences)})"
        f"</summary>{_differences(one.differences)}</details>"
        f"<details><summary>Parameters</summary>{_rows(settings)}</details></section>"
    )


def _worst(one: Reproduction) -> str:
    bad = sum(not d.ok for d in one.differences)
    return f' <span class="bad">{bad} differences too large</span>' if bad else ""


def _differences(differences: Sequence[Difference]) -> str:
    rows = ""
    for d in differences:
        classes = "number" if d.ok else "number bad"
        cells = "".join(f'<td class="{classes}">{_text(cell)}</td>' for cell in d.cells)
        rows += f"<tr>{cells}</tr>"
    head = "".join(f"<th>{name}</th>" for name in HEAD)
    return f"<table><tr>{head}</tr>{rows}</table>"


def _rows(values: dict[str, str]) -> str:
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td>{_text(value)}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{rows}</table>"


def _versions() -> dict[str, str]:
    packages = ("lazyrich_jax", "jax", "jaxlib", "equinox", "diffrax", "optax", "numpy")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": f"{jax.default_backend()}, {jax.devices()[0].device_kind}",
        "precision": jnp.zeros(()).dtype.name,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def _text(text: str) -> str:
    return html.escape(text)
