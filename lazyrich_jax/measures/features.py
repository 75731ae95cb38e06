"""Measures of features: of the kernels of representations, from the representations.

A kernel of samples is never formed where it is larger than the features.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from .. import _checks, _dtypes
from .._linalg import dot, square_norm
from .._xla import compiled


def feature_alignment(
    x0: Real[ArrayLike, "samples width"], x1: Real[ArrayLike, "samples other"]
) -> Float[Array, ""]:
    r"""The centred alignment (CKA) of two representations of the same samples.

    It is $|X_1^\top X_0|_F^2 / |X_0^\top X_0|_F|X_1^\top X_1|_F$ of centred features
    (Kornblith et al. 2019), which is `centred_kernel_alignment` of the kernels
    $XX^\top$. Between the start and the end of training it is one for a layer that
    stayed lazy, and small for one that learned new features. It is invariant under
    scaling, rotations and shifts of the features. The features of a linear layer on
    centred, whitened inputs have the `kernel_alignment` of their $W^\top W$.

    **Arguments:** features with a row per sample; their widths may differ.

    **Returns:** a scalar from 0 to 1, NaN for features that are constant.

    **Raises:** `ValueError` for features of different samples.
    """
    return _aligned(*_same_samples(x0=x0, x1=x1))


@compiled
def _aligned(x0: Float[Array, "n k"], x1: Float[Array, "n m"]) -> Float[Array, ""]:
    x0, x1 = _centred(x0), _centred(x1)
    if max(x0.shape[1], x1.shape[1]) > len(x0):
        overlap = jnp.sum(dot(x0, x0.T) * dot(x1, x1.T))
    else:
        overlap = square_norm(dot(x0.T, x1))
    return overlap / jnp.sqrt(square_norm(_gram(x0)) * square_norm(_gram(x1)))


def feature_change(
    x0: Real[ArrayLike, "samples width"], x1: Real[ArrayLike, "samples width"]
) -> Float[Array, ""]:
    r"""The relative change $|K_1 - K_0|_F / |K_0|_F$ of the kernel $K = XX^\top$.

    It is `representational_change` of the kernels. It is zero for a lazy layer and
    grows without bound for a rich one. Growth without a change of direction counts.
    It is invariant under rotations of the features and under a scaling of both. Small
    changes keep their digits. A change that only rotates the features is zero to half
    of the digits. It is infinite from a zero start, and zero if nothing moved. The
    features of a linear layer on whitened inputs have the `representational_change` of
    their $W^\top W$.

    **Arguments:** features with a row per sample, of one width.

    **Returns:** a scalar of at least 0.

    **Raises:** `ValueError` for features of different shapes.
    """
    x0, x1 = _checks.as_matrix("x0", x0), _checks.as_matrix("x1", x1)
    _checks.same_shape(x0=x0, x1=x1)
    return _changed(*_dtypes.promoted(x0=x0, x1=x1))


@compiled
def _changed(x0: Float[Array, "n k"], x1: Float[Array, "n k"]) -> Float[Array, ""]:
    largest = jnp.maximum(jnp.max(jnp.abs(x0)), jnp.max(jnp.abs(x1)))
    scale = jax.lax.stop_gradient(jnp.where(largest == 0, 1.0, largest))
    # K1 - K0 = M D' + D M' for the mean M and the difference D of the features.
    mean, step = (x0 + x1) / (2 * scale), (x1 - x0) / scale
    if x0.shape[1] > len(x0):
        product = dot(mean, step.T)
        square = square_norm(product + product.T)
    else:
        product = dot(mean.T, step)
        square = jnp.sum(_gram(mean) * _gram(step)) + jnp.sum(product * product.T)
        square = 2 * jnp.maximum(square, 0.0)
    still = square == 0
    change = jnp.sqrt(jnp.where(still, 1.0, square))
    return jnp.where(still, 0.0, change / jnp.sqrt(square_norm(_gram(x0 / scale))))


def dynamical_richness(
    features: Real[ArrayLike, "samples width"],
    outputs: Real[ArrayLike, "samples out"],
) -> Float[Array, ""]:
    r"""The distance $D_{LR}$ of features from the fewest that express the outputs.

    **Zero is rich, one is lazy.** It is $1 - \mathrm{CKA}(T, T_{MP})$ (Nam et al. 2024,
    arXiv:2410.04264). T is the kernel of the last hidden layer's features. $T_{MP} =
    a_1\,1 1^\top + a_2P$, the minimum projection operator of their definition 1, has
    the projection P onto the span of the network's outputs; centring removes the
    first term. The measure needs neither labels nor the start of training, and is
    independent of the performance. It is invariant under scaling, rotations and shifts
    of the features and under invertible linear maps of the outputs. Collapsed classes
    (`neural_collapse`) have the value zero. The authors report 0.51 before and 0.11
    after grokking of modular addition, 0.0087 for MNIST learned by all layers and 0.63
    by the last one alone.

    For a linear network on centred, whitened inputs it is the distance of $W_1^\top
    W_1$ from the projection onto the row space of the function, of rank r. At $\lambda
    = 0$ it is $1 - \sum s / \sqrt{r\sum s^2}$ for singular values s of the function:
    zero only if they are equal. If the first layer is square and large ($\lambda \to
    -\infty$) it is $1 - \sqrt{r / \mathrm{in}}$.

    **Arguments:**

    - `features`: the inputs of the last layer, (samples, width).
    - `outputs`: the network's outputs, (samples, out). Outputs that are linearly
      dependent up to rounding count once.

    **Returns:** a scalar from 0 to 1, NaN if features or outputs are constant. Its
    derivative exists where the outputs' rank is locally constant.

    **Raises:** `ValueError` for features and outputs of different samples.
    """
    return _richness(*_same_samples(features=features, outputs=outputs))


@compiled
def _richness(
    features: Float[Array, "n k"], outputs: Float[Array, "n m"]
) -> Float[Array, ""]:
    features, span = _centred(features), _centred(_basis(outputs))
    # Blocks of both kernels in a basis of the span and in its complement.
    basis = _basis(span)
    inside = dot(basis.T, features)
    beyond = features - dot(basis, inside)
    within, projection = dot(inside, inside.T), dot(basis.T, span)
    projection = dot(projection, projection.T)
    outside = 2 * square_norm(dot(beyond, inside.T)) + square_norm(_gram(beyond))
    square = square_norm(within) + outside
    within = within / jnp.sqrt(square) - projection / jnp.sqrt(square_norm(projection))
    return (square_norm(within) + outside / square) / 2


def activation_flips(
    z0: Real[ArrayLike, "*shape"], z1: Real[ArrayLike, "*shape"]
) -> Float[Array, ""]:
    r"""The share of pre-activations that change sign between two networks.

    For ReLU units it is the share of pairs (sample, unit) that are switched on or off.
    It is zero for a lazy network, whose activation pattern stays that of the start
    (Chizat et al. 2019), and about one half for patterns that are unrelated. Zero
    counts as off. For a linear layer and isotropic Gaussian inputs it is, on average,
    the angle between the old and new weights of a unit over $\pi$. It has no
    derivative.

    **Arguments:** pre-activations of the same samples and units, in any shape.

    **Returns:** a scalar from 0 to 1, NaN if a pre-activation is NaN.

    **Raises:** `ValueError` for different or empty shapes.
    """
    z0, z1 = _dtypes.as_real("z0", z0), _dtypes.as_real("z1", z1)
    _checks.same_shape(z0=z0, z1=z1)
    _checks.require(
        z0.size > 0, f"`z0` must hold a number, but its shape was {z0.shape}."
    )
    return _flips(*_dtypes.promoted(z0=z0, z1=z1))


@compiled
def _flips(z0: Float[Array, "*shape"], z1: Float[Array, "*shape"]) -> Float[Array, ""]:
    z0, z1 = jax.lax.stop_gradient((z0, z1))
    unknown: Bool[Array, ""] = jnp.any(jnp.isnan(z0) | jnp.isnan(z1))
    share = jnp.mean(((z0 > 0) != (z1 > 0)).astype(z0.dtype))
    return jnp.where(unknown, jnp.nan, share)


def _same_samples(**given: Real[ArrayLike, "samples _"]) -> list[Array]:
    """Two matrices with as many rows, in one dtype; their names are the keywords."""
    arrays = {name: _checks.as_matrix(name, x) for name, x in given.items()}
    (first, a), (second, b) = arrays.items()
    _checks.require(
        len(a) == len(b),
        f"`{first}` and `{second}` must have a row for each sample, but their shapes "
        f"were {a.shape} and {b.shape}.",
    )
    return list(_dtypes.promoted(**arrays))


def _centred(x: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """`x` without its mean row, its largest entry one; NaN if only rounding remains."""
    centred = x - jnp.mean(x, axis=0, keepdims=True)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(centred)))
    noise = 8 * len(x) * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x))
    return centred / jnp.where(largest > noise, largest, jnp.nan)


def _gram(x: Float[Array, "n k"]) -> Float[Array, "m m"]:
    """The smaller of $XX^\\top$ and $X^\\top X$, whose norms are equal."""
    return dot(x, x.T) if x.shape[1] > len(x) else dot(x.T, x)


# The size of rounding in a network's outputs, relative to their largest singular value.
_ROUNDINGS = 64


@jax.custom_jvp
def _basis(x: Float[Array, "n k"]) -> Float[Array, "n rank"]:
    """An orthonormal basis of the columns' span, and columns of zeros.

    Its derivative is that of the span: it does not rotate the basis.
    """
    u, s, _ = jnp.linalg.svd(x, full_matrices=False)
    kept = s > _ROUNDINGS * jnp.finfo(x.dtype).eps * s[0]
    return u * kept.astype(x.dtype)[None]


@_basis.defjvp
def _basis_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    basis = _basis(x)
    rounding = float(_ROUNDINGS * jnp.finfo(x.dtype).eps)
    change = dot(dx, jnp.linalg.pinv(x, rtol=rounding), basis)
    return basis, change - dot(basis, basis.T, change)
