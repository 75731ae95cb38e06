"""Neural collapse of the last hidden layer's features."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Integer, Real

from .. import _checks, _dtypes
from .._linalg import dot, norm, square_norm


class NeuralCollapse(NamedTuple):
    """The four measures of `neural_collapse`. All are zero for collapsed features.

    **Attributes:**

    - `nc1`: the variability within classes, over that between them.
    - `nc2_norms`, `nc2_angles`: the distance of the class means from a simplex.
    - `nc3`: the distance of the classifier from the class means, or None.
    - `nc4`: the share of samples that the classifier doesn't give to the nearest class
      mean, or None.
    """

    nc1: Float[Array, ""]
    nc2_norms: Float[Array, ""]
    nc2_angles: Float[Array, ""]
    nc3: Float[Array, ""] | None
    nc4: Float[Array, ""] | None


def neural_collapse(
    features: Real[ArrayLike, "samples width"],
    labels: Integer[ArrayLike, " samples"],
    weight: Real[ArrayLike, "classes width"] | None = None,
    bias: Real[ArrayLike, " classes"] | None = None,
    *,
    classes: int | None = None,
) -> NeuralCollapse:
    r"""Neural collapse NC1 to NC4 (Papyan, Han, Donoho 2020). **Zero is collapsed.**

    Collapse is the end of rich training of a classifier; lazy features keep the spread
    of the start. With the class means $\mu_c$, their mean $\mu$, $m_c = \mu_c - \mu$,
    the matrix M of the rows $m_c$, C classes and the features h of a sample of class c:

    - NC1 $= \operatorname{tr}(\Sigma_W \Sigma_B^+) / C$, $\Sigma_W$ the covariance of
      $h - \mu_c$, $\Sigma_B = M^\top M / C$;
    - NC2, norms: the standard deviation of the norms $|m_c|$ over their mean;
      angles: the mean of $|\cos(m_c, m_{c'}) + 1 / (C - 1)|$ over pairs of classes;
    - NC3 $= |W / |W|_F - M / |M|_F|_F^2$, from 0 to 4;
    - NC4, the share of samples for which $\arg\max_c (Wh + b)_c \ne \arg\min_c |h -
      \mu_c|$.

    Classes count equally, whatever their number of samples. A class of one sample has
    no variability within. Classes without samples are left out, also of C. With fewer
    than two classes NC1 to NC3 are NaN. NC1 to NC3 are invariant under scaling of the
    features (NC3 of the weight too), and all are under rotations of both. For a linear
    network whose inputs have the class means $x_c$, $M = X W_1^\top$: a balanced one
    that learned centred one-hot targets from small weights has NC2 and NC3 zero.

    **Arguments:**

    - `features`: the inputs of the last layer, (samples, width).
    - `labels`: the class of each sample, integers from 0.
    - `weight`, `bias`: the last layer, for NC3 and NC4. Its output c is class c.
    - `classes`: the number of classes, static. By default the rows of `weight`, or one
      more than the largest label.

    **Returns:** a `NeuralCollapse` of scalars. NC4 has no derivative. All are NaN if a
    traced label is out of range.

    **Raises:** `ValueError` for shapes that don't fit and labels out of range;
    `TypeError` for labels that aren't integers, and for traced labels without `weight`
    and `classes`.
    """
    features = _checks.as_matrix("features", features)
    marks = _labels(labels, len(features))
    if weight is not None:
        weight = _checks.as_matrix("weight", weight)
    count = _count(classes, weight, marks)
    if weight is None:
        _checks.require(
            bias is None, "`weight` must be given with `bias`, but it was None."
        )
        (features,) = _dtypes.promoted(features=features)
        return _collapse(features, marks, None, None, count)
    _checks.require(
        weight.shape == (count, features.shape[1]),
        f"`weight` must have the shape (classes, width), {(count, features.shape[1])}, "
        f"but its shape was {weight.shape}.",
    )
    bias = _dtypes.as_real(
        "bias", jnp.zeros_like(weight[:, 0]) if bias is None else bias
    )
    _checks.require(
        bias.shape == (count,),
        f"`bias` must have the shape {(count,)}, but its shape was {bias.shape}.",
    )
    features, weight, bias = _dtypes.promoted(
        features=features, weight=weight, bias=bias
    )
    return _collapse(features, marks, weight, bias, count)


def _labels(labels: Integer[ArrayLike, " samples"], samples: int) -> Int[Array, "n"]:
    marks = labels if isinstance(labels, jax.Array) else np.asarray(labels)
    if not jnp.issubdtype(marks.dtype, jnp.integer):
        raise TypeError(
            f"`labels` must be integers, but their dtype was {marks.dtype}."
        )
    hint = "; of one-hot rows take `labels.argmax(1)`" if marks.ndim == 2 else ""
    _checks.require(
        marks.shape == (samples,),
        f"`labels` must have the shape {(samples,)}, one for each row of `features`, "
        f"but their shape was {marks.shape}{hint}.",
    )
    return jnp.asarray(marks)


def _count(
    classes: int | None, weight: Float[Array, "classes width"] | None, labels: Array
) -> int:
    """The number of classes; labels that are known are checked."""
    values = _checks.known(labels)
    if classes is not None:
        count = _checks.size("classes", classes)
    elif weight is not None:
        count = len(weight)
    elif values is not None:
        count = max(int(values.max()) + 1, 1)
    else:
        raise TypeError("`classes` must be given for traced `labels`, but it was None.")
    if values is not None:
        _checks.require(
            bool(((values >= 0) & (values < count)).all()),
            f"`labels` must be from 0 to {count - 1}, but they were from "
            f"{values.min()} to {values.max()}.",
        )
    return count


@functools.partial(jax.jit, static_argnames="classes", inline=True)
def _collapse(
    features: Float[Array, "samples width"],
    labels: Int[Array, " samples"],
    weight: Float[Array, "classes width"] | None,
    bias: Float[Array, " classes"] | None,
    classes: int,
) -> NeuralCollapse:
    member = jax.nn.one_hot(labels, classes, dtype=features.dtype)
    counts = jnp.sum(member, axis=0)
    present = counts > 0
    few = jnp.sum(present)
    # NC1 and NC2 don't depend on the origin and the scale.
    h = features - jnp.mean(features, axis=0, keepdims=True)
    h = h / jax.lax.stop_gradient(jnp.max(jnp.abs(h)))
    means = dot(member.T, h) / jnp.maximum(counts, 1)[:, None]
    m = means - jnp.sum(means, axis=0, keepdims=True) / few.astype(h.dtype)
    m = jnp.where(present[:, None], m, 0.0)

    share = dot(member, 1 / jnp.maximum(counts, 1)) / few.astype(h.dtype)
    rounding = max(m.shape) * float(jnp.finfo(h.dtype).eps)
    spread = dot(h - dot(member, means), jnp.linalg.pinv(m, rtol=rounding))
    nc1 = jnp.sum(share[:, None] * spread * spread)
    sizes = norm(m, axis=1)
    size = jnp.mean(sizes, where=present)
    nc2_norms = jnp.std(sizes, where=present) / size

    unit = m / jnp.where(sizes == 0, jnp.nan, sizes)[:, None]
    pairs = present[:, None] & present[None] & ~jnp.eye(classes, dtype=bool)
    cosines = jnp.where(pairs, dot(unit, unit.T), 0.0)
    off = jnp.abs(cosines + 1 / (few - 1).astype(h.dtype))
    nc2_angles = jnp.mean(off, where=pairs)

    nc3 = nc4 = None
    if weight is not None and bias is not None:
        rows = jnp.where(present[:, None], weight, 0.0)
        nc3 = square_norm(rows / norm(rows) - m / norm(m))
        nc4 = _disagreement(features, h, means, present, weight, bias)

    inside = jnp.all((labels >= 0) & (labels < classes))
    valid = jnp.where(inside, 1.0, jnp.nan).astype(h.dtype)
    several = jnp.where(few > 1, valid, jnp.nan)
    return NeuralCollapse(
        nc1 * several,
        nc2_norms * several,
        nc2_angles * several,
        None if nc3 is None else nc3 * several,
        None if nc4 is None else nc4 * valid,
    )


def _disagreement(
    features: Float[Array, "samples width"],
    h: Float[Array, "samples width"],
    means: Float[Array, "classes width"],
    present: Bool[Array, " classes"],
    weight: Float[Array, "classes width"],
    bias: Float[Array, " classes"],
) -> Float[Array, ""]:
    """NC4, for `features` and for them in the units of the class `means`, `h`."""
    outputs = dot(features, weight.T) + bias[None]
    distances = jnp.sum(means * means, axis=1)[None] - 2 * dot(h, means.T)
    nearest = jnp.argmin(jnp.where(present[None], distances, jnp.inf), axis=1)
    share = jnp.mean((jnp.argmax(outputs, axis=1) != nearest).astype(h.dtype))
    unknown = jnp.any(jnp.isnan(outputs)) | jnp.any(jnp.isnan(features))
    return jax.lax.stop_gradient(jnp.where(unknown, jnp.nan, share))
