"""Stores of sweeps: what they hold, and that they survive damage and full disks."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import lazyrich_jax as lr
from lazyrich_jax.sweeps.processes import held
from lazyrich_jax.sweeps.store import Store

from .sweeping import XS, YS, expected, quiet, wave

Grid = lr.sweeps.Grid


def test_a_store_holds_what_memory_would(tmp_path):
    grid, coords = Grid(x=XS, y=YS), {"time": np.arange(4.0)}
    plain = quiet(wave, grid, chunk_size=4, coords=coords)
    for order in (None, "x"):
        path = tmp_path / f"{order}.zarr"
        stored = quiet(wave, grid, chunk_size=4, coords=coords, store=path, order=order)
        xarray.testing.assert_equal(stored, plain)
        xarray.testing.assert_equal(lr.sweeps.load(path), plain)
    with xarray.open_zarr(tmp_path / "None.zarr", consolidated=False) as raw:
        assert json.loads(raw.attrs["versions"])["jax"] == jax.__version__
        assert raw.attrs["dtype"] == "float64" and raw.attrs["device"]
        assert raw.wave.encoding["chunks"] == (1, 3, 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["None.zarr", "x.zarr"]


def test_a_loaded_store_has_the_order_of_the_run(tmp_path):
    def fn(point):
        return {name: point["x"] for name in ("zebra", "a", "middle", "b")}

    path = tmp_path / "a.zarr"
    names = list(quiet(fn, Grid(x=XS)).data_vars)
    assert list(quiet(fn, Grid(x=XS), store=path).data_vars) == names
    assert list(lr.sweeps.load(path).data_vars) == names


def test_the_bar_of_a_resumed_sweep_begins_with_what_is_done(tmp_path, capsys):
    path = tmp_path / "a.zarr"
    quiet(wave, Grid(x=XS, y=YS[:1]), chunk_size=2, store=path)
    shutil.rmtree(path / "status" / "c" / "3")
    lr.sweeps.run(wave, Grid(x=XS, y=YS[:1]), store=path)
    assert "7/7" in capsys.readouterr().err


def test_a_store_goes_on_and_refuses_another_sweep(tmp_path):
    calls, path = [], tmp_path / "a.zarr"

    def watched(point):
        jax.debug.callback(lambda x: calls.append(1), point["x"])
        return wave(point)

    grid = Grid(x=XS, y=YS)
    whole = quiet(watched, grid, chunk_size=3, store=path).load()
    jax.effects_barrier()
    assert len(calls) == 28  # seven blocks of four lanes on two devices
    calls.clear()
    xarray.testing.assert_identical(quiet(watched, grid, store=path).load(), whole)
    jax.effects_barrier()
    assert not calls
    for change, message in (
        (dict(grid=Grid(x=XS + 1, y=YS)), r"coordinate x \(.*from -2 to 2.*-1 to 3"),
        (dict(grid=Grid(y=YS, x=XS)), "axes"),
        (dict(dtype="float32"), "dtype"),
        (dict(config={"task": "other"}), "config task"),
        (dict(fn=lambda p: {"wave": ("time", jnp.ones(5))}), "output wave"),
        (
            dict(
                fn=lambda p: {
                    k: 2 * v[1] if k == "wave" else v for k, v in wave(p).items()
                }
            ),
            "function",
        ),
    ):
        arguments = {"fn": watched, "grid": grid} | change
        with pytest.raises(ValueError, match=message):
            quiet(**arguments, store=path)
    xarray.testing.assert_identical(lr.sweeps.load(path).load(), whole)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "status"])
def test_damage_is_found_and_mended(tmp_path, damage):
    grid, path = Grid(x=XS, y=YS), tmp_path / "a.zarr"
    whole = quiet(wave, grid, chunk_size=3, store=path).load()
    (chunk,) = (path / "wave").rglob("c/2/0/0")
    if damage == "truncate":
        chunk.write_bytes(chunk.read_bytes()[:-3])
    elif damage == "flip":
        data = bytearray(chunk.read_bytes())
        data[-1] ^= 255
        chunk.write_bytes(data)
    elif damage == "remove":
        chunk.unlink()
    else:
        (path / "status" / "c" / "2" / "0").write_bytes(b"")
    again = quiet(wave, grid, chunk_size=3, store=path).load()
    xarray.testing.assert_identical(again, whole)


def test_every_damaged_chunk_costs_its_block(tmp_path):
    calls, path = [], tmp_path / "a.zarr"

    def watched(point):
        jax.debug.callback(lambda x: calls.append(1), point["x"])
        zero = jnp.zeros(2, jnp.int32)  # the value of a missing chunk
        return {"n": zero, "is_small": jnp.bool_(False), "x2": point["x"] ** 2}

    def computed(expected):
        calls.clear()
        again = quiet(watched, Grid(x=XS), chunk_size=3, store=path).load()
        jax.effects_barrier()
        assert len(calls) == expected
        return again

    whole = computed(12)  # three blocks of four lanes on two devices
    assert computed(0).equals(whole)
    for chunk in ("n/c/1/0", "is_small/c/0", "x2/c/2", "status/c/2"):  # 2 is not full
        good = (path / chunk).read_bytes()
        for i in (0, len(good) // 2, -1):
            bad = bytearray(good)
            bad[i] ^= 1
            (path / chunk).write_bytes(bad)
            with pytest.raises(ValueError, match="checksum"):
                lr.sweeps.load(path).load()
        xarray.testing.assert_identical(computed(4), whole)
        (path / chunk).unlink()
        xarray.testing.assert_identical(computed(4), whole)
    for bad in (b"", b"12345678"):  # a coordinate is written again
        (path / "x" / "c" / "0").write_bytes(bad)
        with pytest.raises(ValueError, match="checksum"):
            lr.sweeps.load(path)
        xarray.testing.assert_identical(computed(0), whole)
    (path / "x" / "c" / "0").unlink()
    xarray.testing.assert_identical(computed(0), whole)


def test_two_sweeps_on_one_store_are_refused(tmp_path):
    path, grid = tmp_path / "a.zarr", Grid(x=XS, y=YS)
    with held(path, 0):
        with pytest.raises(RuntimeError, match=r"another sweep is writing .*process"):
            quiet(wave, grid, store=path)
    assert (quiet(wave, grid, store=path).status == 1).all()
    assert not list(tmp_path.glob("*.lock*"))


def test_a_disk_that_fills_leaves_what_is_written(tmp_path, monkeypatch):
    path, grid = tmp_path / "a.zarr", Grid(x=XS, y=YS)
    write, written = Store.write, []

    def full(self, *args):
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        written.append(1)
        return write(self, *args)

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(OSError, match=r"No space left .*; 4 of 7 blocks are there"):
        quiet(wave, grid, chunk_size=3, store=path)
    assert (lr.sweeps.load(path).status == 1).sum() == 12
    monkeypatch.undo()
    done = quiet(wave, grid, chunk_size=3, store=path)
    np.testing.assert_allclose(done.wave, expected()[0], rtol=1e-12, atol=1e-15)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="`store` must be"):
        quiet(wave, grid, store=tmp_path / "file" / "a.zarr")
    if os.path.isdir("/proc"):  # not writable, even for root
        with pytest.raises(OSError, match="`store` must be writable"):
            quiet(wave, grid, store="/proc/a.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="holds something else"):
        quiet(wave, grid, store=tmp_path / "folder")
