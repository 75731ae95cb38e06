"""Places of stores, their attributes, and values of `config`."""

import json
import os
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
import zarr

import lazyrich_jax as lr
from lazyrich_jax.__main__ import main
from lazyrich_jax.sweeps.store import Store

run, Grid = lr.sweeps.run, lr.sweeps.Grid
XS = np.array([1.0, 2.0, 4.0])


def twice(point):
    return {"y": 2 * point["x"]}


def quiet(store, **kwargs):
    return run(twice, Grid(x=XS), store=store, progress=False, **kwargs)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A home, a variable and a working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    monkeypatch.delenv("NOWHERE", raising=False)


@pytest.mark.parametrize(
    "store, where",
    [
        ("~/a.zarr", "home/a.zarr"),
        (pathlib.Path("~/a.zarr"), "home/a.zarr"),
        ("$DATA/a.zarr", "data/a.zarr"),
        ("${DATA}/b/a.zarr", "data/b/a.zarr"),
        ("a.zarr", "here/a.zarr"),
        ("./s3:/a.zarr", "here/s3:/a.zarr"),
        ("file://{}/a.zarr", "a.zarr"),
    ],
    ids=str,
)
def test_paths_are_expanded(tmp_path, store, where):
    if isinstance(store, str):
        store = store.replace("{}", str(tmp_path))
    data = quiet(store)
    assert (tmp_path / where / "zarr.json").exists()
    xarray.testing.assert_identical(lr.sweeps.load(store).load(), data.load())
    found = {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("zarr.json")}
    assert found == {pathlib.Path(where).parts[0]}


@pytest.mark.parametrize(
    "store, message",
    [
        ("$NOWHERE/a.zarr", "variables that are set, but \\$NOWHERE"),
        ("${NOWHERE}/a.zarr", "variables that are set, but \\$\\{NOWHERE"),
        ("~nobody-of-this-name/a.zarr", "a user that is known"),
        ("s3:/bucket/a.zarr", "two slashes"),
        (pathlib.Path("s3://bucket/a.zarr"), "two slashes"),
        ("", "it was empty"),
        (b"a.zarr", "be a path, but it was b'a.zarr'"),
    ],
    ids=str,
)
def test_what_is_no_place_is_refused(tmp_path, untyped, store, message):
    with pytest.raises(ValueError, match=f"`store` must (.*){message}"):
        quiet(store)
    with pytest.raises(ValueError, match=f"`path` must (.*){message}"):
        lr.sweeps.load(store)
    assert not list((tmp_path / "here").iterdir())


def test_urls_are_refused_without_fsspec(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    for url in ("s3://bucket/a.zarr", "memory://a.zarr", "simplecache::s3://b/a"):
        with pytest.raises(ValueError, match="while fsspec is not installed"):
            quiet(url)
        assert main(["show", url]) == 2
        assert "while fsspec is not installed" in capsys.readouterr().err
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.filterwarnings("default")  # fsspec warns
def test_urls_are_opened_by_fsspec(tmp_path, monkeypatch, capsys):
    pytest.importorskip("fsspec")
    url, write, written = "memory://sweeps/a.zarr", Store.write, []

    def interrupted(self, *args):
        if written:
            raise KeyboardInterrupt
        written.append(1)
        return write(self, *args)

    monkeypatch.setattr(Store, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet(url, chunk_size=1)
    monkeypatch.undo()
    assert lr.sweeps.load(url).status.values.tolist() == [1, 0, 0]
    np.testing.assert_array_equal(quiet(url).y, 2 * XS)
    assert main(["show", url]) == 0 and main(["show", url + "x"]) == 2
    assert f"'{url}x' does not exist" in capsys.readouterr().err
    with pytest.raises(ValueError, match="differs in dtype"):
        quiet(url, dtype="float32")
    # Without a rename, an incomplete store is created again.
    create = zarr.Group.create_array

    def fails(self, name, **kwargs):
        if name == "status":
            raise RuntimeError("no network")
        return create(self, name, **kwargs)

    monkeypatch.setattr(zarr.Group, "create_array", fails)
    with pytest.raises(OSError, match=r"could not be made .*no network"):
        quiet("memory://b.zarr")
    monkeypatch.undo()
    np.testing.assert_array_equal(quiet("memory://b.zarr").y, 2 * XS)
    with pytest.raises(ValueError, match="that fsspec can open, but it was 'word://"):
        quiet("word://a.zarr")
    assert not list((tmp_path / "here").iterdir())


def test_every_path_of_the_command(tmp_path, capsys, monkeypatch):
    for words, name in (
        (["sweep", "$NOWHERE/a.toml", "--store", "a"], "SPEC"),
        (["sweep", "a.toml", "--store", "$NOWHERE/a"], "--store"),
        (["show", "$NOWHERE/a"], "PATH"),
        (["reproduce", "--out", "$NOWHERE/a"], "--out"),
        (["bench", "--out", "$NOWHERE/a"], "--out"),
    ):
        assert main(words) == 2
        assert f"`{name}` must have variables" in capsys.readouterr().err
    for words in (["bench", "--out", "s3:/a"], ["sweep", "s3:/a.toml", "--store", "a"]):
        assert main(words) == 2
        assert "two slashes" in capsys.readouterr().err
    assert not list((tmp_path / "here").iterdir())


def test_attributes_are_what_netcdf_holds(tmp_path):
    config, grid = {"task": {"kind": "a"}, "rate": np.nan}, Grid(x=XS)
    in_memory = run(twice, grid, progress=False, config=config)
    stored = quiet(tmp_path / "a.zarr", config=config)
    raw = xarray.open_zarr(tmp_path / "a.zarr", consolidated=False)
    ordered = run(twice, grid, progress=False, config=config, order="x")
    for data in (in_memory, stored, raw, ordered):
        for value in data.attrs.values():
            assert np.asarray(value).dtype.kind in "ifU" and np.ndim(value) < 2
            assert np.ndim(value) == 0 or np.asarray(value).dtype.kind in "if"
        sweep = json.loads(data.attrs["sweep"])
        assert sweep["axes"] == ["x"] and sweep["config task"] == {"kind": "a"}
        assert json.loads(data.attrs["versions"])["jax"] == jax.__version__
    pytest.importorskip("scipy")
    stored.to_netcdf(tmp_path / "a.nc", engine="scipy")
    with xarray.open_dataset(tmp_path / "a.nc", engine="scipy") as back:
        np.testing.assert_array_equal(back.y, 2 * XS)
        assert back.attrs["sweep"] == stored.attrs["sweep"]


def test_a_store_of_the_first_format_goes_on(tmp_path):
    path = tmp_path / "a.zarr"
    whole = quiet(path).load()
    group = zarr.open_group(path)
    attributes: dict[str, Any] = dict(group.attrs)
    for name in ("sweep", "versions", "outputs"):
        attributes[name] = json.loads(attributes[name])
    attributes["coordinates"] = json.loads(attributes.pop("coordinate_names"))
    group.attrs.put({**attributes, "format": 1})
    checksum = np.array([12345])  # no longer read
    group.create_array("checksum", data=checksum, dimension_names=["checksum_x"])
    old = {"data": whole.y.values, "chunks": 3, "dimension_names": ["x"]}
    group.create_array("y", overwrite=True, **old)  # chunks without a checksum
    loaded = lr.sweeps.load(path).load()
    xarray.testing.assert_equal(loaded, whole)
    assert json.loads(loaded.attrs["sweep"])["axes"] == ["x"]
    xarray.testing.assert_equal(quiet(path).load(), whole)
    assert main(["show", str(path)]) == 0
    group.attrs["format"] = 4
    with pytest.raises(ValueError, match="one of the formats"):
        lr.sweeps.load(path)


@pytest.mark.parametrize(
    "config",
    [
        {"rate": np.nan, "most": np.inf},
        {"a": np.arange(3), "b": jnp.float32(0.5), "c": np.int64(3)},
        {3: (1, [2, {"x": None}])},
        {"z": 1, "a": {"z": [np.nan], "a": "é"}},
    ],
    ids=["nan", "arrays", "keys", "nested"],
)
def test_any_config_can_go_on(tmp_path, untyped, config):
    for _ in range(2):
        quiet(tmp_path / "a.zarr", config=config)
    turned = dict(reversed(config.items()))
    quiet(tmp_path / "a.zarr", config=turned)
    with pytest.raises(ValueError, match="differs in config other"):
        quiet(tmp_path / "a.zarr", config={**config, "other": np.nan})


def test_config_that_is_no_json(tmp_path, untyped):
    circle = {}
    circle["a"] = circle
    for config in ({"a": object()}, {"a": {1}}, {(1, 2): 3}, circle, [1]):
        with pytest.raises(TypeError, match="`config` must be"):
            quiet(tmp_path / "a.zarr", config=config)
    assert not (tmp_path / "a.zarr").exists()


def test_what_is_found_instead_of_a_store(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "zarr.json").write_text("{")
    for name, found in (
        ("nothing", "does not exist"),
        ("file", "is a file"),
        ("folder", "holds something else"),
        ("broken", "holds something else"),
    ):
        with pytest.raises(ValueError, match=f"{name}' {found}"):
            lr.sweeps.load(tmp_path / name)
        assert main(["show", os.fspath(tmp_path / name)]) == 2
