"""Examples in docstrings and pages run, pages name what exists, notebooks are alike."""

import functools
import inspect
import pathlib
import re
import textwrap

import jupytext
import matplotlib.pyplot as plt
import pytest

import lazyrich_jax as lr

BLOCK = re.compile(r"^ *```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
SESSIONS = "conventions", "sharp-bits"  # their blocks run in order
NOT_RUN = ("upstream",)  # programs that hang
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
THEOREMS = (ROOT / "docs" / "theorems.md").read_text()


def public():
    """All public names, with their objects."""
    modules = lr.applications, lr.inference, lr.kernels, lr.measures, lr.plot
    modules += lr.reductions, lr.richness, lr.sweeps, lr.theory
    for module in (lr, *modules):
        prefix = module.__name__.replace(lr.__name__, "lr")
        for name, item in vars(module).items():
            ours = getattr(item, "__module__", "").startswith(module.__name__)
            if not name.startswith("_") and ours and callable(item):
                yield f"{prefix}.{name}", item


def examples():
    slow = pytest.mark.slow
    for name, item in public():
        methods = vars(item) if inspect.isclass(item) else {}
        for suffix, of in {
            "": item,
            **{f".{k}": v for k, v in methods.items()},
        }.items():
            for block in BLOCK.findall(getattr(of, "__doc__", None) or ""):
                yield pytest.param(textwrap.dedent(block), id=name + suffix, marks=slow)
    for page in (README, *sorted((ROOT / "docs").glob("*.md"))):
        marks = () if page == README else slow
        blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
        if page.stem in SESSIONS:
            blocks = ["\n".join(blocks)]
        if page.stem not in NOT_RUN:
            for i, block in enumerate(blocks):
                yield pytest.param(block, id=f"{page.stem}-{i}", marks=marks)


@pytest.mark.parametrize("code", list(examples()))
def test_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "<example>", "exec"), {})
    plt.close("all")


def test_everything_public_says_what_it_is():
    items = dict(public())
    assert len(items) > 50
    for name, item in items.items():
        assert item.__doc__, name
        if inspect.isclass(item):
            for method, value in vars(item).items():
                if not method.startswith("_") and callable(value):
                    assert inspect.getdoc(getattr(item, method)), f"{name}.{method}"


def test_the_page_of_theorems_is_complete():
    for name, _ in public():
        if name.split(".")[1] in ("theory", "measures", "kernels", "reductions"):
            assert f"`{name}`" in THEOREMS, name


def test_the_page_of_theorems_names_what_exists():
    names = set(re.findall(r"`(lr\.[\w.]+)`", THEOREMS))
    tests = set(re.findall(r"`(test_\w+\.py)::(\w+)`", THEOREMS))
    assert len(names) > 40 and len(tests) > 40
    for name in names:
        functools.reduce(getattr, name.split(".")[1:], lr)
    for file, test in tests:
        text = (ROOT / "tests" / file).read_text()
        assert f"def {test}(" in text, f"{file}::{test}"
    for link in re.findall(r"\]\(([\w./]+)\)", THEOREMS):
        assert (ROOT / "docs" / link).exists(), link


def test_the_readme_is_short():
    text = re.sub(r"```.*?```", "", README.read_text(encoding="utf-8"), flags=re.S)
    text = re.sub(r"!\[.*?\]\(.*?\)", "", text)  # the picture
    assert len(re.sub(r"\]\(.*?\)", "]", text).split()) <= 450


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_for_colab_are_current(source):
    """`jupytext --update --to ipynb notebooks/*.py` writes them."""
    cells = [
        [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]
        for path in (source, source.with_suffix(".ipynb"))
    ]
    assert cells[0] == cells[1]
    assert '"output_type"' not in source.with_suffix(".ipynb").read_text()


def test_no_notebook_is_left_over():
    assert len(NOTEBOOKS) > 10
    assert {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")} == {
        path.stem for path in NOTEBOOKS
    }
