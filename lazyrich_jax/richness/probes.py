"""Features of a model's last layer, and gradients of its outputs by its layers."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from .._linalg import dot
from .model import CHUNK, Function
from .traced import Product, searched


@eqx.filter_jit
def last_features(
    function: Function, x: Shaped[Array, "samples ..."]
) -> Float[Array, "samples width"]:
    """What the last layer's weight multiplies, a vector for each sample."""

    def of_sample(sample: Array) -> Array:
        search, _ = searched(function, sample)
        return search.products[-1].operand.ravel()

    return jax.lax.map(of_sample, x, batch_size=min(CHUNK, x.shape[0]))


@eqx.filter_jit
def gradient_products(
    function: Function, x: Shaped[Array, "samples ..."]
) -> list[Float[Array, "out out"] | None]:
    r"""The mean of $J^\top J$ over samples, J the outputs' derivatives by a layer's.

    One for each dense layer, in forward order, and `None` for a convolution. With the
    layer's weight it gives the average gradient outer product by the layer's input,
    $W^\top\,\overline{J^\top J}\,W$ (`lazyrich_jax.measures.agop`).
    """

    def of_sample(sample: Array) -> list[Array | None]:
        products = searched(function, sample)[0].products
        taps = [jnp.zeros(p.result.shape, p.result.dtype) for p in products]
        slopes = jax.jacrev(lambda taps: searched(function, sample, taps)[1])(taps)
        return [_gram(p, j) for p, j in zip(products, slopes, strict=True)]

    def step(total, sample):
        return jax.tree.map(jnp.add, total, of_sample(sample)), None

    like = jax.eval_shape(of_sample, x[0])
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), like)
    total, _ = jax.lax.scan(step, zero, x)
    return jax.tree.map(lambda g: g / x.shape[0], total)


def _gram(product: Product, slope: Float[Array, "outputs ..."]) -> Array | None:
    r"""$J^\top J$ of one sample, summed over the places where the layer acts."""
    if product.kind != "dense":
        return None
    out = product.weight.shape[0]
    if product.out_first:
        rows = slope.reshape(slope.shape[0], out, -1).swapaxes(1, 2)
    else:
        rows = slope
    rows = rows.reshape(-1, out)
    return dot(rows.T, rows)
