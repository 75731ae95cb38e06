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
# # A ReLU network that is exactly linear
#
# A ReLU network usually has no closed form. One class has: its hidden units come in pairs of
# opposite weights, $(w, a)$ and $(-w, -a)$, and every sample $(x, y)$ has its mirror image
# $(-x, -y)$. Such a network stays linear for the whole of training, and its learning is that of a
# linear network at half the speed. The targets may be nonlinear.
#
# We train one with `jax.grad`, compare it with the exact solution, look at the effect of the
# balance $\lambda$, and break the symmetry to see what is lost.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import matplotlib.pyplot as plt

import lazyrich_jax as lr
from lazyrich_jax.plot import COLOURS

n_in, pairs, n_out = 4, 3, 3
keys = jax.random.split(jax.random.key(1), 6)

teacher = jax.random.normal(keys[0], (n_in, n_out))
half = lr.Task.random_regression(n_in, n_out, samples=60, key=keys[1])
x = jnp.concatenate([half.x, -half.x])  # white inputs
y = jnp.sin(1.5 * x @ teacher) + x @ teacher  # odd, not linear
task = lr.Task(x, y)

# %% [markdown]
# ## Pairs of units
#
# `lr.LambdaBalanced` draws one unit of every pair. The other one has the opposite weights. At the
# start the output is linear, since $\mathrm{relu}(z) - \mathrm{relu}(-z) = z$.


# %%
def paired(lmda, scale=0.2):
    w1, w2 = lr.LambdaBalanced(lmda, scale)(n_in, pairs, n_out, key=keys[2]).weights
    return jnp.concatenate([w1, -w1]), jnp.concatenate([w2, -w2], axis=1)


def outputs(weights, x, slope=0.0):
    return jax.nn.leaky_relu(x @ weights[0].T, slope) @ weights[1].T


def loss(weights, slope, y):
    return jnp.sum((y - outputs(weights, x, slope)) ** 2) / (2 * len(x))


RATE, STEPS = 1e-3, 40  # steps between two records
ts = jnp.arange(300) * RATE * STEPS  # learning rate x step


@jax.jit
def trained(weights, slope=0.0, y=y):
    """Loss and weights of the ReLU network, by gradient descent on all weights."""

    def step(weights, _):
        gradient = jax.grad(loss)(weights, slope, y)
        return jax.tree.map(lambda w, g: w - RATE * g, weights, gradient), None

    def stretch(weights, _):
        after, _ = jax.lax.scan(step, weights, length=STEPS)
        return after, (loss(weights, slope, y), weights)

    return jax.lax.scan(stretch, weights, length=len(ts))[1]


# %% [markdown]
# ## Loss and outputs
#
# `lr.reductions.antisymmetric_relu` checks the symmetry of units and samples. It returns the linear
# network, its task and its clock, and the way back: `relu.function(ts)`, `relu.loss(ts)` and
# `relu.weights(ts)` are those of the ReLU network, at its own times.

# %%
weights = paired(lmda=0.0)
relu = lr.reductions.antisymmetric_relu(weights, task)
losses, history = trained(weights)

new = jax.random.normal(keys[3], (4, n_in))
simulated = jax.vmap(lambda w: outputs(w, new))(history)
exact = jax.vmap(lambda function: new @ function.T)(relu.function(ts))

fig, axes = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
axes[0].plot(ts, losses, color=COLOURS[0], lw=2.5, label="ReLU network, descent")
axes[0].plot(ts, relu.loss(ts), "k:", lw=1.5, label="exact")
axes[0].set(xlabel="time (learning rate x step)", ylabel="loss")
axes[0].legend(frameon=False)
for i in range(n_out):
    axes[1].plot(ts, simulated[:, :, i], color=COLOURS[i], lw=2.5)
axes[1].plot(ts, exact.reshape(len(ts), -1), "k:", lw=1.5)
_ = axes[1].set(xlabel="time (learning rate x step)", ylabel="outputs for new inputs")

print(f"clock: time 1 of the ReLU network is time {relu.clock(1.0)} of the linear one")
print(f"largest difference of the outputs: {jnp.abs(simulated - exact).max():.1e}")
rest = relu.task.loss(relu.function(jnp.inf))
print(f"loss of the best linear function, which is learned: {rest:.4f}")

# %% [markdown]
# The difference is that of gradient descent from its flow, and falls with the learning rate. The
# rest of the loss belongs to the sine. No other network of ReLU units without biases does better:
# $\mathrm{relu}(z) = z/2 + |z|/2$, so that the odd part of its function is linear.
#
# ## Rich and lazy
#
# All that is known of balanced linear networks is true of this ReLU network. With a balance of
# zero, the modes are learned one after the other and the input weights align with the task. With
# a large balance of either sign learning is exponential, and the smaller layer learns. For
# $\lambda < 0$ these are the output weights. They see only three of the four input directions at
# first, and the rest is learned later, as the input weights turn (delayed rich).

# %%
fig, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained", sharey=True)
for ax, lmda in zip(axes, (0.0, 4.0, -4.0), strict=True):
    start = paired(lmda)
    own = lr.reductions.antisymmetric_relu(start, task)
    found, history = trained(start)
    goal = task.input_output_correlation
    u, s, vt = jnp.linalg.svd(goal)
    modes = jnp.einsum("oi,tox,ix->ti", u, own.function(ts), vt[:n_out])
    relus = jnp.einsum("oi,tox,ix->ti", u, history[1] @ history[0] / 2, vt[:n_out])
    for i in range(n_out):
        ax.plot(ts, relus[:, i], color=COLOURS[i], lw=2.5, label=f"$s = {s[i]:.2f}$")
        ax.plot(ts, modes[:, i], "k:", lw=1.5)
    w1, _ = own.weights(jnp.array([0.0, 12.0]))
    moved = jnp.linalg.norm(w1[1] - w1[0]) / jnp.linalg.norm(w1[0])
    ax.set(title=rf"$\lambda = {lmda:g}$: input weights move by {moved:.1f}", xlabel="time", xlim=(0, 6))
axes[0].set_ylabel("mode strength")
_ = axes[0].legend(frameon=False)

# %% [markdown]
# ## Leaky ReLU
#
# A leaky unit of slope $\alpha$ has the pair's output $(1 + \alpha)\,a\,w\cdot x$. The reduction
# scales the weights by $\sqrt{1 + \alpha}$ and the time by $(1 + \alpha)/2$: slope 1 is a linear
# network at full speed.

# %%
fig, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
for slope, colour in zip((0.0, 0.3, 1.0), COLOURS, strict=False):
    # Weights are divided by the factor, so that all start with one function.
    start = tuple(w / (1 + slope) ** 0.5 for w in paired(0.0))
    leaky = lr.reductions.antisymmetric_relu(start, task, slope)
    found, _ = trained(start, slope)
    ax.plot(ts, found, color=colour, lw=2.5, label=f"slope {slope:g}")
    ax.plot(ts, leaky.loss(ts), "k:", lw=1.5)
ax.set(xlabel="time (learning rate x step)", ylabel="loss", xlim=(0, 6))
_ = ax.legend(frameon=False)

# %% [markdown]
# ## Without the symmetry
#
# Three changes end the exact solution: units without partner, data without mirror images, and
# targets with an even part. The constructor refuses each.

# %%
lone = (weights[0], weights[1].at[:, 0].multiply(1.1))
even = lr.Task(x, y + jnp.abs(x @ teacher))
for given, data in ((lone, task), (weights, half), (weights, even)):
    try:
        lr.reductions.antisymmetric_relu(given, data)
    except ValueError as error:
        print(error)

# %% [markdown]
# What does the ReLU network do then? A random network of the same size, on the same data, has an even
# part, $a|w \cdot x|/2$ of every unit, which it must unlearn. No linear network describes its course,
# although it ends at the same function. The pairs, on targets with an even part, learn this part: they
# leave the linear functions, and the loss falls below theirs.

# %%
spread = [jnp.std(w) for w in weights]
random = tuple(
    size * jax.random.normal(key, w.shape)
    for size, key, w in zip(spread, keys[4:], weights, strict=True)
)
fig, axes = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
axes[0].plot(ts, losses, color=COLOURS[0], lw=2.5, label="antisymmetric pairs")
axes[0].plot(ts, trained(random)[0], color=COLOURS[1], lw=2.5, label="random units")
axes[0].plot(ts, relu.loss(ts), "k:", lw=1.5, label="exact")
axes[0].axhline(rest, color="k", lw=0.8, ls="--", label="best linear function")
axes[0].set(title="odd targets", ylabel="loss")
axes[1].plot(ts, trained(weights, 0.0, even.y)[0], color=COLOURS[0], lw=2.5)
best = even.loss(even.input_output_correlation)
axes[1].axhline(best, color="k", lw=0.8, ls="--")
axes[1].set(title="targets with an even part")
for ax in axes:
    ax.set(xlabel="time (learning rate x step)", ylim=(0, None))
_ = axes[0].legend(frameon=False)

# %% [markdown]
# ## Summary
#
# - Antisymmetric pairs of (leaky) ReLU units on symmetric data learn exactly as a linear network, at
#   $(1 + \alpha)/2$ of its speed.
# - `lr.reductions.antisymmetric_relu` has their loss, function and weights at any time, infinity
#   included, for any balance, and refuses networks and data without the symmetry.
# - The other reductions of `lr.reductions` work alike: network, task and clock, and the way back.
