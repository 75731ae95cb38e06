"""Results of a swept function, and names in results and grids."""

import collections
import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax.sweeps.evaluate import Lanes

from .sweeping import quiet

Grid, Zip = lr.sweeps.Grid, lr.sweeps.Zip
XS = np.array([1.0, 2.0, 4.0])
KEYS = jax.random.split(jax.random.key(0), 2)


class Pair(collections.namedtuple("Pair", ["loss", "steps"])):
    pass


@dataclasses.dataclass
class Record:
    loss: jax.Array
    steps: tuple
    extra: jax.Array | None = None


class Module(eqx.Module):
    loss: Any
    steps: Any
    name: str = eqx.field(static=True, default="run")


@pytest.mark.parametrize("kind", [Pair, Record, Module, collections.OrderedDict])
def test_fields_are_taken_by_name(tmp_path, kind):
    def fn(point):
        loss, steps = 2 * point["x"], ("time", point["x"] * jnp.ones(2))
        return kind(loss=loss, steps=steps)

    for store in (None, tmp_path / "a.zarr"):
        data = quiet(fn, Grid(x=XS), store=store)
        assert set(data.data_vars) == {"loss", "steps", "status"}
        np.testing.assert_array_equal(data.loss, 2 * XS)
        np.testing.assert_array_equal(data.steps, XS[:, None] * np.ones(2))
        assert data.steps.dims == ("x", "time")


def test_the_first_of_several_results_that_failed_counts():
    ok, bad = lr.RESULTS.successful, lr.RESULTS.diverged

    def fn(point):
        diverged = lr.RESULTS.where(point["x"] > 1, bad, ok)
        return {"y": point["x"], "one": diverged, "two": ok, "three": diverged}

    data = quiet(fn, Grid(x=XS))
    names = np.array(data.status.attrs["flag_meanings"].split())[data.status]
    assert names.tolist() == ["ok", "diverged", "diverged"]
    assert data.attrs["error"].startswith("`learning_rate` must be small enough")


@pytest.mark.parametrize(
    "returned, message",
    [
        (None, 'it returned a `NoneType`: return {"loss": loss}'),
        ((1.0, 2.0), "it returned a `tuple`: return {"),
        ([1.0, 2.0], "it returned a `list`: return {"),
        ("loss", "it returned a `str`"),
        (lr.RESULTS.successful, "at least one array"),
        ({"a": {"b": 1.0}}, "an array for `a`.* it was a `dict`: return each"),
        ({"a": None}, "an array for `a`.* it was a `NoneType`"),
        ({"a": (1.0, 2.0)}, "an array for `a`.* it was a `tuple`"),
        ({"a": (1.0, 2.0, 3.0)}, "an array for `a`.* it was a `tuple`"),
        ({"a": "word"}, "an array for `a`.* it was a `str`"),
        (Module(1.0, Module(1.0, 2.0)), "an array for `steps`.* it was a `Module`"),
        (lr.LinearNetwork((np.eye(2), np.eye(2))), "an array for `weights`"),
        ({"a": jax.random.key(0)}, "numbers for `a`, but its dtype was key"),
        ({"a": jnp.ones((), jnp.bfloat16)}, "numbers for `a`.* bfloat16: convert"),
    ],
    ids=str,
)
def test_what_else_is_returned_is_refused(untyped, tmp_path, returned, message):
    with pytest.raises(ValueError, match=f"`fn` must return .*{message}"):
        quiet(lambda p: returned, Grid(x=XS), store=tmp_path / "a.zarr")
    assert not list(tmp_path.iterdir())


def entry(name, dims=(), shape=()):
    return lambda p: {name: (dims, jnp.ones(shape)), "y": p["x"]}


@pytest.mark.parametrize(
    "fn, message",
    [
        (entry("loss/train"), "must return entries with names .* 'loss/train'"),
        (entry(""), "one was ''"),
        (entry(".."), "one was '..'"),
        (entry("__loss"), "one was '__loss'"),
        (entry("a\nb"), "one was 'a"),
        (entry("\udcff"), "one was "),
        (entry("a" * 201), "of at most 200 bytes"),
        (entry("status"), "the sweep's"),
        (entry("checksum"), "the sweep's"),
        (entry("zarr.json"), "the sweep's"),
        (entry(3), "with strings as names, but one was 3"),
        (entry("a", ("t/u",), (2,)), "must name dimensions of `a` .* 't/u'"),
        (entry("a", ("checksum_x",), (2,)), "the sweep's"),
        (entry("a", ("t", "t"), (2, 2)), "every dimension of `a` once"),
        (entry("a", ("x",), (3,)), "once and unlike the grid's"),
        (entry("t", ("t",), (2,)), "`t` was one; what belongs to a dimension goes"),
        (entry("x"), "names that are not the grid's"),
    ],
)
def test_names_are_checked_before_anything_runs(tmp_path, monkeypatch, fn, message):
    def never(*args):
        raise AssertionError("it ran")

    monkeypatch.setattr(Lanes, "__call__", never)
    with pytest.raises((ValueError, TypeError), match=message):
        quiet(fn, Grid(x=XS), store=tmp_path / "a.zarr")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Grid(**{"a/b": XS}), "`Grid` must have axes with names .* 'a/b'"),
        (lambda: Grid(p=Zip(**{"a/b": XS})), "`Zip` must have coordinates .* 'a/b'"),
        (lambda: Grid(status=XS), "the sweep's"),
        (lambda: Grid(checksums=XS), "the sweep's"),
        (lambda: Grid(p=Zip(q=XS), q=Zip(r=XS)), "`q` must be one coordinate or one"),
        (lambda: Grid(key=KEYS, key_data=XS), "`key_data` must be one"),
        (lambda: Grid(v=np.ones((3, 2)), v_0=XS), "`v_0` must be one"),
    ],
)
def test_a_grid_has_each_name_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names_that_only_look_like_others(tmp_path):
    # The sweep's own dimensions don't clash with any axis.
    grid = Grid(x=XS, x_block=XS[:2], **{"my axis": XS[:1]})
    data = quiet(lambda p: {"λ": p["x"]}, grid, store=tmp_path / "a.zarr")
    np.testing.assert_array_equal(data["λ"][:, 0, 0], XS)
    keys = quiet(lambda p: {"y": ("key_0", jnp.ones(2))}, Grid(key=KEYS))
    assert keys.y.dims == ("key", "key_0")
    with pytest.raises(ValueError, match="one size for the dimension `key_0`"):
        quiet(lambda p: {"y": ("key_0", jnp.ones(3))}, Grid(key=KEYS))


def test_coordinates_are_checked(untyped):
    def fn(point):
        return {"y": 2 * point["a"]}

    grid = Grid(p=Zip(a=XS))
    data = quiet(fn, grid, coords={"p": [7, 8, 9]})
    assert data.p.values.tolist() == [7, 8, 9]
    for coords, message in (
        ({"p": [None, "a", 1]}, "numbers, texts or dates, but `p`"),
        ({"a": XS}, "a value for each of the 0"),
        ([1], "`coords` must be a `dict`"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            quiet(fn, grid, coords=coords)
    with pytest.raises(ValueError, match="`x` has the grid's"):
        quiet(lambda p: {"y": p["x"]}, Grid(x=XS), coords={"x": XS})
    with pytest.raises(ValueError, match="`fn` must be a function, but it was 3"):
        quiet(3, Grid(x=XS))
    with pytest.raises(TypeError, match="`grid` must be a `Grid`, but it was a `dict`"):
        quiet(fn, {"x": XS})


@pytest.mark.parametrize(
    "values, dtype",
    [
        (np.array([1, 2], ">i4"), np.int32),
        (np.array([1, 2], ">f8"), np.float64),
        (np.array([1, 2], np.longdouble), np.float64),
        (np.array([1, 2], np.float16), np.float64),
        (np.array([True, False]), bool),
    ],
    ids=str,
)
def test_numbers_of_other_kinds_are_axes(tmp_path, values, dtype):
    data = quiet(lambda p: {"y": p["x"]}, Grid(x=values), store=tmp_path / "a.zarr")
    assert data.x.dtype == dtype
    np.testing.assert_array_equal(data.y, values)
