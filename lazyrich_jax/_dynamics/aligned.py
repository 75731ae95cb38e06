r"""Aligned networks: every mode of the task learns alone, with a balance of its own.

In the singular basis of the task an aligned network has no entry of $QQ^\top$ between
two modes. The two rows of a mode are a wide or a balanced network of one input and one
output (`wide.py`): the engine solves all modes at once. Hidden vectors $q_1 = W_1 v$
and $q_2 = W_2^\top u$ of a mode keep their directions $q_1 \pm q_2$, and
$|q_1 \pm q_2|^2$ are entries of $QQ^\top$: the weights follow without an integration.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._alignment import misalignment, shared_basis
from .._exactness import tolerated_imbalance
from .._linalg import dot, norm, safe_hypot
from .._network import LinearNetwork
from .._riccati.decaying.solution import Decaying
from .._riccati.differentiable import Solved

Times = Float[Array, " times"]
Core = Solved | Decaying


class Modes(eqx.Module):
    """The modes of an aligned network beside their balanced networks."""

    u: Float[Array, "out modes"]
    v: Float[Array, "in modes"]
    # Differences of squared sizes: the start's minus the balanced networks'.
    of_inputs: Float[Array, " modes"]
    of_outputs: Float[Array, " modes"]
    # The start's hidden vectors of each mode, and the weights that belong to no mode.
    inward: Float[Array, "hidden modes"]
    outward: Float[Array, "hidden modes"]
    rest1: Float[Array, "hidden in"]
    rest2: Float[Array, "out hidden"]

    def excess(self, core: Core, ts: Times) -> Times:
        """The sum of the modes' losses above their optimum."""
        return jnp.sum(jax.vmap(lambda core: core.excess(ts))(core), axis=0)

    def product(
        self, core: Core, ts: Times, part: str
    ) -> Float[Array, "times rows columns"]:
        """A part of $QQ^T$; `core` is the solution of all modes."""
        if part == "qqt":
            x, a, y = (
                self.product(core, ts, part)
                for part in ("inputs", "function", "outputs")
            )
            upper = jnp.concatenate([x, a.mT], axis=2)
            return jnp.concatenate([upper, jnp.concatenate([a, y], axis=2)], axis=1)
        modes = self._entries(core, ts, part)
        left, right, rest = {
            "inputs": (self.v, self.v, dot(self.rest1.mT, self.rest1)),
            "outputs": (self.u, self.u, dot(self.rest2, self.rest2.mT)),
            "function": (self.u, self.v, None),
        }[part]
        found = dot(left[None] * modes[:, None], right.mT)
        return found if rest is None else found + rest[None] * _kept(core, ts)

    def _entries(self, core: Core, ts: Times, part: str) -> Float[Array, "times modes"]:
        def of_one(core):
            return core.product(ts, part)[:, 0, 0]

        found = jax.vmap(of_one, out_axes=1)(core)
        shift = {"inputs": self.of_inputs, "outputs": self.of_outputs}
        if part not in shift:
            return found
        return found + shift[part][None] * _kept(core, ts)[..., 0]

    def weights(self, core: Core, ts: Times) -> Float[Array, "times n hidden"]:
        """Q of the flow's own weights."""
        x, a, y = (
            self._entries(core, ts, part) for part in ("inputs", "function", "outputs")
        )
        plus, minus = self.inward + self.outward, self.inward - self.outward
        # |q1 + q2| grows as |q1 - q2| shrinks. The larger one has all digits.
        up = a > 0
        later = x + y + jnp.where(up, 2 * a, -2 * a)
        start = jnp.where(up, jnp.sum(plus * plus, 0), jnp.sum(minus * minus, 0))
        # One that vanishes is alone: the other one is zero.
        alive = (start > 0) & (later > 0)
        ratio = jnp.where(alive, later, 1.0) / jnp.where(alive, start, 1.0)
        kept = _kept(core, ts)
        growth = jnp.where(alive, jnp.sqrt(ratio), 0.0)
        inverse = jnp.where(alive, kept[..., 0] / jnp.sqrt(ratio), 0.0)
        plus = plus[None] * jnp.where(up, growth, inverse)[:, None]
        minus = minus[None] * jnp.where(up, inverse, growth)[:, None]
        kept = jnp.sqrt(kept)
        w1 = dot((plus + minus) / 2, self.v.mT) + self.rest1[None] * kept
        w2 = dot(self.u, (plus - minus).mT / 2) + self.rest2[None] * kept
        return jnp.concatenate([w1.mT, w2], axis=1)


def _kept(core: Core, ts: Times) -> Float[Array, "times 1 1"]:
    """The part of all modes' core that weight decay leaves of constant terms."""
    one = jax.tree.map(lambda x: x[0], core)
    return one.remaining(ts)[:, None, None]


def modes_of(
    network: LinearNetwork, sigma: Float[Array, "out in"], tolerance: float
) -> tuple[tuple[Array, Array, Array, Array], Modes, Bool[Array, ""]]:
    """The problem of every mode (two weights, strength, balance), and the modes.

    The inputs have variance one. The last result is whether the network is aligned.
    """
    w1, w2 = network.weights
    k = min(sigma.shape)
    basis = shared_basis(network, sigma)
    u, v = (vectors[:, :k] for vectors in basis)
    s = jnp.sum(u * dot(sigma, v), axis=0)
    u, s = jnp.where((s < 0)[None], -u, u), jnp.where(s < 0, -s, s)
    q1, q2 = dot(w1, v), dot(w2.mT, u)
    rest1, rest2 = w1 - dot(q1, v.mT), w2 - dot(u, q2.mT)
    x, y = jnp.sum(q1 * q1, axis=0), jnp.sum(q2 * q2, axis=0)
    # The vectors of a flat mode have one direction: it is a balanced network. Those of
    # another mode span an area.
    rounding = (
        64 * jnp.finfo(x.dtype).eps * safe_hypot(norm(w1.ravel()), norm(w2.ravel()))
    )
    larger = (x >= y)[None]
    base, other = jnp.where(larger, q1, q2), jnp.where(larger, q2, q1)
    size = norm(base, axis=0)
    unit = base / jnp.where(size == 0, 1.0, size)[None]
    across = norm(other - unit * jnp.sum(unit * other, axis=0)[None], axis=0)
    flat = across <= rounding
    unit = jax.lax.stop_gradient(unit)
    # Rounding must not leave a saddle.
    plus = _cleared(jnp.sum(unit * (q1 + q2), axis=0), rounding)
    minus = _cleared(jnp.sum(unit * (q2 - q1), axis=0), rounding)
    # A branch that is not chosen must not have NaN as its derivative.
    laziness = safe_hypot(y - x, 2 * jnp.where(flat, 1.0, size * across))
    a = jnp.sum(q1 * q2, axis=0)
    above = jnp.sqrt(safe_hypot(a, laziness / 2) + laziness / 2)
    is_outward = y >= x
    v1 = jnp.where(is_outward, a / above, above)
    v2 = jnp.where(is_outward, above, a / above)
    v1 = jnp.where(flat, (plus - minus) / 2, v1)
    v2 = jnp.where(flat, (plus + minus) / 2, v2)
    lmda = jnp.where(is_outward, laziness, -laziness)
    lmda = jnp.where(flat, plus * minus, lmda)
    shifts = jnp.where(flat, 0.0, x - v1 * v1), jnp.where(flat, 0.0, y - v2 * v2)
    inward, outward = (
        q + jax.lax.stop_gradient(jnp.where(flat[None], unit * v[None] - q, 0.0))
        for q, v in ((q1, v1), (q2, v2))
    )
    modes = Modes(u, v, *shifts, inward, outward, rest1, rest2)
    is_aligned = misalignment(network, sigma, basis) <= tolerated_imbalance(
        network, jnp.ones_like(x[0]), s, lmda, tolerance
    )
    return (v1, v2, s, lmda), modes, is_aligned


def _cleared(x: Float[Array, " n"], rounding: Float[Array, ""]) -> Float[Array, " n"]:
    """`x` with zeros for rounding, and the derivative of `x`."""
    small = jnp.where(jnp.abs(x) <= rounding, x, 0.0)
    return x - jax.lax.stop_gradient(small)
