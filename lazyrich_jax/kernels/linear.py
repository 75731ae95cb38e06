"""Tangent kernels of linear networks, and similarities in their hidden layers.

In: a network, or its representations, and samples. Out: matrices over outputs and
samples, from products of the layers. The docstrings name the sources.
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._linalg import dot
from .._network import LinearNetwork
from .._xla import compiled

if TYPE_CHECKING:
    import lineax

Weights = tuple[Float[Array, "_ _"], ...]


def ntk(
    network: LinearNetwork, x: Real[ArrayLike, "samples in"]
) -> Float[Array, "outputs outputs"]:
    r"""The neural tangent kernel of a linear network of any depth, on inputs `x`.

    $K_{(i,n),(j,m)} = \sum_\theta \partial_\theta \hat y_i(x_n)\,
    \partial_\theta \hat y_j(x_m)$, outputs before samples. For two layers it is
    $I \otimes X W_1^\top W_1 X^\top + W_2 W_2^\top \otimes X X^\top$ with `x` = $X$
    (Jacot et al. 2018; Theorem 4.1.3 of Domine's thesis). It is computed as the sum of
    $A_lA_l^\top \otimes B_lB_l^\top$ over the layers, with $A_l$ the product of the
    layers above and $B_l$ the activity of the layer below.

    **Returns:** (out * samples, out * samples).

    **Raises:** `ValueError` if `x` is not a matrix with a column per input.
    """
    return _ntk(*_inputs(network, x))


@compiled
def _ntk(weights: Weights, x: Array) -> Array:
    above, below = _around(weights, x)
    return sum(
        (jnp.kron(dot(a, a.T), dot(b, b.T)) for a, b in zip(above, below, strict=True)),
        start=jnp.zeros((), x.dtype),
    )


def ntk_blocks(
    network: LinearNetwork, x: Real[ArrayLike, "samples in"]
) -> Float[Array, "out out samples samples"]:
    """The neural tangent kernel as a block (samples, samples) per pair of outputs.

    **Raises:** as `ntk`.
    """
    return _ntk_blocks(*_inputs(network, x))


@compiled
def _ntk_blocks(weights: Weights, x: Array) -> Array:
    above, below = _around(weights, x)
    upper = jnp.stack([dot(a, a.T) for a in above])
    lower = jnp.stack([dot(b, b.T) for b in below])
    return jnp.einsum(
        "lij,lnm->ijnm", upper, lower, precision=jax.lax.Precision.HIGHEST
    )


def ntk_trace(
    network: LinearNetwork, x: Real[ArrayLike, "samples in"]
) -> Float[Array, "samples samples"]:
    r"""The neural tangent kernel summed over outputs.

    For two layers it is $N_o X W_1^\top W_1 X^\top + |W_2|_F^2\,XX^\top$.

    **Raises:** as `ntk`.
    """
    return _ntk_trace(*_inputs(network, x))


@compiled
def _ntk_trace(weights: Weights, x: Array) -> Array:
    above, below = _around(weights, x)
    return sum(
        (jnp.sum(a * a) * dot(b, b.T) for a, b in zip(above, below, strict=True)),
        start=jnp.zeros((), x.dtype),
    )


def ntk_operator(
    network: LinearNetwork, x: Real[ArrayLike, "samples in"]
) -> "lineax.FunctionLinearOperator":
    r"""The neural tangent kernel as an operator, for sizes too large for a matrix.

    A product with a vector of shape (out * samples,) costs as much as a step of
    gradient descent, and no array grows with the square of the samples. The result is
    a positive semidefinite operator of lineax: it has `.mv(vector)`, and
    `lineax.linear_solve` takes it.

    **Raises:** as `ntk`.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    network = lr.LambdaBalanced(1.0)(50, 20, 30, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (1000, 50))
    kernel = lr.kernels.ntk_operator(network, x)
    print(kernel.mv(jnp.ones(30 * 1000)).shape)
    ```
    """
    import lineax

    above, below = _around(*_inputs(network, x))
    samples, outputs = below[0].shape[0], above[0].shape[0]

    def product(vector):
        y = vector.reshape(outputs, samples)
        pieces = [
            dot(a, dot(dot(a.T, y), b), b.T) for a, b in zip(above, below, strict=True)
        ]
        return jnp.sum(jnp.stack(pieces), axis=0).ravel()

    like = jax.ShapeDtypeStruct((outputs * samples,), below[0].dtype)
    return lineax.FunctionLinearOperator(
        product, like, tags=lineax.positive_semidefinite_tag
    )


def ntk_of_representations(
    input_representation: Float[Array, "in in"],
    output_representation: Float[Array, "out out"],
    x: Float[Array, "samples in"],
) -> Float[Array, "outputs outputs"]:
    r"""The kernel of a two-layer network from $W_1^\top W_1$ and $W_2W_2^\top$.

    **Raises:** `ValueError` for representations that aren't square and inputs `x`
    (samples, in) that don't fit.
    """
    names = "input_representation", "output_representation"
    given = input_representation, output_representation
    of_inputs, of_outputs = map(_checks.square, names, given)
    side = of_inputs.shape[0]
    x = _checks.as_matrix("x", x)
    _checks.require(
        x.shape[1] == side,
        f"`x` must have {side} inputs (columns), but its shape was {x.shape}.",
    )
    one = _dtypes.promoted(**{names[0]: of_inputs, names[1]: of_outputs}, x=x)
    return _ntk_of_two(*one)


@compiled
def _ntk_of_two(
    input_representation: Array, output_representation: Array, x: Array
) -> Array:
    eye = jnp.eye(output_representation.shape[0], dtype=x.dtype)
    return jnp.kron(eye, dot(x, input_representation, x.mT)) + jnp.kron(
        output_representation, dot(x, x.mT)
    )


def input_similarity(
    network: LinearNetwork, x: Real[ArrayLike, "samples in"]
) -> Float[Array, "samples samples"]:
    r"""The similarity of inputs in the first hidden layer, $X W_1^\top W_1 X^\top$.

    References: Braun et al. 2022; Domine's thesis, section 4.1.

    **Raises:** as `ntk`.
    """
    weights, x = _inputs(network, x)
    return _gram(x, weights[0])


def output_similarity(
    network: LinearNetwork, y: Real[ArrayLike, "samples out"]
) -> Float[Array, "samples samples"]:
    r"""The similarity of outputs in the last hidden layer, $Y (W_L W_L^\top)^+ Y^\top$.

    It is the similarity of the smallest hidden activities with these outputs (Braun et
    al. 2022; Domine's thesis, section 4.1). `y` are targets or outputs; their parts
    outside of the range of $W_L$ do not count.

    **Raises:** `ValueError` if `y` is not a matrix with a column per output.
    """
    _single(network)
    y = _checks.as_matrix("y", y)
    _checks.require(
        y.shape[1] == network.sizes[-1],
        f"`y` must have {network.sizes[-1]} outputs (columns), but its shape was "
        f"{y.shape}.",
    )
    network, y = _dtypes.promoted(network=network, y=y)
    return _gram(y, jnp.linalg.pinv(network.weights[-1]))


@compiled
def _gram(x: Float[Array, "samples k"], w: Float[Array, "hidden k"]) -> Array:
    hidden = dot(x, w.T)
    return dot(hidden, hidden.T)


def _single(network: LinearNetwork) -> None:
    """Refuse other types, and a network with leading batch axes."""
    hint = "of another model, `empirical_ntk`"
    _checks.instance("network", network, LinearNetwork, hint)


def _inputs(
    network: LinearNetwork, x: Real[ArrayLike, "samples in"]
) -> tuple[Weights, Array]:
    """The weights and the inputs `x`, checked for their size, in one dtype."""
    _checks.not_swapped(network=(network, LinearNetwork), x=(x, _checks.ARRAY))
    _single(network)
    x = _checks.as_matrix("x", x)
    _checks.require(
        x.shape[1] == network.sizes[0],
        f"`x` must have {network.sizes[0]} inputs (columns), but its shape was "
        f"{x.shape}.",
    )
    finer, inputs = _dtypes.promoted(network=network, x=x)
    return finer.weights, inputs


@compiled
def _around(weights: Weights, x: Array) -> tuple[list[Array], list[Array]]:
    """For every layer, the product of the layers above it and its inputs for `x`."""
    below = [x]
    for w in weights[:-1]:
        below.append(dot(below[-1], w.T))
    above = [jnp.eye(weights[-1].shape[0], dtype=x.dtype)]
    for w in weights[:0:-1]:
        above.append(dot(above[-1], w))
    return above[::-1], below
