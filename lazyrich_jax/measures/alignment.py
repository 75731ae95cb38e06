"""Measures of the angle between kernels."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks, _dtypes
from .._linalg import dot, norm, square_norm, symmetric_root
from .._xla import compiled
from .operators import (
    Kernel,
    alignment_of,
    as_operators,
    compared,
    distance_of,
    is_operator,
    norm_and_trace,
)


def kernel_alignment(k0: Kernel, k1: Kernel) -> Float[Array, ""]:
    r"""The cosine $\langle K_0, K_1\rangle_F / |K_0|_F |K_1|_F$ of two kernels.

    The measure (Cristianini et al. 2001) is from 0 to 1 for positive semidefinite
    kernels. It is invariant under scaling of each kernel and rotations of both. It is
    NaN for a zero kernel. It and `kernel_distance` add up to one; small values of
    either keep their digits. Operators of lineax are allowed, as in `kernel_distance`.

    **Raises:** `ValueError` for matrices that aren't square and of one shape.
    """
    if is_operator(k0) or is_operator(k1):
        found = compared(k0, k1)
        return alignment_of(distance_of(*found), found[3])
    return _alignment(*as_kernels(k0=k0, k1=k1))


def kernel_distance(k0: Kernel, k1: Kernel) -> Float[Array, ""]:
    r"""The distance $1 - \langle K_0, K_1\rangle_F / |K_0|_F |K_1|_F$ of two kernels.

    For the tangent kernels at the start and at time t it measures the richness of
    learning (Fort et al. 2020; Kunin et al. 2024; Domine et al. 2025). It compares only
    these two times: a kernel that returns to its start, as in reversal learning, has
    distance zero. Small distances keep their digits. The distance is zero for kernels
    that differ only by a factor, and NaN for a zero kernel.

    Kernels can be operators of lineax, such as `lazyrich_jax.kernels.ntk_operator`.
    Their columns are computed, some at a time, and not stored. Derivatives at equal
    operators are NaN.

    **Raises:** `ValueError` for matrices that aren't square and of one shape.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    network = lr.LambdaBalanced(lmda=1.0)(3, 2, 2, key=jax.random.key(1))
    ntk = lr.ExactSolution(network, task).ntk(jnp.array([0.0, jnp.inf]), task.x)
    print(lr.measures.kernel_distance(ntk[0], ntk[1]))
    ```
    """
    if is_operator(k0) or is_operator(k1):
        return distance_of(*compared(k0, k1))
    return _distance(*as_kernels(k0=k0, k1=k1))


def target_alignment(
    kernel: Kernel, y: Real[ArrayLike, "samples out"]
) -> Float[Array, ""]:
    r"""The alignment of a kernel with the targets `y`.

    A kernel of samples is compared with $yy^\top$. A kernel of outputs and samples,
    such as `lazyrich_jax.kernels.ntk`, is compared with the outer product of all
    targets (outputs first). `y` has a row per sample: a single output needs
    `y[:, None]`. An operator of lineax is allowed, as in `kernel_distance`.

    **Raises:** `ValueError` unless the kernel has a row for each sample, or for each
    output of each sample.
    """
    y = _checks.as_matrix("y", y)
    checked: Any
    if is_operator(kernel):
        (checked,) = as_operators(kernel=kernel)
        n = checked.in_size()
    else:
        checked = _checks.square("kernel", kernel)
        n = checked.shape[0]
    samples, outputs = y.shape
    _checks.require(
        n in (samples, samples * outputs),
        f"`kernel` must have {samples} or {samples * outputs} rows for `y` of shape "
        f"{y.shape}, but it had {n}.",
    )
    features = y if n == samples else y.T.reshape(-1, 1)
    if is_operator(checked):
        return _operator_alignment(checked, features)
    return _gram_alignment(*_dtypes.promoted(kernel=checked, features=features))


def _operator_alignment(kernel: Any, features: Float[Array, "n k"]) -> Float[Array, ""]:
    """The alignment of an operator with `features @ features.T`."""
    features = over_largest(features.astype(kernel.in_structure().dtype))
    product = jax.vmap(kernel.mv, in_axes=1, out_axes=1)(features)
    total, _ = norm_and_trace(kernel)
    gram = norm(dot(features.T, features))
    return jnp.sum(features * product / total) / gram


@compiled
def _gram_alignment(
    kernel: Float[Array, "n n"], features: Float[Array, "n k"]
) -> Float[Array, ""]:
    features = over_largest(features)
    return _alignment(kernel, dot(features, features.T))


def centred_kernel_alignment(
    k0: Real[ArrayLike, "n n"], k1: Real[ArrayLike, "n n"]
) -> Float[Array, ""]:
    r"""The alignment of two kernels of the same samples, both centred: CKA.

    The biased estimator of Cortes et al. 2012 and Kornblith et al. 2019 is from 0 to 1.
    It is invariant under scaling, rotations and shifts of the features. It is NaN for a
    kernel that is zero after centring. For hidden representations pass
    `lazyrich_jax.kernels.input_similarity` of both networks; for features (samples,
    features) pass `x @ x.T`.

    **Raises:** `ValueError` for matrices that aren't square and of one shape.
    """
    k0, k1 = as_kernels(k0=k0, k1=k1)
    return _centred_alignment(k0, k1)


def unbiased_centred_kernel_alignment(
    k0: Real[ArrayLike, "n n"], k1: Real[ArrayLike, "n n"]
) -> Float[Array, ""]:
    r"""CKA from the unbiased estimator of HSIC (Song et al. 2012).

    Its expectation for independent features is about zero for any number of samples, so
    that it can be negative. It is NaN if the estimate for a kernel with itself isn't
    positive.

    **Raises:** `ValueError` for matrices that aren't square and of one shape, and for
    fewer than four samples.
    """
    k0, k1 = as_kernels(k0=k0, k1=k1)
    n = k0.shape[0]
    _checks.require(
        n >= 4,
        f"`k0` must be a kernel of at least 4 samples, but its shape was {k0.shape}.",
    )
    return _unbiased(k0, k1)


@compiled
def _unbiased(k0: Float[Array, "n n"], k1: Float[Array, "n n"]) -> Float[Array, ""]:
    n = k0.shape[0]
    off = 1 - jnp.eye(n, dtype=k0.dtype)
    k0, k1 = over_largest(k0 * off), over_largest(k1 * off)

    def hsic(a, b):
        sums_a, sums_b = jnp.sum(a, axis=0), jnp.sum(b, axis=0)
        totals = jnp.sum(a) * jnp.sum(b) / ((n - 1) * (n - 2))
        return jnp.sum(a * b) + totals - 2 / (n - 2) * jnp.sum(sums_a * sums_b)

    own = hsic(k0, k0) * hsic(k1, k1)
    noise = 32 * n * jnp.finfo(k0.dtype).eps
    positive = hsic(k0, k0) > noise * square_norm(k0)
    positive &= hsic(k1, k1) > noise * square_norm(k1)
    own = jnp.sqrt(jnp.where(positive, own, 1.0))
    return hsic(k0, k1) / own * jnp.where(positive, 1.0, jnp.nan)  # derivatives too


def task_specificity(
    representation: Real[ArrayLike, "n n"], sigma: Real[ArrayLike, "m n"]
) -> Float[Array, ""]:
    r"""The task-specificity of a representation, from 0 to 1.

    It is the larger of the alignments with $VSV^\top$ and $VS^2V^\top$ for `sigma`
    $= USV^\top$. Rich networks, and the small layer of lazy ones, converge to these
    (Domine's thesis, section 4.1, where $W_2^\top W_2$ is a misprint for
    $W_2W_2^\top$). A task-agnostic representation does not score zero: compare with
    `task_specificity(jnp.eye(n), sigma)`, which is near one if singular values are
    nearly equal. The score is NaN for a zero representation or task.

    **Arguments:**

    - `representation`: $W_1^\top W_1$ with `sigma`, the task's correlation (out, in);
      or $W_2W_2^\top$ with `sigma.T`. The function can't detect a wrong choice for
      square tasks.

    **Raises:** `ValueError` for a representation that isn't square, or doesn't have as
    many columns as `sigma`.

    ```python
    import jax
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(2)
    network = lr.LambdaBalanced(lmda=0.0)(4, 4, 4, key=jax.random.key(0))
    end = lr.ExactSolution(network, task).network(1e3)
    sigma = task.input_output_correlation
    print(lr.measures.task_specificity(end.output_representation, sigma.T))
    ```
    """
    representation = _checks.square("representation", representation)
    sigma = _checks.as_matrix("sigma", sigma)
    _checks.require(
        representation.shape[1] == sigma.shape[1],
        f"`sigma` must have the representation's {representation.shape[1]} columns, "
        f"but its shape was {sigma.shape}; the output representation needs `sigma.T`.",
    )
    one = _dtypes.promoted(representation=representation, sigma=sigma)
    return _specificity(*one)


@compiled
def _specificity(
    representation: Float[Array, "n n"], sigma: Float[Array, "m n"]
) -> Float[Array, ""]:
    sigma = over_largest(sigma)
    squared = dot(sigma.T, sigma)
    return jnp.maximum(
        _alignment(representation, symmetric_root(squared)),
        _alignment(representation, squared),
    )


def as_kernels(**kernels: Any) -> list[Float[Array, "n n"]]:
    """Two kernels as matrices of one shape and dtype; their names are the keywords."""
    arrays = {name: _checks.square(name, k) for name, k in kernels.items()}
    _checks.same_shape(**arrays)
    return list(_dtypes.promoted(**arrays))


@compiled
def _centred_alignment(
    k0: Float[Array, "n n"], k1: Float[Array, "n n"]
) -> Float[Array, ""]:
    return _alignment(_centred(k0), _centred(k1))


def _centred(kernel: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The kernel with zero row and column means; NaN if only rounding remains."""
    rows = kernel - jnp.mean(kernel, axis=0, keepdims=True)
    centred = rows - jnp.mean(rows, axis=1, keepdims=True)
    largest = jnp.max(jnp.abs(kernel))
    noise = 8 * kernel.shape[0] * jnp.finfo(kernel.dtype).eps * largest
    return centred * jnp.where(jnp.max(jnp.abs(centred)) > noise, 1.0, jnp.nan)


def over_largest(x: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """`x` over its largest entry, for scale-invariant measures; NaN for zero.

    Squares of the result neither underflow nor overflow.
    """
    return x / jax.lax.stop_gradient(jnp.max(jnp.abs(x)))


def _unit(x: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """`x` over its norm; NaN for zero."""
    x = over_largest(x)
    return x / jnp.sqrt(square_norm(x))


@compiled
def _alignment(x: Float[Array, "n n"], y: Float[Array, "n n"]) -> Float[Array, ""]:
    x, y = _unit(x), _unit(y)
    return alignment_of(square_norm(x - y) / 2, jnp.sum(x * y))


@compiled
def _distance(x: Float[Array, "n n"], y: Float[Array, "n n"]) -> Float[Array, ""]:
    return square_norm(_unit(x) - _unit(y)) / 2
