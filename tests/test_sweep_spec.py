"""Specifications of sweeps: their entries, files, and the lines of their faults."""

import pytest

from lazyrich_jax.__main__ import main
from lazyrich_jax.sweeps.spec import EXAMPLE, SpecError, decoded, parse


@pytest.mark.parametrize(
    "change, message",
    [
        (("[network]", "[netwrok]"), "`netwrok` (line 4) must be a known section"),
        (
            ("scale =", "scael ="),
            "`target_scael` (line 10) must be a known key of [task]",
        ),
        (("[3, 2, 2]", "[3, 2]"), "`network.sizes` (line 5) must be three integers"),
        (
            ('"richness"', '"richnes"'),
            "`measure.names` (line 23) must be richness, or one of loss",
        ),
        (('"float64"', '"float16"'), "`run.dtype` (line 28) must be one of float32"),
        (("from = -10,", ""), "`axes.lmda` (line 15) must be a number, a list"),
        (
            ("count = 5 }", "count = 0 }"),
            "`axes.seed` (line 17) must be an integer of at",
        ),
        (("[task]", "task"), "must be TOML, but"),
        (('kind = "regression"', ""), "`task.kind` must be given"),
        (("from = 0, to = 20", "from = 5, to = 0"), "`times.values` (line 20) must be"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(spec, change, message, capsys):
    spec.write_text(EXAMPLE.replace(*change))
    assert main(["sweep", str(spec), "--store", "never.zarr"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        "axes.scale=-1",
        "axes.scale=0",
        "axes.scale=nan",
        "axes.scale=[-1, 1]",
        "axes.scale={from=-1, to=1, count=3}",
        "axes.lmda=inf",
        "axes.lmda=nan",
        "axes.lmda=true",
        f"axes.lmda=1{400 * '0'}",
        "axes.lmda={from=1, to=2, count=99999999999}",
        "axes.seed=true",
        "axes.seed=[true]",
        "axes.seed={count=99999999999}",
        "axes.seed=99999999999999999999",
        "task.samples=99999999999999999999",
        "task.target_scale=inf",
        "measure.threshold=nan",
        "times.values=nan",
        "run.memory=inf",
    ],
)
def test_values_that_make_no_sweep(spec, tmp_path, change, capsys):
    store = tmp_path / "a.zarr"
    assert main(["sweep", str(spec), "--store", str(store), "--set", change]) == 2
    assert f"`{change.partition('=')[0]}`" in capsys.readouterr().err
    assert not store.exists()


def test_sections_that_are_none(spec, tmp_path, capsys):
    words = ["sweep", str(spec), "--store", str(tmp_path / "a"), "--set"]
    for change in (".=1", "axes.=1", ".seed=1"):
        assert main([*words, change]) == 2
        assert "`--set` must be SECTION.KEY=VALUE" in capsys.readouterr().err
    spec.write_text(f"task = 3\n{EXAMPLE.replace('[task]', '[other]')}")
    assert main([*words, "task.seed=1"]) == 2
    assert "`task` must be a section" in capsys.readouterr().err
    spec.write_text("a = " + 10**5 * "[")
    assert main([*words, "task.seed=1"]) == 2
    assert "must be TOML" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_with_marks_of_their_encoding(encoding):
    text = f"# λ\r\n{EXAMPLE}"
    assert parse(decoded(text.encode(encoding))) == parse(EXAMPLE)


def test_files_in_other_encodings(spec, tmp_path, capsys):
    for text, message in (
        (f"a\n# é\n{EXAMPLE}".encode("latin-1"), "byte 0xe9 on line 2 is not"),
        (EXAMPLE.encode("utf-16")[:-1], "must be UTF-8"),
        (EXAMPLE.encode("utf-32"), "must be TOML"),
    ):
        spec.write_bytes(text)
        assert main(["sweep", str(spec), "--store", str(tmp_path / "a")]) == 2
        assert message in capsys.readouterr().err


def test_a_spec_is_a_file_of_this_machine(capsys):
    assert main(["sweep", "memory://spec.toml", "--store", "x"]) == 2
    assert "`SPEC` must be a path of this machine" in capsys.readouterr().err


SHORT = """
network = { sizes = [4, 4, 4] }
task = { kind = "hierarchy", levels = 2 }
axes = { seed = 3 }
times = { values = [0, 1] }
measure = { names = ["loss"] }
"""


def test_a_spec_of_the_hierarchy():
    function, grid, _ = parse(SHORT).build()
    assert function({"seed": 3})["loss"][1].shape == (2,)
    assert grid.shape == (1,)


@pytest.mark.parametrize(
    "line, other, message",
    [
        ("seed = 3", "", "`axes` must hold at least one"),
        ('names = ["loss"]', "names = []", "must be a list of loss"),
        ("{ seed = 3 }", "3", r"`axes` must be a section, \[axes\]"),
    ],
    ids=str,
)
def test_sections_that_are_refused(line, other, message):
    with pytest.raises(SpecError, match=message):
        parse(SHORT.replace(line, other))
