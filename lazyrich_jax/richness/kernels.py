"""The inner products of two models' tangent kernels, without the kernels."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree, Real, Shaped

from .. import _checks, _dtypes
from .chunks import in_chunks
from .cost import most_samples, parameter_count
from .exact import exact_products, plans
from .jacobian import costs, transposed
from .model import Function, pair_of
from .products import KernelProducts, with_targets
from .question import one_key, require_concrete
from .sketch import sketch_size, sketched_products

SKETCH = '`method="sketch"` with a `key`'


def kernel_products(
    start: PyTree,
    end: PyTree,
    x: Shaped[ArrayLike, "samples ..."],
    *,
    y: Real[ArrayLike, "samples ..."] | None = None,
    apply: Callable[[Any, Array], Any] | None = None,
    method: str = "exact",
    key: PRNGKeyArray | None = None,
    directions: int = 64,
    memory: float = 1e9,
    work: float = 2e13,
) -> KernelProducts:
    r"""Norms and inner products of the tangent kernels of two states of a model.

    The kernels $K = JJ^\top$ are of outputs and samples, as
    `lazyrich_jax.kernels.empirical_ntk`. They are not stored. Kernel distance,
    rich-lazy index, alignment with targets and participation ratio follow from the
    products.

    - `method="exact"`: for few parameters by $\langle K_0, K_1\rangle = |J_0^\top
      J_1|_F^2$, summed over samples; for few samples by blocks of the kernels. The
      road with fewer operations is taken.
    - `method="sketch"`: unbiased estimates from $K_0v$ and $K_1v$ for random vectors
      v of signs, by two derivatives each (Hutchinson 1990). Standard errors come from
      the vectors (the jackknife). They fall as one over the root of `directions`, the
      number of vectors. Products with targets are exact.

    **Arguments:**

    - `start`, `end`: the model before and after training. Their floating-point arrays
      are the parameters.
    - `x`: samples along the first axis. `y`: targets, with one number per output.
    - `apply`: maps a model and one sample to outputs; without it the model is called.
    - `key`, `directions`: of the sketch.
    - `memory`: the most bytes to use, beside both models, the samples and programs.
    - `work`: the most floating-point operations. A core of a processor does 1e10 to
      1e11 in a second.

    **Raises:** `ValueError` if more memory or work is needed, for targets that don't
    fit, and for kernels whose squares are not finite; `TypeError` for traced models and
    for a sketch without a `key`; and as `lazyrich_jax.richness.layers` for models.

    ```python
    import equinox as eqx
    import jax
    import lazyrich_jax as lr

    start = eqx.nn.MLP(3, 2, 8, 1, key=jax.random.key(0))
    end = jax.tree.map(lambda a: 1.1 * a if eqx.is_array(a) else a, start)
    x = jax.random.normal(jax.random.key(1), (20, 3))
    products = lr.richness.kernel_products(start, end, x)
    print(products.kernel_distance, products.rich_lazy_index)
    ```
    """
    require_concrete(start=start, end=end, x=x)
    memory, work = bytes_of(method, memory), _positive("work", work)
    directions = _checks.size("directions", directions, least=2)
    key = None if key is None else one_key(key)
    before, after, samples = pair_of(start, end, x, apply)
    shape = jax.eval_shape(before, before.parameters, samples[0]).shape
    targets = None if y is None else _targets(y, samples.shape[0], shape[0])
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        if method == "exact":
            found = _exact(before, after, samples, shape[0], memory, work)
        else:
            options = key, directions, memory, work
            found = _sketched(before, after, samples, shape[0], *options)
    squares = [float(s) for s in (found.start_square, found.end_square)]
    _checks.require(
        bool(np.all(np.isfinite(squares))),
        "`start` and `end` must have tangent kernels with finite squares, but the "
        "squares of their norms were {:.3g} and {:.3g}.".format(*squares),
    )
    if targets is None:
        return found
    first, last = (_target(f, samples, targets, memory) for f in (before, after))
    square = float(np.sum(np.square(np.asarray(targets, float))))
    return with_targets(found, first, last, square)


def bytes_of(method: str, memory: float) -> float:
    """The memory as a number; a bad method or memory is refused."""
    _checks.require(
        method in ("exact", "sketch"),
        f'`method` must be "exact" or "sketch", but it was {method!r}.',
    )
    return _positive("memory", memory)


def _exact(
    start: Function, end: Function, x: Array, outputs: int, memory: float, work: float
) -> KernelProducts:
    options = plans(start, x, outputs, memory)
    possible = [plan for plan in options if plan.samples > 0]
    _checks.require(
        len(possible) > 0,
        f"`memory` must be at least {min(p.least for p in options):.2g} bytes for "
        f"{_sizes(start, x, outputs)}, but it was {memory:.2g}; {SKETCH} needs less.",
    )
    plan = min(possible, key=lambda plan: plan.operations)
    _checks.require(
        plan.operations <= work,
        f"`work` must be at least {plan.operations:.2g} operations for "
        f"{_sizes(start, x, outputs)}, but it was {work:.2g}; {SKETCH} needs fewer, "
        "and so do fewer samples.",
    )
    return exact_products(start, end, x, plan)


def _sketched(
    start: Function,
    end: Function,
    x: Array,
    outputs: int,
    key: PRNGKeyArray | None,
    directions: int,
    memory: float,
    work: float,
) -> KernelProducts:
    if key is None:
        raise TypeError('`key` must be given for `method="sketch"`, but it was None.')
    size, cost = sketch_size(start, x, outputs, directions, memory)
    _checks.require(
        size > 0,
        f"`memory` must be at least {cost.bytes:.2g} bytes for a sketch of "
        f"{_sizes(start, x, outputs)} along {directions} directions, but it was "
        f"{memory:.2g}.",
    )
    _checks.require(
        cost.operations <= work,
        f"`work` must be at least {cost.operations:.2g} operations for a sketch of "
        f"{_sizes(start, x, outputs)} along {directions} directions, but it was "
        f"{work:.2g}; fewer `directions` or samples need fewer.",
    )
    return sketched_products(start, end, x, outputs, size, directions, key)


def _sizes(function: Function, x: Array, outputs: int) -> str:
    return (
        f"{x.shape[0]} samples, {outputs} outputs and {parameter_count(function)} "
        "parameters"
    )


def _positive(name: str, value: float) -> float:
    return float(_checks.positive(name, _checks.as_scalar(name, value)))


def _targets(y: Any, samples: int, outputs: int) -> Array:
    """Targets as a matrix with a row per sample and a column per output."""
    targets = _dtypes.as_real("y", y)
    _checks.require(
        targets.ndim > 0 and targets.shape[0] == samples,
        f"`y` must have a row for each of {samples} samples, but its shape was "
        f"{targets.shape}.",
    )
    matrix = targets.reshape(samples, -1)
    _checks.require(
        matrix.shape[1] == outputs,
        f"`y` must have a number for each of {outputs} outputs, but its shape was "
        f"{targets.shape}.",
    )
    return _checks.finite("y", matrix)


def _target(function: Function, x: Array, y: Array, memory: float) -> float:
    r"""$\langle K, yy^\top\rangle = |J^\top y|^2$."""
    y = y.astype(jax.tree.leaves(function.parameters)[0].dtype)
    once, each = costs(function, x, y)
    size = max(most_samples(memory, once.bytes, each.bytes, x.shape[0]), 1)
    gradient = transposed(function, in_chunks(x, size)[0], np.asarray(y))
    squares = [np.sum(np.square(g, dtype=float)) for g in jax.tree.leaves(gradient)]
    return float(sum(squares))
