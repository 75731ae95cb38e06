"""What is released: its version, its recipe, its locked versions, its workflows."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import lazyrich_jax as lr

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = {r.name: r for r in map(Requirement, PROJECT["dependencies"])}


def test_the_version_is_that_of_the_installed_package():
    assert lr.__version__ == version("lazyrich_jax")


def test_the_recipe_needs_what_the_package_needs():
    recipe = yaml.safe_load((ROOT / ".conda/recipe.yaml").read_text())
    run = dict(text.split() for text in recipe["requirements"]["run"])
    assert run.pop("python") == PROJECT["requires-python"]
    run["matplotlib"] = run.pop("matplotlib-base")
    assert run == {name: str(r.specifier) for name, r in NEEDED.items()}
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert dict([entry.split(" = ")]) == PROJECT["scripts"]
    assert recipe["about"]["license"] == PROJECT["license"]
    assert recipe["about"]["summary"] == PROJECT["description"]


def test_the_locked_versions_are_allowed():
    lines = (ROOT / ".docker/requirements.txt").read_text().splitlines()
    locked = dict(line.split("==") for line in lines if not line.startswith("#"))
    for name, needed in NEEDED.items():
        assert needed.specifier.contains(locked[name]), name


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/workflows").iterdir()), ids=lambda p: p.name
)
def test_workflows_name_parts_of_the_script(path):
    script = (ROOT / ".ci/run").read_text()
    parts = re.findall(r"^(?:TESTS|OTHERS)=\((.*)\)$", script, re.MULTILINE)
    parts = " ".join(parts).split()
    assert len(parts) == 8
    for part in parts:
        assert f"\n{part}() {{\n" in script
    workflow = yaml.safe_load(path.read_text())
    named = []
    for job in workflow["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        named += matrix.get("part", [])
        named += [row["part"] for row in matrix.get("include", [])]
        runs = [step.get("run", "") for step in job["steps"]]
        named += re.findall(r"^\.ci/run ([a-z ]+)$", "\n".join(runs), re.MULTILINE)
    assert {part for text in named for part in text.split()} <= set(parts)


def test_the_paper_cites_what_its_bibliography_has():
    text = (ROOT / "paper/paper.md").read_text()
    cited = set(re.findall(r"@([a-z]+\d{4})", text))
    entries = re.findall(r"^@\w+\{(\w+),", (ROOT / "paper/paper.bib").read_text(), re.M)
    assert cited == set(entries) and len(entries) == len(cited)
    for path in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (ROOT / "paper" / path).is_file()
