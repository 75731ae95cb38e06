"""Every module lives on one floor, and imports only from floors below its own."""

import ast
import pathlib
import subprocess
import sys

import pytest

from .imports import imported, relative_imports

PACKAGE = pathlib.Path(__file__).parents[1] / "lazyrich_jax"

# The floors of each package from the lowest up; "" is the whole library.
FLOORS = {
    "": (
        {"_dtypes", "_kinds", "_paths", "_xla"},
        {"_linalg", "_checks"},
        {"_balanced", "_decays", "_feasible", "_layers", "_singular", "_triangular"},
        {"_compression", "_display", "_imbalance", "_rebalance", "_weights"}
        | {"_whitening"},
        {"_task", "_network", "_riccati", "_wide"},
        {"_exactness", "_init", "kernels"},
        {"_alignment", "_trajectory"},
        {"_dynamics", "theory", "measures"},
        {"_explore", "_learn"},
        {"applications", "sweeps", "reductions"},
        {"inference", "richness"},
        {"plot"},
        {"figures", "bench", "fitting", "checkpoints"},
        {"commands"},
        {"__main__"},
    ),
    "commands": ({"usage"}, {"figures", "readings", "speed", "sweep"}),
    "_xla": (
        {"cards", "generator", "programs", "sharding", "sizes", "threads"},
        {"cache", "concurrent"},
    ),
    "_balanced": ({"modes"}, {"pair"}, {"weights"}),
    "_init": ({"base"}, {"balanced", "gaussian", "of_function", "wide"}),
    "_riccati": (
        {"batching", "echelon"},
        {"frame", "rates"},
        {"fast", "reference"},
        {"decaying", "differentiable", "symmetric"},
    ),
    "_riccati/batching": ({"primitive"}, {"blocks", "kernel"}, {"linear", "products"}),
    "_riccati/fast": (
        {"constants", "lanes", "numbers", "thin_qr"},
        {"pairs", "scalar_rows"},
        {"scalar_loop", "solved"},
        {"values"},
        {"exponentials", "losses", "slope_by_p"},
        {"solution"},
        {"cotangents", "limits"},
        {"changes", "slopes"},
        {"gradient"},
        {"part_gradient"},
    ),
    "_riccati/reference": (
        {"along", "second", "solution"},
        {"first", "rotation"},
        {"off_class"},
    ),
    "_riccati/decaying": (
        {"decomposed", "even"},
        {"adiabatic", "phases"},
        {"falling", "rising"},
        {"pairs"},
        {"state", "uncoupled", "unforced"},
        {"solution"},
    ),
    "_dynamics": (
        {"base"},
        {"aligned", "compression", "forward", "wide"},
        {"posed"},
        {"descent", "expansion", "flow", "quantities", "reduction"},
        {"nearly_exact", "solution"},
        {"exact", "wide_limit"},
    ),
    "kernels": ({"empirical", "linear"},),
    "theory": (
        {"assumptions", "deep", "initialisation", "modes", "neuron", "roots"}
        | {"symmetric"},
        {"curvature", "mode_times", "rates", "representations", "saddle", "shallow"}
        | {"spiked", "steps"},
        {"correlations", "decay", "generalisation", "limits", "neuron_flow", "wide"},
    ),
    "measures": (
        {"course", "curvature", "operators"},
        {"alignment", "collapse"},
        {"dimension", "distance", "features", "gradients"},
    ),
    "applications": (
        {"related", "table"},
        {"stages"},
        {"attribute", "continual", "second_stage"},
        {"reversal", "transfer"},
    ),
    "reductions": (
        {"reduction"},
        {"attention", "gated", "inputs", "rates", "recurrent", "relu", "scale"},
    ),
    "richness": (
        {"archive", "chunks", "origins", "parameters", "products", "programs"}
        | {"steps"},
        {"states"},
        {"model"},
        {"cost", "linear", "linearised", "traced"},
        {"exact", "jacobian", "layers", "pairing", "recorder", "sharpness"},
        {"balance", "chain", "collected", "gaps", "probes", "question", "reported"}
        | {"sketch"},
        {"kernels"},
        {"described", "of_layers", "of_outputs"},
        {"describe", "report"},
    ),
    "inference": (
        {"differences", "implicit", "members", "noise", "observables", "variables"},
        {"arguments", "goals", "information", "lanes", "learner", "minimise"}
        | {"sensitivity", "starts"},
        {"experiment", "problem", "sequences", "times"},
        {"coordinates", "design", "least_squares"},
        {"data", "identified", "ranges"},
        {"ambiguity", "fisher_information", "screening"},
        {"valleys"},
        {"fisher", "likelihood", "search"},
        {"levels", "variants"},
        {"estimate"},
        {"anchored", "held_out", "profile", "words"},
        {"rays"},
        {"intervals"},
        {"compare"},
        {"fit"},
    ),
    "sweeps": (
        {"names", "place", "program", "starts", "status"},
        {"grid", "processes", "returned"},
        {"evaluate"},
        {"arguments", "identity"},
        {"store"},
        {"run"},
        {"ready"},
        {"schema"},
        {"spec"},
    ),
    "plot": (
        {"style", "trajectories"},
        {"curves", "fits", "maps", "reports"},
        {"animation"},
    ),
    "figures": (
        {"style"},
        {"maps", "nonlinear", "record", "zero_balanced"},
        {"comparison", "curves", "design_problem", "forgetting_runs", "neuron"}
        | {"leaving_minima"},
        {"protocols"},
        {"aligned_modes", "balance", "continual", "convergence_time"}
        | {"descent_accuracy", "design", "edge_of_stability", "identifiability"}
        | {"nonlinear_balance"}
        | {"phase_diagram", "real_networks", "reductions", "weight_decay", "wide"}
        | {f"figure{i}" for i in range(1, 7)}
        | {f"braun{i}" for i in (1, 2, 3, 5, 6)}
        | {f"kunin{i}" for i in (2, 4, 7, 8)},
        {"registry"},
        {"report"},
    ),
    "fitting": ({"table"}, {"options", "steps"}, {"report"}),
    "bench": ({"problems"}, {"measure", "methods"}, {"measurements"}, {"report"}),
}
SLOW = {"diffrax", "lineax", "optax", "matplotlib", "xarray", "zarr", "anywidget"}
WINDOWS = "plot", "style"  # makes new axes, as pyplot does
FILES = sorted(f for f in PACKAGE.rglob("*.py") if f != PACKAGE / "__init__.py")


def faults(package: pathlib.Path, path: pathlib.Path) -> list[str]:
    """The faulty imports of `path`, a module of `package`, in words."""
    tree = ast.parse(path.read_text())
    own = path.relative_to(package).with_suffix("").parts
    found = [
        f"`{place}` has no floor"
        for i, place in enumerate(own)
        if place != "__init__" and floor("/".join(own[:i]), place) is None
    ]
    for node in ast.walk(tree):
        for name in imported(node):
            if name.split(".")[0] == PACKAGE.name:
                found.append(f"`{name}` must be imported relatively")
            if name.split(".")[0] in SLOW and node in tree.body:
                found.append(f"`{name}` must wait for its first use")
            if name.startswith("matplotlib.pyplot") and own != WINDOWS:
                found.append("only new axes of `plot` may open a window")
    for node, target in relative_imports(tree, own):
        if node not in tree.body:
            found.append(f"line {node.lineno} hides an import")
        if target == ("__version__",) or own[-1] == "__init__":
            continue
        # Their floors are compared in the smallest package that holds both.
        depth = 0
        while own[depth : depth + 1] == target[depth : depth + 1]:
            depth += 1
        inside, mine = "/".join(own[:depth]), own[depth]
        other = target[depth] if depth < len(target) else "__init__"
        above = floor(inside, other)
        if above is None or above >= (floor(inside, mine) or 0):
            found.append(f"`{mine}` must not import `{other}`")
    return found


def floor(package: str, name: str) -> int | None:
    """The floor of a module of a package."""
    floors = enumerate(FLOORS.get(package, ()))
    return next((i for i, names in floors if name in names), None)


@pytest.mark.parametrize("path", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_down(path):
    assert faults(PACKAGE, path) == []


def test_every_room_exists():
    for package, floors in FLOORS.items():
        for name in set().union(*floors):
            room = PACKAGE / package / name
            assert room.is_dir() or room.with_suffix(".py").is_file(), room


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
        ("_riccati/frame", "from .._task import Task", "must not import"),
        ("_riccati/rates", "from .reference.solution import solve", "must not import"),
        ("_riccati/rates", "from . import differentiable", "must not import"),
        ("_riccati/fast/values", "from ..reference.first import vary", "not import"),
        ("_riccati/reference/first", "from ..fast import values", "must not import"),
        ("_riccati/reference/first", "from . import rotation", "must not import"),
        ("_riccati/reference/first", "from .. import solve", "must not import"),
        ("theory/rates", "from .limits import rich_limit", "must not import"),
        ("theory/new", "import jax", "no floor"),
        ("theory/new/inside", "import jax", "no floor"),
        ("_learn", "def f():\n    from ._task import Task", "hides"),
        ("_learn", "if True:\n    from ._task import Task", "hides"),
        ("_task", "import lazyrich_jax._linalg", "relatively"),
        ("figures", "import matplotlib.pyplot as plt", "first use"),
        ("bench", "def f():\n    import matplotlib.pyplot as plt", "window"),
        ("utils", "import jax", "no floor"),
    ],
)
def test_a_bad_import_is_found(tmp_path, room, text, fault):
    path = tmp_path / f"{room}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert any(fault in found for found in faults(tmp_path, path))


def test_a_good_import_is_not_found(tmp_path):
    path = tmp_path / "_riccati" / "fast" / "values.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "from ..._linalg import (\n    dot,\n    norm,\n)\n"
        "from ..frame import Frame\nfrom .constants import Constants\n"
    )
    assert faults(tmp_path, path) == []


SWEEPS = sorted((PACKAGE / "sweeps").glob("*.py"))


def science(path: pathlib.Path, package: pathlib.Path) -> set[str]:
    """What a sweeps module imports, except checks, XLA, results and their display."""
    own = path.relative_to(package).with_suffix("").parts
    tree = ast.parse(path.read_text())
    rooms = {target[0] for _, target in relative_imports(tree, own)}
    return rooms - {"sweeps", "_checks", "_display", "_trajectory", "_xla"}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda f: f.stem)
def test_what_sweeps_knows_no_science(path):
    assert not science(path, PACKAGE) or path.stem in ("ready", "spec", "starts")


@pytest.mark.parametrize(
    "text",
    ["from .. import _checks, theory", "from ..theory import (\n    rates,\n)"],
)
def test_science_in_sweeps_is_found(tmp_path, text):
    path = tmp_path / "sweeps" / "grid.py"
    path.parent.mkdir()
    path.write_text(text)
    assert science(path, tmp_path) == {"theory"}


def test_import_is_quiet():
    code = (
        "import sys, lazyrich_jax, jax; "
        f"assert not {SLOW!r} & set(sys.modules), 'slow imports'; "
        "assert not jax.config.jax_enable_x64, 'x64 was set'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
