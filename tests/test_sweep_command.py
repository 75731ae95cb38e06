"""`lazyrich sweep` and `lazyrich show`, and their measures."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax.__main__ import main
from lazyrich_jax.sweeps.spec import EXAMPLE, MEASURES, SpecError, parse
from lazyrich_jax.sweeps.store import Store

SMALL = (
    "--set",
    "axes.lmda=[-1, 0, 2]",
    "--set",
    "axes.seed=3",
    "--set",
    "times.values={ from = 0, to = 5, count = 6 }",
)


def test_the_example_runs_is_shown_and_resumes(spec, tmp_path, capsys):
    store = tmp_path / "results.zarr"
    assert main(["sweep", "--example"]) == 0
    assert capsys.readouterr().out == EXAMPLE
    command = ["sweep", str(spec), "--store", str(store), *SMALL]
    assert main([*command, "--resume"]) == 2
    assert "`--store` must be there to resume" in capsys.readouterr().err
    assert main(command) == main([*command, "--resume"]) == 0
    out = capsys.readouterr().out
    assert "lmda: 3, scale: 2, seed: 1; 6 points" in out
    assert "6 of 6 points computed without failure" in out
    assert main(["show", str(store)]) == 0
    out = capsys.readouterr().out
    assert "lmda 3, scale 2, seed 1, time 6" in out and "output loss" in out
    data = lr.sweeps.load(store)
    task = lr.Task.random_regression(3, 2, 10, key=jax.random.key(0))
    start = lr.LambdaBalanced(2.0, 0.1)(3, 2, 2, key=jax.random.key(3))
    loss = lr.ExactSolution(start, task).loss(jnp.linspace(0, 5, 6))
    np.testing.assert_allclose(data.loss.sel(lmda=2.0, scale=0.1)[0], loss, rtol=1e-12)
    # The store refuses another sweep.
    assert main([*command, "--set", "task.seed=1"]) == 2
    assert "differs in config spec" in capsys.readouterr().err


@pytest.mark.slow
def test_ready_measures_are_what_they_say():
    task = lr.Task.hierarchy(2)
    ts = jnp.linspace(0, 60, 601)
    fn = lr.sweeps.learning(task, (4, 4, 4), ts, list(MEASURES), threshold=0.01)
    data = lr.sweeps.run(
        fn, lr.sweeps.Grid(lmda=[0.5, 5.0], scale=[0.3]), progress=False
    ).isel(scale=0)
    sigma = task.input_output_correlation
    for i, lmda in enumerate((0.5, 5.0)):
        start = lr.LambdaBalanced(lmda, 0.3)(4, 4, 4, key=jax.random.key(0))
        one = data.isel(lmda=i)
        time = float(one.convergence_time)
        run = lr.learn(start, task, jnp.array([0.0, time, jnp.inf]))
        first, last = (jax.tree.map(lambda w, k=k: w[k], run.network) for k in (0, 2))
        ntks = [lr.kernels.ntk(n, task.x) for n in (first, last)]
        measures = lr.measures
        for name, value in {
            "kernel_distance": measures.kernel_distance(*ntks),
            "richness": measures.rich_lazy_index(*ntks),
            "input_change": measures.representational_change(
                first.input_representation, last.input_representation
            ),
            "output_change": measures.representational_change(
                first.output_representation, last.output_representation
            ),
            "input_specificity": measures.task_specificity(
                last.input_representation, sigma
            ),
            "output_specificity": measures.task_specificity(
                last.output_representation, sigma.T
            ),
        }.items():
            np.testing.assert_allclose(one[name], value, rtol=1e-8, err_msg=name)
        goal = run.loss[2] + 0.01 * (run.loss[0] - run.loss[2])
        np.testing.assert_allclose(run.loss[1], goal, rtol=0.05)
    assert data.richness[0] > data.richness[1]
    diagram = lr.sweeps.phase_diagram(
        task,
        (4, 4, 4),
        ts[::60],
        lmda=jnp.array([1.0]),
        scale=jnp.array([0.1, 1.0]),
        key=jax.random.split(jax.random.key(0), 1),
        progress=False,
    )
    assert set(diagram) == {"richness", "kernel_distance", "convergence_time", "status"}
    assert diagram.richness[0, 0] > diagram.richness[0, 1]


@pytest.mark.slow
def test_interrupted(spec, tmp_path, capsys, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "write", stop)
    store = tmp_path / "results.zarr"
    command = ["sweep", str(spec), "--store", str(store), *SMALL]
    assert main([*command, "--set", 'measure.names=["loss"]']) == 130
    assert "Interrupted. Run the same sweep again" in capsys.readouterr().out
    assert main(["show", str(store)]) == 0
    assert "6 pending (the first at index (0, 0, 0))" in capsys.readouterr().out


def test_wrong_words(spec, tmp_path, capsys):
    for words, message in (
        (["sweep"], "`SPEC` must be given"),
        (["sweep", str(spec)], "`--store` must be given"),
        (["sweep", "nowhere.toml", "--store", "x"], "must be a file that can be read"),
        (["show", str(tmp_path / "nowhere")], "must be the path of a sweep"),
        (
            ["sweep", str(spec), "--store", "x", "--set", "lmda=3"],
            "`--set` must be SECTION.KEY=VALUE",
        ),
        (
            ["sweep", str(spec), "--store", "x", "--set", "axes.lmad=3"],
            "did you mean 'lmda'?",
        ),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err
    spec = parse(
        EXAMPLE,
        ["run.dtype=float32", "axes.scale={from=0.1,to=10,count=3,spacing='log'}"],
    )
    assert spec.dtype == "float32"
    np.testing.assert_allclose(spec.values["axes"]["scale"], [0.1, 1, 10])
    with pytest.raises(SpecError, match="above zero"):
        parse(EXAMPLE, ["axes.scale={from=0,to=10,count=3,spacing='log'}"])
    with pytest.raises(ValueError, match="`names` must be some of loss"):
        lr.sweeps.learning(lr.Task.hierarchy(2), (4, 4, 4), jnp.ones(1), ["los"])
    with pytest.raises(ValueError, match="`sizes` must have the task's 4 inputs and 4"):
        lr.sweeps.learning(lr.Task.hierarchy(2), (3, 4, 4), jnp.ones(1))
    with pytest.raises(ValueError, match=r"such as \['loss'\], but it was 'loss'"):
        lr.sweeps.learning(lr.Task.hierarchy(2), (4, 4, 4), jnp.ones(1), "loss")


ONE = (
    "--set",
    "axes.seed=3",
    "--set",
    "axes.scale=0.3",
    "--set",
    "times.values=[0, 1]",
    "--set",
    'measure.names=["loss"]',
    "--set",
    "network.sizes=[3, 2, 1]",
)
REASON = "`lmda` must not be positive for sizes 3-2-1, but it was 2.0"


OWN = "task.kind=correlation", "network.sizes=[3, 2, 2]"


def test_a_task_of_its_own():
    rows = [[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    task = parse(EXAMPLE, [*OWN, f"task.correlation={rows}"])._task()
    np.testing.assert_allclose(task.input_output_correlation, rows, atol=1e-6)


@pytest.mark.parametrize(
    "changes, message",
    [
        (OWN, "be given with kind 'correlation', but it was not"),
        (["task.correlation=[[1.0]]"], "be left out with kind 'regression', but it"),
        ([*OWN, "task.correlation=[[1, 2, 3]]"], "of shape (2, 3), (out, in), but its"),
        ([*OWN, "task.correlation=[[1], [1, 2]]"], "a list of rows of one length"),
        ([*OWN, "task.correlation=[1, 2]"], "a list of rows, such as"),
        ([*OWN, "task.correlation=[['a']]"], "a finite number"),
    ],
)
def test_a_correlation_that_does_not_fit(changes, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        parse(EXAMPLE, changes)


@pytest.mark.slow
def test_the_status_tells_of_failure_and_its_reason(spec, tmp_path, capsys):
    def command(name, lmda, *more):
        store = str(tmp_path / name)
        words = [
            "sweep",
            str(spec),
            "--store",
            store,
            *ONE,
            "--set",
            f"axes.lmda={lmda}",
        ]
        status = main([*words, *more])
        return status, *capsys.readouterr()

    status, out, err = command("some", [-1, 2])
    assert status == 3 and REASON in out and "nonfinite" not in out
    assert "1 of 2 points failed; `--allow-failures` allows it" in err
    assert REASON not in err  # it is said once
    # The store keeps the reason, for `--resume` and `show`.
    status, out, err = command("some", [-1, 2], "--resume")
    assert status == 3 and REASON in out
    assert command("some", [-1, 2], "--allow-failures")[0] == 0
    assert main(["show", str(tmp_path / "some")]) == 0
    assert REASON in capsys.readouterr().out
    status, out, err = command("all", [2, 3], "--allow-failures")
    assert status == 1 and "2 of 2 points failed" in err and REASON in out
    status, out, err = command("none", [-1, 0])
    assert status == 0 and "2 of 2 points computed without failure" in out


@pytest.mark.slow
def test_points_that_are_refused_say_why():
    task = lr.Task.random_regression(3, 1, 10, key=jax.random.key(0))
    learning = lr.sweeps.learning(task, (3, 2, 1), jnp.array([0.0, 1.0]))
    for axes, reason in (
        ({"lmda": [2.0, -1.0]}, REASON),
        ({"lmda": [jnp.nan, -1.0]}, "`lmda` must be finite, but it was nan"),
        ({"lmda": [2, -1]}, REASON),
        ({"scale": [-1.0, 1.0]}, "`scale` must be finite and positive, but it was -1"),
        ({"scale": [0, 1]}, "`scale` must be finite and positive, but it was 0"),
    ):
        grid = lr.sweeps.Grid(**axes)
        data = lr.sweeps.run(learning, grid, progress=False)
        names = np.array(data.status.attrs["flag_meanings"].split())[data.status]
        assert names.tolist() == ["error", "ok"]
        assert data.attrs["error"].startswith(reason)


def test_the_reason_is_there_when_a_sweep_is_cut_off(tmp_path, monkeypatch, capsys):
    write, written = Store.write, []

    def interrupted(self, *args):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(1)
        return write(self, *args)

    def fn(point):
        network = lr.LambdaBalanced(point["lmda"], throw=False)(
            3, 2, 1, key=jax.random.key(0)
        )
        return {"function": network.function}

    monkeypatch.setattr(Store, "write", interrupted)
    path, grid = tmp_path / "a.zarr", lr.sweeps.Grid(lmda=[2.0, 0.0, -1.0, -2.0])
    with pytest.raises(KeyboardInterrupt) as stopped:
        lr.sweeps.run(fn, grid, store=path, chunk_size=1, progress=False)
    assert f"go on with {path}" in stopped.value.__notes__[0]
    monkeypatch.undo()
    for data in (
        lr.sweeps.load(path),
        lr.sweeps.run(fn, grid, store=path, progress=False),
    ):
        assert data.attrs["error"].startswith(REASON)
    capsys.readouterr()
    lr.sweeps.run(fn, grid, store=path)
    assert not capsys.readouterr().err  # nothing is left, so there is no bar


@pytest.mark.slow
def test_a_terminal_that_knows_few_characters(tmp_path):
    spec = tmp_path / "λ.toml"
    spec.write_text(f"# λ\n{EXAMPLE}", encoding="utf-8")
    command = [sys.executable, "-m", "lazyrich_jax"]
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for environment in (plain, {"PYTHONIOENCODING": "ascii"}):
        done = subprocess.run(
            [*command, "sweep", str(spec), "--store", "é", "--set", "axes.λ=1"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert "must be a known key of [axes]" in done.stderr
    listed = subprocess.run(
        f"{sys.executable} -m lazyrich_jax list | head -1",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert listed.stdout.startswith("figure1") and not listed.stderr
