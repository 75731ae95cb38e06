"""Plots of reports draw their numbers, from lazy to rich."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

import lazyrich_jax as lr

loose: Any = lr.plot  # for arguments that its annotations refuse
pytestmark = pytest.mark.usefixtures("closed_figures")


def of_model():
    """A report on a model of three layers."""
    numbers = {
        "kernel_distance": np.array(0.25),
        "dynamical_richness": np.array([0.75, 0.5]),
        "target_alignment": np.array([0.125, np.nan]),
        "nc1": np.array([1.0, 2.0]),
    }
    layers = {
        "movement": np.array([0.5, 1.5, np.inf]),
        "feature_alignment": np.array([0.75, 0.0, 0.5]),
        "activation_flips": np.array([np.nan, 0.5, np.nan]),
        "gradient_alignment": np.array([[0.5, 1.0], [0.25, 0.5], [np.nan, np.nan]]),
    }
    names = ("a", "b", "c")
    return lr.richness.Report(9, 5, 2, numbers, names, layers, (), {}, {}, {})


def marks(ax):
    """The points of each quantity, by its name, and the lines that lead to them."""
    found = {}
    for line in ax.lines:
        if line.get_gid():
            point = float(line.get_xdata()[0]), line.get_marker()
            found.setdefault(line.get_gid(), []).append(point)
    return found, [list(x.get_xdata()) for x in ax.lines if len(x.get_xdata()) == 2]


def test_a_report_is_its_numbers_from_lazy_to_rich(ax):
    assert lr.plot.report(of_model(), ax=ax) is ax
    assert plt.get_fignums() == []
    points, lines = marks(ax)
    assert points == {
        "kernel_distance": [(0.25, "o")],
        "dynamical_richness": [(0.5, "o")],
        "movement": [(0.5, "o"), (1.02, ">"), (1.02, ">")],
        "feature_alignment": [(0.25, "o"), (1.0, "o")],
        "activation_flips": [(0.5, "o")],
        "gradient_alignment": [(1.0, "o"), (0.5, "o")],
    }
    # From the start to the end; the last one is above the alignments.
    assert lines == [[0.25, 0.5], [0.5, 1.0], [0.25, 0.5], [0, 1]]
    assert [text.get_text() for text in ax.texts] == ["1.5", "inf"]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels[:2] == ["kernel distance", "1 - dynamical richness"]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["a", "b", "c"]


def test_a_report_of_many_layers_names_the_first_and_the_last(ax):
    weights = {f"layers.{i}.weight": np.full((2, 2), 1.0 + i) for i in range(12)}
    moved = {name: 1.5 * weight for name, weight in weights.items()}
    found = lr.richness.report(weights, moved)
    lr.plot.report(found, ax=ax)
    points, _ = marks(ax)
    assert set(points) == {"weight_movement", "movement"}
    np.testing.assert_allclose([x for x, _ in points["movement"]], 0.5)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == [found.layer_names[0], found.layer_names[-1]]
    assert lr.plot.report(found).figure.get_layout_engine() is not None


def test_a_report_without_numbers_is_refused():
    with pytest.raises(TypeError, match="report"):
        loose.report({})
    with pytest.raises(TypeError, match="`ax` must be"):
        loose.report(of_model(), ax=np.zeros(2))
    empty = lr.richness.Report(0, 0, 0, {}, (), {}, (), {}, {}, {})
    with pytest.raises(ValueError, match="`report` must hold one of"):
        lr.plot.report(empty)
    assert plt.get_fignums() == []
