"""Reports of PyTorch models against PyTorch's own derivatives.

Run `python -m benchmarks.pytorch` where PyTorch is installed. Neither the library nor
its tests need it. A dense and a convolutional network learn in a plain loop of PyTorch.
Their state dicts at both ends are saved as NPZ files. Reports of these are compared
with kernels of plain Jacobians, the whole Hessian, hooks and products of PyTorch.
"""

import csv
import importlib
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lazyrich_jax as lr
from lazyrich_jax.__main__ import main as lazyrich

TOLERANCE = 1e-8
torch: Any = importlib.import_module("torch")
nn = torch.nn


def norm(state: dict[str, Any]) -> Any:
    """The Euclidean norm of all numbers of a state."""
    return torch.cat([w.flatten() for w in state.values()]).norm()


def arrays(model: Any) -> dict[str, np.ndarray]:
    """A state dict as arrays of NumPy, copied: PyTorch changes them in place."""
    return {k: v.detach().cpu().numpy().copy() for k, v in model.state_dict().items()}


def dense() -> tuple[Any, Any, Any]:
    """A network 4-16-2, samples and targets."""
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    x = torch.randn(40, 4)
    return model, x, x[:, :2] * x[:, 2:]


def convolutional() -> tuple[Any, Any, Any]:
    """A network of two convolutions and a dense layer, images and targets."""
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 2),
    )
    x = torch.randn(30, 1, 6, 6)
    return model, x, torch.stack([x[:, 0, :3].mean((1, 2)), x[:, 0, 3:].std((1, 2))], 1)


def apply_convolutional(state: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """The convolutional network in JAX, for one sample."""

    def convolution(x: jax.Array, name: str, stride: int, padding: int) -> jax.Array:
        y = jax.lax.conv_general_dilated(
            x[None], state[f"{name}.weight"], (stride, stride), [(padding, padding)] * 2
        )[0]
        return y + state[f"{name}.bias"][:, None, None]

    x = jax.nn.relu(convolution(x, "0", 1, 1))
    x = jax.nn.relu(convolution(x, "2", 2, 0)).ravel()
    return state["5.weight"] @ x + state["5.bias"]


def trained(model: Any, x: Any, y: Any, recorder: Any) -> None:
    """A plain loop of 300 steps, recorded."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(300):
        if recorder.wants(step):
            recorder.keep(step, arrays(model))
        optimiser.zero_grad()
        loss = ((model(x) - y) ** 2).sum(1).mean() / 2
        loss.backward()
        optimiser.step()
    recorder.keep(300, arrays(model))


def by_pytorch(model: Any, states: list[dict], x: Any, y: Any) -> dict[str, Any]:
    """Numbers of a report by PyTorch's derivatives, two where it has start and end."""
    states = [{k: torch.tensor(v) for k, v in state.items()} for state in states]

    def outputs(state: dict) -> Any:
        return torch.func.functional_call(model, state, x)

    def loss(state: dict) -> Any:
        return ((outputs(state) - y) ** 2).sum(1).mean() / 2

    kernels, sharpness, hidden = [], [], []
    for state in states:
        rows = torch.func.jacrev(outputs)(state)
        j = torch.cat([r.flatten(2) for r in rows.values()], 2).flatten(0, 1)
        kernels.append(j @ j.T)
        blocks = torch.func.hessian(loss)(state)
        sizes = {k: v.numel() for k, v in state.items()}
        hessian = [
            torch.cat([blocks[a][b].reshape(sizes[a], sizes[b]) for b in sizes], 1)
            for a in sizes
        ]
        sharpness.append(torch.linalg.eigvalsh(torch.cat(hessian))[-1])
        model.load_state_dict(state)
        hidden.append(model[0](x).detach().flatten(1))
    k0, k1 = kernels
    change = {k: states[1][k] - states[0][k] for k in states[0]}
    f0, slope = torch.func.jvp(outputs, (states[0],), (change,))
    f1, flat = outputs(states[1]), y.reshape(-1)
    z0, z1 = (z - z.mean(0) for z in hidden)
    aligned = [flat @ k @ flat / (k.norm() * flat @ flat) for k in kernels]
    signs = (hidden[0] > 0) != (hidden[1] > 0)
    return {
        "loss": [loss(state) for state in states],
        "weight_movement": norm(change) / norm(states[0]),
        "linearisation_gap": (f1 - f0 - slope).norm() / (f1 - f0).norm(),
        "kernel_distance": 1 - (k0 * k1).sum() / (k0.norm() * k1.norm()),
        "rich_lazy_index": (k1 - k0).norm() / (k0.norm() + k1.norm()),
        "target_alignment": aligned,
        "kernel_dimension": [k.trace() ** 2 / k.square().sum() for k in kernels],
        "sharpness": sharpness,
        "feature_alignment": (z0.T @ z1).square().sum()
        / ((z0.T @ z0).norm() * (z1.T @ z1).norm()),
        "activation_flips": signs.to(z0.dtype).mean(),
    }


def compare(name: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Print both, and refuse differences above the tolerance."""
    print(name)
    for key, values in expected.items():
        several = values if isinstance(values, list) else [values]
        theirs = np.array([float(value) for value in several])
        ours = np.ravel(found[key])
        off = np.max(np.abs(ours - theirs) / np.abs(theirs))
        print(f"  {key:<18} {ours} off by {off:.1e}")
        assert off < TOLERANCE, f"PyTorch has {theirs}"


def table(path: Path, first_layer: str) -> dict[str, list[float]]:
    """The numbers of the model and of its first layer in richness.csv."""
    found: dict[str, list[float]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            if row["place"] in ("", first_layer):
                found.setdefault(row["quantity"], []).append(float(row["value"]))
    return found


def main() -> None:
    """Compare both networks, the command and the linear network."""
    jax.config.update("jax_enable_x64", True)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    for make, apply in (
        (dense, lr.richness.Chain("relu")),
        (convolutional, apply_convolutional),
    ):
        model, x, y = make()
        recorder = lr.richness.Recorder(x.numpy(), y.numpy(), apply=apply)
        trained(model, x, y, recorder)
        states = [recorder.start, recorder.end]
        expected = by_pytorch(model, states, x, y)
        start, end = states
        report = lr.richness.report(start, end, x.numpy(), y.numpy(), apply=apply)
        found = {**report.numbers, **{k: v[0] for k, v in report.layers.items()}}
        compare(make.__name__, found, expected)
        compare(
            "recorder",
            {"loss": recorder.losses()[1][[0, -1]]},
            {"loss": expected["loss"]},
        )
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            for file, state in zip(("START", "END"), states, strict=True):
                np.savez(out / f"{file}.npz", **state)
            np.savez(out / "data.npz", x=x.numpy(), y=y.numpy())
            call = ["richness", str(out / "START.npz"), str(out / "END.npz")]
            if make is dense:
                call += ["--data", str(out / "data.npz"), "--activation", "relu"]
            else:
                call += ["--channels", "first"]
                expected = {"weight_movement": expected["weight_movement"]}
            assert lazyrich([*call, "--out", folder]) == 0
            compare("command", table(out / "richness.csv", "0"), expected)
    layers = nn.Linear(4, 5, bias=False), nn.Linear(5, 3, bias=False)
    network = lr.LinearNetwork.from_layers(arrays(nn.Sequential(*layers)))
    off = jnp.abs(jax.vmap(network)(torch.eye(4).numpy()) - arrays_of(layers)).max()
    print(f"from_layers: outputs off by {off:.1e}")
    assert off < TOLERANCE


def arrays_of(layers: tuple[Any, Any]) -> np.ndarray:
    """The outputs of two layers for the unit vectors."""
    return layers[1](layers[0](torch.eye(4))).detach().numpy()


if __name__ == "__main__":
    main()
