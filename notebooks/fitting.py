# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fitting the theory to learning curves
#
# A network has learned, and we have its losses. *Was it rich or lazy? Which balance $\lambda$ and
# which scale did it start from? How sure can we be? And is the theory right about this network at
# all?* `lr.inference.fit` answers by maximum likelihood from many starts, with intervals of the
# profile likelihood. It also says what the data do not determine.

# %%
import warnings

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import matplotlib.cbook
import matplotlib.pyplot as plt
import numpy as np

import lazyrich_jax as lr
from lazyrich_jax.plot import COLOURS

inference = lr.inference


def show(found):
    """Data with the fit, and the residuals."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 3.3), layout="constrained")
    lr.plot.fit(found, ax=axes[0])
    lr.plot.residuals(found, ax=axes[1])
    return axes


# %% [markdown]
# ## A simulated descent
#
# A network learns four items with gradient descent. Its start is aligned with the task. We see the
# loss at 41 times, with noise of two per cent. An `Experiment` is what we know: the task, the times,
# what is seen and the law of its noise.

# %%
task = lr.Task.hierarchy(levels=2)
ts = jnp.linspace(0, 8, 41)
experiment = inference.Experiment(task, ts, noise=inference.Relative(0.02))
start = experiment.network(lmda=2.0, scale=0.3)
run = lr.learn(start, task, ts, dynamics=lr.GradientDescent(1e-3))
losses = run.loss * jnp.exp(0.02 * jax.random.normal(jax.random.key(1), ts.shape))

found = inference.fit(experiment, losses, unknown=("lmda", "scale"), bounds={"lmda": (0, 100)})
print(found)
axes = show(found)
axes[0].set_yscale("log")

# %% [markdown]
# Both numbers are found, and their intervals contain the true ones, 2 and 0.3. The deviance is what
# noise of two per cent makes of as many observations.
#
# The range of $\lambda$ above was a choice. The loss of an aligned start is an even function of
# $\lambda$, and so are its function and its modes. Without the range the fit has two optima, and says
# so. Also, the loss of a network with $\lambda$ is that of its transpose with $-\lambda$. Only
# something that tells the layers apart has a sign: a representation.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    both = inference.fit(experiment, losses)
print(both)
print(caught[0].message)

# %% [markdown]
# ## Loss or function?
#
# Suppose that we know less: the start may be any function, and the learning rate is unknown too. We
# simulate a network whose start has nothing to do with the task, and see its loss, or the whole
# function.

# %%
small = lr.Task.from_correlation(jnp.array([[2.0, 0.3], [0.0, 1.0]]))
first = lr.LambdaBalanced(1.5, scale=0.5)(2, 2, 2, key=jax.random.key(1))
ts = jnp.linspace(0, 1, 41)
run = lr.learn(first, small, ts, dynamics=lr.GradientDescent(1e-3))
keys = jax.random.split(jax.random.key(3))
fits = {}
for name, clean, key in zip(("loss", "function"), (run.loss, run.function), keys, strict=True):
    data = clean + 0.01 * jax.random.normal(key, clean.shape)
    experiment = inference.Experiment(
        small, ts, observe=name, noise=inference.Additive(0.01), start="any"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fits[name] = inference.fit(
            experiment, data, unknown=("lmda", "rate", "function"), bounds={"lmda": (0, 100)}
        )
    print(fits[name])
    print(*[w.message for w in caught], sep="\n", end="\n\n")

# %% [markdown]
# Both fits are good, and both curves are smooth. But the loss does not tell whether the network is
# rich or lazy: the interval of $\lambda$ begins at zero. Many starts have this loss curve, each with
# its own balance and rate. The function's trajectory shows the start at time zero. Then its course
# determines $\lambda$ and the rate, to within a few per cent of the true 1.5 and 1.
# `lazyrich reproduce identifiability` draws which observable tells how much, and when.

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 3.3), layout="constrained")
for ax, name in zip(axes, fits, strict=True):
    lr.plot.fit(fits[name], ax=ax)
    low, high = fits[name].intervals(names=["lmda"])["lmda"][0]
    ax.set_title(f"{name}: $\\lambda$ from {low:.2g} to {high:.2g}")

# %% [markdown]
# ## A real data set
#
# matplotlib ships a map of the elevation of the Jacksboro fault. The task: four principal components
# of eight neighbouring heights in a row predict those of the next eight. The inputs are white. A
# linear network follows the theory on real data too, since no assumption is about the targets.

# %%
elevation = matplotlib.cbook.get_sample_data("jacksboro_fault_dem.npz")["elevation"].astype(float)
rows = np.lib.stride_tricks.sliding_window_view(elevation, (1, 16))[::2, ::16].reshape(-1, 16)
rows = rows - rows.mean(axis=1, keepdims=True)


def components(x):
    """The first four principal components, and their sizes."""
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    return u[:, :4] * np.sqrt(len(x)), s[:4] / np.sqrt(len(x))


x, _ = components(rows[:, :8])
y, size = components(rows[:, 8:])
terrain = lr.Task(jnp.asarray(x), jnp.asarray(y * size / size[0]))
print("samples:", terrain.samples)
print("strengths:", jnp.linalg.svd(terrain.input_output_correlation)[1].round(3))

rate, steps = 0.01, jnp.arange(0, 2001, 50)
first = lr.LambdaBalanced(0.5, scale=0.3)(4, 4, 4, key=jax.random.key(0))


def descend(network, forward):
    """Losses of gradient descent at every 50th step."""

    def loss(weights):
        return jnp.sum((forward(weights, terrain.x) - terrain.y) ** 2) / (2 * terrain.samples)

    def update(weights, _):
        value, slope = jax.value_and_grad(loss)(weights)
        return jax.tree.map(lambda w, g: w - rate * g, weights, slope), value

    return jax.jit(lambda w: jax.lax.scan(update, w, length=2001)[1][::50])(network)


def linear(weights, x):
    w1, w2 = weights
    return x @ w1.T @ w2.T


def relu(weights, x):
    w1, w2 = weights
    return jax.nn.relu(x @ w1.T) @ w2.T


curves = {
    "linear": descend(first.weights, linear),
    "ReLU": descend(first.weights, relu),
}
noise = jnp.exp(0.01 * jax.random.normal(jax.random.key(4), steps.shape))
noisy = {name: curve * noise for name, curve in curves.items()}

# %% [markdown]
# Both networks start from the same weights and learn with the same steps; the second has rectified
# hidden units. We know the direction of the function $W_2W_1$ at the start and the learning rate, and
# ask for $\lambda$ and the scale. The noise is one per cent.

# %%
experiment = inference.Experiment(
    terrain,
    steps,
    rate=rate,
    start=first.function / 0.3**2,
    noise=inference.Relative(0.01),
)
for name, data in noisy.items():
    found = inference.fit(experiment, data, bounds={"lmda": (0, 100)})
    print(f"{name} network\n{found}\n")
    axes = show(found)
    axes[0].set(title=f"{name} network", xlabel="step")
    axes[1].set(xlabel="step")

# %% [markdown]
# The linear network gives back its $\lambda = 0.5$ and its scale of 0.3, from real data. The theory
# explains the curve to within the noise.
#
# The fit of the ReLU network fails, and says so: the chance of so large a deviance is zero, and
# neighbouring residuals have the same sign. Its $\lambda$ is a number without a meaning, whatever its
# interval.
#
# A more liberal theory has an unknown rate and an unknown task. It has one mode to learn and one that
# it cannot learn. `lazyrich fit` tries it on a table of steps and losses.

# %%
free = inference.Experiment((2, 1, 2), steps, noise=inference.Relative(0.01))
found = inference.fit(
    free, noisy["ReLU"], ("lmda", "scale", "rate", "task_strengths"), bounds={"lmda": (0, 100)}
)
print(found)
axes = show(found)
axes[0].set(title="ReLU network, free theory", xlabel="step")
_ = axes[1].set(xlabel="step")

# %% [markdown]
# To the eye this fit is good. It is not: the residuals are four times the noise, and they come in
# waves. The p-value is zero. A fit that is only looked at would hide this, since a smooth falling
# curve goes through most smooth falling points.
#
# ## Summary
#
# - `fit` finds $\lambda$ and the scale of a linear network from its loss, if the function at the start
#   is known up to its scale.
# - With an unknown start and rate the loss does not tell rich from lazy; the function does. The sign
#   of $\lambda$ needs a representation.
# - Read the p-value and the correlation of residuals before the estimates. They tell whether the
#   theory describes the network.
