"""K = (orthonormal) R at times: its rows by kind, and the factors that make it q.

In: `Constants` and times. Out: a `Solved`, arrays (networks, times, ...). The formulas
are those of reference/solution.py. docs/theory.md, section 2.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._linalg import gain_of_decay
from .constants import Constants
from .lanes import same
from .thin_qr import orthonormal, orthonormal_matrix


class AtTime(eqx.Module):
    """Exponentials that depend on rates and time only."""

    shrink: Float[Array, "columns ..."]  # e^{-v t}
    lag: Float[Array, "more columns ..."]  # e^{`lags` t}
    decay: Float[Array, "modes ..."]  # e^{-kappa t}
    root: Float[Array, "modes ..."]  # root of the gain of growing rows
    inverse_root: Float[Array, "modes ..."]
    rest_decay: Float[Array, "..."]
    rest_root: Float[Array, "..."]
    # Under weight decay: e^{-sink t}, e^{-fall t} and the root of falling rows' gain.
    falls: tuple[Array, Array, Array] | None = None

    @property
    def fall_root(self) -> Float[Array, "modes ..."]:
        """Root of the gain of falling rows."""
        return self.root if self.falls is None else self.falls[2]

    @property
    def factors(self) -> tuple[Float[Array, "modes ..."], Float[Array, "modes ..."]]:
        """The factors from K to q of rows that grow and of rows that fall."""
        if self.falls is None:
            return self.inverse_root, self.decay * self.inverse_root
        sunk, fallen, root = self.falls
        return sunk * self.inverse_root, fallen / root

    @property
    def largest_gains(self) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """The largest gain of rows that grow and of rows that fall."""
        last = self.fall_root[-1] * self.fall_root[-1]
        if self.falls is None:
            return last, last
        return jnp.max(self.root * self.root, axis=0), last


class Solved(eqx.Module):
    """K with orthonormal columns, its rows by kind, and the factors that make it q."""

    grow: Float[Array, "modes columns ..."]
    rest: Float[Array, "rest columns ..."]
    fall: Float[Array, "modes columns ..."]
    start: Float[Array, "columns columns ..."]
    inverse: Float[Array, "some columns ..."]  # inv(R), if asked for
    at: AtTime

    def q(self, x: Constants) -> tuple[Array, Array, Array]:
        """The rows of q that grow, are left over, and decay."""
        at = self.at
        up, down = at.factors
        rest_down = jnp.where(x.rate < 0, at.rest_decay, 1.0) / at.rest_root
        return (
            self.grow * up[:, None],
            self.rest * rest_down[None, None],
            self.fall * down[:, None],
        )


def at_time(x: Constants, t: Float[Array, "..."]) -> AtTime:
    """The exponentials, and the roots of the gains, at the times `t`."""
    decay, rest_decay = jnp.exp(-x.kappa * t[None]), jnp.exp(-jnp.abs(x.rate) * t)
    shrink, lag = jnp.exp(-x.v * t[None]), jnp.exp(x.lags * t[None, None])
    rest_root = jnp.sqrt(gain_of_decay(jnp.abs(x.rate), rest_decay, t))
    rate, changed, falls = x.kappa, decay, None
    if x.falls is not None:
        sunk, fallen = (jnp.exp(-y * t[None]) for y in (x.falls.sink, x.falls.fall))
        rate, changed = x.kappa + x.falls.sink, decay * sunk
        gain = gain_of_decay(x.falls.fall, fallen, t[None])
        falls = sunk, fallen, jnp.sqrt(gain)
    root = jnp.sqrt(gain_of_decay(rate, changed, t[None]))
    return AtTime(shrink, lag, decay, root, 1 / root, rest_decay, rest_root, falls)


def solve(
    x: Constants,
    t: Float[Array, "..."],
    at: AtTime,
    with_inverse: bool = False,
) -> Solved:
    """K = (orthonormal) R at one time."""
    m, _, n = x.sizes

    def above():
        """K by kinds of rows, without the start, which is diagonal."""
        return (
            x.grow * at.root[:, None] * at.lag[:m],
            x.rest * at.rest_root[None, None] * at.lag[m:],
            x.fall * at.fall_root[:, None] * at.shrink[None],
        )

    if t.ndim == 0:
        (grow, rest, fall), inverse = orthonormal_matrix(above(), at.shrink)
        start = at.shrink[:, None] * inverse
    else:
        unit = jnp.where(same(n, t), jnp.ones_like(t), 0.0)[: n if with_inverse else 0]

        def entries():
            return *above(), jnp.where(same(n, t), at.shrink[None], 0.0)

        found = orthonormal(entries, unit, x.sizes)
        grow, rest, fall, start, inverse = found
    return Solved(grow, rest, fall, start, inverse, at)
