"""Heat maps of a matrix at one time, and of a sweep."""

import operator
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .. import _checks
from .._trajectory import Trajectory
from .style import DIVERGING, SEQUENTIAL, axes_or_new, check_axes
from .trajectories import check

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

SIZE = 4.2, 3.4
REPRESENTATIONS = {
    "input": ("input_representation", "input representation"),
    "output": ("output_representation", "output representation"),
    "function": ("function", "function"),
    "qqt": ("qqt", r"$QQ^\top$"),
}
AVERAGED = "key", "seed"  # a phase diagram averages over these dimensions


def matrix(
    values: Real[ArrayLike, "rows columns"],
    *,
    limit: float | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """A heat map of a matrix: red above zero, blue below, white at zero.

    **Arguments:**

    - `values`: the matrix, (rows, columns).
    - `limit`: colours go from `-limit` to `limit`; the largest absolute entry if left
      out. Matrices with the same `limit` are comparable.
    - `ax`: the matplotlib axes to draw on; a new figure if left out.

    **Returns:** the axes.

    **Raises:** `ValueError` if `values` isn't a finite matrix or `limit` isn't
    positive.

    ```python
    import jax
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(2)
    lr.plot.matrix(task.input_output_correlation)
    network = lr.LambdaBalanced(1.0)(4, 4, 4, key=jax.random.key(0))
    lr.plot.matrix(lr.kernels.ntk(network, task.x))
    ```
    """
    from matplotlib.ticker import MaxNLocator

    check_axes(ax)
    values = np.asarray(_checks.as_matrix("values", values))
    largest = float(np.abs(values).max())
    if limit is None:
        limit = largest if largest > 0 else 1.0
    _checks.positive("limit", _checks.as_scalar("limit", limit))
    ax = axes_or_new(ax, SIZE)
    image = ax.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=1))
    extend = "both" if largest > limit else "neither"
    # The bar is placed relative to the picture: it has the picture's height.
    wide = max(1.0, values.shape[0] / values.shape[1])
    bar = ax.inset_axes((1 + 0.04 * wide, 0, 0.05 * wide, 1))
    ax.figure.colorbar(image, cax=bar, extend=extend)
    return ax


def representation(
    trajectory: Trajectory,
    which: str = "input",
    *,
    index: SupportsIndex = -1,
    limit: float | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    r"""A heat map of a network's representation at one time of its learning.

    **Arguments:**

    - `trajectory`: a `Trajectory`.
    - `which`: `"input"` for $W_1^\top W_1$, `"output"` for $W_LW_L^\top$, `"function"`
      for $W_L\cdots W_1$, or `"qqt"` for $QQ^\top$ (two layers). Its blocks are the
      other three, separated by lines.
    - `index`: the index of the time in `trajectory.ts`; the last time, which may be
      infinity, if left out.
    - `limit`, `ax`: as for `matrix`.

    **Returns:** the axes.

    **Raises:** as `matrix`; `TypeError` for other types than a trajectory; `ValueError`
    for a batch of trajectories, an unknown `which` and an `index` out of range.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    task = lr.Task.hierarchy(2)
    network = lr.LambdaBalanced(-2.0)(4, 4, 4, key=jax.random.key(0))
    trajectory = lr.learn(network, task, jnp.linspace(0, 60, 100))
    lr.plot.representation(trajectory, "output", index=0)
    lr.plot.representation(trajectory, "qqt")
    ```
    """
    check("trajectory", trajectory)
    found = values_of(trajectory, which)
    index = _as_index(index, len(trajectory.ts))
    values = found[index]
    _checks.finite("trajectory", values)
    ax = matrix(values, limit=limit, ax=ax)
    ax.set_title(title(which, trajectory.ts[index]))
    if which == "qqt":  # between the blocks of inputs and outputs
        border = trajectory.network.sizes[0] - 0.5
        ax.axhline(border, color="0.3", linewidth=0.8)
        ax.axvline(border, color="0.3", linewidth=0.8)
    return ax


def values_of(trajectory: Trajectory, which: str) -> Float[Array, "times rows columns"]:
    """A representation at every time, by its name in `REPRESENTATIONS`."""
    _checks.require(
        which in REPRESENTATIONS,
        f"`which` must be one of {', '.join(REPRESENTATIONS)}, but it was {which!r}.",
    )
    return getattr(trajectory, REPRESENTATIONS[which][0])


def title(which: str, t: Float[Array, ""]) -> str:
    """A title with the quantity and the time."""
    time = f"{float(t):.3g}" if np.isfinite(t) else r"\infty"
    return f"{REPRESENTATIONS[which][1]} at $t = {time}$"


def phase_diagram(
    data: "xarray.Dataset",
    name: str = "kernel_distance",
    *,
    ax: "Axes | None" = None,
) -> "Axes":
    r"""A heat map of a sweep's result over the balance and the scale of its starts.

    The axis of the scale is logarithmic. The axis of $\lambda$ is logarithmic too
    (symmetric about zero) if its values aren't evenly spaced and span a decade or more.
    Cells without a finite value are grey.

    **Arguments:**

    - `data`: a dataset with the dimensions `lmda` and `scale`, such as the result of
      `lr.sweeps.phase_diagram`. The map shows the mean over `key` and `seed`, without
      failed points.
    - `name`: the name of the variable.
    - `ax`: the matplotlib axes to draw on; a new figure if left out.

    **Returns:** the axes.

    **Raises:** `TypeError` for other types than a dataset; `ValueError` for a dataset
    without the variable, and for a variable without these dimensions or with others.

    ```python
    import jax
    import jax.numpy as jnp
    import lazyrich_jax as lr

    data = lr.sweeps.phase_diagram(
        lr.Task.hierarchy(2),
        (4, 4, 4),
        jnp.linspace(0, 50, 20),
        lmda=jnp.array([-10.0, -1.0, 0.0, 1.0, 10.0]),
        scale=jnp.array([0.01, 0.1, 1.0]),
        key=jax.random.split(jax.random.key(0), 2),
        progress=False,
    )
    lr.plot.phase_diagram(data, "richness")
    ```
    """
    check_axes(ax)
    table = _over_balance_and_scale(data, name)
    lmda, scale = (np.asarray(table[axis], float) for axis in ("lmda", "scale"))
    ax = axes_or_new(ax, SIZE)
    _set_balance_scale(ax, lmda)
    ax.set_yscale("log" if scale[0] > 0 else "linear")
    mesh = ax.pcolormesh(
        _edges(ax.xaxis, lmda),
        _edges(ax.yaxis, scale),
        np.ma.masked_invalid(table.values),
        cmap=SEQUENTIAL,
    )
    ax.set_facecolor("0.8")
    ax.set(xlabel=r"balance $\lambda$", ylabel="scale of the initial weights")
    ax.figure.colorbar(mesh, ax=ax, label=name.replace("_", " "))
    return ax


def _over_balance_and_scale(data: Any, name: str) -> Any:
    """The variable as a sorted table, with rows by scale and columns by balance."""
    import xarray

    hint = "`lr.sweeps.phase_diagram` and `lr.sweeps.run` return one"
    _checks.instance("data", data, xarray.Dataset, hint)
    variables = ", ".join(str(variable) for variable in data.data_vars)
    _checks.require(
        name in data.data_vars,
        f"`name` must be of the variables of `data` ({variables}), but it was "
        f"{name!r}.",
    )
    table = data[name]
    dims = ", ".join(str(dim) for dim in table.dims)
    _checks.require(
        {"lmda", "scale"} <= set(table.dims),
        "`data` must have the dimensions lmda and scale, but those of "
        f"`{name}` were ({dims}).",
    )
    others = set(table.dims) - {"lmda", "scale", *AVERAGED}
    _checks.require(
        not others,
        f"`data` must have no dimensions but lmda, scale, {' and '.join(AVERAGED)}, "
        f"but those of `{name}` were ({dims}); select with `data.isel(...)`.",
    )
    table = table.mean([dim for dim in AVERAGED if dim in table.dims])
    return table.transpose("scale", "lmda").sortby(["lmda", "scale"])


def _as_index(index: SupportsIndex, times: int) -> int:
    try:
        integer = operator.index(index)
    except TypeError:
        integer = times
    _checks.require(
        -times <= integer < times,
        f"`index` must be an integer from {-times} to {times - 1}, for {times} times, "
        f"but it was {index!r}.",
    )
    return integer


def _set_balance_scale(ax: "Axes", lmda: Float[np.ndarray, " lmdas"]) -> None:
    """Set a linear axis for even or close values, else a logarithmic or symlog one."""
    from matplotlib.ticker import SymmetricalLogLocator

    sizes = np.unique(np.abs(lmda[lmda != 0]))
    steps = np.diff(lmda)
    even = len(steps) == 0 or np.ptp(steps) <= 1e-6 * np.abs(steps).max()
    if even or sizes[-1] < 10 * sizes[0]:
        ax.set_xscale("linear")
    elif lmda[0] > 0:
        ax.set_xscale("log")
    else:
        ax.set_xscale("symlog", linthresh=sizes[0])
        locator = SymmetricalLogLocator(base=10, linthresh=sizes[0])
        locator.set_params(numticks=5)  # more ticks would overlap
        ax.xaxis.set_major_locator(locator)


def _edges(
    axis: "Axis", centres: Float[np.ndarray, " cells"]
) -> Float[np.ndarray, " edges"]:
    """The borders of cells, halfway between their centres on the scale of the axis."""
    places = axis.get_transform().transform(centres)
    if len(places) == 1:
        edges = places + np.array([-0.5, 0.5])
    else:
        middles = (places[1:] + places[:-1]) / 2
        first, last = 2 * places[0] - middles[0], 2 * places[-1] - middles[-1]
        edges = np.concatenate([[first], middles, [last]])
    return axis.get_transform().inverted().transform(edges)
