"""`lazyrich sweep` and `lazyrich show`, and the measures that they know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax.__main__ import main
from lazyrich_jax.sweeps.spec import EXAMPLE, MEASURES, SpecError, parse

SMALL = (
    "--set",
    "axes.lmda=[-1, 0, 2]",
    "--set",
    "axes.seed=3",
    "--set",
    "times.values={ from = 0, to = 5, count = 6 }",
)


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(EXAMPLE)
    return path


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
    # Another sweep does not go there.
    assert main([*command, "--set", "task.seed=1"]) == 2
    assert "differs in config spec" in capsys.readouterr().err


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


def test_interrupted(spec, tmp_path, capsys, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(lr.sweeps.store.Store, "write", stop)
    store = tmp_path / "results.zarr"
    command = ["sweep", str(spec), "--store", str(store), *SMALL]
    assert main([*command, "--set", 'measure.names=["loss"]']) == 130
    assert "Interrupted. Run the same sweep again" in capsys.readouterr().out
    assert main(["show", str(store)]) == 0
    assert "6 pending (the first at index (0, 0, 0))" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, message",
    [
        (("[network]", "[netwrok]"), "`netwrok` (line 4) must be a known section"),
        (
            ("scale =", "scael ="),
            "`target_scael` (line 10) must be a known key of [task]",
        ),
        (("[3, 2, 2]", "[3, 2]"), "`network.sizes` (line 5) must be three integers"),
        (('"richness"', '"richnes"'), "`measure.names` (line 23) must be one of loss"),
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
    with pytest.raises(ValueError, match="`names` must be of loss"):
        lr.sweeps.learning(lr.Task.hierarchy(2), (4, 4, 4), jnp.ones(1), ["los"])
