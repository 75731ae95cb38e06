"""Curves over time, of one trajectory or of several."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Real

from .. import _checks, kernels, measures
from .._exactness import is_task
from .._linalg import dot
from .._network import LinearNetwork
from .._task import Task
from .._trajectory import Trajectory
from .style import TIME, axes_or_new, check_axes, line
from .trajectories import Labels, Trajectories, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 4.8, 3.3


def loss(
    trajectories: Trajectories,
    *,
    labels: Labels = None,
    ax: "Axes | None" = None,
    above: Real[ArrayLike, ""] = 0.0,
) -> "Axes":
    """The loss over time, a line for every trajectory.

    The first trajectory is solid and thick, others are broken and thin: coinciding
    lines stay visible. All curves leave out an infinite time.

    **Arguments:**

    - `trajectories`: a `Trajectory`, a list of them, or a dict of label to trajectory.
    - `labels`: one for each trajectory. Without labels there is no legend.
    - `ax`: the matplotlib axes to draw on; a new figure if left out.
    - `above`: a number to subtract from the loss. With its optimum, such as
      `solution.loss(jnp.inf)`, the loss of noisy targets falls in a straight line after
      `ax.set_yscale("log")`.

    **Returns:** the axes.

    **Raises:** `TypeError` for other types than trajectories; `ValueError` for batched
    or traced trajectories and for another number of labels.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(2)
    network = lr.LambdaBalanced(0.0, scale=0.1)(4, 4, 4, key=jax.random.key(0))
    ts = jnp.linspace(0, 60, 100)
    exact = lr.learn(network, task, ts)
    descent = lr.learn(network, task, ts, dynamics=lr.GradientDescent(1e-2))
    ax = lr.plot.loss({"gradient descent": descent, "exact": exact})
    ax.set_yscale("log")
    ```
    """
    named = read(trajectories, labels)
    above = _checks.as_scalar("above", above)
    _checks.finite("above", above)
    name = "loss" if above == 0 else "loss above optimum"
    return _draw(named, lambda t: t.loss - above.astype(t.loss.dtype), name, ax)


def function(
    trajectories: Trajectories, *, labels: Labels = None, ax: "Axes | None" = None
) -> "Axes":
    """The entries of the function over time, row by row, each in its own colour.

    Further trajectories are broken lines in a dark shade of the entry's colour.

    **Arguments, returns, raises:** as `loss`.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    network = lr.LambdaBalanced(1.0)(3, 2, 2, key=jax.random.key(1))
    lr.plot.function(lr.learn(network, task, jnp.linspace(0, 5, 100)))
    ```
    """

    def entries(trajectory: Trajectory) -> Array:
        return trajectory.function.reshape(len(trajectory.ts), -1)

    return _draw(read(trajectories, labels), entries, "entries of the function", ax)


def ntk(
    trajectories: Trajectories,
    x: Real[ArrayLike, "samples in"],
    *,
    entries: int = 8,
    labels: Labels = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Entries of the neural tangent kernel over time, each in its own colour.

    **Arguments:** as `loss`, and

    - `x`: the samples, (samples, in), of the kernel.
    - `entries`: the largest number of entries to draw, spread over the upper triangle.

    **Returns:** the axes.

    **Raises:** as `loss`; `ValueError` if `x` does not have a column per input, and for
    `entries` below one.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    network = lr.LambdaBalanced(1.0)(3, 2, 2, key=jax.random.key(1))
    lr.plot.ntk(lr.learn(network, task, jnp.linspace(0, 5, 100)), task.x)
    ```
    """
    named = read(trajectories, labels)
    entries = _checks.size("entries", entries)
    x = _checks.as_matrix("x", x)

    def chosen(trajectory: Trajectory) -> Array:
        rows, columns = np.triu_indices(trajectory.network.sizes[-1] * x.shape[0])
        count = min(entries, len(rows))
        spread = np.linspace(0, len(rows) - 1, count).round().astype(int)
        return _ntk_entries(trajectory.network, x, rows[spread], columns[spread])

    return _draw(named, chosen, "entries of the NTK", ax)


def kernel_distance(
    trajectories: Trajectories,
    x: Real[ArrayLike, "samples in"],
    *,
    labels: Labels = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """The distance of the neural tangent kernel from its start, over time.

    It is `lr.measures.kernel_distance` between the kernels at the first of `ts` and at
    every time. It stays near zero for lazy learning.

    **Arguments:** as `loss`, and `x`: the samples, (samples, in), of the kernel.

    **Returns:** the axes.

    **Raises:** as `loss`; `ValueError` if `x` does not have a column per input.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.random_regression(3, 2, samples=10, key=jax.random.key(0))
    ts = jnp.linspace(0, 5, 100)
    trajectories = {}
    for lmda in (0.0, 5.0):
        network = lr.LambdaBalanced(lmda, scale=0.1)(3, 2, 2, key=jax.random.key(1))
        trajectories[rf"$\\lambda$ = {lmda:g}"] = lr.learn(network, task, ts)
    lr.plot.kernel_distance(trajectories, task.x)
    ```
    """
    named = read(trajectories, labels)
    x = _checks.as_matrix("x", x)

    def distances(trajectory: Trajectory) -> Array:
        return _ntk_distances(trajectory.network, x)

    return _draw(named, distances, "kernel distance from the start", ax)


def modes(
    trajectories: Trajectories,
    task: Task,
    *,
    labels: Labels = None,
    ax: "Axes | None" = None,
) -> "Axes":
    r"""The strengths of the function along a task's modes, each in its own colour.

    They are `lr.measures.mode_strengths` over time. Thin horizontal lines are at the
    strengths of the function that solves the task. For inputs of correlation $cI$ these
    are the singular values of the input-output correlation over $c$.

    **Arguments:** as `loss`, and `task`: the task of the modes, of the network's sizes.

    **Returns:** the axes.

    **Raises:** as `loss`; `ValueError` for a task of other sizes.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(2, separate=True)
    network = lr.LambdaBalanced(0.0, scale=1e-2)(4, 4, 4, key=jax.random.key(0))
    lr.plot.modes(lr.learn(network, task, jnp.linspace(0, 60, 100)), task)
    ```
    """
    _checks.not_swapped(trajectories=(trajectories, Trajectory), task=(task, Task))
    is_task("task", task)
    named = read(trajectories, labels)
    for _, trajectory in named:
        sizes = trajectory.network.sizes
        _checks.require(
            (sizes[0], sizes[-1]) == (task.in_size, task.out_size),
            f"`task` must have the {sizes[0]} inputs and {sizes[-1]} outputs of the "
            f"trajectories, but it had {task.in_size} and {task.out_size}.",
        )
    sigma = task.input_output_correlation
    solved = measures.mode_strengths(
        dot(sigma, jnp.linalg.pinv(task.input_correlation)), sigma
    )

    def strengths(trajectory: Trajectory) -> Array:
        return _mode_strengths(trajectory.function, sigma)

    ax = _draw(named, strengths, "mode strength", ax)
    for mode, strength in enumerate(np.asarray(solved)):
        colour = line(0, mode)["color"]
        ax.axhline(strength, color=colour, linewidth=0.7, alpha=0.7, zorder=1)
    return ax


# Compiled once per shape. Kernels are evaluated one by one: together they may not fit
# into memory.
@eqx.filter_jit
def _ntk_entries(
    network: LinearNetwork,
    x: Array,
    rows: Int[ArrayLike, " entries"],
    columns: Int[ArrayLike, " entries"],
) -> Float[Array, "times entries"]:
    return jax.lax.map(lambda n: kernels.ntk(n, x)[rows, columns], network)


@eqx.filter_jit
def _ntk_distances(network: LinearNetwork, x: Array) -> Float[Array, " times"]:
    start = kernels.ntk(jax.tree.map(lambda w: w[0], network), x)
    return jax.lax.map(
        lambda n: measures.kernel_distance(start, kernels.ntk(n, x)), network
    )


@eqx.filter_jit
def _mode_strengths(
    function: Float[Array, "times out in"], sigma: Float[Array, "out in"]
) -> Float[Array, "times modes"]:
    return jax.vmap(lambda w: measures.mode_strengths(w, sigma))(function)


def _draw(
    named: Sequence[tuple[str | None, Trajectory]],
    quantity: Callable[[Trajectory], Float[Array, "times ..."]],
    name: str,
    ax: "Axes | None",
) -> "Axes":
    """Draw a line for every trajectory, or for every entry of `quantity`.

    All values are computed before anything is drawn: an error leaves no figure.
    """
    check_axes(ax)
    drawn = [(label, np.asarray(t.ts), np.asarray(quantity(t))) for label, t in named]
    ax = axes_or_new(ax, SIZE)
    for i, (label, ts, values) in enumerate(drawn):
        if values.ndim == 1:
            ax.plot(ts, values, **line(i), label=label)
            continue
        for entry, curve in enumerate(values.T):
            ax.plot(ts, curve, **line(i, entry))
        if label is not None:  # an empty grey line: entries have their own colours
            grey = "0.6" if i == 0 else "0.2"
            ax.plot([], [], **{**line(i), "color": grey}, label=label)
    ax.set(xlabel=TIME, ylabel=name)
    if any(label is not None for label, _, _ in drawn):
        ax.legend(framealpha=0.85, edgecolor="none")
    return ax
