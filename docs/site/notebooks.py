"""The pages of the notebooks."""

from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
COLAB = "https://colab.research.google.com/github"
ORDER = (
    *("quickstart", "lazy_to_rich", "semantic_hierarchy"),
    *("continual_reversal_transfer", "weight_decay", "random_networks", "sweeps"),
    *("fitting", "design", "relu_exactly_linear"),
    *("real_networks", "convolutional", "grokking"),
)


def write(folder: Path, executed: Path | None, repository: str | None) -> None:
    """Write the notebooks of the folder `executed`, or those without outputs."""
    folder.mkdir()
    found = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
    if found != set(ORDER):
        raise ValueError(f"`ORDER` must name all notebooks, but {found ^ set(ORDER)}.")
    for name in ORDER:
        path = (executed or ROOT / "notebooks") / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        if repository:
            title, _, rest = notebook.cells[0].source.partition("\n")
            link = _link(repository, name)
            notebook.cells[0].source = f"{title}\n\n{link}\n\n{rest}"
        nbformat.write(notebook, folder / f"{name}.ipynb")
    names = "\n".join(ORDER)
    (folder / "index.md").write_text(
        "# Notebooks\n\nEach runs from top to bottom on a laptop. The sources are the "
        "Python files in `notebooks/`, with an `.ipynb` beside each.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n",
        encoding="utf-8",
    )


def _link(repository: str, name: str) -> str:
    """The link that opens a notebook in Colab, and what to run there first."""
    address = f"{COLAB}/{repository}/blob/main/notebooks/{name}.ipynb"
    install = f"%pip install git+https://github.com/{repository}"
    return f"[Open in Colab]({address}); run `{install}` there first."
