"""Cards on which a formula is compiled as one kernel, by Pallas through Triton."""

import importlib.util

import jax

OLDEST = 8  # compute capability from which Triton compiles


def has_kernels() -> bool:
    """Whether this JAX and all of this machine's CUDA cards take kernels of Pallas."""
    try:
        cards = jax.local_devices(backend="cuda")
    except RuntimeError:  # none
        return False
    if importlib.util.find_spec("jax.experimental.pallas.triton") is None:
        return False
    from jax.experimental.pallas import triton

    return hasattr(triton, "CompilerParams") and all(
        int(card.compute_capability.split(".")[0]) >= OLDEST for card in cards
    )
