"""Norms of kernels that are operators of lineax, from their columns."""

from typing import TYPE_CHECKING, Any, Union

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks
from .._linalg import norm

if TYPE_CHECKING:
    import lineax

Kernel = Union[Real[ArrayLike, "n n"], "lineax.AbstractLinearOperator"]

COLUMNS = 64  # at a time


def is_operator(kernel: Any) -> bool:
    """Whether a kernel is an operator of lineax."""
    return hasattr(kernel, "mv") and hasattr(kernel, "in_structure")


def compared(k0: Any, k1: Any) -> tuple[Float[Array, ""], ...]:
    r"""$|K_0|_F$, $|K_1|_F$, $|K_1 - K_0|_F$ and the cosine; one may be a matrix.

    No kernel is stored: memory is taken for some of their columns.
    """
    return _compared(*as_operators(k0=k0, k1=k1))


@eqx.filter_jit
def _compared(k0: Any, k1: Any) -> tuple[Float[Array, ""], ...]:
    products, structure = _products(k0, k1)

    def step(found: Any, columns: Array) -> tuple[Any, None]:
        a, b = (product(columns) for product in products)
        parts = norm(a), norm(b), norm(b - a)
        *lengths, cosine = found
        longer = tuple(map(_longer, lengths, parts))
        # The sum is over the norms so far: it neither underflows nor overflows.
        x, y = (jnp.where(n > 0, n, 1.0) for n in longer[:2])
        cosine = cosine * (lengths[0] / x) * (lengths[1] / y)
        return (*longer, cosine + jnp.sum((a / x) * (b / y))), None

    zeros = (jnp.zeros((), structure.dtype),) * 4
    start, end, change, cosine = jax.lax.scan(step, zeros, _chunks(structure))[0]
    angle = jnp.where((start > 0) & (end > 0), cosine, jnp.nan)
    return start, end, change, angle


def norm_and_trace(kernel: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""$|K|_F$ and the trace of an operator."""
    return _norm_and_trace(*as_operators(kernel=kernel))


@eqx.filter_jit
def _norm_and_trace(kernel: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
    (product,), structure = _products(kernel)

    def step(found: Any, columns: Array) -> tuple[Any, None]:
        rows = product(columns)
        one = jax.nn.one_hot(columns, structure.size, dtype=rows.dtype)
        return (_longer(found[0], norm(rows)), found[1] + jnp.sum(rows * one)), None

    zero = jnp.zeros((), structure.dtype)
    return jax.lax.scan(step, (zero, zero), _chunks(structure))[0]


def distance_of(
    start: Any, end: Any, change: Any, cosine: Any, where: Any = jnp.where
) -> Any:
    r"""The kernel distance from $|K_0|_F$, $|K_1|_F$, $|K_1 - K_0|_F$ and the cosine.

    Norms keep the digits of small distances, the cosine those for unequal norms.
    `where` is that of JAX or NumPy.
    """
    growth = end - start
    by_norms = ((change - growth) / start) * ((change + growth) / end) / 2
    errors = (change / start) * ((change + abs(growth)) / end) / 2  # over those of 1
    return where(errors < 1, by_norms, 1 - cosine)


def alignment_of(distance: Array, cosine: Array) -> Array:
    """The alignment from the distance and the sum of products, without cancellation."""
    return jnp.where(distance < 0.5, 1 - distance, cosine)


def as_operators(**kernels: Any) -> list[Any]:
    """Kernels as operators of one size; their names are the keywords."""
    import lineax

    found = []
    for name, kernel in kernels.items():
        if not is_operator(kernel):
            kernel = lineax.MatrixLinearOperator(_checks.square(name, kernel))
        shapes = jax.tree.leaves((kernel.in_structure(), kernel.out_structure()))
        vectors = len(shapes) == 2 and all(len(s.shape) == 1 for s in shapes)
        _checks.require(
            vectors and shapes[0].shape == shapes[1].shape,
            f"`{name}` must be an operator from vectors to vectors of one size, but "
            f"its shapes were {[s.shape for s in shapes]}.",
        )
        found.append(kernel)
    sizes = [kernel.in_size() for kernel in found]
    _checks.require(
        len(set(sizes)) == 1,
        f"{' and '.join(f'`{name}`' for name in kernels)} must have the same size, but "
        f"their sizes were {sizes}.",
    )
    return found


def _products(*kernels: Any) -> tuple[list[Any], Any]:
    """Maps from indices of columns to these columns, as rows, in one dtype."""
    structures = [kernel.in_structure() for kernel in kernels]
    dtype = max((s.dtype for s in structures), key=lambda d: d.itemsize)

    def product(kernel: Any, structure: Any) -> Any:
        def of_columns(columns: Array) -> Array:
            # An index beyond the last column gives zero.
            one = jax.nn.one_hot(columns, structure.size, dtype=structure.dtype)
            return jax.vmap(kernel.mv)(one).astype(dtype)

        return of_columns

    products = [product(k, s) for k, s in zip(kernels, structures, strict=True)]
    return products, jax.ShapeDtypeStruct(structures[0].shape, dtype)


def _chunks(structure: Any) -> Array:
    size = min(COLUMNS, structure.size)
    count = -(-structure.size // size)
    return jnp.arange(count * size).reshape(count, size)


def _longer(a: Array, b: Array) -> Array:
    """The norm of a vector and another one below it."""
    return norm(jnp.stack([a, b]))
