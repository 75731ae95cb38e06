"""ReLU networks that learn exactly as linear ones do."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from .. import _checks, _dtypes
from .._exactness import check_fit
from .._linalg import dot
from .._network import LinearNetwork
from .._task import Task
from .reduction import Reduction, listed, only_if, scaled, scaled_clock


def antisymmetric_relu(
    weights: Sequence[Real[ArrayLike, "..."]],
    task: Task,
    slope: Real[ArrayLike, ""] = 0.0,
) -> Reduction:
    r"""A (leaky) ReLU network whose units come in antisymmetric pairs.

    The network $W_2\,\sigma(W_1x)$ with $\sigma(z) = \max(z, \alpha z)$ has for every
    unit of weights (w, a) one of weights (-w, -a), and the task has for every sample
    (x, y) the sample (-x, -y). Then $\sigma(z) - \sigma(-z) = (1 + \alpha)z$ makes
    the output linear. In the gradient of a unit half of the samples have slope one and
    their mirror images slope $\alpha$. Pairs stay pairs: with one unit V of
    $\sqrt{1 + \alpha}$ times the weights for each, this is a linear network at the time
    $\frac{1 + \alpha}2t$ (Zhang et al. 2024; docs/beyond.md). It is exact at any
    width and for any number of outputs, for weights that are not orthogonal to a
    sample. At $w \cdot x = 0$ the slope of a sample and that of its mirror image are
    the same.

    **Arguments:**

    - `weights`: $W_1$, (hidden, in), and $W_2$, (out, hidden), at time zero, the units
      in any order.
    - `task`: the samples in any order, each with its mirror image.
    - `slope`: $\alpha$, zero for ReLU; above -1.

    **Returns:** a `Reduction`. Times are learning rate x step. Its functions are linear
    maps, (out, in), and its weights those of all units.

    **Raises:** `ValueError` for units or samples without mirror image, units whose
    input weights are zero or orthogonal to a sample other than zero (traced: NaN), and
    shapes that don't fit.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    half = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    x, y = (jnp.concatenate([z, -z]) for z in (half.x, half.y))
    task = lr.Task(x, y)
    w1, w2 = lr.LambdaBalanced()(3, 2, 2, key=jax.random.key(1)).weights
    pairs = jnp.concatenate([w1, -w1]), jnp.concatenate([w2, -w2], axis=1)
    relu = lr.reductions.antisymmetric_relu(pairs, task)
    loss = relu.loss(jnp.linspace(0, 10, 100))
    ```
    """
    network = LinearNetwork(listed("weights", weights, "two matrices"))
    _checks.require(
        network.depth == 2,
        f"`weights` must be two matrices, but there were {network.depth}.",
    )
    check_fit(network, task, "weights")
    slope = _checks.as_scalar("slope", slope)
    slope = _checks.checked("slope", slope, "be above -1", lambda a: a > -1)
    w1, w2 = network.weights
    order, paired = _mirrored(jnp.concatenate([w1, w2.mT], axis=1))
    _, odd = _mirrored(jnp.concatenate([task.x, task.y], axis=1))
    alive = jnp.all(jnp.any(w1 != 0, axis=1))
    # A sample and its mirror image have the same slope at w x = 0.
    seen = jnp.any(task.x != 0, axis=1)[:, None]
    finer, samples = _dtypes.promoted(w1=w1, x=task.x)
    apart = ~jnp.any((dot(samples, finer.mT) == 0) & seen)
    network, task = only_if(
        paired & odd & alive & apart,
        lambda: (
            "`weights` and `task` must consist of mirror images, units (w, a) and "
            "(-w, -a) with w not orthogonal to a sample and samples (x, y) and "
            "(-x, -y), but " + _fault(paired, odd, alive) + "."
        ),
        (network, task),
    )
    w1, w2 = network.weights
    half = order[w1.shape[0] // 2 :]
    root = jnp.sqrt(1 + slope)
    return Reduction(
        LinearNetwork(scaled(root, (w1[half], w2[:, half]))),
        task,
        scaled_clock((1 + slope) / 2),
        to_weights=Partial(_all_units, order, 1 / root),
    )


def _mirrored(
    rows: Float[Array, "n k"],
) -> tuple[Int[Array, " n"], Bool[Array, ""]]:
    """Rows in increasing order, and whether each has a negative among them.

    The negatives of rows in increasing order are in decreasing order.
    """
    rows = rows + 0.0  # no negative zeros
    order = jnp.lexsort(rows.mT[::-1])
    in_order = rows[order]
    return order, jnp.all(in_order == -in_order[::-1])


def _fault(
    paired: Bool[Array, ""], odd: Bool[Array, ""], alive: Bool[Array, ""]
) -> str:
    if not paired:
        return "a unit had none"
    if not odd:
        return "a sample had none"
    if not alive:
        return "a unit had no input weights"
    return "a unit's input weights were orthogonal to a sample"


def _all_units(
    order: Int[Array, " n"], factor: Float[Array, ""], weights: tuple[Array, ...]
) -> tuple[Array, Array]:
    """Both halves of all units, in their own order."""
    w1, w2 = scaled(factor, weights)
    back = jnp.argsort(order)
    w1 = jnp.concatenate([-w1[::-1], w1])[back]
    return w1, jnp.concatenate([-w2[:, ::-1], w2], axis=1)[:, back]
