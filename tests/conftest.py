"""Strict settings for every test: nothing is promoted, broadcast or warned away."""

import os

# Before jax is imported: two devices, and room for their linear algebra on two cores.
# Most of the time goes into compiling: a quarter of it is optimisation.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
)
os.environ.setdefault("NPROC", "4")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import jaxtyping
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def untyped():
    """Bad input meets the library's own checks, not the tests' shape checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
