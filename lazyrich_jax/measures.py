r"""Numbers read off representations, kernels, losses and weights.

Pure functions of arrays: each takes matrices or curves without leading axes, works
under `jax.jit`, `jax.vmap` and `jax.grad`, and gets other axes from `jax.vmap`. What
they give for zero, rank-one and repeated values is listed in docs/theorems.md.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree, Real

from . import _checks
from ._linalg import dot, nearest_isometry, norm, square_norm, symmetric_root


def kernel_alignment(
    k0: Real[ArrayLike, "n n"], k1: Real[ArrayLike, "n n"]
) -> Float[Array, ""]:
    r"""The cosine $\langle K_0, K_1\rangle_F / |K_0|_F |K_1|_F$ of two kernels.

    (Cristianini et al. 2001.) From 0 to 1 for positive semidefinite kernels; blind to
    their scale, and to a rotation of both. NaN for a kernel of zero.

    **Raises:** `ValueError` for matrices that aren't square and of one shape.
    """
    return _alignment(*_kernels(k0=k0, k1=k1))


def kernel_distance(
    k0: Real[ArrayLike, "n n"], k1: Real[ArrayLike, "n n"]
) -> Float[Array, ""]:
    r"""The distance $1 - \langle K_0, K_1\rangle_F / |K_0|_F |K_1|_F$ of two kernels.

    Of the tangent kernels at the start and at time t it measures how rich learning was
    (Fort et al. 2020; Kunin et al. 2024; Domine et al. 2025), as far as two moments
    can tell: a kernel that has come back, as in reversal learning, has no distance.
    Evaluated so that small distances keep their digits. Zero for kernels that differ by
    a factor only; NaN for a kernel of zero.

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
    k0, k1 = _kernels(k0=k0, k1=k1)
    return _half_square(_unit(k0), _unit(k1))


def target_alignment(
    kernel: Real[ArrayLike, "n n"], y: Real[ArrayLike, "samples out"]
) -> Float[Array, ""]:
    r"""The alignment of a kernel with the targets `y`.

    With $yy^\top$ for a kernel of samples; for one of outputs and samples, such as
    `lazyrich_jax.kernels.ntk`, with the outer product of all targets (outputs first).
    `y` has a row per sample: a single output needs `y[:, None]`.

    **Raises:** `ValueError` unless the kernel has a row for each sample, or for each
    output of each sample.
    """
    kernel, y = _checks.square("kernel", kernel), _checks.as_matrix("y", y)
    samples, outputs = y.shape
    n = kernel.shape[0]
    _checks.require(
        n in (samples, samples * outputs),
        f"`kernel` must have {samples} or {samples * outputs} rows for `y` of shape "
        f"{y.shape}, but it had {n}.",
    )
    features = _over_largest(y if n == samples else y.T.reshape(-1, 1))
    return _alignment(kernel, dot(features, features.T))


def centred_kernel_alignment(
    k0: Real[ArrayLike, "n n"], k1: Real[ArrayLike, "n n"]
) -> Float[Array, ""]:
    r"""The alignment of two kernels of the same samples, both centred: CKA.

    (Cortes et al. 2012; Kornblith et al. 2019, the biased estimator.) From 0 to 1;
    blind to scale, to a rotation of the features and to a shift of them. NaN for a
    kernel that is zero once centred. Of hidden representations: pass
    `lazyrich_jax.kernels.input_similarity` of both networks; of features (samples,
    features), `x @ x.T`.

    **Raises:** `ValueError` for matrices that aren't square and of one shape.
    """
    k0, k1 = _kernels(k0=k0, k1=k1)
    return _alignment(_centred(k0), _centred(k1))


def unbiased_centred_kernel_alignment(
    k0: Real[ArrayLike, "n n"], k1: Real[ArrayLike, "n n"]
) -> Float[Array, ""]:
    r"""CKA from the unbiased estimator of HSIC (Song et al. 2012).

    Its expectation for independent features is about zero however few the samples are,
    so that it can be negative. NaN where a kernel's own estimate isn't positive.

    **Raises:** `ValueError` for matrices that aren't square and of one shape, and for
    fewer than four samples.
    """
    k0, k1 = _kernels(k0=k0, k1=k1)
    n = k0.shape[0]
    _checks.require(
        n >= 4,
        f"`k0` must be a kernel of at least 4 samples, but its shape was {k0.shape}.",
    )
    off = 1 - jnp.eye(n, dtype=k0.dtype)
    k0, k1 = _over_largest(k0 * off), _over_largest(k1 * off)

    def hsic(a, b):
        sums_a, sums_b = jnp.sum(a, axis=0), jnp.sum(b, axis=0)
        totals = jnp.sum(a) * jnp.sum(b) / ((n - 1) * (n - 2))
        return jnp.sum(a * b) + totals - 2 / (n - 2) * jnp.sum(sums_a * sums_b)

    own = hsic(k0, k0) * hsic(k1, k1)
    noise = 32 * n * jnp.finfo(k0.dtype).eps
    positive = hsic(k0, k0) > noise * square_norm(k0)
    positive &= hsic(k1, k1) > noise * square_norm(k1)
    own = jnp.sqrt(jnp.where(positive, own, 1.0))
    return jnp.where(positive, hsic(k0, k1) / own, jnp.nan)


def procrustes_distance(
    x0: Real[ArrayLike, "samples features"], x1: Real[ArrayLike, "samples features"]
) -> Float[Array, ""]:
    r"""The distance of two representations after the best rotation of one.

    $\min_R |X_0 - X_1R|_F$ over orthogonal R,
    $\sqrt{|X_0|^2 + |X_1|^2 - 2|X_1^\top X_0|_*}$ (Schonemann 1966; Williams et al.
    2021). A metric; not blind to scale, and to shift only if the features are centred.

    **Raises:** `ValueError` for matrices of different shapes.
    """
    x0, x1 = _checks.as_matrix("x0", x0), _checks.as_matrix("x1", x1)
    _checks.same_shape(x0=x0, x1=x1)
    dtype = jnp.result_type(x0, x1)
    return _procrustes(x0.astype(dtype), x1.astype(dtype))


@jax.custom_jvp
def _procrustes(x0: Float[Array, "n k"], x1: Float[Array, "n k"]) -> Float[Array, ""]:
    return norm(x0 - dot(x1, _best_rotation(x0, x1)))


@_procrustes.defjvp
def _procrustes_jvp(primals, tangents):
    # The best rotation is a minimum: it does not move the distance to first order.
    (x0, x1), (dx0, dx1) = primals, tangents
    distance = _procrustes(x0, x1)
    rotation = _best_rotation(x0, x1)
    change = jnp.sum((x0 - dot(x1, rotation)) * (dx0 - dot(dx1, rotation)))
    zero = distance == 0
    return distance, jnp.where(zero, 0.0, change / jnp.where(zero, 1.0, distance))


def _best_rotation(
    x0: Float[Array, "n k"], x1: Float[Array, "n k"]
) -> Float[Array, "k k"]:
    return nearest_isometry(dot(x1.T, x0))


def bures_distance(
    k0: Real[ArrayLike, "n n"], k1: Real[ArrayLike, "n n"]
) -> Float[Array, ""]:
    r"""The Procrustes distance of two kernels' features: the Bures distance.

    $\sqrt{\operatorname{tr}K_0 + \operatorname{tr}K_1 - 2\operatorname{tr}
    (K_0^{1/2}K_1K_0^{1/2})^{1/2}}$ for positive semidefinite kernels, whatever features
    they are made of: equal to `procrustes_distance(x0, x1)` for $K = XX^\top$.

    **Raises:** `ValueError` for matrices that aren't square and of one shape.
    """
    k0, k1 = _kernels(k0=k0, k1=k1)
    return procrustes_distance(symmetric_root(k0), symmetric_root(k1))


def representational_change(
    r0: Real[ArrayLike, "rows columns"], r1: Real[ArrayLike, "rows columns"]
) -> Float[Array, ""]:
    r"""The relative change $|R_1 - R_0|_F / |R_0|_F$ of a representation, or kernel.

    In the lazy limit zero for the tangent kernel and for the large layer's
    representation (if that layer is square), not for the small layer's. Infinite from a
    start of zero (and zero where nothing moved from there).

    **Raises:** `ValueError` for matrices of different shapes.
    """
    r0, r1 = _checks.as_matrix("r0", r0), _checks.as_matrix("r1", r1)
    _checks.same_shape(r0=r0, r1=r1)
    change = norm(r1 - r0)
    return jnp.where(change == 0, 0.0, change / jnp.where(change == 0, 1.0, norm(r0)))


def weight_movement(start: PyTree, end: PyTree) -> Float[Array, ""]:
    r"""The relative distance $|\theta_1 - \theta_0| / |\theta_0|$ of all parameters.

    (Chizat et al. 2019.) Not blind to a rotation of the hidden units: from `Exact`,
    compare networks with their own weights (`ExactSolution.weights`). Infinite from a
    start of zero.

    **Arguments:** two networks, or any other trees of the same structure; their
    floating-point arrays count.

    **Raises:** `ValueError` for different structures or shapes, and for trees without
    such arrays.
    """
    start, end = (eqx.filter(tree, _is_parameter) for tree in (start, end))
    pairs = []
    shapes = [jax.tree.map(lambda x: jnp.shape(x), tree) for tree in (start, end)]
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
        a, b = _checks.as_real("start", a), _checks.as_real("end", b)
        pairs.append((a.ravel(), b.ravel()))
    before, after = (jnp.concatenate(vectors) for vectors in zip(*pairs, strict=True))
    return representational_change(before[None], after[None])


def effective_rank(matrix: Real[ArrayLike, "rows columns"]) -> Float[Array, ""]:
    r"""The exponential of the entropy of the normalised singular values.

    (Roy and Vetterli 2007.) From 1 for rank one to the smaller side for equal singular
    values; zero for a matrix of zero. Blind to scale and rotations.
    """
    s = jnp.linalg.svd(_checks.as_matrix("matrix", matrix), compute_uv=False)
    total = jnp.sum(s)
    p = s / jnp.where(total > 0, total, 1.0)
    positive = p > 0
    entropy = -jnp.sum(jnp.where(positive, p * jnp.log(jnp.where(positive, p, 1.0)), 0))
    return jnp.where(total > 0, jnp.exp(entropy), 0.0)


def participation_ratio(kernel: Real[ArrayLike, "n n"]) -> Float[Array, ""]:
    r"""$(\operatorname{tr}K)^2 / \operatorname{tr}K^2$, the dimension of a kernel.

    From 1 for rank one to n for equal eigenvalues, for positive semidefinite kernels;
    zero for a kernel of zero. Blind to scale and rotations.

    **Raises:** `ValueError` for a matrix that isn't square.
    """
    kernel = _checks.square("kernel", kernel)
    kernel = jnp.where(jnp.any(kernel != 0), _over_largest(kernel), kernel)
    square = jnp.sum(kernel * kernel.T)
    zero = square == 0
    return jnp.where(zero, 0.0, jnp.trace(kernel) ** 2 / jnp.where(zero, 1.0, square))


def mode_strengths(
    function: Real[ArrayLike, "out in"], sigma: Real[ArrayLike, "out in"]
) -> Float[Array, " modes"]:
    r"""The strengths $u_i^\top W v_i$ of a function along the modes of a task, signed.

    With `sigma` $= USV^\top$, in the order of its singular values: what `aligned_modes`
    of the theory describe. Where `sigma` repeats a singular value, single strengths
    depend on the choice of its vectors; so do derivatives with respect to `sigma`.

    **Raises:** `ValueError` for matrices of different shapes.
    """
    function = _checks.as_matrix("function", function)
    sigma = _checks.as_matrix("sigma", sigma)
    _checks.same_shape(function=function, sigma=sigma)
    u, _, vt = jnp.linalg.svd(sigma, full_matrices=False)
    return jnp.sum(dot(u.T, function) * vt, axis=1)


def task_specificity(
    representation: Real[ArrayLike, "n n"], sigma: Real[ArrayLike, "m n"]
) -> Float[Array, ""]:
    r"""How task-specific a representation is, from 0 to 1.

    The larger of its alignments with $VSV^\top$ and $VS^2V^\top$ for `sigma`
    $= USV^\top$: what rich networks and the small layer of lazy ones end with (Domine's
    thesis, section 4.1, where $W_2^\top W_2$ is a misprint for $W_2W_2^\top$). A
    task-agnostic representation does not score zero: compare with
    `task_specificity(jnp.eye(n), sigma)`, which is near one where singular values are
    nearly equal. NaN for a zero representation or task.

    **Arguments:**

    - `representation`: $W_1^\top W_1$ with `sigma`, the task's correlation (out, in);
      or $W_2W_2^\top$ with `sigma.T` (which can't be told apart for square tasks).

    **Raises:** `ValueError` for a representation that isn't square, or has other
    columns than `sigma`.

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
    sigma = _over_largest(sigma)
    squared = dot(sigma.T, sigma)
    return jnp.maximum(
        _alignment(representation, symmetric_root(squared)),
        _alignment(representation, squared),
    )


def balance(
    w1: Real[ArrayLike, "hidden in"], w2: Real[ArrayLike, "out hidden"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""The balance nearest to two layers' weights, and what is left over.

    $\lambda^* = \operatorname{tr}(W_2^\top W_2 - W_1W_1^\top) / N_h$ minimises
    $|W_2^\top W_2 - W_1W_1^\top - \lambda I|_F$ (Theorem 4.5.1 of Domine's thesis,
    whose statement omits the $1/N_h$), and the residual is that minimum. Of nonlinear
    networks too.

    **Raises:** `ValueError` for weights that don't chain.
    """
    w1, w2 = _checks.as_matrix("w1", w1), _checks.as_matrix("w2", w2)
    _checks.require(
        w2.shape[1] == w1.shape[0],
        "`w2` must have as many columns as `w1` has rows, but their shapes were "
        f"{w2.shape} and {w1.shape}.",
    )
    difference = dot(w2.T, w2) - dot(w1, w1.T)
    lmda = jnp.trace(difference) / w1.shape[0]
    residual = difference - lmda * jnp.eye(w1.shape[0], dtype=lmda.dtype)
    return lmda, norm(residual)


def convergence_time(
    ts: Real[ArrayLike, " times"],
    loss: Real[ArrayLike, " times"],
    threshold: Real[ArrayLike, ""],
) -> Float[Array, ""]:
    r"""When `loss` first is at or below `threshold`, infinity where it never is.

    Interpolated linearly between the two times around it, so that it has a derivative;
    divided by the learning rate it is the number of steps. The threshold is absolute:
    add the loss that is left at the end, `solution.loss(jnp.inf)`, for noisy targets.

    **Arguments:** `ts`, non-decreasing times, (times,); `loss` at them, (times,);
    `threshold`, a scalar.

    **Raises:** `ValueError` for vectors of different lengths and times that are
    negative or fall (traced: NaN).
    """
    ts, loss = _checks.as_real("ts", ts), _checks.as_real("loss", loss)
    threshold = _checks.as_scalar("threshold", threshold)
    _checks.require(
        ts.ndim == 1 and ts.size > 0,
        f"`ts` must be a vector of times, but its shape was {ts.shape}.",
    )
    _checks.same_shape(ts=ts, loss=loss)
    if _checks.is_concrete(ts):
        fault = _checks.times_fault(ts, ordered=True, infinite=True)
        _checks.require(fault is None, str(fault))
    dtype = jnp.result_type(ts, loss, threshold)
    ts, loss, threshold = (x.astype(dtype) for x in (ts, loss, threshold))
    below = loss <= threshold
    i = jnp.argmax(below)
    before = jnp.maximum(i - 1, 0)
    drop = loss[before] - loss[i]
    # At the very first time, and where the curve jumps to infinity, nothing is between.
    between = (i > 0) & (drop > 0) & jnp.isfinite(ts[i])
    part = (loss[before] - threshold) / jnp.where(between, drop, 1.0)
    gap = jnp.where(between, ts[i] - ts[before], 0.0)
    time = jnp.where(between, ts[before] + part * gap, ts[i])
    time = jnp.where(jnp.any(below), time, jnp.inf)
    valid = _checks.times_valid(ts, infinite=True) & ~jnp.any(jnp.isnan(loss))
    return jnp.where(valid, time, jnp.nan)


def rich_lazy_index(
    k0: Real[ArrayLike, "n n"], k1: Real[ArrayLike, "n n"]
) -> Float[Array, ""]:
    r"""How rich learning was, from 0 (lazy) to 1 (rich).

    $|K_1 - K_0|_F / (|K_0|_F + |K_1|_F)$ of the tangent kernels at the start and the
    end of learning; this library's own. A network is lazy when its tangent kernel stays
    as it is, for then it learns like the linear model of its gradients (Jacot et al.
    2018; Chizat et al. 2019), and its index is zero. It is one where the kernel at the
    end owes nothing to that at the start, as for small weights. Unlike
    `kernel_distance` it sees a kernel grow without turning, which is rich learning too:
    a small aligned network with equal modes learns all its features, at a kernel
    distance of zero. Symmetric, and blind to the units of inputs, outputs and time and
    to rotations. Where the layer that $\lambda$ makes large is square, it falls as
    $1/\lambda^2$: the kernel grows as $|\lambda|$ and its change falls as
    $1/|\lambda|$. Where that layer is wider than `hidden` it tends to a constant:
    delayed rich learning.

    Two moments are compared, not the way between them: after reversal learning
    ($f \to -f$) the kernel of a balanced network is back where it was. The largest
    index over time, `jax.vmap(lambda k: rich_lazy_index(ks[0], k))(ks).max()`, tells.
    Zero for two kernels of zero.

    **Raises:** `ValueError` for matrices that aren't square and of one shape.
    """
    k0, k1 = _kernels(k0=k0, k1=k1)
    total = norm(k0) + norm(k1)
    return norm(k1 - k0) / jnp.where(total > 0, total, 1.0)


def _is_parameter(leaf: object) -> bool:
    array = isinstance(leaf, jax.Array | np.ndarray)
    return array and jnp.issubdtype(leaf.dtype, jnp.floating)


def _kernels(**kernels: Real[ArrayLike, "n n"]) -> list[Float[Array, "n n"]]:
    arrays = {name: _checks.square(name, k) for name, k in kernels.items()}
    _checks.same_shape(**arrays)
    dtype = jnp.result_type(*arrays.values())
    return [k.astype(dtype) for k in arrays.values()]


def _centred(kernel: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Rows and columns less their means; zero where that leaves only rounding."""
    rows = kernel - jnp.mean(kernel, axis=0, keepdims=True)
    centred = rows - jnp.mean(rows, axis=1, keepdims=True)
    largest = jnp.max(jnp.abs(kernel))
    noise = 8 * kernel.shape[0] * jnp.finfo(kernel.dtype).eps * largest
    return jnp.where(jnp.max(jnp.abs(centred)) > noise, centred, 0.0)


def _over_largest(x: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """`x` over its largest entry, a constant for what is blind to scale; NaN for zero.

    So that no square under- or overflows.
    """
    return x / jax.lax.stop_gradient(jnp.max(jnp.abs(x)))


def _unit(x: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """`x` over its norm; NaN for zero."""
    x = _over_largest(x)
    return x / jnp.sqrt(square_norm(x))


def _alignment(x: Float[Array, "n n"], y: Float[Array, "n n"]) -> Float[Array, ""]:
    return 1 - _half_square(_unit(x), _unit(y))


def _half_square(x: Float[Array, "n n"], y: Float[Array, "n n"]) -> Float[Array, ""]:
    return square_norm(x - y) / 2
