"""Sweeps: grids, blocks, devices and failures."""

import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr

from .sweeping import XS, YS, expected, quiet, wave

run, Grid, Zip = lr.sweeps.run, lr.sweeps.Grid, lr.sweeps.Zip


def test_grids_are_products_of_axes():
    keys = jax.random.split(jax.random.key(0), 3)
    grid = Grid(x=XS, pair=Zip(a=[1.0, 2.0], b=[3.0, 4.0]), key=keys)
    assert (grid.dims, grid.shape, grid.size) == (("x", "pair", "key"), (7, 2, 3), 42)
    assert "42 points" in repr(grid)

    def draw(point):
        noise = jax.random.normal(point["key"])
        return {
            "value": point["x"] + 10 * point["a"] + 100 * point["b"],
            "noise": noise,
        }

    data = quiet(draw, grid)
    assert data.value.dims == ("x", "pair", "key") and data.a.dims == ("pair",)
    ab = 10 * np.array([1, 2]) + 100 * np.array([3, 4])
    np.testing.assert_allclose(data.value[..., 0], XS[:, None] + ab[None])
    noise = jax.vmap(jax.random.normal)(keys)
    np.testing.assert_array_equal(data.noise, np.broadcast_to(noise, (7, 2, 3)))
    np.testing.assert_array_equal(data.key_data, jax.random.key_data(keys))
    assert float(data.sel(x=2.0).value[1, 0]) == 2 + 10 * 2 + 100 * 4


def test_one_trace_and_one_compilation_whatever_the_size(tmp_path):
    traces = []

    def counted(point):
        traces.append(1)
        return wave(point)

    fn = eqx.debug.assert_max_traces(counted, max_traces=1)
    with jax.log_compiles(False):
        data = quiet(fn, Grid(x=XS, y=YS), chunk_size=4, coords={"time": np.arange(4)})
    assert len(traces) == 1
    waves, sums = expected()
    np.testing.assert_allclose(data.wave, waves, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(data["sum"], sums, rtol=1e-12)
    assert data.wave.dims == ("x", "y", "time") and (data.status == 1).all()
    for size in (1, 3, 20, 21, 1000):
        again = quiet(wave, Grid(x=XS, y=YS), chunk_size=size)
        np.testing.assert_allclose(again.wave, waves, rtol=1e-12, atol=1e-15)


@pytest.mark.slow
def test_trajectories_modules_and_arrays():
    task = lr.Task.random_regression(3, 2, 9, key=jax.random.key(0))
    ts = jnp.array([0.0, 1.0])

    def learn(point):
        start = lr.LambdaBalanced(point["lmda"], throw=False)(3, 3, 2, key=KEY)
        return lr.learn(start, task, ts, throw=False)

    data = quiet(learn, Grid(lmda=[-1.0, 0.0, 1.0]), coords={"time": ts})
    assert data.function.dims == ("lmda", "time", "out", "in")
    direct = lr.learn(lr.LambdaBalanced(-1.0)(3, 3, 2, key=KEY), task, ts)
    np.testing.assert_allclose(data.loss[0], direct.loss, rtol=1e-10)
    np.testing.assert_allclose(data.function[0], direct.function, atol=1e-10)
    # Only the balance that the sizes don't allow fails.
    assert data.status.values.tolist() == [1, 1, MEANINGS.index("nonfinite_values")]
    assert np.isnan(data.loss[2]).all() and not np.isnan(data.loss[:2]).any()
    one = quiet(lambda p: jnp.ones(2) * p["x"], Grid(x=XS))
    assert one.value.dims == ("x", "value_0")
    neuron = quiet(
        lambda p: lr.theory.single_neuron(1.0, p["x"] * np.ones(2), 1.0, np.ones(2)),
        Grid(x=XS),
    )
    assert neuron.w.shape == (7, 2) and neuron.a.shape == (7,)


KEY = jax.random.key(3)
MEANINGS = "pending ok nan error unbalanced_weights anisotropic_inputs " + (
    "nonfinite_values invalid_times diverged solver_failed invalid_setting "
    "unaligned_weights too_far other_balance"
)
MEANINGS = MEANINGS.split()


def test_every_result_has_a_status():
    data = quiet(wave, Grid(x=XS[:1], y=YS[:1]))
    assert data.status.attrs["flag_meanings"].split() == MEANINGS
    assert len(MEANINGS) == 4 + len(lr.RESULTS) - 1  # success is "ok"


@pytest.mark.skipif(
    jax.__version_info__ < (0, 5),
    reason="with several devices of a CPU all later programs fail too (docs/sweeps.md)",
)
def test_failure_is_alone(capsys):
    def risky(point):
        x = eqx.error_if(point["x"], point["x"] == XS[2], "`x` must not be this one.")
        return {"root": jnp.sqrt(x)}

    data = run(risky, Grid(x=XS), chunk_size=4)
    names = np.array(data.status.attrs["flag_meanings"].split())[data.status]
    assert names.tolist() == ["nan", "nan", "error", "ok", "ok", "ok", "ok"]
    np.testing.assert_array_equal(lr.sweeps.succeeded(data), np.arange(7) > 2)
    np.testing.assert_allclose(data.root[3:], np.sqrt(XS[3:]))
    out = capsys.readouterr().out
    assert "4 of 7 points" in out and "2 nan (the first at index (0,))" in out
    assert "1 error (the first at index (2,))" in out
    assert out.rstrip().endswith("The first error: `x` must not be this one.")
    assert data.attrs["error"] == "`x` must not be this one."
    with pytest.raises(ZeroDivisionError):  # an error in the function itself
        quiet(lambda p: {"x": p["x"] * (1 / 0)}, Grid(x=XS))


@pytest.mark.slow
def test_devices_share_a_block():
    devices = jax.local_devices()
    assert len(devices) == 2
    one, two = (jax.sharding.Mesh(np.array(devices[:n]), ("d",)) for n in (1, 2))
    task = lr.Task.random_regression(3, 2, 9, key=jax.random.key(0))

    def loss(point):
        start = lr.LambdaBalanced(point["lmda"], 0.3)(3, 2, 2, key=KEY)
        return {"loss": lr.ExactSolution(start, task, throw=False).loss(1.0)}

    grid = Grid(lmda=np.linspace(-2, 2, 8))
    alone, shared = (quiet(loss, grid, mesh=m, chunk_size=8).loss for m in (one, two))
    np.testing.assert_allclose(shared, alone, rtol=1e-13)
    # Operations with the same rounding in all lanes agree bit for bit.
    alone, shared = (quiet(wave, Grid(x=XS, y=YS), mesh=m) for m in (one, two))
    np.testing.assert_array_equal(alone["sum"], shared["sum"])


@pytest.mark.slow
def test_numerical_flows_and_memory(tmp_path):
    task = lr.Task.random_regression(2, 2, 5, key=jax.random.key(0))
    ts = jnp.array([0.0, 1.0])

    def learn(point):
        start = lr.LambdaBalanced(point["lmda"], 0.4)(2, 2, 2, key=KEY)
        flow = lr.GradientFlow()
        return {"loss": lr.learn(start, task, ts, dynamics=flow, throw=False).loss[-1]}

    grid = Grid(lmda=[-3.0, 0.0, 1.0])
    data = quiet(learn, grid, order="lmda")
    for lmda, loss in zip(grid.axes["lmda"]["lmda"], data.loss, strict=True):
        start = lr.LambdaBalanced(lmda, 0.4)(2, 2, 2, key=KEY)
        np.testing.assert_allclose(
            loss, lr.ExactSolution(start, task).loss(1.0), rtol=1e-7
        )
    # A point takes a few arrays of a thousand numbers of eight bytes.
    fn, grid = lambda p: {"y": p["x"] * jnp.ones(1000)}, Grid(x=np.arange(64.0))
    for memory, least, most in ((2e4, 1, 2), (2e5, 8, 25), (None, 64, 64)):
        path = tmp_path / f"{memory}.zarr"
        data = quiet(fn, grid, store=path, memory=memory)
        assert least <= data.attrs["block"][0] <= most
        np.testing.assert_array_equal(data.y[:, 5], np.arange(64.0))


def test_blocks_follow_stiffness():
    sizes = []

    def watched(point):
        jax.debug.callback(lambda x: sizes.append(float(x)), point["lmda"])
        return {"square": point["lmda"] ** 2 * jnp.ones(1000)}

    grid = Grid(seed=np.arange(3), lmda=[0.0, -50.0, 1.0, 40.0])
    data = quiet(watched, grid, order="lmda", chunk_size=3)
    jax.effects_barrier()
    first_of_each_block = np.abs(sizes[:: len(sizes) // 4])
    assert sorted(first_of_each_block) == first_of_each_block.tolist()
    assert data.square.dims == ("seed", "lmda", "square_0")
    np.testing.assert_array_equal(data.square[0, :, 0], [0, 2500, 1, 1600])
    np.testing.assert_array_equal(data.lmda, [0.0, -50.0, 1.0, 40.0])


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: Grid(), ValueError, "at least one axis"),
        (lambda: Grid(x=[]), ValueError, "`x` must be an axis with at least one"),
        (lambda: Grid(x=1.0), ValueError, "`x` must be an axis .* shape was \\(\\)"),
        (lambda: Grid(x=["a"]), TypeError, "`x` must hold numbers or random keys"),
        (lambda: Grid(x=XS, z=Zip(x=XS)), ValueError, "`x` must be one coordinate"),
        (lambda: Zip(a=[1.0], b=[1.0, 2]), ValueError, "`Zip` must have coordinates"),
        (lambda: quiet(wave, Grid(x=XS, y=YS), chunk_size=0), ValueError, "chunk_size"),
        (lambda: quiet(wave, Grid(x=XS, y=YS), memory=-1), ValueError, "`memory` must"),
        (lambda: quiet(wave, Grid(x=XS, y=YS), order="z"), ValueError, "`order` must"),
        (lambda: quiet(wave, Grid(x=XS, y=YS), dtype=int), ValueError, "`dtype` must"),
        (
            lambda: quiet(wave, Grid(x=XS, y=YS), coords={"time": [1.0]}),
            ValueError,
            "`coords` must have a value for each of the 4",
        ),
        (lambda: quiet(lambda p: {}, Grid(x=XS)), ValueError, "at least one array"),
        (
            lambda: quiet(lambda p: {"a": (("t", "u"), jnp.ones(2))}, Grid(x=XS)),
            ValueError,
            "`fn` must name every dimension of `a`",
        ),
        (
            lambda: quiet(lambda p: {"x": p["x"]}, Grid(x=XS)),
            ValueError,
            "not the grid",
        ),
        (
            lambda: quiet(lambda p: {"a": ("x", jnp.ones(2))}, Grid(x=XS)),
            ValueError,
            "one size for the dimension `x`",
        ),
        (lambda: quiet(wave, Grid(x=XS, y=YS), store=3), ValueError, "must be a path"),
        (
            lambda: lr.sweeps.load(pathlib.Path("nowhere")),
            ValueError,
            "must be the path of a sweep",
        ),
    ],
)
def test_bad_input_is_named(untyped, call, error, message):
    with pytest.raises(error, match=message):
        call()
