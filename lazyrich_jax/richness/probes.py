"""Features of a model's last layer, and gradients of its outputs by its layers."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from .._linalg import dot
from .chunks import mapped
from .model import Function
from .traced import Product, searched

WIDEST = 2048  # inputs of a layer whose gradients are taken


def last_features(
    function: Function, x: Shaped[Array, "samples ..."]
) -> Float[Array, "samples width"]:
    """What the last layer's weight multiplies, a vector for each sample."""
    return mapped(_last_features, function, x)


@eqx.filter_jit
def _last_features(function: Function, x: Array) -> Array:
    def of_sample(sample: Array) -> Array:
        search, _ = searched(function, sample)
        return search.products[-1].operand.ravel()

    return jax.vmap(of_sample)(x)


@eqx.filter_jit
def gradient_products(
    function: Function, x: Shaped[Array, "samples ..."]
) -> list[Float[Array, "out out"] | None]:
    r"""The mean of $J^\top J$ over samples, J the outputs' derivatives by a layer's.

    One for each dense layer of at most `WIDEST` inputs, in forward order, and `None`
    for others. With the layer's weight it gives the average gradient outer product by
    the layer's input, $W^\top\,\overline{J^\top J}\,W$ (`lazyrich_jax.measures.agop`).
    """

    def of_sample(sample: Array) -> list[Array | None]:
        products = searched(function, sample)[0].products
        taps = [
            jnp.zeros(p.result.shape, p.result.dtype)
            if p.kind == "dense" and p.weight.shape[1] <= WIDEST
            else None
            for p in products
        ]
        if all(tap is None for tap in taps):
            return taps
        slopes = jax.jacrev(lambda taps: searched(function, sample, taps)[1])(taps)
        return [
            None if slope is None else _gram(product, slope)
            for product, slope in zip(products, slopes, strict=True)
        ]

    def step(total, sample):
        return jax.tree.map(jnp.add, total, of_sample(sample)), None

    like = jax.eval_shape(of_sample, x[0])
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), like)
    total, _ = jax.lax.scan(step, zero, x)
    return jax.tree.map(lambda g: g / x.shape[0], total)


def _gram(product: Product, slope: Float[Array, "outputs ..."]) -> Array:
    r"""$J^\top J$ of one sample, summed over the places where the layer acts."""
    out = product.weight.shape[0]
    rows = slope
    if product.out_first:
        rows = slope.reshape(slope.shape[0], out, -1).swapaxes(1, 2)
    rows = rows.reshape(-1, out)
    return dot(rows.T, rows)
