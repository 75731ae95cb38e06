"""Real arrays, and the common precision of several arrays."""

from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def as_real(name: str, value: Any, *, whole: bool = False) -> Array:
    """`value` as a real array in single or double precision.

    Whole numbers become weakly typed floats: like Python scalars they take the dtype of
    other arguments. With `whole` they stay integers. NumPy's longer floats and foreign
    byte orders are converted.
    """
    message = f"`{name}` must be a real number or array, but it was {value!r}."
    if value is None or isinstance(value, str):  # older JAX makes NaN of None
        raise TypeError(message)
    try:
        array = _as_array(value)
    except (TypeError, ValueError) as error:
        raise TypeError(message) from error
    if jnp.issubdtype(array.dtype, jnp.integer):
        with jax.numpy_dtype_promotion("standard"):
            return array if whole else array * 1.0
    require_precision(name, array.dtype)
    return array


def _as_array(value: Any) -> Array:
    """`value` as a JAX array; types unknown to JAX are converted first.

    Longer floats become double, foreign byte orders native.
    """
    try:
        dtype = getattr(value, "dtype", None)
        if not isinstance(dtype, np.dtype) or dtype.isnative:
            return jnp.asarray(value)
    except (TypeError, ValueError):
        pass
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"its dtype was {array.dtype}")
    native = array.dtype.newbyteorder("=")
    return jnp.asarray(array.astype(float if native == np.longdouble else native))


def require_precision(name: str, dtype: jnp.dtype) -> None:
    """Refuse complex numbers and half precision."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"`{name}` must be real, but its dtype was {dtype}.")
    if jnp.finfo(dtype).bits < 32:
        raise TypeError(
            f"`{name}` must be in single or double precision, but its dtype was "
            f"{dtype}: convert it by `.astype(jnp.float32)`."
        )


def common_dtype(**given: Any) -> jnp.dtype:
    """The widest dtype of arrays, or trees of arrays; their names are the keywords.

    JAX's setting of promotion does not matter. Weakly typed arrays (Python scalars,
    whole numbers) don't widen it.
    """
    strong = []
    for name, tree in given.items():
        for array in filter(_is_float, jax.tree.leaves(tree)):
            require_precision(name, array.dtype)
            if not getattr(array, "weak_type", False):
                strong.append(jax.dtypes.canonicalize_dtype(array.dtype))
    return max(strong, key=lambda d: d.itemsize, default=jnp.result_type(float))


def rounding(**given: Any) -> float:
    """The machine epsilon of the coarsest dtype given."""
    arrays = [x for x in jax.tree.leaves(given) if _is_float(x)]
    return max(float(jnp.finfo(x.dtype).eps) for x in arrays)


@overload
def promoted(**given: Array) -> tuple[Array, ...]: ...


@overload
def promoted(**given: Any) -> tuple[Any, ...]: ...


def promoted(**given: Any) -> tuple[Any, ...]:
    """Arrays, or trees of arrays, converted to their `common_dtype`."""
    dtype = common_dtype(**given)

    def cast(x: Any) -> Any:
        return jnp.asarray(x).astype(dtype) if _is_float(x) else x

    return tuple(jax.tree.map(cast, tree) for tree in given.values())


def _is_float(leaf: Any) -> bool:
    is_array = isinstance(leaf, jax.Array | np.ndarray)
    return is_array and jnp.issubdtype(leaf.dtype, jnp.floating)
