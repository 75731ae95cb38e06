"""Exact inner products of tangent kernels in bounded memory, on two roads."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from .._linalg import dot
from .chunks import in_chunks
from .cost import cost_of, most_samples, parameter_count
from .model import Function
from .products import KernelProducts, of_features

ROWS = 4096  # of derivatives at a time: more are not faster
MATRICES = 6  # (parameters, parameters): three sums and their increments


class Plan(NamedTuple):
    """How products are computed.

    **Attributes:**

    - `by_parameters`: whether by matrices of parameters, or else by blocks of kernels.
    - `samples`: at a time; zero if the memory is too small.
    - `operations`: in all.
    - `least`: the least memory in bytes.
    """

    by_parameters: bool
    samples: int
    operations: float
    least: float


def plans(
    function: Function, x: Shaped[Array, "samples ..."], outputs: int, memory: float
) -> tuple[Plan, Plan]:
    r"""Both roads: $|J_0^\top J_1|^2$ over parameters, and blocks of $J J^\top$."""
    samples, parameters = x.shape[0], parameter_count(function)
    item = jax.tree.leaves(function.parameters)[0].dtype.itemsize
    cost = cost_of(_of_sample, function, x[0])
    rows = samples * outputs

    each, fixed = 2 * cost.bytes, MATRICES * item * float(parameters) ** 2
    most = min(samples, max(1, ROWS // outputs))
    features = Plan(
        True,
        most_samples(memory, fixed, each, most),
        6.0 * rows * float(parameters) ** 2 + 2 * samples * cost.operations,
        fixed + each,
    )
    each = 2 * cost.bytes + 4 * item * outputs * min(rows, ROWS)
    size = most_samples(memory, 0.0, each, most)
    chunks = -(-samples // max(size, 1))
    pairs = chunks * (chunks + 1)  # of both models
    size_of_pair = samples / chunks
    blocks = Plan(
        False,
        size,
        pairs * 2.0 * (size_of_pair * outputs) ** 2 * parameters
        + pairs * 2 * size_of_pair * cost.operations,
        each,
    )
    return features, blocks


def exact_products(
    start: Function, end: Function, x: Shaped[Array, "samples ..."], plan: Plan
) -> KernelProducts:
    """The products by a plan; sums are taken in double precision."""
    chunks, keep = in_chunks(x, plan.samples)
    if plan.by_parameters:
        grams = _grams(start, end, chunks, keep)
        return of_features(*(np.asarray(gram, float) for gram in grams))
    sums, traces = np.zeros(4), np.zeros(2)
    for i in range(chunks.shape[0]):
        for j in range(i, chunks.shape[0]):
            k0, k1 = (
                np.asarray(_block(f, chunks[i], keep[i], chunks[j], keep[j]), float)
                for f in (start, end)
            )
            times = 1 if i == j else 2
            change = k1 - k0
            pairs = (k0, k0), (k1, k1), (change, change), (k0, k1)
            sums += [times * np.vdot(a, b) for a, b in pairs]
            if i == j:
                traces += [np.trace(k0), np.trace(k1)]
    return KernelProducts(*map(float, (*sums, *traces)))


def _of_sample(function: Function, sample: Array) -> list[Float[Array, "outputs _"]]:
    """The derivatives of one sample's outputs by each parameter array."""
    derivatives = jax.jacrev(function)(function.parameters, sample)
    return [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(derivatives)]


def _rows(
    function: Function, x: Array, keep: Bool[Array, " size"]
) -> list[Float[Array, "rows _"]]:
    """The derivatives of all outputs of samples; zero for those not kept."""
    found = jax.vmap(lambda sample: _of_sample(function, sample))(x)
    return [
        jnp.where(keep[:, None, None], leaf, 0).reshape(-1, leaf.shape[2])
        for leaf in found
    ]


@eqx.filter_jit
def _grams(
    start: Function, end: Function, chunks: Array, keep: Bool[Array, "chunks size"]
) -> tuple[Array, Array, Array]:
    def step(sums: Any, chunk: Any) -> tuple[Any, None]:
        j0, j1 = (jnp.concatenate(_rows(f, *chunk), axis=1) for f in (start, end))
        change = j1 - j0
        more = dot(j0.T, j0), dot(j0.T, change), dot(change.T, change)
        return jax.tree.map(jnp.add, sums, more), None

    size = parameter_count(start)
    zero = jnp.zeros((size, size), jax.tree.leaves(start.parameters)[0].dtype)
    return jax.lax.scan(step, (zero, zero, zero), (chunks, keep))[0]


@eqx.filter_jit
def _block(
    function: Function, x0: Array, keep0: Array, x1: Array, keep1: Array
) -> Float[Array, "rows rows"]:
    first, second = _rows(function, x0, keep0), _rows(function, x1, keep1)
    blocks = [dot(a, b.T) for a, b in zip(first, second, strict=True)]
    return sum(blocks[1:], blocks[0])
