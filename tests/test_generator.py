"""The choice between XLA's code generators for CPUs."""

import os
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax._xla import generator
from lazyrich_jax.sweeps import program

WRONG = {"xla_no_such_option": True}


def test_outermost_programs_are_traced_once():
    traces = []

    @generator.outermost
    def doubled(x, by):
        """Twice `x`."""
        traces.append(x.shape)
        return by(x, x)

    for shape in (2,), (3,), (2,):
        x = jnp.ones(shape)
        np.testing.assert_array_equal(doubled(x, jnp.add), 2 * x)
    assert traces == [(2,), (3,)]
    assert doubled.__doc__ == "Twice `x`."


def test_options_reach_the_compiler(monkeypatch):
    monkeypatch.setattr(generator, "quick_options", lambda: WRONG)
    with pytest.raises(RuntimeError, match="xla_no_such_option"):
        generator.outermost(lambda x: x + 1)(jnp.ones(2))
    monkeypatch.setattr(program, "quick_options", lambda: WRONG)
    grid = lr.sweeps.Grid(lmda=[0.0, 1.0])
    with pytest.raises(RuntimeError, match="xla_no_such_option"):
        lr.sweeps.run(lambda point: {"x": 3.25 * point["lmda"]}, grid)


def test_an_xla_without_the_option_compiles_by_its_default(monkeypatch):
    monkeypatch.setattr(generator, "NEWER", "xla_no_such_option")
    options = generator.quick_options.__wrapped__()
    assert options is None
    assert jax.jit(lambda x: x + 1, compiler_options=options)(1.0) == 2.0


@pytest.mark.parametrize(
    "version, before, after",
    [
        ("0.10.2", "", "--xla_cpu_use_fusion_emitters=false"),
        ("0.6.0", "--xla_a=1", "--xla_a=1 --xla_cpu_use_fusion_emitters=false"),
        ("0.10.0", *2 * ["--xla_cpu_use_fusion_emitters=true"]),
        ("0.4.38", "", ""),
        ("0.11.0", "--xla_a=1", "--xla_a=1"),
        ("1.0.0.dev1", "", ""),
    ],
)
def test_the_command_chooses_where_xla_knows_the_flag(
    version, before, after, monkeypatch
):
    monkeypatch.setenv("XLA_FLAGS", before)
    monkeypatch.setattr(metadata, "version", lambda name: version)
    generator.compile_quickly()
    assert os.environ["XLA_FLAGS"] == after


def test_this_xla_knows_the_flag_if_its_version_does(monkeypatch):
    """A wrong version would end the command's process."""
    monkeypatch.setenv("XLA_FLAGS", "")
    generator.compile_quickly()
    chosen = os.environ["XLA_FLAGS"] != ""
    assert not chosen or generator.quick_options() is not None
