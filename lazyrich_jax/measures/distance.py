"""Distances between representations, kernels and weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from .. import _checks, _dtypes
from .._linalg import dot, nearest_isometry, norm, symmetric_root
from .._xla import compiled
from .alignment import as_kernels
from .operators import Kernel, compared, is_operator


def procrustes_distance(
    x0: Real[ArrayLike, "samples features"], x1: Real[ArrayLike, "samples features"]
) -> Float[Array, ""]:
    r"""The distance of two representations after the best rotation of one.

    It is $\min_R |X_0 - X_1R|_F$ over orthogonal R, which is
    $\sqrt{|X_0|^2 + |X_1|^2 - 2|X_1^\top X_0|_*}$ (Schonemann 1966; Williams et al.
    2021). It is a metric. It depends on scale; it is invariant under shifts only if the
    features are centred.

    **Raises:** `ValueError` for matrices of different shapes.
    """
    x0, x1 = _checks.as_matrix("x0", x0), _checks.as_matrix("x1", x1)
    _checks.same_shape(x0=x0, x1=x1)
    return _procrustes(*_dtypes.promoted(x0=x0, x1=x1))


@jax.custom_jvp
@compiled
def _procrustes(x0: Float[Array, "n k"], x1: Float[Array, "n k"]) -> Float[Array, ""]:
    return norm(x0 - dot(x1, _best_rotation(x0, x1)))


@_procrustes.defjvp
def _procrustes_jvp(primals, tangents):
    # The rotation is a minimum: its change leaves the distance fixed to first order.
    (x0, x1), (dx0, dx1) = primals, tangents
    distance = _procrustes(x0, x1)
    rotation = _best_rotation(x0, x1)
    change = jnp.sum((x0 - dot(x1, rotation)) * (dx0 - dot(dx1, rotation)))
    # A distance of zero, or at rounding level, has no direction.
    noise = 8 * max(x0.shape) * jnp.finfo(x0.dtype).eps
    zero = distance <= noise * (norm(x0) + norm(x1))
    return distance, jnp.where(zero, 0.0, change / jnp.where(zero, 1.0, distance))


def _best_rotation(
    x0: Float[Array, "n k"], x1: Float[Array, "n k"]
) -> Float[Array, "k k"]:
    return nearest_isometry(dot(x1.T, x0))


def bures_distance(
    k0: Real[ArrayLike, "n n"], k1: Real[ArrayLike, "n n"]
) -> Float[Array, ""]:
    r"""The Procrustes distance of two kernels' features: the Bures distance.

    It is $\sqrt{\operatorname{tr}K_0 + \operatorname{tr}K_1 - 2\operatorname{tr}
    (K_0^{1/2}K_1K_0^{1/2})^{1/2}}$ for positive semidefinite kernels. It equals
    `procrustes_distance(x0, x1)` for all features with $K = XX^\top$.

    **Raises:** `ValueError` for matrices that aren't square and of one shape.
    """
    return _bures(*as_kernels(k0=k0, k1=k1))


@compiled
def _bures(k0: Float[Array, "n n"], k1: Float[Array, "n n"]) -> Float[Array, ""]:
    return _procrustes(symmetric_root(k0), symmetric_root(k1))


def representational_change(
    r0: Real[ArrayLike, "rows columns"], r1: Real[ArrayLike, "rows columns"]
) -> Float[Array, ""]:
    r"""The relative change $|R_1 - R_0|_F / |R_0|_F$ of a representation, or kernel.

    In the lazy limit it is zero for the tangent kernel and for the large layer's
    representation (if that layer is square), but not for the small layer's. It is
    infinite from a zero start, and zero if nothing moved.

    **Raises:** `ValueError` for matrices of different shapes.
    """
    r0, r1 = _checks.as_matrix("r0", r0), _checks.as_matrix("r1", r1)
    _checks.same_shape(r0=r0, r1=r1)
    return _change(*_dtypes.promoted(r0=r0, r1=r1))


@compiled
def _change(
    r0: Float[Array, "rows columns"], r1: Float[Array, "rows columns"]
) -> Float[Array, ""]:
    change = norm(r1 - r0)
    return jnp.where(change == 0, 0.0, change / jnp.where(change == 0, 1.0, norm(r0)))


def linearisation_gap(
    f0: Real[ArrayLike, "*shape"],
    f1: Real[ArrayLike, "*shape"],
    linear: Real[ArrayLike, "*shape"],
) -> Float[Array, ""]:
    r"""The gap $|f_1 - f_\mathrm{lin}| / |f_1 - f_0|$ of a model and its linearisation.

    It is zero for lazy learning, where the outputs are linear in the change of the
    parameters (Chizat et al. 2019; Lee et al. 2019), and about one or larger for rich
    learning. It is zero if nothing moved, and infinite if the outputs of the linear
    model moved alone.

    **Arguments:** outputs before learning, after it, and those of
    `lazyrich_jax.richness.linearised`, arrays of one shape.

    **Raises:** `ValueError` for different or empty shapes.
    """
    given = {"f0": f0, "f1": f1, "linear": linear}
    arrays = {name: _dtypes.as_real(name, value) for name, value in given.items()}
    _checks.require(arrays["f0"].size > 0, "`f0` must hold outputs, but it was empty.")
    for name in ("f1", "linear"):
        _checks.same_shape(**{"f0": arrays["f0"], name: arrays[name]})
    finite = {name: _checks.finite(name, array) for name, array in arrays.items()}
    return _gap(*_dtypes.promoted(**finite))


@compiled
def _gap(f0: Array, f1: Array, linear: Array) -> Float[Array, ""]:
    gap = norm(f1 - linear)
    moved = norm(f1 - f0)
    return jnp.where(gap == 0, 0.0, gap / jnp.where(gap == 0, 1.0, moved))


def weight_movement(start: PyTree, end: PyTree) -> Float[Array, ""]:
    r"""The relative distance $|\theta_1 - \theta_0| / |\theta_0|$ of all parameters.

    The measure (Chizat et al. 2019) depends on rotations of the hidden units: for
    `Exact`, compare networks with the flow's own weights (`ExactSolution.weights`). It
    is infinite from a zero start.

    **Arguments:** two networks, or any other trees of the same structure. All
    floating-point arrays count; complex ones count as real and imaginary parts.

    **Raises:** `ValueError` for different structures or shapes, and for trees without
    such arrays.
    """
    start, end = (eqx.filter(tree, _is_parameter) for tree in (start, end))
    pairs = []
    shapes = [[jnp.shape(x) for x in jax.tree.leaves(tree)] for tree in (start, end)]
    _checks.require(
        jax.tree.structure(start) == jax.tree.structure(end) and shapes[0] == shapes[1],
        "`start` and `end` must have parameters of the same shapes, but they had "
        f"{shapes[0]} and {shapes[1]}.",
    )
    _checks.require(
        len(jax.tree.leaves(start)) > 0,
        "`start` must hold floating-point arrays, but it held none.",
    )
    for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(end), strict=True):
        pairs.append((_parameters("start", a), _parameters("end", b)))
    before, after = (jnp.concatenate(vectors) for vectors in zip(*pairs, strict=True))
    return representational_change(before[None], after[None])


def rich_lazy_index(k0: Kernel, k1: Kernel) -> Float[Array, ""]:
    r"""The richness of learning, from 0 (lazy) to 1 (rich).

    It is $|K_1 - K_0|_F / (|K_0|_F + |K_1|_F)$ for the tangent kernels at the start and
    the end of learning. This library introduces it. A network is lazy if its tangent
    kernel is constant: it then learns like the linear model of its gradients (Jacot et
    al. 2018; Chizat et al. 2019), and its index is zero. The index is one if the start
    kernel is negligible at the end, as for small weights. Unlike `kernel_distance` it
    detects a kernel that grows without a change of direction. This is rich learning
    too: a small aligned network with equal modes learns all its features, at a kernel
    distance of zero.

    The index is symmetric, and independent of rotations and of the units of inputs,
    outputs and time. If the layer that $\lambda$ makes large is square, it falls as
    $1/\lambda^2$: the kernel grows as $|\lambda|$ and its change falls as
    $1/|\lambda|$. If that layer is wider than `hidden` the index tends to a constant:
    delayed rich learning.

    The index compares two times and ignores the path between them: after reversal
    learning ($f \to -f$) the kernel of a balanced network is back at its start. The
    largest index over time, `jax.vmap(lambda k: rich_lazy_index(ks[0], k))(ks).max()`,
    measures the path. The index is zero for two zero kernels. Operators of lineax, such
    as `lazyrich_jax.kernels.ntk_operator`, are allowed: their columns are not stored.

    **Raises:** `ValueError` for matrices that aren't square and of one shape.
    """
    if is_operator(k0) or is_operator(k1):
        return _index(*compared(k0, k1)[:3])
    k0, k1 = as_kernels(k0=k0, k1=k1)
    return _index(norm(k0), norm(k1), norm(k1 - k0))


@compiled
def _index(
    start: Float[Array, ""], end: Float[Array, ""], change: Float[Array, ""]
) -> Float[Array, ""]:
    total = start + end
    return change / jnp.where(total > 0, total, 1.0)


def _is_parameter(leaf: object) -> bool:
    array = isinstance(leaf, jax.Array | np.ndarray)
    return array and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _parameters(name: str, leaf: Any) -> Float[Array, " parameters"]:
    parts = [leaf.real, leaf.imag] if jnp.iscomplexobj(leaf) else [leaf]
    return jnp.concatenate([_dtypes.as_real(name, part).ravel() for part in parts])
