"""Curves over time draw the data; styles set their sizes, and change no defaults."""

import functools
import re
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import lazyrich_jax as lr

from .plotted import SWEEP, TASK, descent, exact

pytestmark = pytest.mark.usefixtures("closed_figures")


@functools.cache
def kernels():
    networks = [jax.tree.map(lambda w, i=i: w[i], exact().network) for i in range(4)]
    return np.stack([lr.kernels.ntk(network, TASK.x) for network in networks])


CURVES = {
    "loss": lambda t, **options: lr.plot.loss(t, **options),
    "function": lambda t, **options: lr.plot.function(t, **options),
    "ntk": lambda t, **options: lr.plot.ntk(t, TASK.x, **options),
    "kernel_distance": lambda t, **options: lr.plot.kernel_distance(
        t, TASK.x, **options
    ),
    "modes": lambda t, **options: lr.plot.modes(t, TASK, **options),
}
UPPER = np.triu_indices(8)
ALL_NTK = len(UPPER[0])
EXPECTED = {
    "loss": lambda: exact().loss[:, None],
    "function": lambda: exact().function.reshape(4, -1),
    "ntk": lambda: kernels()[:, *UPPER][
        :, np.linspace(0, ALL_NTK - 1, 8).round().astype(int)
    ],
    "kernel_distance": lambda: [
        [lr.measures.kernel_distance(kernels()[0], k)] for k in kernels()
    ],
    "modes": lambda: [
        lr.measures.mode_strengths(f, TASK.input_output_correlation)
        for f in exact().function
    ],
}


def lines(ax):
    """The drawn curves, without lines for labels and levels."""
    return [line for line in ax.lines if np.size(line.get_xdata()) > 2]


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_is_the_data_at_finite_times(name, ax):
    assert CURVES[name](exact(), ax=ax) is ax
    assert plt.get_fignums() == []
    expected = np.asarray(EXPECTED[name]())
    assert len(lines(ax)) == expected.shape[1]
    for line, curve in zip(lines(ax), expected.T, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [0.0, 0.5, 2.0])
        np.testing.assert_allclose(line.get_ydata(), curve[:3], rtol=1e-10, atol=1e-14)
        assert line.get_linestyle() == "-"
    assert "learning rate" in ax.get_xlabel() and ax.get_ylabel()
    assert ax.get_legend() is None


@pytest.mark.parametrize("name", CURVES)
def test_several_trajectories_are_told_apart(name, ax):
    CURVES[name]({"descent": descent(), "exact": exact()}, ax=ax)
    half = len(lines(ax)) // 2
    first, second = lines(ax)[:half], lines(ax)[half:]
    for a, b in zip(first, second, strict=True):
        assert (a.get_linestyle(), b.get_linestyle()) == ("-", ":")
        assert a.get_linewidth() > b.get_linewidth()
        assert to_rgb(a.get_color()) != to_rgb(b.get_color())
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["descent", "exact"]


@pytest.mark.parametrize("labels", [["exact"], "exact", ("exact",)])
def test_labels_of_one(labels, ax):
    lr.plot.function(exact(), labels=labels, ax=ax)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["exact"]
    lr.plot.loss([exact(), descent()], ax=ax)
    lr.plot.loss([exact(), descent()], labels=["a", "b"], ax=ax)
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert texts == ["exact", "a", "b"]


def test_new_axes_are_those_of_a_new_figure():
    first = lr.plot.loss(exact())
    second = lr.plot.loss(exact())
    assert first is not second and plt.gca() is second
    assert second.figure.get_layout_engine() is not None
    lr.plot.loss(exact(), ax=first)
    lr.plot.representation(exact(), ax=first)
    assert plt.gcf() is second.figure


def test_loss_above_the_optimum(ax):
    lr.plot.loss(descent(), above=exact().loss[-1], ax=ax)
    expected = descent().loss - exact().loss[-1]
    np.testing.assert_allclose(lines(ax)[0].get_ydata(), expected, rtol=1e-12)
    assert ax.get_ylabel() == "loss above optimum"


def test_ntk_draws_no_more_than_there_is(ax):
    lr.plot.ntk(exact(), TASK.x, entries=1000, ax=ax)
    drawn = np.array([line.get_ydata() for line in lines(ax)]).T
    np.testing.assert_allclose(drawn, kernels()[:3][:, *UPPER], rtol=1e-10, atol=1e-14)


def test_modes_end_at_their_levels(ax):
    task = lr.Task(2.0 * TASK.x, TASK.y)  # inputs of correlation 4 I
    final = jax.tree.map(lambda w: w[3:].repeat(3, 0) / 2**0.5, exact().network)
    lr.plot.modes(
        lr.Trajectory(jnp.arange(3.0), descent().loss, final, exact().result),
        task,
        ax=ax,
    )
    levels = [line for line in ax.lines if len(line.get_ydata()) == 2]
    assert len(levels) == len(lines(ax)) == 2
    for line, level in zip(lines(ax), levels, strict=True):
        np.testing.assert_allclose(line.get_ydata()[-1], level.get_ydata()[0])
        assert line.get_color() == level.get_color()
        assert level.get_linewidth() < line.get_linewidth()


def test_float32(ax):
    single = jax.tree.map(
        lambda a: a.astype(jnp.float32) if a.dtype == jnp.float64 else a, descent()
    )
    for draw in (lr.plot.loss, lr.plot.function, lr.plot.representation):
        draw(single, ax=ax)
    lr.plot.ntk(single, TASK.x.astype(jnp.float32), ax=ax)


def test_nothing_changes_the_defaults(ax):
    before = dict(plt.rcParams)
    lr.plot.loss([exact(), descent()], labels=["a", "b"], ax=ax)
    lr.plot.phase_diagram(SWEEP, "richness")
    assert dict(plt.rcParams) == before


DRAWN = {
    **{k: functools.partial(lambda f: f(exact()), f) for k, f in CURVES.items()},
    "matrix": lambda: lr.plot.matrix(jnp.eye(3)),
    "representation": lambda: lr.plot.representation(exact(), "qqt"),
    "phase_diagram": lambda: lr.plot.phase_diagram(SWEEP, "richness"),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sans-serif", "serif"])
@pytest.mark.parametrize("name", DRAWN)
def test_vector_graphics_of_a_column(name, family, tmp_path):
    before = dict(plt.rcParams)
    with lr.plot.style("column", family=family):
        figure = DRAWN[name]().figure
        for ending in ("pdf", "svg"):
            figure.savefig(tmp_path / f"a.{ending}")
        outside = figure.get_tightbbox().extents
    assert dict(plt.rcParams) == before
    wide, high = figure.get_size_inches()
    assert wide == 3.35
    # The figure's border cuts off no text.
    assert np.all(outside[:2] >= -0.02)
    assert np.all(outside[2:] <= np.array([wide, high]) + 0.02)
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"/Type3" not in pdf
    (box,) = re.findall(rb"/MediaBox \[([^]]*)\]", pdf)
    np.testing.assert_allclose(np.array(box.split(), float)[2], 72 * 3.35, rtol=1e-6)
    svg = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert svg.attrib["width"] == "241.2pt"
    images = list(svg.iter("{http://www.w3.org/2000/svg}image"))
    assert len(images) <= (0 if name in CURVES else 2)


def inches(ax):
    figure = ax.figure
    assert isinstance(figure, Figure)
    return tuple(figure.get_size_inches())


def test_a_style_of_other_sizes():
    first = lr.plot.loss(exact())
    with lr.plot.style(5.0, font_size=7.0):
        ax = lr.plot.loss(exact())
        with lr.plot.style("page"):
            assert inches(lr.plot.loss(exact()))[0] == 6.9
        assert ax.xaxis.label.get_fontsize() == 7.0
        colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
        assert tuple(colours) == lr.plot.COLOURS
    wide, high = inches(ax)
    assert wide == 5.0 and wide / high == pytest.approx(4.8 / 3.3)
    thick, thin = (x.lines[0].get_linewidth() for x in (first, ax))
    assert thick == 2.2 and thin == pytest.approx(2.2 / 1.5)
    again = lr.plot.loss(exact())
    assert inches(again) == (4.8, 3.3)
