"""Build the documentation site: `python docs/site/build.py --out build/site`.

The pages of `docs/`, the README, the changelog and the notebooks are copied to one
folder, beside pages made from the figures and the docstrings. Sphinx renders them.
Every warning is an error: a broken link, an unknown page, a formula that isn't valid.
"""

import argparse
import os
import shutil
import sys
import tomllib
from pathlib import Path

# Beside this script.
import api
import explorer
import gallery
from sphinx.cmd.build import build_main

import notebooks

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

CONTENTS = """
```{toctree}
:hidden:
:caption: Start

start
laws
sharp-bits
conventions
glossary
explorer/index
```

```{toctree}
:hidden:
:caption: Topics

sweeps
inference
richness
gallery
notebooks/index
```

```{toctree}
:hidden:
:caption: Mathematics

theory
beyond
theorems
```

```{toctree}
:hidden:
:caption: Measured

accuracy
speed
benchmarks/results/table
benchmarks/results/h200
upstream
```

```{toctree}
:hidden:
:caption: Reference

api/index
```

```{toctree}
:hidden:
:caption: Project

map
%s
```
"""


def main() -> int:
    """Stage the sources and run Sphinx; returns the exit status."""
    options = _options()
    source, out = options.out / "source", options.out / "html"
    for folder in (source, out):
        shutil.rmtree(folder, ignore_errors=True)
    _stage(source, options)
    status = build_main(
        ["-W", "--keep-going", "-q", "-c", str(HERE), str(source), str(out)]
    )
    # In place of its entry in the navigation.
    page = out / "explorer" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(explorer.page(), encoding="utf-8")
    return status


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    parser.add_argument(
        "--figures", type=Path, help="where `lazyrich reproduce --out` wrote them"
    )
    parser.add_argument("--notebooks", type=Path, help="the executed notebooks")
    parser.add_argument(
        "--repository",
        default=_repository(),
        help="owner/name on the forge, for links that open notebooks in Colab",
    )
    options = parser.parse_args()
    options.out = options.out.resolve()
    return options


def _repository() -> str | None:
    """The forge's name of the repository: from its workflow, or from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    address = project["project"].get("urls", {}).get("Repository", "")
    name = address.removeprefix("https://github.com/").removesuffix(".git")
    return os.environ.get("GITHUB_REPOSITORY") or (name if name != address else None)


def _stage(source: Path, options: argparse.Namespace) -> None:
    """Copy all pages to `source`, with links that hold there."""
    hidden = shutil.ignore_patterns("site", "explorer", "*.md")
    shutil.copytree(ROOT / "docs", source, ignore=hidden)
    shutil.copytree(ROOT / "benchmarks" / "results", source / "benchmarks" / "results")
    table = source / "benchmarks" / "results" / "table.md"
    _write(table, f"# All measurements\n\n{table.read_text(encoding='utf-8')}")
    for name in ("LICENSE", "CITATION.cff"):
        shutil.copy(ROOT / name, source)
    for page in (ROOT / "docs").glob("*.md"):
        _write(source / page.name, page.read_text(encoding="utf-8"))
    project = sorted(page.name for page in ROOT.glob("*.md") if page.stem != "README")
    for name in project:
        _write(source / name, (ROOT / name).read_text(encoding="utf-8"))
    _write(source / "explorer" / "index.md", "# Explorer\n")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _write(source / "index.md", readme + CONTENTS % "\n".join(project))
    api.write(source / "api")
    gallery.write(source, options.figures)
    notebooks.write(source / "notebooks", options.notebooks, options.repository)


def _write(path: Path, text: str) -> None:
    """Write a page; links relative to the repository become relative to the site."""
    for old, new in {
        "](../": "](",
        "](docs/explorer)": "](explorer/index.md)",
        "](docs/": "](",
        "](notebooks)": "](notebooks/index.md)",
    }.items():
        text = text.replace(old, new)
    for notebook in (ROOT / "notebooks").glob("*.py"):
        text = text.replace(
            f"](notebooks/{notebook.name})", f"](notebooks/{notebook.stem}.ipynb)"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
