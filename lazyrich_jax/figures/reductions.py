"""Other models that learn as two-layer linear networks do."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import reductions
from .._init import Aligned, LambdaBalanced
from .._task import Task
from ..reductions import Reduction
from .record import Data, Difference, Record, difference
from .style import COLOURS, law_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Other models that learn as two-layer linear networks do"
SOURCE = "This library: docs/beyond.md, section 5"

# Title of the panel, its vertical axis, and the largest difference.
PANELS = {
    "relu": ("ReLU network", "outputs for new inputs", 2e-3),
    "attention": ("linear attention", "merged weights", 3e-2),
    "recurrent": ("linear recurrent network", r"$W_2 W_1$", 3e-3),
    "denoising": ("denoising autoencoder", "mode strength", 2e-2),
    "schedule": ("warm-up and cosine decay", r"$W_2 W_1$", 3e-3),
    "momentum": ("heavy-ball momentum", r"$W_2 W_1$", 2e-2),
}


class Settings(NamedTuple):
    """All parameters of the figure."""

    steps: int = 4000
    points: int = 120
    last: float = 6.0  # learning rate x step, of the slowest model
    scale: float = 0.3
    samples: int = 40
    length: int = 6
    recurrence: float = 0.8
    dims: int = 3
    examples: int = 12
    batch: int = 400
    spectrum: tuple[float, ...] = (3.0, 1.0, 0.4, 0.1)
    noise: float = 0.5
    momentum: float = 0.9
    seed: int = 0


FULL = Settings()
QUICK = FULL._replace(steps=1600, points=60)


def caption(settings: Settings) -> str:
    """The caption of the figure, with its parameters."""
    spectrum = ", ".join(f"{d:g}" for d in settings.spectrum)
    return (
        f"Six models, trained by {settings.steps} steps of gradient descent on "
        "themselves (coloured), and their exact solutions by reduction to a two-layer "
        "linear network (dotted). A ReLU network of 6 units in antisymmetric pairs, on "
        f"{settings.samples} nonlinear samples and their mirror images: its outputs "
        "for three new inputs. One head of linear attention, on "
        f"{settings.batch} new sequences a step of {settings.examples} examples in "
        f"{settings.dims} dimensions: value times merged keys and queries. A linear "
        f"network with the fixed recurrence {settings.recurrence:g}, on sequences of "
        f"length {settings.length}. A denoising autoencoder on data of variances "
        f"{spectrum} with new noise of deviation {settings.noise:g} at every step. Two "
        "layers under a learning rate with warm-up and cosine decay, and with momentum "
        f"{settings.momentum:g}, which is exact for small steps only."
    )


class Model(NamedTuple):
    """A model to train, and its reduction."""

    reduction: Reduction
    weights: Any
    loss: Callable[[Any, Array], Array]  # of weights and a key
    shown: Callable[[Any], Array]  # of weights
    shown_exact: Callable[[Array], Array]  # of the reduction's function
    times: Callable[[np.ndarray], np.ndarray]  # of steps
    optimiser: Any


def compute(settings: Settings, track=iter) -> Record:
    """Train every model, and evaluate its reduction."""
    makers = {
        "relu": _relu,
        "attention": _attention,
        "recurrent": _recurrent,
        "denoising": _denoising,
        "schedule": _schedule,
        "momentum": _momentum,
    }
    steps = np.linspace(0, settings.steps, settings.points).round().astype(int)
    data: dict[str, np.ndarray] = {"steps": steps}
    differences = []
    key = jax.random.key(settings.seed)
    for name in track(PANELS):
        model = makers[name](settings, key)
        run = _trained(model, steps, key)
        exact = model.reduction.function(model.times(steps))
        exact = jax.vmap(model.shown_exact)(exact)
        data[f"{name}/descent"] = np.asarray(run).reshape(len(steps), -1)
        data[f"{name}/exact"] = np.asarray(exact).reshape(len(steps), -1)
        title, _, bound = PANELS[name]
        pair = data[f"{name}/exact"], data[f"{name}/descent"]
        differences.append(Difference(title, "descent", difference(*pair), bound))
    return Record(data, differences)


def _trained(model: Model, steps: np.ndarray, key: Array) -> Array:
    """What is shown of the model at `steps` of descent."""
    import optax

    def step(state, key):
        weights, memory = state
        gradient = jax.grad(model.loss)(weights, key)
        updates, memory = model.optimiser.update(gradient, memory, weights)
        return (optax.apply_updates(weights, updates), memory), model.shown(weights)

    start = model.weights, model.optimiser.init(model.weights)
    keys = jax.random.split(key, int(steps[-1]) + 1)
    _, shown = jax.jit(lambda: jax.lax.scan(step, start, keys))()
    return shown[steps]


def _square(error: Array) -> Array:
    """Half of the mean squared norm of the rows."""
    return jnp.sum(error**2) / (2 * error.shape[0])


def _entries(weights: tuple[Array, Array]) -> Array:
    return weights[1] @ weights[0]


def _same(x: Any) -> Any:
    return x


def _plain(settings: Settings) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    """Gradient descent, and its times."""
    import optax

    rate = settings.last / settings.steps
    return optax.sgd(rate), lambda steps: steps * rate


def _relu(settings: Settings, key: Array) -> Model:
    keys = jax.random.split(key, 5)
    network = LambdaBalanced(0.5, settings.scale)(4, 3, 3, key=keys[0])
    inputs = jax.random.normal(keys[1], (settings.samples, 4))
    teacher, bend = jax.random.normal(keys[2], (2, 4, 3))
    half = Task(inputs, inputs @ teacher).whitened()
    x = jnp.concatenate([half.x, -half.x])
    y = 2 * jnp.sin(x @ teacher / 2) + (x @ bend) ** 3 / 20
    w1, w2 = network.weights
    weights = jnp.concatenate([w1, -w1]), jnp.concatenate([w2, -w2], axis=1)
    new = jax.random.normal(keys[3], (3, 4))

    def outputs(weights, x):
        return jax.nn.relu(x @ weights[0].T) @ weights[1].T

    optimiser, times = _plain(settings)
    return Model(
        reductions.antisymmetric_relu(weights, Task(x, y)),
        weights,
        lambda weights, key: _square(outputs(weights, x) - y),
        lambda weights: outputs(weights, new),
        lambda function: new @ function.T,
        times,
        optimiser,
    )


def _attention(settings: Settings, key: Array) -> Model:
    d, n = settings.dims, settings.examples
    start = settings.scale * jax.random.normal(key, (d, d))
    weights = start, jnp.asarray(settings.scale, start.dtype)

    def loss(weights, key):
        u, v = weights
        xkey, wkey, qkey = jax.random.split(key, 3)
        x = jax.random.normal(xkey, (settings.batch, n, d))
        w = jax.random.normal(wkey, (settings.batch, d))
        query = jax.random.normal(qkey, (settings.batch, d))
        values = jnp.einsum("bnd,bd->bn", x, w)
        scores = jnp.einsum("bnd,de,be->bn", x, u, query)
        output = v * jnp.mean(scores * values, axis=1)
        return _square((output - jnp.sum(w * query, axis=1))[:, None])

    optimiser, times = _plain(settings)
    reduction = reductions.linear_attention(*weights, examples=n)
    return Model(
        reduction, weights, loss, lambda w: w[1] * w[0], _same, times, optimiser
    )


def _recurrent(settings: Settings, key: Array) -> Model:
    keys = jax.random.split(key, 3)
    network = LambdaBalanced(0.0, settings.scale)(3, 3, 3, key=keys[0])
    white = jax.random.orthogonal(keys[1], settings.samples)[:, : 3 * settings.length]
    x = settings.samples**0.5 * white.reshape(-1, settings.length, 3)
    y = jnp.sum(x, axis=1) @ jax.random.normal(keys[2], (3, 3)) / 3

    def loss(weights, key):
        def see(h, inputs):
            return settings.recurrence * h + inputs @ weights[0].T, None

        h = jnp.zeros((settings.samples, 3), x.dtype)
        h, _ = jax.lax.scan(see, h, x.swapaxes(0, 1))
        return _square(h @ weights[1].T - y)

    optimiser, times = _plain(settings)
    reduction = reductions.linear_recurrent(network, x, y, settings.recurrence)
    return Model(reduction, network.weights, loss, _entries, _same, times, optimiser)


def _denoising(settings: Settings, key: Array) -> Model:
    n, count = len(settings.spectrum), settings.samples
    keys = jax.random.split(key, 3)
    v = jax.random.orthogonal(keys[0], n)
    white = count**0.5 * jax.random.orthogonal(keys[1], count)[:, :n]
    x = (white * jnp.sqrt(jnp.asarray(settings.spectrum))) @ v.T
    aligned = Aligned(Task(x, x), strengths=settings.scale**2 / 4)
    network = aligned(n, n, n, key=keys[2])

    def loss(weights, key):
        noise = jax.random.normal(key, (settings.batch // count, *x.shape), x.dtype)
        seen = (x + settings.noise * noise).reshape(-1, n)
        clean = jnp.broadcast_to(x, noise.shape).reshape(-1, n)
        return _square(seen @ _entries(weights).T - clean)

    def modes(function):
        return jnp.diagonal(v.T @ function @ v)

    optimiser, times = _plain(settings)
    reduction = reductions.denoising_autoencoder(network, x, settings.noise)
    return Model(
        reduction,
        network.weights,
        loss,
        lambda weights: modes(_entries(weights)),
        modes,
        times,
        optimiser,
    )


def _two_layers(settings: Settings, key: Array):
    """A network, its task, and the loss of its weights."""
    keys = jax.random.split(key)
    task = Task.random_regression(3, 2, settings.samples, key=keys[0], target_scale=3.0)
    network = LambdaBalanced(0.0, settings.scale)(3, 2, 2, key=keys[1])
    return network, task, lambda weights, key: task.loss(_entries(weights))


def _schedule(settings: Settings, key: Array) -> Model:
    import optax

    network, task, loss = _two_layers(settings, key)
    rate = optax.warmup_cosine_decay_schedule(
        0.0,
        2 * settings.last / settings.steps,
        settings.steps // 10,
        settings.steps + 1,
    )
    reduction = reductions.schedule(network, task, rate, settings.steps)
    return Model(
        reduction, network.weights, loss, _entries, _same, _same, optax.sgd(rate)
    )


def _momentum(settings: Settings, key: Array) -> Model:
    import optax

    network, task, loss = _two_layers(settings, key)
    rate = settings.last * (1 - settings.momentum) / settings.steps
    optimiser = optax.sgd(rate, momentum=settings.momentum)
    reduction = reductions.heavy_ball(network, task, rate, settings.momentum)
    return Model(reduction, network.weights, loss, _entries, _same, _same, optimiser)


def draw(data: Data) -> "Figure":
    """Draw a panel for every model."""
    figure = new_figure(11.0, 6.0)
    axes = figure.subplots(2, 3).flat
    for ax, (name, (title, what, _)) in zip(axes, PANELS.items(), strict=True):
        for i, curve in enumerate(data[f"{name}/descent"].T):
            ax.plot(data["steps"], curve, color=COLOURS[i % len(COLOURS)], lw=2)
        ax.plot(data["steps"], data[f"{name}/exact"], "k:", lw=1.3)
        ax.set(title=title, xlabel="training step", ylabel=what)
        ax.set_xlim(0, data["steps"][-1])
    law_legend(figure)
    return figure
