r"""Wide networks as balanced ones: the shift that reduces one class to the other.

For $PJP = -\lambda P + \mu^2 J$, $P = QQ^\top$ (docs/theory.md, section 7), with an
input scale $l_1$ and an output scale $l_2$, both $P - l_1 J$ and $P + l_2 J$ are the
$QQ^\top$ of balanced networks, with the function of the wide one and the balances
$\pm(l_1 + l_2)$: their flow is the Riccati equation of that balance. The one of the
larger scale is used: no digits are lost where it is subtracted.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._exactness import Scales
from .._linalg import dot, nearest_isometry, symmetric_root
from .._network import LinearNetwork
from .._triangular import orthonormal
from .._wide import representations

Weights = tuple[Float[Array, "hidden in"], Float[Array, "out hidden"]]


def balanced_of(
    function: Float[Array, "out in"], laziness: Float[Array, ""], side: Array
) -> tuple[Weights, Float[Array, ""]]:
    """The balanced network of the same function, and its balance.

    It has `in + out` hidden units. Only the first of them are used.
    """
    n_out, n_in = function.shape
    # The square of the larger layer determines it: it is positive.
    zero = jnp.zeros_like(laziness)
    of_inputs, _ = representations(function, laziness, zero)
    _, of_outputs = representations(function, zero, laziness)
    below, above = symmetric_root(of_inputs), symmetric_root(of_outputs)
    outward = jnp.linalg.solve(above, function), above
    inward = below, jnp.linalg.solve(below, function.mT).mT
    n = n_in + n_out
    w1, w2 = (
        jnp.where(side >= 0, jnp.pad(x, room(n - n_out)), jnp.pad(y, room(n - n_in)))
        for x, y, room in zip(outward, inward, (_below, _beside), strict=True)
    )
    return (w1, w2), jnp.where(side >= 0, laziness, -laziness)


def _below(rows: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, rows), (0, 0)


def _beside(columns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, 0), (0, columns)


def effective_scales(network: LinearNetwork) -> Scales:
    """The scales of the member of the class that stands for any network."""
    below, above = network.effective_scales
    return Scales(below + above, above - below, jnp.zeros_like(below))


def with_unused_units(network: LinearNetwork) -> LinearNetwork:
    """The network with at least `in + out` hidden units."""
    n_in, hidden, n_out = network.sizes
    missing = max(n_in + n_out - hidden, 0)
    w1, w2 = network.weights
    return LinearNetwork((jnp.pad(w1, _below(missing)), jnp.pad(w2, _beside(missing))))


class Wide(eqx.Module):
    """The difference between a network's representations and its balanced one's."""

    is_wide: Bool[Array, ""]
    # Constant in time; zero for balanced networks.
    of_inputs: Float[Array, "in in"]
    of_outputs: Float[Array, "out out"]
    # Orthonormal columns, which map `in + out` hidden units to the network's.
    rotation: Float[Array, "hidden both"]
    start: Float[Array, "both both"]  # Q(0) in these units
    # Whether P is approximate: it may then have negative eigenvalues.
    is_limit: bool = eqx.field(static=True)

    def shift(self, part: str) -> Float[Array, "rows columns"]:
        """The difference of a part of $QQ^T$."""
        n_in, n_out = len(self.of_inputs), len(self.of_outputs)
        below, above = self.of_inputs, self.of_outputs
        zero = jnp.zeros((n_out, n_in), below.dtype)
        return {
            "inputs": below,
            "outputs": above,
            "function": zero,
            "qqt": jnp.block([[below, zero.T], [zero, above]]),
        }[part]

    def factors(
        self,
        balanced: Float[Array, "times n both"],
        qqt: Float[Array, "times n n"],
        near: Float[Array, "times n both"],
    ) -> Float[Array, "times n hidden"]:
        """Q at several times: of a wide network, the factor of `qqt` next to `near`."""
        n_in = len(self.of_inputs)

        def factor(p, near):
            size = jnp.diagonal(jax.lax.stop_gradient(p))
            size = [
                jnp.broadcast_to(jnp.mean(x), x.shape)
                for x in (size[:n_in], size[n_in:])
            ]
            # Scaled layers keep the digits of the smaller one.
            size = jnp.concatenate(size)[:, None]
            size = jnp.sqrt(jnp.where(size > 0, size, 1.0))
            p = p / size / size.T
            if self.is_limit:
                p += _lack(p) * jnp.eye(len(p), dtype=p.dtype)
            root = symmetric_root(p)
            return size * dot(root, nearest_isometry(dot(root, near / size)))

        # A branch that is not chosen must not have NaN as its derivative.
        distinct = jnp.diag(jnp.arange(1, qqt.shape[-1] + 1, dtype=qqt.dtype))
        safe = (jnp.where(self.is_wide, x, distinct[None]) for x in (qqt, near))
        q = jnp.where(self.is_wide, jax.vmap(factor)(*safe), balanced)
        return dot(q, self.rotation.T)


def _lack(p: Float[Array, "n n"]) -> Float[Array, ""]:
    """How far the smallest eigenvalue is below zero, beyond rounding.

    Adding it to the representations keeps the function.
    """
    values = jnp.linalg.eigvalsh(p)
    noise = 1e3 * jnp.finfo(p.dtype).eps * values[-1]
    return jnp.where(values[0] < -noise, -values[0], 0.0)


def wide_or_balanced(
    network: LinearNetwork,
    scales: Scales,
    is_wide: Bool[Array, ""],
    lmda: Float[Array, ""],
    is_limit: bool,
) -> tuple[Weights, Float[Array, ""], Wide]:
    """Weights and balance of a balanced network, and the given one's difference.

    The network is wide or balanced (`lmda`). The weights have `in + out` hidden units.
    """
    w1, w2 = network.weights
    both = jax.lax.stop_gradient(jnp.concatenate([w1, w2.mT], axis=1))
    rotation = orthonormal(both)[0]
    narrow = dot(rotation.mT, w1), dot(w2, rotation)
    # A branch that is not chosen must not have NaN as its derivative.
    laziness = jnp.where(is_wide, scales.laziness, 1.0)
    function = jnp.where(is_wide, network.function, 0.0)
    of_wide, balance = balanced_of(function, laziness, scales.side)
    v1, v2 = (jnp.where(is_wide, x, y) for x, y in zip(of_wide, narrow, strict=True))
    below = jnp.where(is_wide, dot(w1.mT, w1) - dot(v1.mT, v1), 0.0)
    above = jnp.where(is_wide, dot(w2, w2.mT) - dot(v2, v2.mT), 0.0)
    start = jnp.concatenate([narrow[0].mT, narrow[1]])
    wide = Wide(is_wide, below, above, rotation, start, is_limit)
    return (v1, v2), jnp.where(is_wide, balance, lmda), wide
