"""Specs of sweeps over random networks, of any width and variances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax.__main__ import main
from lazyrich_jax.sweeps.spec import EXAMPLE, SpecError, parse

RANDOM = """
network = { sizes = [3, 9, 2], kind = "gaussian" }
task = { kind = "regression", samples = 10 }
axes = { seed = 3, width = { from = 4, to = 64, count = 3, spacing = "log" } }
times = { values = [0, 0.1] }
measure = { names = ["loss", "error_estimate"] }
"""


@pytest.mark.slow
def test_a_sweep_over_widths_of_random_networks(tmp_path, capsys):
    spec, store = tmp_path / "widths.toml", tmp_path / "widths.zarr"
    spec.write_text(RANDOM)
    command = ["sweep", str(spec), "--store", str(store)]
    assert main(command) == main([*command, "--resume"]) == 0
    assert "seed: 1, width: 3; 3 points" in capsys.readouterr().out
    data = lr.sweeps.load(store).isel(seed=0)
    assert data.width.values.tolist() == [4, 16, 64] and data.width.dtype.kind == "i"
    task = lr.Task.random_regression(3, 2, 10, key=jax.random.key(0))
    start = lr.Gaussian.lecun().compressed(3, 64, 2, key=jax.random.key(3))
    ts, law = jnp.array([0.0, 0.1]), lr.WideLimit()
    limit = lr.learn(start, task, ts, dynamics=law)
    one = data.sel(width=64)
    np.testing.assert_allclose(one.loss, limit.loss, rtol=1e-10)
    assert limit.error_estimate is not None and one.error_estimate > 0
    most = np.max(limit.error_estimate)
    np.testing.assert_allclose(one.error_estimate, most, rtol=1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        ("axes.lmda=1", "`axes.lmda` must be .* 'gaussian' uses .* 'balanced' uses it"),
        ("network.kind=balanced", r"`axes.width` must be .* 'balanced' uses \(lmda"),
        ("network.kind=gausian", "`network.kind` must be gaussian, or one of balanced"),
        ("axes.width=0", "`axes.width` must be an integer of at least 1"),
        ("axes.width=[8, 2.5]", "`axes.width` must be an integer of at least 1"),
        ("axes.width={from=0, to=9, count=3}", "`axes.width` must be an integer of at"),
        ("axes.width={from=1, count=3}", "`axes.width` must be a number, a list"),
        ("axes.input_variance=-1", "`axes.input_variance` must be .* of at least 0"),
        ("axes.output_variance=[0, -1]", "`axes.output_variance` must be .* least 0"),
    ],
)
def test_axes_of_random_networks_that_are_refused(change, message):
    with pytest.raises(SpecError, match=message):
        parse(RANDOM, [change])


def test_keys_of_the_other_kind_are_named_with_their_lines():
    text = EXAMPLE.replace("scale = [0.1, 1.0] ", "width = [8] ")
    with pytest.raises(SpecError, match=r"`axes.width` \(line 16\) must be a coord"):
        parse(text)
    text = EXAMPLE.replace('"richness"', '"error_estimate"')
    with pytest.raises(SpecError, match=r"`measure.names` \(line 23\) .* exactly"):
        parse(text)


def test_ranges_of_widths_are_rounded_to_distinct_integers():
    for given, widths in (
        ("{from=1, to=8, count=10, spacing='log'}", [1, 2, 3, 4, 5, 6, 8]),
        ("{from=64, to=1, count=4, spacing='log'}", [64, 16, 4, 1]),
        ("{from=1, to=3, count=9}", [1, 2, 3]),
        ("7", [7]),
        ("[7, 9]", [7, 9]),
    ):
        axes = parse(RANDOM, [f"axes.width={given}"]).values["axes"]
        assert axes["width"] == widths


@pytest.mark.slow
def test_the_examples_lines_on_random_networks_are_right():
    """They stand at the end of the example, as comments."""
    section, overrides = "", []
    for line in EXAMPLE.split("in place of lmda and scale:")[1].splitlines():
        text = line.removeprefix("#").strip()
        if text.startswith("["):
            section = text.strip("[]")
        elif text:
            name, _, value = text.partition("=")
            overrides.append(f"{section}.{name.strip()}={value}")
    lines = [x for x in EXAMPLE.splitlines() if not x.startswith(("lmda =", "scale ="))]
    function, grid, _ = parse("\n".join(lines), overrides).build()
    assert grid.shape == (5, 9, 2, 1)
    point = {"width": 64, "input_variance": 0.1, "output_variance": 0.01, "seed": 0}
    assert function(point)["loss"][1].shape == (50,)
