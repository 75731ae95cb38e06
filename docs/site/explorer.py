"""The explorer as one page: `python docs/site/explorer.py explorer.html` writes it.

Browsers refuse modules from a `file:` address, but take them from `data:` addresses.
So the page has its modules as such addresses, in an import map.
"""

import argparse
import base64
import json
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "explorer"
STYLE = '<link rel="stylesheet" href="style.css" />'
SCRIPT = re.compile(r'<script type="module" src="main\.js".*?</script>', re.DOTALL)


def page(folder: Path = FOLDER) -> str:
    """The page, which loads nothing: styles, modules and a licence are inside."""
    html, style, licence = (
        (folder / name).read_text(encoding="utf-8")
        for name in ("index.html", "style.css", "vendor/LICENSE.txt")
    )
    paths = sorted([*folder.glob("*.js"), *folder.glob("vendor/*.js")])
    modules = {path.relative_to(folder).as_posix(): _address(path) for path in paths}
    script = f"""<!-- Of vendor/ml-matrix.js:
{licence}-->
<script type="importmap">{json.dumps({"imports": modules})}</script>
<script type="module">import "main.js";</script>"""
    html = html.replace(STYLE, f"<style>\n{style}</style>")
    return SCRIPT.sub(lambda _: script, html)


def _address(path: Path) -> str:
    """A module as a `data:` address; it imports others by their names in the map."""
    text = path.read_text(encoding="utf-8").replace(' from "./', ' from "')
    return f"data:text/javascript;base64,{base64.b64encode(text.encode()).decode()}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the explorer as one page.")
    parser.add_argument("path", type=Path, help="the page, such as explorer.html")
    parser.parse_args().path.write_text(page(), encoding="utf-8")
