"""`lazyrich fit`: tables, reports and plots of fits."""

import importlib
import json
import math
import warnings
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax.__main__ import main
from lazyrich_jax.fitting.report import identified
from lazyrich_jax.inference.ambiguity import ordered
from lazyrich_jax.inference.anchored import unit
from lazyrich_jax.inference.coordinates import Coordinates
from lazyrich_jax.inference.members import begin
from lazyrich_jax.inference.words import faults, unordered

TIMES = np.linspace(0, 4, 20)
SIZES = 2, 2, 2
EXPERIMENT = lr.inference.Experiment(
    SIZES,
    TIMES,
    lmda=1.0,
    scale=0.3,
    task_strengths=[2.0, 1.0],
    noise=lr.inference.Relative(0.02),
)


@pytest.fixture(scope="module")
def losses():
    """Data of the experiment by another way: the aligned modes' own formula."""
    a = lr.theory.aligned_modes(
        jnp.asarray(TIMES), jnp.array([2.0, 1.0]), jnp.array(0.09), 1.0
    )
    clean = np.sum((np.array([2.0, 1.0]) - np.asarray(a)) ** 2, axis=1) / 2
    return clean * np.exp(0.02 * np.random.default_rng(0).normal(size=TIMES.size))


def written(path, clock, times, losses):
    rows = [
        f"{t:.10g},{'' if math.isnan(x) else x}"
        for t, x in zip(times, losses, strict=False)
    ]
    path.write_text("\n".join([f"{clock},loss", *rows, ""]))
    return str(path)


OPTIONS = "--sizes", "2-2-2", "--noise", "relative:0.02", "--known"
KNOWN = "task_strengths=2,1"


def descended(rate, steps):
    """Losses of gradient descent of both modes, with the numbers of `losses`."""
    s, balance = np.array([2.0, 1.0]), 1.0
    b = np.sqrt((np.hypot(balance, 2 * 0.09) - balance) / 2) * np.ones(2)
    c, found = 0.09 / b, []
    for step in range(int(steps[-1]) + 1):
        error = s - b * c
        if step in steps:
            found.append(np.sum(error**2) / 2)
        b, c = b + rate * c * error, c + rate * b * error
    return np.array(found) * np.exp(0.02 * np.random.default_rng(0).normal(size=20))


def test_a_table_is_fitted_and_reported(tmp_path, capsys):
    losses = descended(0.01, np.round(TIMES * 100))
    losses[7] = np.nan  # a missing value
    data = written(tmp_path / "curve.csv", "step", np.round(TIMES * 100), losses)
    command = ["fit", data, *OPTIONS, KNOWN, "--learning-rate", "0.01"]
    out = tmp_path / "out"
    assert main([*command, "--bounds", "lmda=0:20", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "Fit of lmda, scale to loss, 19 observations" in printed
    assert str(out / "report.md") in printed
    found = json.loads((out / "fit.json").read_text())
    assert found["values"]["lmda"] == pytest.approx(1.0, abs=0.1)
    assert found["values"]["scale"] == pytest.approx(0.3, abs=0.03)
    ((low, high),) = found["intervals"]["lmda"]
    assert low < 1.0 < high and high - low < 0.2
    assert found["p value"] > 0.01 and found["warnings"] == []
    report = (out / "report.md").read_text()
    assert "a linear 2-2-2 network, λ-balanced layers" in report
    assert "- lmda is determined.\n- scale is determined." in report
    assert "The theory has descent in steps of 0.01, to first order" in report
    assert "rate = 0.01" in report and "task_strengths = [2. 1.]" in report
    assert (out / "fit.png").read_bytes().startswith(b"\x89PNG")


def test_a_sign_that_is_not_identified_is_said(losses, tmp_path, capsys):
    data = written(tmp_path / "curve.csv", "time", TIMES, losses)
    assert main(["fit", data, *OPTIONS, KNOWN, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "As good: lmda = -" in printed.out
    assert "`--bounds lmda=0:inf` chooses one." in printed.out
    assert printed.err == ""  # no warning of Python, with a file and a line
    report = (tmp_path / "report.md").read_text()
    assert "- lmda is determined up to its sign." in report
    assert "The sign of lmda is not identified" in report
    found = json.loads((tmp_path / "fit.json").read_text())
    assert found["as good"][0]["lmda"] == pytest.approx(-found["values"]["lmda"])


def test_what_intervals_warn_of_is_reported(losses, tmp_path, capsys, monkeypatch):
    def found(fit, level):
        warnings.warn("A point on the way fits better than the fit.", stacklevel=2)
        return {label: [(0.1, 1.0)] for label in fit.labels}

    module = importlib.import_module("lazyrich_jax.inference.fit")
    monkeypatch.setattr(module, "intervals", found)
    data = written(tmp_path / "curve.csv", "time", TIMES, losses)
    bounds = "--bounds", "lmda=0:20"
    assert main(["fit", data, *OPTIONS, KNOWN, *bounds, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("A point on the way fits better") == 1
    assert printed.err == ""
    report = (tmp_path / "report.md").read_text()
    assert "- A point on the way fits better than the fit." in report


@pytest.mark.parametrize(
    "label, pieces, bounds, words",
    [
        ("lmda", [(0.9, 1.1)], {}, "is determined"),
        ("lmda", [(-1.1, -0.9), (0.9, 1.1)], {}, "is determined up to its sign"),
        ("lmda", [(-np.inf, -2), (3, np.inf)], {}, "is at least 2 in size"),
        ("lmda", [(-0.5, 0.3)], {}, "is at most 0.5 in size"),
        ("lmda", [(0.0, 100.0)], {"lmda": (0, 100)}, "is not determined"),
        ("lmda", [(0.0, 5.0)], {"lmda": (0, 100)}, "is at most 5"),
        ("lmda", [(2.0, 100.0)], {"lmda": (0, 100)}, "is at least 2"),
        ("scale", [(0.0, 2.0)], {}, "is at most 2"),
        ("scale", [(0.0, 1.0), (2.0, 3.0)], {}, "is at most 3, in one of 2 ranges"),
        ("scale", [(0.1, np.inf)], {}, "is at least 0.1"),
        ("rate", [(0.1, 1.0)], {}, "is known roughly, from 0.1 to 1"),
        ("function[0, 1]", [(-np.inf, np.inf)], {}, "is not determined"),
        ("function[0, 1]", [(-1.0, 1.0)], {}, "is determined"),
        ("strengths[1]", [(1.0, 2.0), (3.0, 4.0)], {}, "is in one of 2 ranges"),
    ],
    ids=str,
)
def test_what_is_identified_in_words(untyped, label, pieces, bounds, words):
    stub: Any = SimpleNamespace(intervals=lambda: {label: pieces})
    assert identified(stub, bounds) == [f"{label} {words}."]


def test_plots_of_a_fit(losses):
    data = np.ma.masked_array(losses, mask=np.arange(20) == 3)
    found = lr.inference.fit(EXPERIMENT, data, bounds={"lmda": (0, 20)})
    first = lr.plot.fit(found)
    circles, theory = first.lines[:2]
    expected = np.where(np.arange(20) == 3, np.nan, losses)
    np.testing.assert_array_equal(np.asarray(circles.get_ydata()), expected)
    ends = np.asarray(theory.get_ydata())[[0, -1]]
    predicted = EXPERIMENT.predict(**found.values)
    np.testing.assert_allclose(ends, predicted[np.array([0, -1])], rtol=1e-10)
    assert first.get_ylabel() == "loss" and "time" in first.get_xlabel()
    second = lr.plot.residuals(found, ax=plt.subplots()[1])
    points = np.asarray(second.lines[-1].get_ydata())
    residual = np.log(expected / np.asarray(predicted)) / 0.02
    np.testing.assert_allclose(points, residual, rtol=1e-9)
    with pytest.raises(ValueError, match=r"`observable` must be one of \['loss'\]"):
        lr.plot.fit(found, observable="ntk")
    plt.close("all")


def test_an_optimum_at_a_bound_is_one(losses):
    found = lr.inference.fit(EXPERIMENT, losses, bounds={"lmda": (0, 0.5)})
    assert found.success and found.values["lmda"] == pytest.approx(0.5, rel=1e-12)
    # The slope by the scale vanishes there.
    near = [
        EXPERIMENT.predict(lmda=0.5, scale=found.values["scale"] * np.exp(h))
        for h in (-1e-3, 0.0, 1e-3)
    ]
    below, best, above = (
        np.sum((np.log(losses) - np.log(np.asarray(x))) ** 2) for x in near
    )
    assert best < min(below, above)
    assert found.deviance == pytest.approx(best / 0.02**2, rel=1e-9)


def test_modes_that_can_be_exchanged_are_ordered(untyped):
    names = "lmda", "task_strengths"
    coordinates = Coordinates(EXPERIMENT, names)
    u = np.array([[0.5, 1.0, 2.0], [0.5, 2.0, 1.0]])
    a = np.array([[9.0, 1, 2], [1, 8, 3], [2, 3, 7]])
    members = begin(u)._replace(hessian=np.array([a, a]), gradient=u + 10)
    one, other = 0, [0, 2, 1]
    result = ordered(EXPERIMENT, coordinates, members)
    np.testing.assert_array_equal(result.u, [u[1], u[1]])
    np.testing.assert_array_equal(result.gradient[one], (u[one] + 10)[other])
    np.testing.assert_array_equal(result.hessian[one], a[other][:, other])
    np.testing.assert_array_equal(result.hessian[1], a)
    fit: Any = SimpleNamespace(experiment=EXPERIMENT, coordinates=coordinates)
    assert "hold another's" in unordered(fit)[0]
    # Modes with names of their own stay as they are.
    task = [2.0, 1.0]
    of_modes = lr.inference.Experiment(
        SIZES, TIMES, task_strengths=task, observe="modes"
    )
    named = lr.inference.Experiment(
        SIZES, TIMES, task_strengths=task, strengths=[1.0, 2.0]
    )
    for experiment in (named, of_modes):
        same = ordered(experiment, Coordinates(experiment, names), members)
        np.testing.assert_array_equal(same.u, u)


@pytest.mark.parametrize("start", ["aligned", "function"])
def test_what_follows_from_a_wrong_theory(untyped, start):
    fit: Any = SimpleNamespace(
        known_noise=True,
        p_value=1e-3,
        correlation=0.0,
        observations=100,
        experiment=SimpleNamespace(start=start),
    )
    lines = faults(fit)
    assert "does not describe the data at this level" in lines[0]
    assert "hold only for a theory" in lines[1]
    assert any('`start="any"`' in line for line in lines) == (start == "aligned")
    fit.p_value = 0.5
    assert faults(fit) == []


def test_a_balance_far_above_a_tiny_scale_is_within_the_range(untyped):
    values = {"lmda": np.array(1.0), "scale": np.array(1e-6)}
    stub: Any = SimpleNamespace(experiment=EXPERIMENT, values=values)
    coordinates = Coordinates(EXPERIMENT, ("lmda", "scale")).anchored(unit(stub))
    u = coordinates.encode({**EXPERIMENT.known, **values})
    assert np.all(np.abs(u) < coordinates.bounds[1] - 1)
    # So it is where the scale is known.
    experiment = lr.inference.Experiment(SIZES, TIMES, scale=1e-5)
    coordinates = Coordinates(experiment, ("lmda",))
    (u,) = coordinates.encode({**experiment.known, "lmda": np.array(100.0)})
    assert u < coordinates.bounds[1][0]


def test_a_plot_of_no_fit(untyped, losses):
    with pytest.raises(TypeError, match="`fit` must be a `Fit`"):
        lr.plot.residuals(losses)
