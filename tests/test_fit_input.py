"""`lazyrich fit`: tables, options and files that it reads or refuses."""

import re

import numpy as np
import pytest

from lazyrich_jax.__main__ import main
from lazyrich_jax.fitting.table import read


def test_entries_have_columns_of_their_own(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(
        '\ufefftime; loss ;function[0][1];"function[1, 0]";modes[1]\n'
        "0;1;2;3;4\n\n1;;5;6e-1;\n"
    )
    table = read(path)
    assert table.clock == "time" and table.observables == ("loss", "function", "modes")
    data = table.data((2, 2), 2)
    function = data["function"]
    assert function.shape == (2, 2, 2) and data["modes"].shape == (2, 2)
    np.testing.assert_array_equal(function[:, 0, 1], [2, 5])
    np.testing.assert_array_equal(function[:, 1, 0], [3, 0.6])
    missing = {name: np.ma.getmaskarray(x) for name, x in data.items()}
    assert missing["function"][:, [0, 1], [0, 1]].all()
    assert missing["loss"].tolist() == [False, True]
    assert missing["modes"].tolist() == [[True, False], [True, True]]
    with pytest.raises(ValueError, match=r"column 'function\[0\]\[1\]', must name an"):
        table.data((1, 2), 2)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "must have a header, but .* was empty"),
        ("step,loss\n", "must have rows, but .* had only a header"),
        ("epoch,loss\n1,2\n", "line 1 must be a header .* began with 'epoch'"),
        ("step\n1\n", "line 1 must have a column beside the step"),
        ("step,los\n1,2\n", "line 1, column 'los', .*did you mean 'loss'"),
        ("step,loss,loss\n1,2,3\n", "line 1, column 'loss', must be there once"),
        ('step,"function[0,1]",function[0][1]\n1,2,3\n', "column .*must be there once"),
        ("step,function[0,1]\n1,2,3\n", "entries are as function"),
        ("step,loss\n0,1\n1,x\n", "line 3, column 'loss', must be a finite .* 'x'"),
        ("step,loss\n0,1\n1,nan\n", "line 3, column 'loss', must be a finite .* 'nan'"),
        ("step,loss\n0,1\n,1\n", "line 3, column 'step', must be a finite number, but"),
        ("step,loss\n0,1\n1,2,3\n", "line 3 must have 2 cells .* had 3"),
        ("step,loss\n0,1\n2,1\n1,1\n", "line 4, column 'step', .* was 1 after 2"),
        ("time,loss\n-1,1\n", "line 2, column 'time', must be non-negative, .* -1"),
        ("step,loss\n0,1\n\n1,-2\n", "line 4, column 'loss', must be non-neg.* -2"),
        ('step,loss\n0,"1\n', "line 2 must be CSV"),
        ("step,loss\n0,1\n1,2\n", "must have at least 5 obs.* it had 2"),
    ],
    ids=str,
)
def test_bad_tables(text, message, tmp_path, capsys):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert main(["fit", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and error.startswith("lazyrich: ")
    assert str(path) in error or "but it had 2" in error
    assert re.search(message, error, re.DOTALL), error


GOOD = "time,loss\n" + "".join(f"{i},{1 / (1 + i)}\n" for i in range(9))


@pytest.mark.parametrize(
    "options, message",
    [
        ("--sizes 2-2", "`--sizes` must be IN-HIDDEN-OUT, .* it was '2-2'"),
        ("--sizes 2-2-2 --unknown lmda function", '`start="any"` makes it a parameter'),
        ("--sizes 2-2-2 --unknown lamda", "`unknown` must be names of .*'lamda'"),
        ("--known scale", "`--known` must be NAME=VALUE .* was 'scale'"),
        ("--known scale=a", "`--known` must be NAME=VALUE, but it was 'scale=a'"),
        ("--bounds lmda=1", "`--bounds` must be NAME=LOW:HIGH, but"),
        ("--bounds lmda=2:1 --sizes 1-1-1", "must rise, but it was"),
        ("--noise gauss", "`--noise` must be additive, relative or counts"),
        ("--noise ntk=additive", "`--noise` must name one of loss"),
        ("--noise relative:-1", "with a positive level"),
        ("--learning-rate 0.1", "`--learning-rate` must be left out for a column of"),
        ("--task nothing.npz", "`--task` must be a file that can be read"),
        ("--sizes 1-1-1 --known lmda=1 scale=1 task_strengths=1", "must leave some of"),
    ],
    ids=str,
)
def test_bad_options(options, message, tmp_path, capsys):
    path = tmp_path / "good.csv"
    path.write_text(GOOD)
    out = str(tmp_path / "out")
    assert main(["fit", str(path), *options.split(), "--out", out]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error, re.DOTALL), error


def test_a_task_file(tmp_path, capsys):
    path, task = tmp_path / "table.csv", tmp_path / "task.npz"
    path.write_text("time,function[0][0]\n0,1\n")
    assert main(["fit", str(path)]) == 2
    assert "`--task` must be given for the function" in capsys.readouterr().err
    command = ["fit", str(path), "--task", str(path), "--out", str(tmp_path)]
    assert main(command) == 2
    assert "NPZ file of x and y, but '" in capsys.readouterr().err
    np.savez(task, x=np.eye(2))
    command = ["fit", str(path), "--task", str(task), "--out", str(tmp_path)]
    assert main(command) == 2
    assert "must be an NPZ file of x and y" in capsys.readouterr().err
    np.savez(task, x=np.eye(2), y=np.eye(2))
    assert main([*command, "--sizes", "3-2-2"]) == 2
    assert "`--sizes` must fit the task, 2-HIDDEN-2" in capsys.readouterr().err
    assert main([*command, "--unknown", "lmda", "scale"]) == 2
    assert "must have at least 3 observations" in capsys.readouterr().err


def test_no_table(tmp_path, capsys):
    assert main(["fit", str(tmp_path / "none.csv")]) == 2
    assert "`DATA` must be a file that can be read" in capsys.readouterr().err
