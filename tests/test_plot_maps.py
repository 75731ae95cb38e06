"""Matrices, phase diagrams and films draw the data."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest
import xarray
from matplotlib.animation import writers
from PIL.GifImagePlugin import GifImageFile

import lazyrich_jax as lr
from lazyrich_jax.plot.style import DIVERGING

from .plotted import LMDA, SWEEP, deep, exact

pytestmark = pytest.mark.usefixtures("closed_figures")


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
