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
    grown: Float[Array, "more columns ..."]  # e^{`exponents` t}
    # Of the modes' rates, then of the one that left-over rows share:
    decays: Float[Array, "rates ..."]  # e^{-rate t}
    roots: Float[Array, "rates ..."]  # root of the gain of rows that don't decay
    inverse_roots: Float[Array, "rates ..."]
    modes: int = eqx.field(static=True)
    # Under weight decay: e^{-sink t}, e^{-fall t} and the root of falling rows' gain.
    falls: tuple[Array, Array, Array] | None = None

    @property
    def lag(self) -> Float[Array, "more columns ..."]:
        """`grown`, at most one."""
        return jnp.minimum(self.grown, 1.0)

    @property
    def decay(self) -> Float[Array, "modes ..."]:
        """e^{-kappa t}."""
        return self.decays[: self.modes]

    @property
    def root(self) -> Float[Array, "modes ..."]:
        """Root of the gain of growing rows."""
        return self.roots[: self.modes]

    @property
    def inverse_root(self) -> Float[Array, "modes ..."]:
        """One over `root`."""
        return self.inverse_roots[: self.modes]

    @property
    def rest_decay(self) -> Float[Array, "..."]:
        """e^{-rate t} of left-over rows."""
        return self.decays[-1]

    @property
    def rest_root(self) -> Float[Array, "..."]:
        """Root of the gain of left-over rows."""
        return self.roots[-1]

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
    m, r, _ = x.sizes
    rest = [jnp.abs(x.rate)[None]] * (r > 0)
    rates = jnp.concatenate([x.kappa, *rest])
    decays, shrink = jnp.exp(-rates * t[None]), jnp.exp(-x.v * t[None])
    grown = jnp.exp(jnp.minimum(x.exponents, 0.0) * t[None, None])
    changed, falls = decays, None
    if x.falls is not None:
        sunk, fallen = (jnp.exp(-y * t[None]) for y in (x.falls.sink, x.falls.fall))
        rates = jnp.concatenate([x.kappa + x.falls.sink, *rest])
        changed = jnp.concatenate([decays[:m] * sunk, decays[m:]])
        gain = gain_of_decay(x.falls.fall, fallen, t[None])
        falls = sunk, fallen, jnp.sqrt(gain)
    roots = jnp.sqrt(gain_of_decay(rates, changed, t[None]))
    return AtTime(shrink, grown, decays, roots, 1 / roots, m, falls)


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
        grow, rest, fall = x.by_kind(x.lower)
        return (
            grow * at.root[:, None] * at.lag[:m],
            rest * at.rest_root[None, None] * at.lag[m:],
            fall * at.fall_root[:, None] * at.shrink[None],
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
