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
from .._linalg import dot, nearest_isometry, safe_hypot, sylvester, symmetric_root
from .._network import LinearNetwork
from .._singular import singular_basis
from .._triangular import orthonormal
from .._xla import sizes

Weights = tuple[Float[Array, "units in"], Float[Array, "out units"]]


def balanced_of(
    function: Float[Array, "out in"],
    laziness: Float[Array, ""],
    side: Float[Array, ""],
    hidden: int,
) -> tuple[Weights, Float[Array, ""]]:
    """The balanced network of the same function, and its balance.

    At most `max(in, out)` of its hidden units are used.
    """
    n_out, n_in = function.shape
    u, s, v = singular_basis(jax.lax.stop_gradient(function))
    w1, w2 = _outward(function, laziness, u, s, v)
    v2, v1 = (w.mT for w in _outward(function.mT, laziness, v, s, u))
    outward = jnp.pad(w1, _below(hidden - n_out)), jnp.pad(w2, _beside(hidden - n_out))
    inward = jnp.pad(v1, _below(hidden - n_in)), jnp.pad(v2, _beside(hidden - n_in))
    w1, w2 = (jnp.where(side >= 0, x, y) for x, y in zip(outward, inward, strict=True))
    return (w1, w2), jnp.where(side >= 0, laziness, -laziness)


@jax.custom_jvp
def _outward(
    function: Float[Array, "out in"],
    lmda: Float[Array, ""],
    u: Float[Array, "out out"],
    s: Float[Array, " modes"],
    v: Float[Array, "in in"],
) -> Weights:
    """The weights of a function and a positive balance, with a symmetric W2."""
    k = s.size
    roots = _spectrum(u, s, lmda)[1]
    w1 = dot(u[:, :k] * (s / roots[:k])[None], v[:, :k].mT)
    return w1, dot(u * roots[None], u.mT)


@_outward.defjvp
def _outward_jvp(primals, tangents):
    # X = W2 W2^T - lmda / 2 is the root of A A^T + lmda^2 / 4.
    (function, lmda, u, s, _), (change, dlmda, *_) = primals, tangents
    w1, w2 = _outward(*primals)
    middle, roots = _spectrum(u, s, lmda)
    half, eye = dot(change, function.mT), jnp.eye(len(u), dtype=s.dtype)
    by = half + half.mT + lmda * dlmda / 2 * eye
    x = dot(w2, w2) - lmda / 2 * eye
    dx = sylvester(x, x, by, (u, middle, u, middle)) + dlmda / 2 * eye
    dw2 = sylvester(w2, w2, dx, (u, roots, u, roots))
    dw1 = dot(u / roots[None], u.mT, change - dot(dw2, w1))
    return (w1, w2), (dw1, dw2)


def _spectrum(
    u: Float[Array, "out out"], s: Float[Array, " modes"], lmda: Float[Array, ""]
) -> tuple[Float[Array, " out"], Float[Array, " out"]]:
    """Eigenvalues of W2 W2^T - lmda / 2 and of W2, in the basis `u`."""
    middle = safe_hypot(jnp.pad(s, (0, len(u) - s.size)), lmda / 2)
    return middle, jnp.sqrt(middle + lmda / 2)


def _below(rows: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, rows), (0, 0)


def _beside(columns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, 0), (0, columns)


def effective_scales(network: LinearNetwork) -> Scales:
    """The scales of the member of the class that stands for any network."""
    below, above = network.effective_scales
    return Scales(below + above, above - below, jnp.zeros_like(below))


def shift_of(scales: Scales, n_in: int, n_out: int) -> Float[Array, " both"]:
    """The diagonal by which $QQ^T$ of the member exceeds its balanced network's."""
    below = (scales.laziness - scales.side) / 2
    above = (scales.laziness + scales.side) / 2
    sign = jnp.where(jnp.arange(n_in + n_out) < n_in, 1.0, -1.0).astype(below.dtype)
    return sign * jnp.where(above >= below, below, -above)


def narrowed(
    network: LinearNetwork,
) -> tuple[LinearNetwork, Float[Array, "hidden both"]]:
    """The network in `in + out` hidden units, and its rotation.

    The first `max(in, out)` of the units span the hidden directions of the larger side:
    balanced weights use no others.
    """
    n_in, hidden, n_out = network.sizes
    missing = max(n_in + n_out - hidden, 0)
    w1, w2 = network.weights
    w1, w2 = jnp.pad(w1, _below(missing)), jnp.pad(w2, _beside(missing))
    v1, v2, rotation = _narrowed(w1, w2)
    return LinearNetwork((v1, v2)), rotation[:hidden]


@jax.custom_jvp
def _narrowed(
    w1: Float[Array, "hidden in"], w2: Float[Array, "out hidden"]
) -> tuple[
    Float[Array, "both in"], Float[Array, "out both"], Float[Array, "hidden both"]
]:
    n_in, n_out = w1.shape[1], w2.shape[0]
    sides = (w1, w2.mT) if n_in >= n_out else (w2.mT, w1)
    decomposed = jnp.linalg.qr if len(w1) <= sizes.LIBRARY_ROWS else orthonormal
    rotation, r = decomposed(jnp.concatenate(sides, axis=1))
    if n_in >= n_out:
        return r[:, :n_in], r[:, n_in:].mT, rotation
    return r[:, n_out:], r[:, :n_out].mT, rotation


@_narrowed.defjvp
def _narrowed_jvp(primals, tangents):
    # The rotation is fixed.
    (d1, d2), found = tangents, _narrowed(*primals)
    rotation = found[2]
    return found, (dot(rotation.mT, d1), dot(d2, rotation), jnp.zeros_like(rotation))


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

    def lifted(self, qqt: Float[Array, "times n n"]) -> Float[Array, "times n n"]:
        """`qqt` with the least addition that makes it positive semidefinite.

        Its function is unchanged. Only the limit of infinite width needs it.
        """
        if not self.is_limit:
            return qqt

        def one(p):
            size = self._sizes(p)
            lack = _lack(p / size[:, None] / size[None])
            return p + jnp.diag(lack * size * size)

        return jnp.where(self.is_wide, jax.vmap(one)(qqt), qqt)

    def factors(
        self,
        balanced: Float[Array, "times n used"],
        qqt: Float[Array, "times n n"],
        near: Float[Array, "times n both"],
    ) -> Float[Array, "times n hidden"]:
        """Q at several times: of a wide network, the factor of `qqt` next to `near`."""

        # A branch that is not chosen must not have NaN as its derivative.
        distinct = jnp.diag(jnp.arange(1, qqt.shape[-1] + 1, dtype=qqt.dtype))
        safe = (jnp.where(self.is_wide, x, distinct[None]) for x in (qqt, near))
        unused = near.shape[-1] - balanced.shape[-1]
        balanced = jnp.pad(balanced, ((0, 0), (0, 0), (0, unused)))
        nearest = jax.vmap(lambda p, near: nearest_factor(p, near, self._sizes(p)))
        q = jnp.where(self.is_wide, nearest(*safe), balanced)
        return dot(q, self.rotation.T)

    def _sizes(self, p: Float[Array, "n n"]) -> Float[Array, " n"]:
        size = layer_sizes(p, len(self.of_inputs))
        if not self.is_limit:
            return size
        # The rounding error of the function is as large as this. A smaller layer would
        # make a negative eigenvalue of it.
        return jnp.maximum(size, jnp.sqrt(jnp.finfo(p.dtype).eps) * jnp.max(size))


def nearest_factor(
    p: Float[Array, "n n"], near: Float[Array, "n hidden"], size: Float[Array, " n"]
) -> Float[Array, "n hidden"]:
    """Q next to `near` with $QQ^T$ = `p`, whose rows have these sizes."""
    size = size[:, None]
    root = symmetric_root(p / size / size.T)
    return size * dot(root, nearest_isometry(dot(root, near / size)))


def layer_sizes(p: Float[Array, "n n"], n_in: int) -> Float[Array, " n"]:
    """The layers' sizes: scaled layers keep the digits of the smaller one."""
    size = jnp.diagonal(jax.lax.stop_gradient(p))
    size = [jnp.broadcast_to(jnp.mean(x), x.shape) for x in (size[:n_in], size[n_in:])]
    size = jnp.concatenate(size)
    return jnp.sqrt(jnp.where(size > 0, size, 1.0))


def _lack(p: Float[Array, "n n"]) -> Float[Array, ""]:
    """How far the smallest eigenvalue is below zero, beyond rounding.

    Adding it to the representations keeps the function.
    """
    values = jnp.linalg.eigvalsh(p)
    noise = 1e3 * jnp.finfo(p.dtype).eps * values[-1]
    return jnp.where(values[0] < -noise, -values[0], 0.0)


def wide_or_balanced(
    network: LinearNetwork,
    rotation: Float[Array, "hidden both"],
    scales: Scales,
    is_wide: Bool[Array, ""],
    lmda: Float[Array, ""],
    *,
    hidden: int,
    is_limit: bool,
) -> tuple[Weights, Float[Array, ""], Wide]:
    """Weights and balance of a balanced network, and the given one's difference.

    The network, from `narrowed`, is wide or balanced (`lmda`). The weights have
    `hidden` units. Balanced networks use no others.
    """
    w1, w2 = network.weights
    # A branch that is not chosen must not have NaN as its derivative.
    laziness = jnp.where(is_wide, scales.laziness, 1.0)
    function = jnp.where(is_wide, network.function, 0.0)
    (x1, x2), balance = balanced_of(function, laziness, scales.side, hidden)
    v1 = jnp.where(is_wide, x1, w1[:hidden])
    v2 = jnp.where(is_wide, x2, w2[:, :hidden])
    below = jnp.where(is_wide, dot(w1.mT, w1) - dot(v1.mT, v1), 0.0)
    above = jnp.where(is_wide, dot(w2, w2.mT) - dot(v2, v2.mT), 0.0)
    start = jnp.concatenate([w1.mT, w2])
    wide = Wide(is_wide, below, above, rotation, start, is_limit)
    return (v1, v2), jnp.where(is_wide, balance, lmda), wide
