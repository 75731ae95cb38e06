"""Programs of sweeps: compiled once, distinguished by all contents, on any mesh."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax.sweeps import program as programs
from lazyrich_jax.sweeps.evaluate import Lanes

from .sweeping import quiet

Grid = lr.sweeps.Grid
XS = np.array([1.0, 2.0, 4.0, 8.0])
P = jax.sharding.PartitionSpec
ALL = np.array(jax.local_devices())


@pytest.fixture
def compiled(monkeypatch):
    """A list that grows with every compilation."""
    done, compile_ = [], jax.stages.Lowered.compile

    def counted(self, *args, **kwargs):
        done.append(1)
        return compile_(self, *args, **kwargs)

    monkeypatch.setattr(jax.stages.Lowered, "compile", counted)
    return done


def times(factor, name="y"):
    """A function with a constant in an inner program, which the text does not show."""
    factor = np.asarray([factor, 7.25])
    return lambda p: {name: jax.jit(lambda x: jnp.sum(x * factor))(p["x"])}


def test_the_same_sweep_is_compiled_once(compiled):
    traces, held = [], [3.0]

    def fn(point):
        traces.append(1)
        return {"y": point["x"] * held[0]}

    for _ in range(3):
        np.testing.assert_array_equal(quiet(fn, Grid(x=XS)).y, 3 * XS)
    assert len(compiled) == 1 and len(traces) == 3
    # Other values and other names use the same program.
    np.testing.assert_array_equal(quiet(fn, Grid(x=XS + 1)).y, 3 * XS + 3)
    np.testing.assert_array_equal(
        quiet(lambda p: {"z": p["u"] * 3.0}, Grid(u=XS)).z, 3 * XS
    )
    assert len(compiled) == 1
    # The function's constants may change, and so may sizes and dtypes.
    held[0] = 5.0
    np.testing.assert_array_equal(quiet(fn, Grid(x=XS)).y, 5 * XS)
    assert len(compiled) == 2
    quiet(fn, Grid(x=XS[:2]))
    assert quiet(fn, Grid(x=XS), dtype="float32").y.dtype == np.float32
    assert len(compiled) == 4


def test_a_learning_sweep_is_compiled_once(compiled):
    task = lr.Task.random_regression(2, 2, 5, key=jax.random.key(0))
    for lmdas in ([0.0, 1.0], [-1.0, 2.0]):
        fn = lr.sweeps.learning(task, (2, 2, 2), jnp.array([0.0, 1.0]))
        assert (quiet(fn, Grid(lmda=lmdas)).status == 1).all()
    assert len(compiled) == 1


def test_programs_are_told_apart_by_constants_and_callbacks(compiled):
    for factor in (2.0, 3.0, 2.0):
        data = quiet(times(factor), Grid(x=XS))
        np.testing.assert_array_equal(data.y, XS * (factor + 7.25))
    assert len(compiled) == 2

    def called(to):
        def fn(point):
            jax.debug.callback(to.append, point["x"])
            return {"y": point["x"]}

        return fn

    for _ in range(2):
        heard = []
        quiet(called(heard), Grid(x=XS))
        jax.effects_barrier()
        assert sorted(float(x) for x in heard) == XS.tolist()


def test_few_programs_are_kept(compiled):
    for i in range(20):
        quiet(lambda p, i=i: {"y": p["x"] - i}, Grid(x=XS))
    assert len(compiled) == 20
    assert len(programs._KEPT) <= 16


def test_a_block_fills_the_memory_that_is_given(compiled, tmp_path):
    def fn(point):
        return {"y": jnp.sum(jnp.sin(point["x"] * jnp.arange(1000.0)))}

    grid = Grid(x=np.arange(64.0))
    lanes = Lanes(fn, grid.template(jnp.float64), jax.sharding.Mesh(ALL, ("d",)))
    for memory in (5e4, 2e5, 1e7):
        given = {"store": tmp_path / f"{memory}.zarr", "memory": memory}
        compiled.clear()
        (block,) = quiet(fn, grid, **given).attrs["block"]
        # It compiles once for the most points, and once for the number that fits.
        assert len(compiled) <= 2
        assert block == 64 or lanes.memory(block) > 0.8 * memory
        assert lanes.memory(block) <= memory
        compiled.clear()
        programs._KEPT.clear()
        # The store fixes the blocks: resuming compiles nothing.
        assert quiet(fn, grid, **given).attrs["block"] == [block] and not compiled
    assert block == 64


def test_a_store_refuses_another_constant_of_an_inner_program(tmp_path):
    grid, path = Grid(x=XS), tmp_path / "a.zarr"
    quiet(times(2.0), grid, store=path)
    np.testing.assert_array_equal(quiet(times(2.0), grid, store=path).y, XS * 9.25)
    with pytest.raises(ValueError, match="differs in function"):
        quiet(times(3.0), grid, store=path)


def explicit():
    return jax.make_mesh((2,), ("d",))  # its axis types depend on the version


def losses(point):
    task = lr.Task.random_regression(2, 1, 5, key=jax.random.key(0))
    start = lr.LambdaBalanced(point["lmda"], 0.3)(2, 1, 1, key=jax.random.key(1))
    return {"loss": lr.ExactSolution(start, task).loss(1.0)}


@pytest.mark.slow
def test_any_mesh_and_any_context():
    grid = Grid(lmda=[0.0, 1.0, -1.0])
    alone = quiet(losses, grid, mesh=jax.sharding.Mesh(ALL[:1], ("d",)))
    contexts = [contextlib.nullcontext]
    if hasattr(jax, "set_mesh"):
        contexts += [
            lambda: jax.set_mesh(explicit()),
            lambda: jax.set_mesh(jax.sharding.Mesh(ALL, ("auto",))),
        ]
    for context in contexts:
        for mesh in (None, explicit(), jax.sharding.Mesh(ALL[1:], ("d",))):
            with context():
                data = quiet(losses, grid, mesh=mesh)
            np.testing.assert_allclose(data.loss, alone.loss, rtol=1e-12)


def test_what_is_sharded_elsewhere_is_taken():
    shared = jax.sharding.NamedSharding(explicit(), P("d"))
    ones = jax.device_put(jnp.ones(4), shared)
    keys = jax.random.split(jax.random.key(0), 4)
    grid = Grid(key=jax.device_put(keys, shared))
    data = quiet(lambda p: {"y": jax.random.normal(p["key"]) + ones.sum()}, grid)
    np.testing.assert_allclose(data.y, jax.vmap(jax.random.normal)(keys) + 4)
    second = jax.device_put(jnp.ones(()), ALL[1])
    quiet(lambda p: {"y": p["x"] + second}, Grid(x=XS))


def test_the_mesh_of_one_device_is_used():
    seen = []

    def watched(point):
        jax.debug.callback(lambda x: seen.append(x.devices()), point["x"])
        return {"y": point["x"]}

    program = Lanes(
        watched, Grid(x=XS).template(jnp.float64), jax.sharding.Mesh(ALL[1:], ("d",))
    )
    compiled, sharding = program._compiled(2)
    assert sharding.device_set == {ALL[1]}
    values = compiled(XS[:2])
    assert values[0].devices() == {ALL[1]}


def test_outside_of_transformations():
    def traced(x):
        return quiet(lambda p: {"y": p["x"] * x}, Grid(x=XS)).y.values

    with pytest.raises(ValueError, match="must be called outside `jax"):
        jax.jit(traced)(1.0)


@pytest.mark.slow
def test_precision_of_the_points_and_of_the_task():
    task = lr.Task.random_regression(2, 2, 5, key=jax.random.key(0))
    ts, grid = jnp.array([0.0, 1.0]), Grid(lmda=[0.3, -0.7], scale=[0.1])

    def by_hand(point):
        start = lr.LambdaBalanced(point["lmda"], point["scale"])(
            2, 2, 2, key=jax.random.key(0)
        )
        return lr.learn(start, task, ts, throw=False)

    learning = lr.sweeps.learning(task, (2, 2, 2), ts)
    for fn, rtol in ((learning, 1e-6), (by_hand, 1e-2)):  # draws differ by hand
        single, double = (quiet(fn, grid, dtype=d) for d in ("float32", "float64"))
        assert (single.status == 1).all() and (double.status == 1).all()
        assert single.loss.dtype == double.loss.dtype == np.float64
        np.testing.assert_allclose(single.loss, double.loss, rtol=rtol)
    for dtype in ("float16", jnp.bfloat16, "word"):
        with pytest.raises((ValueError, TypeError), match="float32 or float64"):
            quiet(by_hand, grid, dtype=dtype)


def test_whole_numbers_are_not_cut_off():
    grid = Grid(seed=[1, 2**40])
    try:
        jax.config.update("jax_enable_x64", False)
        with pytest.raises(ValueError, match="`seed` must fit into int32"):
            quiet(lambda p: {"y": p["seed"]}, grid)
    finally:
        jax.config.update("jax_enable_x64", True)
    np.testing.assert_array_equal(quiet(lambda p: {"y": p["seed"]}, grid).y, [1, 2**40])
