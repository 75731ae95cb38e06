"""Measures of a network's derivatives by its inputs."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._linalg import dot, symmetric_root
from .._xla import compiled
from .alignment import kernel_alignment


def agop(jacobians: Real[ArrayLike, "samples out in"]) -> Float[Array, "in in"]:
    r"""The average gradient outer product: the mean of $J^\top J$ over the samples.

    J is the derivative of the outputs by the input of a layer, at one sample
    (Radhakrishnan et al. 2024). The eigenvectors of large eigenvalues are the
    directions of the input that the outputs depend on: the features that were learned.
    It is $A^\top A$ for a linear network, A being the product of this layer's matrix
    and those above.

    **Returns:** a symmetric, positive semidefinite matrix in squared units of J.

    **Raises:** `ValueError` unless `jacobians` has three axes, none of them empty; a
    network of one output needs the axis too. `jax.vmap(jax.jacrev(f))(x)` has this
    shape.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    network = lr.LambdaBalanced(lmda=0.0)(3, 3, 2, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (10, 3))
    features = lr.measures.agop(jax.vmap(jax.jacrev(network))(x))
    print(lr.measures.neural_feature_alignment(network.weights[0], features))  # 1.0
    ```
    """
    array = _dtypes.as_real("jacobians", jacobians)
    _checks.require(
        array.ndim == 3 and array.size > 0,
        "`jacobians` must have the axes (samples, out, in), none of them empty, but "
        f"its shape was {array.shape}.",
    )
    return _agop(_checks.finite("jacobians", array))


@compiled
def _agop(jacobians: Float[Array, "samples out in"]) -> Float[Array, "in in"]:
    rows = jacobians.reshape(-1, jacobians.shape[-1])
    return dot(rows.T, rows) / len(jacobians)


def neural_feature_alignment(
    weight: Real[ArrayLike, "out in"],
    agop: Real[ArrayLike, "in in"],
    *,
    power: Real[ArrayLike, ""] = 0.5,
) -> Float[Array, ""]:
    r"""The cosine of $W^\top W$ with a power of the average gradient outer product.

    The neural feature ansatz (Radhakrishnan et al. 2024) says that a trained layer has
    $W^\top W \propto \mathrm{AGOP}^\alpha$, with $\alpha = 1/2$; their first version
    has $\alpha = 1$. Values near one belong to learned features. Small values belong to
    the weights of the start: lazy training leaves them there. The measure is invariant
    under scaling of either argument and rotations of the inputs. The authors' later
    code subtracts the mean entry of both matrices first
    (`jnp.corrcoef(a.ravel(), b.ravel())`), which depends on the basis of the inputs.

    A linear network of L layers balanced with $\lambda = 0$ satisfies it exactly in its
    first layer for $\alpha = 1/L$: $W_1^\top W_1 = (A^\top A)^{1/L}$, A its function.
    Two layers balanced with $\lambda \to -\infty$ and a square first layer have $W_1^
    \top W_1 \propto I$: the cosine of the identity with $\mathrm{AGOP}^\alpha$.

    **Arguments:**

    - `weight`: the layer's matrix W, (out, in).
    - `agop`: `lazyrich_jax.measures.agop` by the layer's input, (in, in).
    - `power`: $\alpha > 0$.

    **Returns:** a scalar from 0 to 1, NaN for a zero weight or `agop`. The derivative
    by `agop` is NaN where eigenvalues repeat, unless `power` is the number 1/2 or 1.

    **Raises:** `ValueError` for shapes that don't fit, an `agop` that isn't symmetric,
    and a `power` that isn't positive.
    """
    weight, matrix = _checks.as_matrix("weight", weight), _checks.square("agop", agop)
    _checks.require(
        weight.shape[1] == len(matrix),
        "`agop` must have a row for each column of `weight`, but their shapes were "
        f"{matrix.shape} and {weight.shape}.",
    )
    values = _checks.known(matrix)
    if values is not None:
        off, largest = abs(values - values.T).max(), abs(values).max()
        _checks.require(
            bool(off <= 1e-3 * largest),
            "`agop` must be symmetric, but it differed from its transpose by "
            f"{float(off):.3g}.",
        )
    exact = isinstance(power, int | float) and power in _ROOTS
    exponent = _checks.positive("power", _checks.as_scalar("power", power))
    weight, matrix, exponent = _dtypes.promoted(
        weight=weight, agop=matrix, power=exponent
    )
    root = _ROOTS[power](matrix) if exact else _power(matrix, exponent)
    return kernel_alignment(dot(weight.T, weight), root)


# Powers with derivatives at repeated eigenvalues.
_ROOTS = {0.5: compiled(symmetric_root), 1: lambda matrix: matrix}


@compiled
def _power(
    matrix: Float[Array, "in in"], exponent: Float[Array, ""]
) -> Float[Array, "in in"]:
    s, u = jnp.linalg.eigh((matrix + matrix.T) / 2)
    positive = s > s.size * jnp.finfo(s.dtype).eps * s[-1]
    s = jnp.where(positive, jnp.where(positive, s, 1.0) ** exponent, 0.0)
    return dot(u * s[None], u.T)
