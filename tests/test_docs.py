"""The examples in docstrings and pages run; the page of theorems has valid names."""

import functools
import inspect
import pathlib
import re
import textwrap

import matplotlib.pyplot as plt
import pytest

import lazyrich_jax as lr

BLOCK = re.compile(r"^ *```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
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
    for name, item in public():
        methods = vars(item) if inspect.isclass(item) else {}
        for suffix, of in {
            "": item,
            **{f".{k}": v for k, v in methods.items()},
        }.items():
            for block in BLOCK.findall(getattr(of, "__doc__", None) or ""):
                yield pytest.param(textwrap.dedent(block), id=name + suffix)
    for page in (
        README,
        *(
            ROOT / "docs" / f"{x}.md"
            for x in ("beyond", "inference", "richness", "sweeps")
        ),
    ):
        marks = () if page == README else pytest.mark.slow
        for i, block in enumerate(BLOCK.findall(page.read_text())):
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
