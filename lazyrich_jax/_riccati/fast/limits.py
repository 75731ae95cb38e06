"""How an entry of dF moves what P lacks of its limit, or of its target.

In: `GradientConstants` and a `Solution`. Out: coefficients of pairs of rows; the change
of P is minus twice the coefficient times the entry of dF between two rows that grow or
two that don't, else minus once. They are given `from_target` for P minus its target,
2 F on the growing modes of F, else for P. docs/theory.md, section 3.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .constants import GradientConstants
from .pairs import of_others, of_pairs, of_up
from .solution import Solution


def two_grow(
    x: GradientConstants, a: Solution, from_target: bool
) -> Float[Array, "up up ..."]:
    """Two growing rows."""
    rate, decay = of_up(x, x.rates), of_up(x, a.scales.decay)
    late = a.is_late[:, None] & a.is_late[None]
    # 1 - 2 v w `bend` for two growing rates v, w; late, nothing cancels in it.
    smaller = jnp.minimum(rate[:, None], rate[None])
    slower = jnp.maximum(decay[:, None], decay[None])
    less, ratio = (of_pairs(x, y).up for y in (a.scales.less, a.scales.ratio))
    lack = (1 + smaller * less * (1 + ratio)) * slower * slower
    target = jnp.where(_zero(rate[:, None], rate[None]), 0.5, 1.0)
    return _of_limit(from_target, lack, target, late)


def one_grows(
    x: GradientConstants, a: Solution, from_target: bool
) -> Float[Array, "others up ..."]:
    """A growing row and another: late, only the part that is not yet reached."""
    grows, other = of_up(x, x.rates)[None], of_others(x, x.rates)[:, None]
    decay = a.scales.decay
    both = of_up(x, decay)[None] * of_others(x, decay)[:, None]
    zero = _zero(grows, other)
    share = 2 * grows / jnp.where(zero, 1.0, grows + other)
    target = jnp.where(zero, 1.0, share)
    lack = jnp.where(zero, 1.0, share * both)
    return _of_limit(from_target, lack, target, a.is_late[None])


def none_grows(
    x: GradientConstants, from_target: bool
) -> Float[Array, "others others ..."]:
    """Two rows that don't grow."""
    rate = of_others(x, x.rates)
    target = jnp.where(_zero(rate[:, None], rate[None]), 0.5, 0.0)
    return _of_limit(from_target, target, target)


def _of_limit(
    from_target: bool, lack: Array, target: Array, late: Array | bool = True
) -> Array:
    """What P lacks of its limit, late; and of its target, if the slope is from that."""
    lack = jnp.where(late, lack, target)
    return lack if from_target else lack - target


def _zero(a: Array, b: Array) -> Bool[Array, "..."]:
    """Where both rates are zero: |F| has no derivative there and counts as constant."""
    return (a == 0) & (b == 0)
