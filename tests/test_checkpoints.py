"""Reports on checkpoints: `lazyrich richness`, and chains of layers."""

import jax.numpy as jnp
import numpy as np
import pytest

import lazyrich_jax as lr
from lazyrich_jax.__main__ import main


def state(seed, scale=1.0):
    """PyTorch's state dict of two layers and an activation."""
    random = np.random.default_rng(seed)
    shapes = {"0.weight": (6, 4), "0.bias": (6,), "2.weight": (2, 6), "2.bias": (2,)}
    return {k: scale * random.normal(size=s) for k, s in shapes.items()}


def test_a_chain_is_the_function_of_a_state_dict():
    weights = state(0)
    x = np.linspace(-1, 1, 4)
    hidden = np.tanh(weights["0.weight"] @ x + weights["0.bias"])
    expected = weights["2.weight"] @ hidden + weights["2.bias"]
    found = lr.richness.Chain("tanh")(weights, jnp.asarray(x))
    np.testing.assert_allclose(found, expected)
    with pytest.raises(ValueError, match="`activation` must be one of 'linear'"):
        lr.richness.Chain("rele")
    with pytest.raises(ValueError, match="`layout` must be"):
        lr.richness.Chain("relu", layout="in")
    with pytest.raises(ValueError, match="dense layers that chain from the sample"):
        lr.richness.Chain("relu")(weights, jnp.ones(3))


@pytest.fixture
def files(tmp_path):
    start, end, data = (tmp_path / f"{n}.npz" for n in ("start", "end", "data"))
    np.savez(start, **state(0))
    np.savez(end, **state(1))
    x = np.random.default_rng(2).normal(size=(20, 4))
    np.savez(data, x=x, y=np.arange(20) % 2)
    return str(start), str(end), str(data)


@pytest.mark.slow
def test_checkpoints_are_reported(files, tmp_path, capsys):
    start, end, data = files
    out = tmp_path / "out"
    options = "--data", data, "--activation", "relu", "--out", str(out)
    assert main(["richness", start, end, *options]) == 0
    text = (out / "richness.txt").read_text()
    assert text.strip() in capsys.readouterr().out
    x = np.load(data)["x"]
    apply = lr.richness.Chain("relu")
    expected = lr.richness.kernel_products(state(0), state(1), x, apply=apply)
    assert f"{float(expected.kernel_distance):.3g}" in text
    lines = (out / "richness.csv").read_text().splitlines()
    assert lines[0] == "quantity,place,when,value"
    assert (out / "richness.png").stat().st_size > 10_000


def test_weights_alone_are_reported(files, tmp_path, capsys):
    start, end, _ = files
    assert main(["richness", start, end, "--out", str(tmp_path / "out")]) == 0
    assert "it needs samples `x`" in capsys.readouterr().out


def test_bad_checkpoints(files, tmp_path, capsys):
    start, end, data = files
    other, text = tmp_path / "other.npz", tmp_path / "text.npz"
    np.savez(other, **{k: v for k, v in state(1).items() if k != "2.bias"})
    text.write_text("nothing")
    single = tmp_path / "single.npy"
    np.save(single, np.ones(3))
    for arguments, message in (
        ([start, "no.npz"], "`END` must be an NPZ file"),
        ([start, str(text)], "`END` must be an NPZ file"),
        ([start, str(single)], "`END` must be an NPZ file"),
        ([start, str(other)], "`2.bias` is in `start` and not in `end`"),
        ([start, end, "--layout", "in_out"], "layers of PyTorch, such as `0.weight`"),
        ([start, end, "--samples", "0"], "`samples` must be an integer of at least 1"),
        ([start, end, "--data", data], "must be given together"),
        ([start, end, "--data", start, "--activation", "relu"], "NPZ file of x"),
    ):
        out = str(tmp_path / "out")
        assert main(["richness", *arguments, "--out", out]) == 2
        assert message in capsys.readouterr().err
