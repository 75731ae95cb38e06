"""Every module lives on one floor, and imports only from floors below its own."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

from lazyrich_jax import _threads

PACKAGE = pathlib.Path(__file__).parents[1] / "lazyrich_jax"

FLOORS = (
    {"_compiled", "_threads"},
    {"_linalg", "_checks"},
    {"_balanced", "_singular", "_triangular"},
    {"_task", "_network"},
    {"_exactness", "_init", "_trajectory", "kernels"},
    {"_dynamics", "theory", "measures"},
    {"_learn"},
    {"applications", "sweeps", "inference"},
    {"plot"},
    {"figures", "bench"},
    {"__main__"},
)
FLOOR_OF = {name: i for i, names in enumerate(FLOORS) for name in names}
SLOW = {"diffrax", "lineax", "optax", "matplotlib", "xarray", "zarr"}
FILES = sorted(f for f in PACKAGE.rglob("*.py") if f != PACKAGE / "__init__.py")


def faults(package: pathlib.Path, path: pathlib.Path) -> list[str]:
    """What is wrong with the imports of `path`, a module of `package`."""

    def room_of(module):
        return module.relative_to(package).parts[0].removesuffix(".py")

    room = room_of(path)
    if room not in FLOOR_OF:
        return [f"`{room}` has no floor"]
    tree = ast.parse(path.read_text())
    at_top = set(tree.body)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        else:
            names = []
        for name in names:
            if name.split(".")[0] == PACKAGE.name:
                found.append(f"`{name}` must be imported relatively")
            if name.split(".")[0] in SLOW and node in at_top:
                found.append(f"`{name}` must wait for its first use")
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            if node not in at_top:
                found.append(f"line {node.lineno} hides an import")
            base = path.parents[node.level - 1]
            modules = [node.module] if node.module else [a.name for a in node.names]
            for module in modules:
                target = base.joinpath(*module.split("."))
                other = room_of(target)
                if other == "__version__":
                    continue
                if other != room and FLOOR_OF.get(other, 99) >= FLOOR_OF[room]:
                    found.append(f"`{room}` must not import `{other}`")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_down(path):
    assert faults(PACKAGE, path) == []


@pytest.mark.parametrize(
    "room, text, fault",
    [
        ("_task", "from ._network import LinearNetwork", "must not import"),
        ("kernels", "from ._dynamics.base import failure", "must not import"),
        ("_linalg", "from . import figures", "must not import"),
        ("theory", "from ._dynamics import ExactSolution", "must not import"),
        ("theory", "from . import measures", "must not import"),
        ("measures", "from .theory import aligned_modes", "must not import"),
        ("_dynamics", "from . import theory", "must not import"),
        ("_learn", "def f():\n    from ._task import Task", "hides"),
        ("_learn", "if True:\n    from ._task import Task", "hides"),
        ("_task", "import lazyrich_jax._linalg", "relatively"),
        ("figures", "import matplotlib.pyplot as plt", "first use"),
        ("utils", "import jax", "no floor"),
    ],
)
def test_a_bad_import_is_found(tmp_path, room, text, fault):
    path = tmp_path / f"{room}.py"
    path.write_text(text)
    assert any(fault in found for found in faults(tmp_path, path))


SWEEPS = sorted((PACKAGE / "sweeps").glob("*.py"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda f: f.stem)
def test_what_sweeps_knows_no_science(path):
    rooms = re.findall(r"^from \.\.(\w*) import (\w+)", path.read_text(), re.M)
    known = {room or name for room, name in rooms} - {"_checks", "_trajectory"}
    assert not known or path.stem in ("ready", "spec")


def test_import_is_quiet():
    code = (
        "import sys, lazyrich_jax, jax; "
        f"assert not {SLOW!r} & set(sys.modules), 'slow imports'; "
        "assert not jax.config.jax_enable_x64, 'x64 was set'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("devices", [1, 3])
def test_decompositions_at_the_same_time_end(devices):
    """Batched ones wait for each other for ever in a pool that is too small.

    Of one program in a pool of two, of several devices in one of as many.
    """
    code = (
        "import jax; jax.config.update('jax_enable_x64', True); "
        "from lazyrich_jax.bench import problems; "
        "on = [jax.device_put(jax.random.key(0), d) for d in jax.devices()]; "
        f"assert len(on) == {devices}; "
        "draw = jax.jit(jax.vmap(lambda key: jax.numpy.linalg.svd("
        "jax.random.normal(key, (5, 5)))[0])); "
        "split = [jax.random.split(key, 3000) for key in on]; "
        "[jax.block_until_ready([draw(keys) for keys in split * 3]) "
        "for _ in range(5)]; "
        "problems.problem((5, 2, 5), 1000, 100).w1.block_until_ready()"
    )
    environment = {
        k: v
        for k, v in os.environ.items()
        if k not in ("NPROC", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    }
    if devices > 1:
        flag = f"--xla_force_host_platform_device_count={devices}"
        environment["XLA_FLAGS"] = flag
    run = [sys.executable, "-c", code]
    subprocess.run(run, check=True, timeout=120, env=environment)


@pytest.mark.parametrize(
    "environment, threads",
    [
        ({}, 4),
        ({"JAX_NUM_CPU_DEVICES": "8"}, 16),
        ({"XLA_FLAGS": "--a=1 --xla_force_host_platform_device_count=3 --b=2"}, 6),
        ({"JAX_NUM_CPU_DEVICES": "-1", "XLA_FLAGS": "--a=1"}, 4),
    ],
    ids=str,
)
def test_room_for_the_devices_that_are_asked_for(monkeypatch, environment, threads):
    for name in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _threads.threads() == threads
