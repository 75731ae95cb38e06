"""Functions of many samples, by a loop of Python over some samples at a time.

Inside of `jax.lax.map` and the like, XLA runs convolutions on processors without its
fast kernels.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree, Shaped

CHUNK = 128  # samples at a time


def in_chunks(
    tree: PyTree[Shaped[Array, "samples ..."]], size: int
) -> tuple[PyTree[Shaped[Array, "chunks size ..."]], Bool[Array, "chunks size"]]:
    """Samples in chunks of one size, at most `size`, and which of them count.

    The last chunk is filled up with samples that do not count.
    """
    samples = jax.tree.leaves(tree)[0].shape[0]
    chunks = -(-samples // size)
    size = -(-samples // chunks)
    index = np.arange(chunks * size)

    def split(array: Array) -> Array:
        return array[index % samples].reshape(chunks, size, *array.shape[1:])

    return jax.tree.map(split, tree), jnp.asarray(index < samples).reshape(chunks, size)


def mapped(
    function: Callable[..., Any],
    model: Any,
    x: Shaped[Array, "samples ..."],
    *rest: Any,
) -> PyTree[Shaped[Array, "samples ..."]]:
    """`function(model, x, *rest)`, compiled, of some samples at a time, and joined."""
    samples = x.shape[0]
    if samples <= CHUNK:
        return function(model, x, *rest)
    parts = [function(model, part, *rest) for part in in_chunks(x, CHUNK)[0]]
    return jax.tree.map(lambda *p: jnp.concatenate(p)[:samples], *parts)
