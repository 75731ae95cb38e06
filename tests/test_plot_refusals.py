"""Plots refuse bad data, and leave no figure then."""

from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import pytest
from matplotlib.animation import writers
from matplotlib.figure import Figure

import lazyrich_jax as lr

from .plotted import SWEEP, TASK, batch, deep, exact

pytestmark = pytest.mark.usefixtures("closed_figures")
loose: Any = lr.plot  # for arguments that its annotations refuse


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
