"""A function of scalars for many networks and times, as one kernel of a CUDA card.

In: a function of one network's constants and of times that uses the constants' entries
one by one. Out: its values, (networks, times). XLA divides a long formula into several
kernels, which pass their numbers through the cache. Pallas makes one kernel: a thread
has one network at one time, and its numbers stay in registers.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._xla import sizes
from .primitive import count


def fits(x: Any, ts: Array) -> bool:
    """Whether there are networks, and enough times for the lanes of a block."""
    networks, times = count((x, ts)), ts.shape[1]
    if not (isinstance(networks, int) and isinstance(times, int)):  # symbolic
        return False
    return networks > 0 and times >= sizes.KERNEL_TIMES


def in_one_kernel(
    one: Callable[[Any, Array], Array],
    x: Any,
    ts: Float[Array, "some times"],
    interpret: bool = False,
) -> Float[Array, "networks times"]:
    """`one` for every network and time. On a CPU it runs only with `interpret`.

    A block has one network, whose constants are scalars of the kernel. They could be
    gathered for lanes of several networks, but then Triton compiles for half a minute:
    its search for a layout of each gather visits the whole formula.
    """
    # Imports of half a second.
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    networks, times = count((x, ts)), ts.shape[1]
    leaves, tree = jax.tree.flatten(x)
    rows = [a.reshape(a.shape[0], -1).astype(ts.dtype) for a in leaves]
    table = jnp.concatenate(
        [jnp.broadcast_to(a, (networks, a.shape[1])) for a in rows], axis=1
    )
    lanes = sizes.KERNEL_LANES

    def kernel(table: Any, ts: Any, found: Any) -> None:
        network = pl.program_id(0)
        time = pl.program_id(1) * lanes
        time += jax.lax.broadcasted_iota(jnp.int32, (lanes,), 0)
        time = jnp.minimum(time, times - 1)  # lanes beyond repeat the last time
        numbers = iter(range(table.shape[1]))

        def entries(a: Array) -> Any:
            cells = np.empty(a.shape[1:], object)
            for place in np.ndindex(cells.shape):
                cell = table[network, next(numbers)]
                cells[place] = cell != 0 if a.dtype == bool else cell
            return cells if cells.shape else cells[()]

        constants = jax.tree.unflatten(tree, [entries(a) for a in leaves])
        t = ts[network if ts.shape[0] > 1 else 0, time]
        found[network, time] = one(constants, t)

    return pl.pallas_call(
        kernel,
        jax.ShapeDtypeStruct((networks, times), ts.dtype),
        grid=(networks, -(-times // lanes)),
        compiler_params=triton.CompilerParams(num_warps=lanes // 32, num_stages=1),
        interpret=interpret,
    )(table, ts)
