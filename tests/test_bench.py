"""The measurements of the benchmark, and the files that it writes."""

import json
import platform
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import vectorised
from lazyrich_jax.__main__ import main
from lazyrich_jax.bench import measurements, methods, report
from lazyrich_jax.bench.measure import difference, measure
from lazyrich_jax.bench.problems import problem


@pytest.fixture(scope="module")
def few():
    return problem((2, 1, 2), 3, 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method, most",
    [
        (methods.cholesky(), 1e-12),
        (methods.formula(), 1e-12),
        (methods.diffrax(1e-8), 1e-6),
        (methods.descent(1e-2), 0.1),
    ],
    ids=["cholesky", "formula", "diffrax", "descent"],
)
def test_all_methods_find_the_same_losses(few, method, most):
    exact = np.asarray(methods.exact()(few))
    assert exact.shape == (3, 10) and np.all(exact[:, -1] < exact[:, 0])
    found = np.asarray(method(few))
    assert found.shape == exact.shape
    assert difference(found, exact) < most
    # Twice the error exceeds the bound.
    assert difference(found + 2 * most * exact.max(), exact) > most
    # One shared task gives the results of equal tasks.
    one = few.with_one_task()
    each = few._replace(sigma=np.broadcast_to(one.sigma, few.sigma.shape))
    assert one.sigma.ndim == 2
    assert difference(method(one), method(each)) < 1e-12


@pytest.mark.slow
def test_all_gradients_of_the_correlation_agree(few):
    exact = methods.exact_gradient()(few)
    assert [x.shape for x in exact] == [x.shape for x in few[:3]]
    for method in (methods.diffrax_gradient(1e-8), methods.diffrax_forward(1e-8)):
        assert difference(method(few)[2], exact[2]) < 1e-5


def test_a_measurement(few):
    calls = []

    def call():
        calls.append(1)
        return np.full((2, 10), 1.5)

    row, found = measure("g", "m", call, few, np.ones((3, 10)), at_least=0.0)
    assert len(calls) == 2 and found.shape == (2, 10)
    assert (row.sizes, row.batch, row.times, row.dtype) == ("2-1-2", 3, 10, "float64")
    assert row.error == 0.5 and row.first >= 0
    np.testing.assert_allclose(row.microseconds, 1e6 * row.best / 30)


def test_the_command_writes_table_numbers_and_plot(tmp_path, capsys, monkeypatch):
    rows = [
        report.Row(group, method, "2-1-2", 3, 10, 1.0, "float64", 0.5, seconds, error)
        for group in ("value", "gradient", "size", "batch", "times", "lambda")
        for method, seconds, error in (
            ("exact", 1e-3, None),
            ("LAPACK kernel", 2e-3, 1e-3),
            ("diffrax 1e-8", 3e-3, 1e-3),
        )
    ]
    monkeypatch.setattr(report, "measurements", lambda only, quick: iter(rows))
    real = measurements.problem
    monkeypatch.setattr(
        measurements,
        "problem",
        lambda sizes, *args, **more: real((2, 1, 2), 3, 10, **more),
    )
    assert main(["bench", "--quick", "--out", str(tmp_path / "here")]) == 0
    printed = capsys.readouterr().out
    table = (tmp_path / "here" / "table.md").read_text()
    assert table in printed
    assert "| 2-1-2 | loss | LAPACK kernel | 66.7 | 2 | 1e-03 | 0.50 |" in table
    assert "On a GPU: unmeasured" in table
    result = json.loads((tmp_path / "here" / "results.json").read_text())
    assert result["rows"][1]["us"] == pytest.approx(2e-3 * 1e6 / 30)
    assert result["versions"]["jax"] and result["device"] and result["date"]
    assert result["throughput"]["float32"]["error"] < 1e-5
    assert (tmp_path / "here" / "speed.png").stat().st_size > 1000


@pytest.mark.slow
def test_some_of_the_measurements(tmp_path, capsys, monkeypatch):
    """On a card the report has the share of its limits, and the rivals' speeds."""
    real, small = measurements.problem, ((2, 1, 2), 3, 10)
    monkeypatch.setattr(measurements, "problem", lambda *args: real(*small))
    monkeypatch.setattr(measurements, "SIZES", ((2, 1, 2),))

    class Card:
        platform, device_kind = "gpu", "NVIDIA H200"

    monkeypatch.setattr(measurements.jax, "devices", lambda: [Card])
    assert main(["bench", "--only", "value", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "on NVIDIA H200, jax" in printed and "unmeasured" not in printed
    assert not (tmp_path / "speed.png").exists()
    result = json.loads((tmp_path / "results.json").read_text())
    assert {row["group"] for row in result["rows"]} == {"value"}
    for dtype, width, ceiling in (("float32", 4, 67e12), ("float64", 8, 34e12)):
        one = result["throughput"][dtype]
        assert one["error"] < (1e-5 if width == 4 else 1e-13)
        assert 50 < one["operations_per_loss"] < 1000
        per_second = one["per_second"]
        expected = per_second * one["operations_per_loss"] / ceiling
        np.testing.assert_allclose(one["of_arithmetic"], expected)
        np.testing.assert_allclose(one["of_bandwidth"], per_second * width / 4.8e12)
        assert one["rivals"]["LAPACK kernel"]["per_second"] > 0


def test_a_directory_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["bench", "--out", str(tmp_path / "file" / "in")]) == 2
    assert "`--out` must be a directory" in capsys.readouterr().err


@pytest.mark.slow
def test_hot_loops_have_vector_instructions(tmp_path):
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("read from the code for x86-64")
    command = [sys.executable, "-m", "benchmarks.vectorised", "--here"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("0 without vectors") == 3


def test_scalar_loops_are_found(tmp_path):
    line = "  %x = fmul reassoc <4 x double> %a, %b\n"
    code = "; module\ndefine internal void @kernel(ptr %p) {\n" + 220 * line + "}\n"
    file = tmp_path / "m.jit_loop_over_networks.a.ir-with-opt.ll"
    file.write_text(code)
    assert [kernel.is_scalar for kernel in vectorised.kernels(tmp_path)] == [False]
    file.write_text(code.replace("<4 x double>", "double"))
    assert list(vectorised.kernels(tmp_path)) == [("kernel", 220, 0)]
    assert next(vectorised.kernels(tmp_path)).is_scalar
