"""Plots draw the data; they refuse bad data, and leave no figure then."""

import functools
import re
from typing import Any
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest
import xarray
from matplotlib.animation import writers
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL.GifImagePlugin import GifImageFile

import lazyrich_jax as lr
from lazyrich_jax.plot.style import DIVERGING

loose: Any = lr.plot  # for arguments that its annotations refuse
KEY = jax.random.key(0)
TASK = lr.Task.random_regression(3, 2, samples=4, key=KEY)


# Trajectories are made at their first use: every process of the tests imports this.
def learned(ts, **options):
    network = lr.LambdaBalanced(1.0, scale=0.3)(3, 2, 2, key=KEY)
    return lr.learn(network, TASK, jnp.array(ts), **options)


@functools.cache
def exact():
    return learned([0.0, 0.5, 2.0, jnp.inf])


@functools.cache
def descent():
    return learned([0.0, 0.5, 2.0], dynamics=lr.GradientDescent(0.1))


def batch():
    return jax.tree.map(lambda a: jnp.stack([a, a]), exact())


@functools.cache
def deep():
    network = lr.Gaussian(1.0)(3, 2, 2, 2, key=KEY)
    weights = jax.tree.map(lambda w: w[None], network)
    return lr.Trajectory(jnp.zeros(1), jnp.zeros(1), weights, exact().result)


@functools.cache
def kernels():
    networks = [jax.tree.map(lambda w, i=i: w[i], exact().network) for i in range(4)]
    return np.stack([lr.kernels.ntk(network, TASK.x) for network in networks])


LMDA, SCALE = np.array([-10.0, -0.1, 0.0, 0.1, 10.0]), np.array([0.01, 0.1, 1.0])
SWEEP = xarray.Dataset(
    {"richness": (("lmda", "scale", "key"), np.arange(30.0).reshape(5, 3, 2))},
    {"lmda": LMDA, "scale": SCALE},
)

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


@pytest.fixture(autouse=True)
def closed():
    """Close all figures at the end of every test."""
    yield
    plt.close("all")


@pytest.fixture
def ax():
    """Axes of a figure outside pyplot."""
    return Figure().subplots()


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


@pytest.mark.parametrize(
    "which, name",
    [
        ("input", "input_representation"),
        ("output", "output_representation"),
        ("function", "function"),
        ("qqt", "qqt"),
    ],
)
def test_a_representation_is_the_matrix(which, name, ax):
    assert lr.plot.representation(exact(), which, index=1, ax=ax) is ax
    assert plt.get_fignums() == []
    (image,) = ax.images
    values = np.asarray(getattr(exact(), name)[1])
    np.testing.assert_array_equal(image.get_array(), values)
    low, high = image.get_clim()
    assert -low == high == np.abs(values).max()
    assert image.get_cmap().name == DIVERGING
    assert ax.get_aspect() == 1
    assert "t = 0.5" in ax.get_title()
    assert len(ax.lines) == (2 if which == "qqt" else 0)


def test_a_representation_at_infinity(ax):
    lr.plot.representation(exact(), ax=ax)
    assert r"\infty" in ax.get_title()
    expected = exact().input_representation[3]
    np.testing.assert_array_equal(ax.images[0].get_array(), expected)
    lr.plot.representation(deep(), "output", index=np.int64(0), ax=ax)


def test_limits_of_a_matrix():
    assert lr.plot.matrix(jnp.zeros((2, 3))).images[0].get_clim() == (-1, 1)
    ax = lr.plot.matrix(np.array([[1, -3]]), limit=2.0)
    assert ax.images[0].get_clim() == (-2, 2)
    bar = ax.images[0].colorbar
    assert bar is not None and bar.extend == "both"


def test_the_phase_diagram_is_the_mean_over_keys(ax):
    shuffled = SWEEP.isel(lmda=[3, 0, 4, 1, 2], scale=[2, 0, 1])
    assert lr.plot.phase_diagram(shuffled, "richness", ax=ax) is ax
    assert plt.get_fignums() == []
    (mesh,) = ax.collections
    expected = SWEEP.richness.mean("key").values.T
    np.testing.assert_array_equal(mesh.get_array(), expected)
    assert (ax.get_xscale(), ax.get_yscale()) == ("symlog", "log")
    corners = mesh.get_coordinates()
    x, y = corners[0, :, 0], corners[:, 0, 1]
    assert np.all((x[:-1] < LMDA) & (LMDA < x[1:]))
    np.testing.assert_allclose(y, 10.0 ** np.array([-2.5, -1.5, -0.5, 0.5]))
    assert ax.figure.axes[1].get_ylabel() == "richness"


@pytest.mark.parametrize(
    "lmda, scale",
    [
        ([-2.0, 0.0, 2.0], "linear"),
        ([-2.0, 0.0, 1.0], "linear"),
        ([-100.0, -1.0, 1.0], "symlog"),
        ([-100.0, -10.0, -1.0], "symlog"),
        ([0.0, 1.0, 100.0], "symlog"),
        ([0.1, 1.0, 10.0], "log"),
        ([0.0], "linear"),
        ([3.0], "linear"),
    ],
)
def test_the_axis_of_balance(lmda, scale, ax):
    values = np.zeros((1, len(lmda)))
    dims = {"scale": [1.0], "lmda": lmda}
    data = xarray.Dataset({"a": (("scale", "lmda"), values)}, dims)
    lr.plot.phase_diagram(data, "a", ax=ax)
    assert ax.get_xscale() == scale
    ax.figure.draw_without_rendering()


def test_failed_and_infinite_cells_are_left_out(ax):
    values = np.ones((5, 3, 2))
    values[0, 0, 0] = values[1, 1] = np.nan
    values[2, 2] = np.inf
    data = SWEEP.assign(time=(("lmda", "scale", "key"), values))
    lr.plot.phase_diagram(data, "time", ax=ax)
    shown = ax.collections[0].get_array()
    assert np.argwhere(shown.mask).tolist() == [[1, 1], [2, 2]]
    assert np.all(shown.compressed() == 1)
    ax.figure.draw_without_rendering()


def test_a_gif_has_a_frame_for_every_time(tmp_path):
    path = tmp_path / "qqt.gif"
    assert lr.plot.animate_qqt(exact(), str(path), fps=5) == path
    with PIL.Image.open(path) as film:
        assert isinstance(film, GifImageFile)
        assert film.format == "GIF" and film.n_frames == 4
        assert film.info["duration"] == 200
        drawn = np.asarray(film.convert("L"))
    # The border cuts off no text.
    for edge in (drawn[:2], drawn[-2:], drawn[:, :2], drawn[:, -2:]):
        assert np.all(edge == 255)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("which", ["input", "output", "function", "qqt"])
def test_a_film_of_every_representation(which, tmp_path):
    with lr.plot.style(3.0):
        path = lr.plot.animate(exact(), tmp_path / "a.gif", which)
    with PIL.Image.open(path) as film:
        assert isinstance(film, GifImageFile)
        assert film.n_frames == 4 and film.size == (330, 300)
        first = np.asarray(film.convert("L"))
        film.seek(3)
        last = np.asarray(film.convert("L"))
    assert np.any(first != last)


@pytest.mark.skipif(not writers.is_available("ffmpeg"), reason="needs ffmpeg")
def test_an_mp4(tmp_path):
    path = lr.plot.animate_qqt(exact(), tmp_path / "qqt.mp4")
    assert path.read_bytes()[4:8] == b"ftyp"


@jax.jit
def traced(trajectory):
    lr.plot.loss(trajectory)
    return trajectory


def at_infinity():
    return jax.tree.map(lambda a: a[3:] if a.ndim else a, exact())


def failed():
    run = exact()
    weights = jax.tree.map(lambda w: w / 0.0, run.network)
    return lr.Trajectory(run.ts, run.loss, weights, run.result)


REFUSALS = {
    "no trajectory": (lambda: loose.loss(3), "`trajectories` must be .* `int`"),
    "a task": (lambda: loose.loss([exact(), TASK]), r"`trajectories\[1\]` .* `Task`"),
    "none": (lambda: lr.plot.loss([]), "`trajectories` must hold .* empty"),
    "a batch": (
        lambda: lr.plot.function({"a": batch()}),
        r"`trajectories\['a'\]` must be one .* \(2, 4\); index one .*jax.tree.map",
    ),
    "traced": (lambda: traced(exact()), "`trajectories` must have values .* traced"),
    "at infinity": (lambda: lr.plot.loss(at_infinity()), r"a finite time .* \[inf\]"),
    "labels": (
        lambda: lr.plot.loss([exact(), exact()], labels=["a"]),
        r"`labels` must be one for each of 2 .* 1: \['a'\]",
    ),
    "labels of a dict": (
        lambda: lr.plot.loss({"a": exact()}, labels=["a"]),
        r"`labels` must be left out .* \['a'\]",
    ),
    "axes": (
        lambda: lr.plot.loss(exact(), ax=Figure().subplots(2)),
        "`ax` must be a `Axes`, but it was a `ndarray`",
    ),
    "above": (lambda: lr.plot.loss(exact(), above=jnp.ones(2)), "`above` .* scalar"),
    "x": (
        lambda: lr.plot.ntk(exact(), jnp.ones((4, 2))),
        r"`x` must have 3 inputs .* \(4, 2\)",
    ),
    "x of the distance": (
        lambda: lr.plot.kernel_distance(exact(), jnp.ones(3)),
        r"`x` must be a matrix.* \(3,\)",
    ),
    "entries": (lambda: lr.plot.ntk(exact(), TASK.x, entries=0), "`entries` .* was 0"),
    "no task": (lambda: loose.modes(exact(), 3), "`task` must be a `Task`"),
    "another task": (
        lambda: lr.plot.modes(exact(), lr.Task.hierarchy(2)),
        "`task` must have the 3 inputs and 2 outputs .* 4 and 4",
    ),
    "values": (lambda: lr.plot.matrix(jnp.ones(3)), r"`values` must be a matrix"),
    "limit": (lambda: lr.plot.matrix(jnp.eye(2), limit=-1.0), "`limit` .* was -1"),
    "which": (
        lambda: lr.plot.representation(exact(), "hidden"),
        "`which` must be one of input, output, function, qqt, but it was 'hidden'",
    ),
    "index": (
        lambda: lr.plot.representation(exact(), index=4),
        "`index` must be an integer from -4 to 3, .* was 4",
    ),
    "index of no integer": (
        lambda: loose.representation(exact(), index=0.5),
        "`index` .* was 0.5",
    ),
    "batch to map": (
        lambda: lr.plot.representation(batch()),
        r"`trajectory` must be one .* index one .*a\[0\], trajectory\)",
    ),
    "failed": (
        lambda: lr.plot.representation(failed()),
        "`trajectory` must be finite",
    ),
    "three layers": (
        lambda: lr.plot.representation(deep(), "qqt"),
        "`qqt` must be asked of a network of two layers, .* 3",
    ),
    "data": (
        lambda: lr.plot.phase_diagram(SWEEP.richness),
        "`data` must be a `Dataset`, but it was a `DataArray`",
    ),
    "name": (
        lambda: lr.plot.phase_diagram(SWEEP),
        r"`name` must be .* \(richness\), but it was 'kernel_distance'",
    ),
    "too few dimensions": (
        lambda: lr.plot.phase_diagram(SWEEP.mean("scale"), "richness"),
        r"`data` must have the dimensions lmda and scale, .* \(lmda, key\)",
    ),
    "too many dimensions": (
        lambda: lr.plot.phase_diagram(SWEEP.expand_dims(time=2), "richness"),
        r"no dimensions but .* \(time, lmda, scale, key\); select",
    ),
    "suffix": (
        lambda: lr.plot.animate_qqt(exact(), "qqt.avi"),
        r"`path` must end in .*\.gif.* 'qqt.avi'",
    ),
    "folder": (
        lambda: lr.plot.animate_qqt(exact(), "nowhere/qqt.gif"),
        "`path` must be in a folder that exists, .* 'nowhere/qqt.gif'",
    ),
    "width": (
        lambda: lr.plot.style("wide").__enter__(),
        "`width` must be a number of inches or one of column, page, .* 'wide'",
    ),
    "negative width": (
        lambda: lr.plot.style(-1.0).__enter__(),
        "`width` must be finite and positive, but it was -1",
    ),
    "font size": (
        lambda: lr.plot.style(font_size=0.0).__enter__(),
        "`font_size` must be finite and positive, but it was 0",
    ),
    "a film's representation": (
        lambda: lr.plot.animate(exact(), "a.gif", "hidden"),
        "`which` must be one of input, output, function, qqt, but it was 'hidden'",
    ),
    "fps": (lambda: lr.plot.animate_qqt(exact(), "a.gif", fps=0), "`fps` .* was 0"),
    "film of a batch": (
        lambda: lr.plot.animate_qqt(batch(), "a.gif"),
        "`trajectory` must be one",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name, untyped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, message = REFUSALS[name]
    with pytest.raises((ValueError, TypeError), match=message):
        call()
    assert plt.get_fignums() == [] and list(tmp_path.iterdir()) == []


def test_a_missing_writer_is_refused(untyped, tmp_path, monkeypatch):
    monkeypatch.setattr(writers, "is_available", lambda name: name == "pillow")
    message = r"\(\.gif\), but it was '.*mp4'\. ffmpeg, .* isn't installed"
    with pytest.raises(ValueError, match=message):
        lr.plot.animate_qqt(exact(), tmp_path / "qqt.mp4")
