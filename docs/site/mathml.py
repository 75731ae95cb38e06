"""Formulas as MathML, which browsers show without scripts, in a font of the site.

A formula that isn't valid is a warning, and so an error of the build.
"""

import logging as python_logging
from pathlib import Path

import math_core
import ziamath
from docutils import nodes
from fontTools import subset
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx
from sphinx.util import logging

CONVERTER = math_core.LatexToMathML(fancy_error=False)
FONT = "STIXTwoMath-Regular.ttf"
# Latin, Greek, punctuation, letterlike, arrows, operators, technical, alphanumerics.
RANGES = (
    *(range(0x20, 0x17F), range(0x2B0, 0x400), range(0x2000, 0x2400)),
    *(range(0x2500, 0x2600), range(0x27C0, 0x2A00), range(0x1D400, 0x1D800)),
)


def setup(app: Sphinx) -> dict:
    """Add the renderer and its font."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("build-finished", _write_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer, node: nodes.math) -> None:
    writer.body.append(_converted(node, displaystyle=False))
    raise nodes.SkipNode


def _block(writer, node: nodes.math_block) -> None:
    formula = _converted(node, displaystyle=True)
    writer.body.append(f'<div class="formula">{formula}</div>\n')
    raise nodes.SkipNode


def _converted(node: nodes.Element, *, displaystyle: bool) -> str:
    latex = node.astext().strip()
    if r"\tag" in latex:
        latex = rf"\begin{{equation}}{latex}\end{{equation}}"
    try:
        return CONVERTER.convert_with_local_state(latex, displaystyle=displaystyle)
    except math_core.LatexError as error:
        message = f"{error}, in the formula {latex}"
        logging.getLogger(__name__).warning(message, location=node)
        return f"<code>{latex}</code>"


def _write_font(app: Sphinx, exception: Exception | None) -> None:
    """Write the part of STIX Two Math that formulas use."""
    if exception is not None:
        return
    python_logging.getLogger("fontTools").setLevel(python_logging.WARNING)
    with TTFont(Path(ziamath.__file__).parent / "fonts" / FONT) as font:
        options = subset.Options(layout_features=["ssty", "dtls", "flac"])
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=[c for r in RANGES for c in r])
        subsetter.subset(font)
        font.flavor = "woff"
        font.save(app.outdir / "_static" / "math.woff")
