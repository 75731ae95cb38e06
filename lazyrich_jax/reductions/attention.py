"""In-context regression by linear attention."""

import functools

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._network import LinearNetwork
from .._task import Task
from .reduction import Reduction


def linear_attention(
    key_query: Real[ArrayLike, "dims dims"],
    value: Real[ArrayLike, ""],
    examples: int,
) -> Reduction:
    r"""One head of linear attention that learns regression in context.

    A sequence holds N `examples` $x_n$, $y_n = w \cdot x_n$ and a query x of D
    dimensions. Its task w, the examples and the query are drawn with zero mean and unit
    covariance (the $x_n$ Gaussian). With keys and queries merged into a matrix U and
    the value v, the head predicts

    $$\hat y = v\, \frac1N \sum_n y_n\, x_n^\top U x$$

    for the query, whose target is $w \cdot x$ (Zhang et al. 2025). It is a two-layer
    network of one hidden unit, $W_1 = \mathrm{vec}(U)^\top$, $W_2 = v$, on the features
    $\frac1N \sum_n y_n x_n x^\top$. Their covariance is $c I$,
    $c = 1 + (1 + D)/N$, and their correlation with the target is
    $\mathrm{vec}(I)$. Every start is balanced. The reduction is exact for the loss
    averaged over all sequences.

    **Arguments:**

    - `key_query`: U at time zero.
    - `value`: v at time zero.
    - `examples`: N.

    **Returns:** a `Reduction`. Times are learning rate x step. Its functions are
    $vU$, (D, D), and its weights $(U, v)$.

    **Raises:** `ValueError` for a U that isn't square. (Several heads, tasks with
    another covariance and unmerged keys and queries have no such reduction.)

    ```python
    import jax.numpy as jnp
    import lazyrich_jax as lr

    head = lr.reductions.linear_attention(0.1 * jnp.eye(3), 0.1, examples=20)
    print(head.function(jnp.inf)[0, 0])  # 1 / (1 + 4 / 20) = 0.8333
    ```
    """
    key_query = _checks.as_matrix("key_query", key_query)
    d = key_query.shape[0]
    _checks.require(
        key_query.shape == (d, d),
        "`key_query` must be a square matrix, the merged keys and queries of one head, "
        f"but its shape was {key_query.shape}.",
    )
    value = _checks.finite("value", _checks.as_scalar("value", value))
    key_query, value = _dtypes.promoted(key_query=key_query, value=value)
    examples = _checks.size("examples", examples)
    network = LinearNetwork((key_query.reshape(1, d * d), value.reshape(1, 1)))
    variance = 1 + (1 + d) / examples
    # Samples of the features along each axis, and one for the error that remains.
    n = d * d
    root = ((n + 1) * variance) ** 0.5
    x = jnp.concatenate([root * jnp.eye(n), jnp.zeros((1, n))]).astype(value.dtype)
    along = (n + 1) / root * jnp.eye(d, dtype=value.dtype).ravel()
    rest = ((n + 1) * d * (1 - 1 / variance)) ** 0.5
    y = jnp.append(along, jnp.asarray(rest, value.dtype))[:, None]
    return Reduction(
        network,
        Task(x, y),
        to_function=functools.partial(_as_square, d),
        to_weights=functools.partial(_as_head, d),
    )


def _as_square(d: int, function: Float[Array, "1 features"]) -> Array:
    return function.reshape(d, d)


def _as_head(d: int, weights: tuple[Array, ...]) -> tuple[Array, Array]:
    return weights[0].reshape(d, d), weights[1].reshape(())
