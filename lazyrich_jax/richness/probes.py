"""Features of a model's last layer, and gradients of its outputs by its layers."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from .._linalg import dot
from .chunks import CHUNK, in_chunks, mapped
from .cost import costs_of_samples, most_samples
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


def gradient_products(
    function: Function, x: Shaped[Array, "samples ..."], memory: float
) -> list[Float[Array, "out out"] | None]:
    r"""The mean of $J^\top J$ over samples, J the outputs' derivatives by a layer's.

    One for each dense layer of at most `WIDEST` inputs, in forward order, and `None`
    for others. With the layer's weight it gives the average gradient outer product by
    the layer's input, $W^\top\,\overline{J^\top J}\,W$ (`lazyrich_jax.measures.agop`).
    `memory` are bytes for samples at a time.
    """
    one = jnp.ones(x.shape[:1], bool)
    once, each = costs_of_samples(lambda part: _sums(function, *part), (x, one))
    size = most_samples(
        memory, once.bytes, max(each.bytes, 1.0), min(CHUNK, x.shape[0])
    )
    total = None
    for part in zip(*in_chunks(x, max(size, 1)), strict=True):
        grams = _sums(function, *part)
        total = grams if total is None else jax.tree.map(jnp.add, total, grams)
    return jax.tree.map(lambda gram: gram / x.shape[0], total)


@eqx.filter_jit
def _sums(
    function: Function, x: Array, keep: Bool[Array, " samples"]
) -> list[Array | None]:
    """The sums over those samples that count."""
    products = searched(function, x[0])[0].products
    taps = [
        jnp.zeros(p.result.shape, p.result.dtype)
        if p.kind == "dense" and p.weight.shape[1] <= WIDEST
        else None
        for p in products
    ]
    if all(tap is None for tap in taps):
        return taps

    def of_sample(sample: Array) -> list[Array | None]:
        return jax.jacrev(lambda taps: searched(function, sample, taps)[1])(taps)

    slopes = jax.vmap(of_sample)(x)
    return [
        None if slope is None else _gram(product, slope, keep)
        for product, slope in zip(products, slopes, strict=True)
    ]


def _gram(
    product: Product,
    slope: Float[Array, "samples outputs ..."],
    keep: Bool[Array, " samples"],
) -> Array:
    r"""$J^\top J$, summed over samples and the places where the layer acts."""
    out = product.weight.shape[0]
    flat = slope.reshape(*slope.shape[:2], -1)
    rows = jnp.where(keep[:, None, None], flat, 0).reshape(-1, *product.result.shape)
    if product.out_first:
        rows = rows.reshape(len(rows), out, -1).swapaxes(1, 2)
    rows = rows.reshape(-1, out)
    return dot(rows.T, rows)
