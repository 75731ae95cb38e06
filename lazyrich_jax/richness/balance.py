"""The balance of consecutive layers of a model."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .._exactness import exactness_tolerance
from .._layers import Layer
from .._linalg import dot
from .._network import LinearNetwork
from .._xla import compiled
from .layers import layers
from .pairing import pairs_in


class PairBalance(eqx.Module):
    r"""The balance of two consecutive layers, $L = W_2^\top W_2 - W_1 W_1^\top$.

    A bias of the first layer is a column of $W_1$: $L = W_2^\top W_2 - W_1 W_1^\top -
    b_1 b_1^\top$. Convolutions are sums over the window and the channels of the other
    side. Gradient flow conserves, for every loss,

    - all of L, if nothing but linear maps that act on each unit alike (such as a
      pooling by means) lie between the layers (Du et al. 2018, theorem 2.2). The scores
      and the values of attention are such pairs;
    - the diagonal of L (`units`) if the activation has $\phi(cz) = c\,\phi(z)$ for
      c > 0, such as ReLU (theorem 2.1 there). Pooling by means or maxima may follow;
    - nothing, for tanh and all others.

    It is not conserved if the first layer's outputs have another use, such as a skip
    connection, if weights are normalised or shared, and with batch or layer
    normalisation or rotary positions between the layers. Weight decay makes it fall.
    A convolution by groups counts as one with zeros between its groups: of its balances
    the diagonal alone is conserved.

    A positive balance means that the upper layer is larger. At |lambda| far above the
    function's singular values a balanced pair learns lazily, at zero it learns richly
    (Domine et al. 2025). A large `residual` means that one `lmda` does not describe the
    pair. Wide random layers are described by `l_plus` and `l_minus`.

    **Attributes:**

    - `names`: the names of both layers.
    - `head`: the head of attention, or None.
    - `pair`: both layers as a `LinearNetwork`. Its properties hold for the pair.

    `jax.vmap` of `balances` over models at several times adds a leading axis to
    everything; the drift is the difference of two of its entries.
    """

    names: tuple[str, str] = eqx.field(static=True)
    head: int | None = eqx.field(static=True)
    pair: LinearNetwork

    @property
    def matrix(self) -> Float[Array, "*batch hidden hidden"]:
        """The balance L."""
        return _matrix(*self.pair.weights)

    @property
    def units(self) -> Float[Array, "*batch hidden"]:
        """The diagonal of L: the balance of each hidden unit or channel."""
        w1, w2 = self.pair.weights
        return jnp.sum(w2 * w2, axis=-2) - jnp.sum(w1 * w1, axis=-1)

    @property
    def eigenvalues(self) -> Float[Array, "*batch hidden"]:
        """The eigenvalues of L, in increasing order."""
        return self.pair.imbalance_spectrum

    @property
    def lmda(self) -> Float[Array, "*batch"]:
        """The mean eigenvalue: the nearest multiple of the identity."""
        return self.pair.lmda

    @property
    def residual(self) -> Float[Array, "*batch"]:
        r"""$|L - \lambda I|_F / (|W_1|^2 + |W_2|^2)$: zero if the pair is balanced.

        It is at most one. It is zero for a pair without weights.
        """
        return _residual(self.pair)

    @property
    def l_plus(self) -> Float[Array, "*batch"]:
        """The output scale: the sum of positive eigenvalues over min(out, hidden).

        It is the positive eigenvalue of a pair in the wide class (docs/theory.md,
        section 7) and `max(lmda, 0)` of a balanced pair.
        """
        return self.pair.effective_scales[1]

    @property
    def l_minus(self) -> Float[Array, "*batch"]:
        """Minus the input scale: the sum of negative eigenvalues over min(in, hidden).

        It is the negative eigenvalue of a pair in the wide class, and `min(lmda, 0)` of
        a balanced pair.
        """
        return -self.pair.effective_scales[0]

    def __str__(self) -> str:
        """One line: the balance, whether the pair has it, and both scales."""
        below, above = self.names
        head = "" if self.head is None else f", head {self.head}"
        first = f"{below} -> {above}{head}, {self.pair.sizes[1]} hidden"
        if not _checks.is_concrete(self) or self.lmda.ndim > 0:
            return f"{first}: balance of several or traced models"
        numbers = (float(x) for x in _summary(self.pair))
        lmda, residual, low, high, scale = numbers
        tolerance = exactness_tolerance(self.pair.weights[0].dtype)
        word = "balanced" if residual <= tolerance else "not balanced"
        side = "layers of equal size"
        if abs(lmda) > tolerance * scale:
            side = f"the {'upper' if lmda > 0 else 'lower'} layer is larger"
        return (
            f"{first}: lambda {lmda:.4g} ({side}), residual {residual:.3g} ({word}), "
            f"l- {low:.4g}, l+ {high:.4g}"
        )


# Functions of arrays without names: pairs of one shape share a program.


@compiled
def _matrix(w1: Float[Array, "..."], w2: Float[Array, "..."]) -> Float[Array, "..."]:
    return dot(w2.mT, w2) - dot(w1, w1.mT)


@compiled
def _residual(pair: LinearNetwork) -> Float[Array, "*batch"]:
    square = sum(jnp.sum(w * w, axis=(-2, -1)) for w in pair.weights)
    safe = jnp.where(square > 0, square, 1.0)
    return jnp.where(square > 0, pair.balance_residual / safe, 0.0)


@compiled
def _summary(pair: LinearNetwork) -> Float[Array, " five"]:
    """The numbers of a line, and the mean square of a unit's weights."""
    square = sum(jnp.sum(w * w) for w in pair.weights)
    low, high = pair.effective_scales
    values = pair.lmda, _residual(pair), -low, high, square / pair.sizes[1]
    return jnp.stack(values)


def balances(
    model: PyTree,
    x: Any = None,
    *,
    apply: Callable[[Any, Array], Any] | None = None,
    layout: str | None = None,
    channels: str | None = None,
) -> tuple[PairBalance, ...]:
    r"""The balance of every pair of consecutive layers of a model.

    A dense or convolutional layer and the next one are a pair if nothing else uses the
    first or enters the second, which the computation for samples `x` tells: a skip
    connection makes no pair. Without `x`, neighbours in the tree whose sizes chain are
    pairs. In attention the key and the query of a head are a pair,
    and so are its value and output: $Q_h Q_h^\top - K_h K_h^\top$ and $O_h^\top O_h -
    V_h V_h^\top$, with biases of queries, keys and values as further columns.
    `PairBalance` says what training conserves.

    **Arguments:**

    - `model`, `x`, `apply`, `layout`: as for `lazyrich_jax.richness.layers`, which
      finds the layers. `model` may also be a sequence of its layers.
    - `channels`: the place of the channels in a flattened convolution that a dense
      layer follows, "first" (Equinox, PyTorch) or "last" (Flax). It is needed only
      there.

    **Returns:** a `PairBalance` for each pair, and each head, in forward order.

    **Raises:** as `layers`; `ValueError` if no two layers are a pair, if keys and
    queries, or values and outputs, differ in their heads or are not both used, and if
    `channels` is needed and missing.

    ```python
    import equinox as eqx
    import jax
    import lazyrich_jax as lr

    model = eqx.nn.MLP(4, 2, width_size=16, depth=2, key=jax.random.key(0))
    for balance in lr.richness.balances(model):
        print(balance)
    ```
    """
    require_channels(channels)
    if _are_layers(model):
        alone = x is None and apply is None and layout is None
        _checks.require(alone, "`x`, `apply`, `layout` must be None with layers.")
        found = tuple(model)
    else:
        found = layers(model, x, apply=apply, layout=layout)
    pairs, left_out = balances_of(found, channels)
    for why in left_out.values():
        raise ValueError(why)
    return pairs


def balances_of(
    found: Sequence[Layer], channels: str | None
) -> tuple[tuple[PairBalance, ...], dict[tuple[str, ...], str]]:
    """The balances of layers, and why other pairs have none.

    **Raises:** `ValueError` if no two layers are a pair.
    """
    pairs, left_out = pairs_in(found, channels)
    _checks.require(
        len(pairs) + len(left_out) > 0,
        "`model` must have two consecutive layers whose sizes chain, but its layers "
        f"were {', '.join(_text(layer) for layer in found)}.",
    )
    balances = (PairBalance(pair.names, pair.head, pair.network) for pair in pairs)
    return tuple(balances), left_out


def require_channels(channels: str | None) -> None:
    """Refuse all but the two places of channels, and `None`."""
    _checks.require(
        channels in (None, "first", "last"),
        f"`channels` must be 'first' or 'last', but it was {channels!r}.",
    )


def _are_layers(model: PyTree) -> bool:
    is_sequence = isinstance(model, Sequence) and len(model) > 0
    return is_sequence and all(isinstance(layer, Layer) for layer in model)


def _text(layer: Layer) -> str:
    return f"{layer.name} ({layer.kind}, {_checks.sizes_text(layer.weight.shape)})"
