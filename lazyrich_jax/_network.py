"""Deep linear networks, their balance and their representations."""

import functools
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from . import _checks
from ._compiled import compiled
from ._linalg import (
    complete_basis,
    dot,
    nearest_isometry,
    short_dot,
    split_singular_values,
    square_norm,
)


class LinearNetwork(eqx.Module):
    r"""A linear network of any depth, $\hat y = W_L \cdots W_1 x$.

    **Arguments:**

    - `weights`: the matrices from the input on, each of shape (out, in): for two
      layers `(w1, w2)` with `w1` (hidden, in) and `w2` (out, hidden).

    **Raises:** `ValueError` where a weight is not a finite matrix or the sizes don't
    chain.

    Calling the network maps one sample, (in,) to (out,); use `jax.vmap` for a batch.
    The properties also work on networks whose weights carry leading batch axes, such
    as `trajectory.network`.

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    network = lr.LinearNetwork((jnp.eye(2, 3), jnp.eye(2)))
    print(network(jnp.ones(3)))  # [1. 1.]
    ```
    """

    weights: tuple[Float[Array, "..."], ...]

    def __init__(self, weights: Sequence[Real[ArrayLike, "out in"]]):
        _checks.require(
            len(weights) > 0, "`weights` must hold at least one matrix, but was empty."
        )
        self.weights = tuple(
            _checks.as_matrix(f"weights[{i}]", w) for i, w in enumerate(weights)
        )
        for i in range(len(weights) - 1):
            below, above = self.weights[i].shape, self.weights[i + 1].shape
            _checks.require(
                below[0] == above[1],
                f"`weights` must chain, the columns of `weights[{i + 1}]` being as "
                f"many as the rows of `weights[{i}]`, but their shapes were {above} "
                f"and {below}; each matrix is (out, in), from the input on.",
            )

    def __call__(self, x: Real[ArrayLike, " in"]) -> Float[Array, " out"]:
        """The output for one sample."""
        x = _checks.as_real("x", x)
        _checks.require(
            x.shape == (self.sizes[0],),
            f"`x` must be one sample of shape ({self.sizes[0]},), but its shape was "
            f"{x.shape}; map over a batch with `jax.vmap`.",
        )
        return functools.reduce(lambda h, w: dot(w, h), self.weights, x)

    @property
    def depth(self) -> int:
        """The number of weight matrices."""
        return len(self.weights)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of units in every layer, from the input to the output."""
        return (self.weights[0].shape[-1], *(w.shape[-2] for w in self.weights))

    @property
    @compiled
    def function(self) -> Float[Array, "*batch out in"]:
        r"""The end-to-end map $W_L \cdots W_1$."""
        return dot(*reversed(self.weights))

    @property
    @compiled
    def lmda(self) -> Float[Array, "..."]:
        r"""The balance $\lambda^* = \mathrm{tr}(W_2^\top W_2 - W_1 W_1^\top) / N_h$.

        It minimises $\|W_2^\top W_2 - W_1 W_1^\top - \lambda I\|_F$, whether or not the
        weights are balanced; positive where the readout is larger. Gradient flow
        conserves it. A scalar for two layers; for more, one value for every hidden
        layer, on the last axis.

        **Raises:** `ValueError` for a network of one layer, which has no balance.
        """
        self._require_balance()
        squares = [jnp.sum(w * w, axis=(-2, -1)) for w in self.weights]
        return self._per_hidden_layer(
            [
                (above - below) / size
                for size, below, above in zip(
                    self.sizes[1:-1], squares[:-1], squares[1:], strict=True
                )
            ]
        )

    @property
    @compiled
    def balance_residual(self) -> Float[Array, "..."]:
        r"""$\|W_2^\top W_2 - W_1 W_1^\top - \lambda^* I\|_F$: zero where balanced.

        Shaped like `lmda`; absolute, in the units of a squared weight.
        """
        residuals = []
        for balance in self._balances():
            n = balance.shape[-1]
            lmda = jnp.trace(balance, axis1=-2, axis2=-1) / n
            eye = jnp.broadcast_to(jnp.eye(n, dtype=lmda.dtype), balance.shape)
            excess = balance - lmda[..., None, None] * eye
            residuals.append(jnp.sqrt(jnp.sum(excess**2, axis=(-2, -1))))
        return self._per_hidden_layer(residuals)

    def _require_balance(self) -> None:
        _checks.require(
            self.depth >= 2,
            "`weights` must hold at least two matrices to have a balance, but it "
            f"held {self.depth}.",
        )

    def _balances(self) -> list[Float[Array, "*batch hidden hidden"]]:
        self._require_balance()
        return [
            short_dot(above.mT, above) - short_dot(below, below.mT)
            for below, above in zip(self.weights[:-1], self.weights[1:], strict=True)
        ]

    def _per_hidden_layer(self, values: list[Array]) -> Float[Array, "..."]:
        return values[0] if self.depth == 2 else jnp.stack(values, axis=-1)

    @property
    @compiled
    def input_representation(self) -> Float[Array, "*batch in in"]:
        r"""$W_1^\top W_1$."""
        return dot(self.weights[0].mT, self.weights[0])

    @property
    @compiled
    def output_representation(self) -> Float[Array, "*batch out out"]:
        r"""$W_L W_L^\top$."""
        return dot(self.weights[-1], self.weights[-1].mT)

    @property
    @compiled
    def qqt(self) -> Float[Array, "*batch both both"]:
        r"""$QQ^\top$ with $Q = [W_1^\top; W_2]$, for two layers.

        Its blocks are the input representation, the function and the output
        representation (Fukumizu 1998; Braun et al. 2022).
        """
        self._two_layers("qqt")
        w1, w2 = self.weights
        q = jnp.concatenate([w1.mT, w2], axis=-2)
        return dot(q, q.mT)

    def rebalanced(self, lmda: Real[ArrayLike, ""]) -> "LinearNetwork":
        r"""The `lmda`-balanced network with this network's function, for two layers.

        Of all such networks, the hidden basis is chosen to stay near this one's, so
        that a balanced network rebalanced to its own `lmda` is itself. Differentiable
        where the function's singular values are distinct.

        **Raises:** `ValueError` for a depth other than two, and where the sizes
        don't allow the sign of `lmda`: positive needs `hidden <= out`, negative needs
        `hidden <= in`. A traced `lmda` of the wrong sign gives NaN weights.
        """
        self._two_layers("rebalanced")
        lmda = _checks.as_scalar("lmda", lmda)
        lmda = lmda.astype(jnp.result_type(lmda, *self.weights))
        feasible = check_feasible(lmda, self.sizes)
        w1, w2 = self.weights
        k = min(self.sizes)
        if self.sizes[1] == k:
            # Through the factors: the product has repeated zeros, this has none.
            q2, r2 = jnp.linalg.qr(w2)
            q1, r1 = jnp.linalg.qr(w1.mT)
            u, s, vt = jnp.linalg.svd(dot(r2, r1.mT))
            u, v = dot(q2, u), dot(q1, vt.mT)
        else:
            u, s, vt = jnp.linalg.svd(dot(w2, w1), full_matrices=False)
            v = vt.mT
        s1, s2 = split_singular_values(s, lmda)
        r = nearest_isometry(dot(w2.mT, u) * s2[None] + dot(w1, v) * s1[None])
        if self.sizes[1] > k:
            rest = complete_basis(r)
            r = jnp.concatenate([r, rest], axis=1)
            u = _extended(u, dot(w2, rest))
            v = _extended(v, dot(w1.mT, rest))
        return balanced_network(u, s, v, r, jnp.where(feasible, lmda, jnp.nan))

    def _two_layers(self, name: str) -> None:
        _checks.require(
            self.depth == 2,
            f"`{name}` must be asked of a network of two layers, but this one had "
            f"{self.depth}.",
        )


def _extended(
    columns: Float[Array, "n k"], towards: Float[Array, "n rest"]
) -> Float[Array, "n more"]:
    """Orthonormal `columns` with more appended, as near as can be to `towards`."""
    n, k = columns.shape
    if n - k < towards.shape[1]:
        return columns
    left = complete_basis(columns)
    more = dot(left, nearest_isometry(dot(left.mT, towards)))
    return jnp.concatenate([columns, more], axis=1)


def check_feasible(lmda: Float[Array, ""], sizes: tuple[int, ...]) -> Bool[Array, ""]:
    """Whether sizes (in, hidden, out) allow a balance `lmda`; raises if known now.

    `W2.T W2 - W1 W1.T = lmda I` needs rank `hidden` of `W2` where `lmda > 0` and of
    `W1` where `lmda < 0` (generalises Domine et al. 2025, theorem on dimensions).
    """
    in_size, hidden_size, out_size = sizes
    feasible = jnp.isfinite(lmda)
    text = _checks.sizes_text(sizes)
    if hidden_size > out_size:
        feasible &= lmda <= 0
    if hidden_size > in_size:
        feasible &= lmda >= 0
    if _checks.is_concrete(lmda):
        _checks.finite("lmda", lmda)
        value = float(lmda)
        _checks.require(
            bool(feasible) or value < 0,
            f"`lmda` must not be positive for sizes {text}, but it was {value}: "
            "a positive balance needs `hidden_size <= out_size`.",
        )
        _checks.require(
            bool(feasible) or value > 0,
            f"`lmda` must not be negative for sizes {text}, but it was {value}: "
            "a negative balance needs `hidden_size <= in_size`.",
        )
    return feasible


def balanced_network(
    u: Float[Array, "out left"],
    s: Float[Array, " modes"],
    v: Float[Array, "in right"],
    r: Float[Array, "hidden hidden"],
    lmda: Float[Array, ""],
) -> LinearNetwork:
    """The `lmda`-balanced network with function `u[:, :k] @ diag(s) @ v[:, :k].T`.

    `k = len(s)`. Hidden units beyond the `k` modes hold `sqrt(abs(lmda))` in the layer
    that is large, along the further columns of `u` or `v`. Domine et al. 2025,
    Algorithm 1, for every feasible size and sign.
    """
    k, hidden = s.size, r.shape[0]
    s1, s2 = split_singular_values(s, lmda)
    w1 = dot(r[:, :k] * s1[None], v[:, :k].mT)
    w2 = dot(u[:, :k] * s2[None], r[:, :k].mT)
    if hidden > k:
        nonzero = lmda != 0
        root = jnp.where(nonzero, jnp.sqrt(jnp.abs(jnp.where(nonzero, lmda, 1.0))), 0.0)
        if u.shape[1] >= hidden:
            extra = dot(u[:, k:hidden], r[:, k:].mT)
            w2 = w2 + jnp.where(lmda < 0, 0.0, root) * extra
        if v.shape[1] >= hidden:
            extra = dot(r[:, k:], v[:, k:hidden].mT)
            w1 = w1 + jnp.where(lmda > 0, 0.0, root) * extra
    return LinearNetwork((w1, w2))


@compiled
def relative_imbalance(network: LinearNetwork) -> Float[Array, ""]:
    """The largest balance residual relative to the squared size of the weights."""
    scale = sum(square_norm(w) for w in network.weights)
    scale = jnp.where(scale == 0, 1.0, scale)
    return jnp.max(network.balance_residual / scale)
