r"""The two rows of a mode under weight decay, at a balance of zero.

In: strength s, weight decay $\gamma$ and a time t. Out: the `Pairs` of `pairs`. The
balance alone couples the rows: p grows at the rate $s - \gamma$ and m falls at
$s + \gamma$.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._linalg import mean_decay
from .pairs import Exponential, Pairs, parts


def uncoupled(
    s: Float[Array, " modes"], decay: Float[Array, ""], t: Float[Array, ""]
) -> Pairs:
    """The two solutions of every mode at `t`."""
    none, rise, fall = jnp.zeros_like(s), s - decay, s + decay
    over, under = parts(rise)
    gap = over + under
    gain, last = (t * mean_decay(2 * rate * t) for rate in (gap, fall))
    least = jnp.maximum(gain, jnp.finfo(t.dtype).tiny ** 0.25)  # at early times
    return Pairs(
        grow=Exponential(rise, none),
        turn=Exponential(none, none),
        across=none,
        fall=Exponential(-fall, none),
        tilt=none,
        root=Exponential(over, jnp.log(gain) / 2),
        mixed=none,
        last=jnp.sqrt(last),
        lack=s - over - jnp.exp(-2 * gap * t) / (2 * least),
    )
