"""Strict settings for every test: nothing is promoted, broadcast or warned away."""

import ctypes
import gc
import os
import sys
from pathlib import Path

from .quick_compilation import FLAGS

# Before jax is imported: two devices, and a thread pool for their linear algebra.
os.environ.setdefault(
    "XLA_FLAGS", " ".join(["--xla_force_host_platform_device_count=2", *FLAGS])
)
os.environ.setdefault("NPROC", "4")
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")  # nothing from before
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import jaxtyping
import pytest

# Traced programs are millions of objects: to look through all of them for cycles takes
# a tenth of the time.
gc.set_threshold(20_000, 20, 100)

MOST = 3e9  # bytes of a process, between files: compiled programs take most of them

# Files with few tests that take long. pytest-xdist would start them last.
FIRST = (
    "test_derivatives",
    "test_second_derivatives",
    "test_part_gradient",
    "test_wide_exact",
    "test_flow_derivatives",
    "test_gradient",
    "test_wide_limit",
    "test_weights",
    "test_sweep_processes",
    "test_sharding",
)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_threefry_partitionable", True)  # as by default from jax 0.5 on
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_configure(config):
    """Files are given to processes in the order of `pytest_collection_modifyitems`."""
    config.option.loadscopereorder = False


def pytest_collection_finish(session):
    """Modules stay: no search for cycles looks through them again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """`FIRST`, then all others in their order."""

    def place(item):
        name = item.path.stem
        return FIRST.index(name) if name in FIRST else len(FIRST)

    items.sort(key=place)


@pytest.fixture
def untyped():
    """Without the tests' shape checks, the library checks bad input."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def spec(tmp_path):
    """The path of the example of a sweep's spec."""
    from lazyrich_jax.sweeps.spec import EXAMPLE

    path = tmp_path / "sweep.toml"
    path.write_text(EXAMPLE)
    return path


@pytest.fixture(autouse=True)
def no_open_figures():
    """A test that leaves a figure open in pyplot fails, and not the next one."""
    yield
    plt = sys.modules.get("matplotlib.pyplot")
    if plt is not None and (left := plt.get_fignums()):
        plt.close("all")
        pytest.fail(f"open figures: {left}")


@pytest.fixture
def closed_figures():
    """All figures are closed at the end of a test."""
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def ax():
    """Axes of a figure outside pyplot."""
    from matplotlib.figure import Figure

    return Figure().subplots()


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """Compiled programs are dropped after a file, once they take much memory."""
    yield
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        pages = int(statistics.read_text().split()[1])
        if pages * os.sysconf("SC_PAGE_SIZE") > MOST:
            jax.clear_caches()
            gc.collect()
            # The C library keeps what is freed. Every later file would end here too.
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)
