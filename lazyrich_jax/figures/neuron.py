"""Single neurons: many flows at once, by theory and simulation, and their plots."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from .._dynamics import GradientFlow
from .._learn import learn
from .._task import Task
from ..kernels import ntk
from ..measures import kernel_distance
from ..theory import SingleNeuron, neuron_from_function, single_neuron
from .record import Data, Difference, difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec
    from mpl_toolkits.mplot3d.axes3d import Axes3D

THEORY = {"color": "k", "ls": ":", "lw": 1.4}


def starts(
    function: Float[Array, " in"], deltas: Float[Array, " deltas"]
) -> SingleNeuron:
    """The neurons with this function and each of these balances, a > 0."""
    return jax.vmap(lambda delta: neuron_from_function(function, delta))(deltas)


def times(last: float, points: int) -> np.ndarray:
    """Times from zero to `last`, denser at the start, where changes are fast."""
    return last * np.linspace(0, 1, points) ** 2


def solve(
    start: SingleNeuron, target: Float[Array, " in"], ts: Real[ArrayLike, " times"]
) -> SingleNeuron:
    """The exact flow of every neuron of `start`; axes: start, time."""
    return jax.vmap(lambda n: single_neuron(ts, n.w, n.a, target))(start)


def simulate(
    start: SingleNeuron, task: Task, ts: Real[ArrayLike, " times"]
) -> SingleNeuron:
    """The integrated flow of every neuron of `start`; axes: start, time."""

    def flow(neuron):
        run = learn(neuron.network, task, ts, dynamics=GradientFlow())
        w, a = run.network.weights
        return SingleNeuron(w[:, 0], a[:, 0, 0])

    return jax.vmap(flow)(start)


@eqx.filter_jit
def kernel_distances(neurons: SingleNeuron) -> Float[Array, "starts times"]:
    """The distance of every tangent kernel from the kernel at the start."""

    def of_flow(flow):
        # For unit vectors as samples the kernel is the kernel of the inputs.
        x = jnp.eye(flow.w.shape[-1], dtype=flow.w.dtype)
        kernels = jax.vmap(lambda neuron: ntk(neuron.network, x))(flow)
        return jax.vmap(lambda kernel: kernel_distance(kernels[0], kernel))(kernels)

    return jax.vmap(of_flow)(neurons)


def arrays(law: str, neurons: SingleNeuron, **more: Array) -> dict[str, Array]:
    """The weights, the function and `more`, with names such as `flow/w`."""
    values = {"w": neurons.w, "a": neurons.a, "function": neurons.function, **more}
    return {f"{law}/{name}": value for name, value in values.items()}


def differences(data: Data, names: tuple[str, ...], bound: float) -> list[Difference]:
    """The differences of theory from the simulated flow, over all starts."""
    found = []
    for name in names:
        theory, flow = (
            np.swapaxes(data[f"{law}/{name}"], 0, 1) for law in ("theory", "flow")
        )
        value = difference(theory, flow)
        found.append(Difference(name.replace("_", " "), "flow", value, bound))
    return found


def delta_colours(deltas: np.ndarray) -> list:
    """Brown for negative balances, teal for positive ones, grey for zero."""
    from matplotlib import colormaps

    largest = max(len(deltas[deltas < 0]), len(deltas[deltas > 0]), 1)
    colours = []
    for delta in deltas:
        sign = np.sign(delta)
        same = np.abs(deltas[np.sign(deltas) == sign])
        rank = np.sum(same <= abs(delta)) / largest
        # Colours start at 0.2 from the middle: paler lines would be hard to see.
        place = 0.5 + sign * (0.2 + 0.25 * rank)
        colours.append("0.6" if delta == 0 else colormaps["BrBG"](place))
    return colours


def law_handles(colour: str = "0.5") -> list:
    """Legend entries for simulated and theoretical lines."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=colour, lw=3, label="gradient flow"),
        Line2D([], [], label="theory", **THEORY),
    ]


def parameter_space(
    figure: "Figure", place: "SubplotSpec", limit: float, *, zoom: float = 1.0
) -> "Axes3D":
    """Axes for (w1, w2, a), drawn in the order of `zorder`."""
    from matplotlib.ticker import MaxNLocator

    # `Any`, since some of matplotlib's types of these axes are wrong.
    axes: Any = figure.add_subplot(place, projection="3d", computed_zorder=False)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), zlim=(-limit, limit))
    axes.set(xlabel="$w_1$", ylabel="$w_2$", zlabel="$a$")
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((1.0, 1.0, 1.0, 0.0))
        axis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize="small", pad=0)
    axes.zaxis.labelpad = -3  # otherwise it overlaps its neighbour
    axes.set_box_aspect(None, zoom=zoom)
    return axes


def hyperbola(
    axes: "Axes3D", function: np.ndarray, limit: float, colour: str, front: float
) -> None:
    """Draw the neurons with one function, w = function / a, for both signs of a.

    `front` is the `zorder` of the branch with a > 0; the other branch lies behind.
    """
    a = np.geomspace(np.linalg.norm(function) / (1.5 * limit), limit, 400)
    w = function[:, None] / a
    inside = np.all(np.abs(w) <= limit, axis=0)
    for sign, zorder in ((1, front), (-1, -front)):
        branch = sign * w[0][inside], sign * w[1][inside], sign * a[inside]
        axes.plot(*branch, color=colour, lw=3, zorder=zorder)


def function_space(
    axes: "Axes", x: np.ndarray, y: np.ndarray, loss: np.ndarray
) -> None:
    """Draw contours of the loss over functions, as a background of the flows."""
    axes.contourf(x, y, loss, levels=18, cmap="Greys", alpha=0.35)
    axes.contour(x, y, loss, levels=18, colors="0.75", linewidths=0.6)
    axes.set(xlabel=r"$\beta_1$", ylabel=r"$\beta_2$", aspect="equal")
