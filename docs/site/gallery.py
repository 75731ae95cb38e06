"""The figures of the gallery, from the registry of `lazyrich reproduce`."""

import re
import shutil
from pathlib import Path

from lazyrich_jax.figures import FIGURES

DIFFERENCES = """
<details><summary>Differences of theory and simulation</summary>

```text
%s
```

</details>
"""
MISSING = "*This build has no images: see `--figures` of `docs/site/build.py`.*"


def write(source: Path, figures: Path | None) -> None:
    """Append all figures to `source/gallery.md`, with the files of `figures`."""
    sections = [] if figures else [MISSING]
    sections += [_section(name, source / "gallery", figures) for name in FIGURES]
    with (source / "gallery.md").open("a", encoding="utf-8") as page:
        page.write("\n" + "\n".join(sections))


def _section(name: str, images: Path, figures: Path | None) -> str:
    figure = FIGURES[name]
    title = _plain(figure.TITLE)
    caption = figure.caption(figure.QUICK)
    shown = differences = ""
    if figures:
        images.mkdir(exist_ok=True)
        shutil.copy(figures / f"{name}.png", images)
        shown = f"![{title}](gallery/{name}.png)\n\n"
        # The text has a head, the caption and the table.
        text = (figures / f"{name}.txt").read_text(encoding="utf-8")
        table = text.rpartition("\n\n")[2].rstrip()
        differences = DIFFERENCES % table
    return (
        f"## {title}\n\n{shown}{_plain(caption)} ({_plain(figure.SOURCE)})\n\n"
        f"```sh\nlazyrich reproduce {name} --out figures\n```\n{differences}"
    )


def _plain(text: str) -> str:
    """The text, with the characters that Markdown would read as markup escaped."""
    return re.sub(r"([\\`*_\[\]<>$#|])", r"\\\1", text)
