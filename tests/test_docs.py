"""The examples in docstrings and in the README run as they stand."""

import inspect
import pathlib
import re
import textwrap

import pytest

import lazyrich_jax as lr

BLOCK = re.compile(r"^ *```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
README = pathlib.Path(__file__).parents[1] / "README.md"


def examples():
    for name in dir(lr):
        item = getattr(lr, name)
        public = inspect.isclass(item) or inspect.isfunction(item)
        if public and not name.startswith("_"):
            for block in BLOCK.findall(item.__doc__ or ""):
                yield pytest.param(textwrap.dedent(block), id=name)
    for i, block in enumerate(BLOCK.findall(README.read_text())):
        yield pytest.param(block, id=f"README-{i}")


@pytest.mark.parametrize("code", list(examples()))
def test_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "<example>", "exec"), {})


def test_everything_public_says_what_it_is():
    for name in dir(lr):
        item = getattr(lr, name)
        module = inspect.getmodule(item)
        if not name.startswith("_") and module and module.__name__.startswith("lazy"):
            assert item.__doc__, name
