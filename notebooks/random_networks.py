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
# # Is my random network lazy? Read it off its variances
#
# The layers of a random network are not $\lambda$-balanced, at any width. A wide two-layer network
# still has an exact solution. It depends on two numbers, the *input scale* $l_1$ and the *output
# scale* $l_2$. For independent weights of standard deviations $\sigma_1$, $\sigma_2$ and width $w$
#
# $$l_1 = w\sigma_1^2, \qquad l_2 = w\sigma_2^2 .$$
#
# The function learns at the *laziness* $l_1 + l_2$. It takes the place of $|\lambda|$. We read it
# off four usual initialisations, check it against the change of the tangent kernel, and look at
# the error of the solution at finite widths.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import matplotlib.pyplot as plt

import lazyrich_jax as lr
from lazyrich_jax.plot import COLOURS

n_in, n_out = 4, 3
strengths = jnp.array([4.0, 2.0, 1.0])
u, v = (
    jax.random.orthogonal(key, n)
    for key, n in zip(jax.random.split(jax.random.key(0)), (n_out, n_in), strict=True)
)
task = lr.Task.from_correlation((u * strengths) @ v[:, :n_out].T)  # white inputs

widths = 4 ** jnp.arange(2, 7)
schemes = {
    "LeCun": lr.Gaussian.lecun(),
    "He": lr.Gaussian.he(),
    "Glorot": lr.Gaussian.glorot(),
    "small": lr.Gaussian(0.01),
}

# %% [markdown]
# ## Laziness against width
#
# `network.effective_laziness` measures $l_1 + l_2$ from the weights, and `network.effective_side`
# measures $l_2 - l_1$. Gradient flow conserves both. The lines are the variances times the width,
# the dots are four draws of every network.

# %%
keys = jax.random.split(jax.random.key(1), 4)
networks = {
    (name, int(w)): jax.vmap(lambda key, draw=draw, w=int(w): draw(n_in, w, n_out, key=key))(keys)
    for name, draw in schemes.items()
    for w in widths
}

fig, axes = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
for (name, draw), colour in zip(schemes.items(), COLOURS, strict=False):
    own = [networks[name, int(w)] for w in widths]
    laziness = jnp.stack([n.effective_laziness for n in own])
    side = jnp.stack([n.effective_side for n in own])
    l1, l2 = jnp.stack([w * draw.standard_deviations(n_in, int(w), n_out) ** 2 for w in widths]).T
    for ax, dots, line in zip(axes, (laziness, side / laziness), (l1 + l2, (l2 - l1) / (l1 + l2))):
        ax.plot(widths, dots, "o", color=colour, ms=4)
        ax.plot(widths, line, color=colour, label=name)
    print(f"{name}: laziness {laziness[0].mean():.2g} at width 16, {laziness[-1].mean():.2g} at width 4096")
axes[0].axhline(2 * strengths[0], color="k", ls="--", lw=1)
axes[0].set(xscale="log", yscale="log", xlabel="width", ylabel="laziness $l_1 + l_2$")
axes[1].set(xscale="log", xlabel="width", ylabel="asymmetry $(l_2 - l_1)/(l_1 + l_2)$")
axes[0].legend(frameon=False)
_ = axes[1].set_ylim(-1.05, 1.05)

# %% [markdown]
# A mode of strength $s$ learns at the rate $\sqrt{4s^2 + (l_1 + l_2)^2}$. Twice the largest
# strength (dashed) is thus the unit of "large".
#
# - **LeCun and He:** $l_1 = w/N_i$ (He: twice as much) grows with the width, and $l_2 = 1$ (He: 2)
#   does not. The network becomes lazy, through its first layer alone.
# - **Glorot:** $l_1$ and $l_2$ both tend to 2. More width does not make this network lazy.
# - **Small weights** of a fixed variance: the laziness is small until the width compensates for it.
#
# ## Change of the kernel
#
# The rich-lazy index of the tangent kernel, $|K_\infty - K_0|/(|K_0| + |K_\infty|)$, is near one
# for rich learning and near zero for lazy learning. If the laziness decides, then all networks lie
# on one curve. `lr.wide_network` is the exactly solvable network of a function and both scales.
# Learning keeps the scales and takes the function from zero to the task's. The dots are gradient
# flow of the weights.
#
# A wide network uses only `in + out` hidden directions. `network.compressed()` rotates it into
# them. This changes neither its function nor its kernel, now or later, and all widths fit into one
# `vmap`.


# %%
def stacked(networks):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)


def index(qqt):
    k0, k1 = (
        lr.kernels.ntk_of_representations(p[:n_in, :n_in], p[n_in:, n_in:], task.x)
        for p in (qqt[0], qqt[-1])
    )
    return lr.measures.rich_lazy_index(k0, k1)


@jax.jit
@jax.vmap  # over initialisations and widths
@jax.vmap  # over draws
def learned(network):
    """Times, and the flow and the limit at these times."""
    ts = jnp.linspace(0, 1, 100) * 16 / (1 + network.effective_laziness)
    flow = lr.learn(network, task, ts, dynamics=lr.GradientFlow())
    limit = lr.learn(network, task, ts, dynamics=lr.WideLimit())
    return ts, flow.function, index(flow.qqt), limit.function, limit.error_estimate


@jax.jit
@jax.vmap
def exact_index(laziness):
    goal = task.input_output_correlation
    start, end = (lr.wide_network(a, laziness / 2, laziness / 2) for a in (0 * goal, goal))
    return index(jnp.stack([start.qqt, end.qqt]))


compressed = jax.vmap(lambda network: network.compressed()[0])
small = {place: compressed(network) for place, network in networks.items()}
found = dict(
    zip(small, zip(*map(list, learned(stacked(small.values()))), strict=True), strict=True)
)

fig, ax = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
line = jnp.geomspace(1e-3, 3e3, 100)
ax.plot(line, exact_index(line), "k", lw=1, label="exact")
for name, colour in zip(schemes, COLOURS, strict=False):
    laziness = jnp.concatenate([small[name, int(w)].effective_laziness for w in widths])
    indices = jnp.concatenate([found[name, int(w)][2] for w in widths])
    ax.plot(laziness, indices, "o", color=colour, ms=4, label=name)
ax.axvline(2 * strengths[0], color="k", ls="--", lw=1)
ax.set(xscale="log", xlabel="laziness $l_1 + l_2$", ylabel="rich-lazy index of the NTK")
_ = ax.legend(frameon=False)

# %% [markdown]
# All networks lie near one curve. Of LeCun's and He's networks even narrow ones are nearly lazy,
# Glorot's are in between at every width, and the small ones are rich.
#
# ## Learning curves, and the error of the limit
#
# `dynamics=lr.WideLimit()` takes any random network as a member of the solvable class, with its
# function at the start and its effective scales. It has a closed form and needs no steps. The
# colours are gradient flow of Glorot's weights, the dots are the limit.

# %%
shown = [16, 256, 4096]
fig, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained", sharey=True)
for ax, w in zip(axes, shown, strict=True):
    ts, flow, _, limit, _ = (x[0] for x in found["Glorot", w])
    for i in range(n_out):
        modes = (jnp.einsum("i,tij,j->t", u[:, i], a, v[:, i]) for a in (flow, limit))
        ax.plot(ts, next(modes), color=COLOURS[i], lw=2.5, label=f"$s = {strengths[i]:g}$")
        ax.plot(ts, next(modes), "k:", lw=1.5, label="limit" if i == 2 else None)
    ax.set(title=f"Glorot, width {w}", xlabel="time", xlim=(0, 1.5))
axes[0].set_ylabel("mode strength")
_ = axes[0].legend(frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.7), ncols=2)

# %% [markdown]
# The curves of wider networks lie on the limit. How wide is wide enough?
# `trajectory.error_estimate` estimates the error of the function at every time, from the distance
# of the weights from the class. It needs no simulation. We compare it with the true error, on the
# right with the median of the four draws.

# %%
def error(a, b):
    return jnp.linalg.norm(a - b, axis=(-2, -1))


size = jnp.linalg.norm(strengths)
fig, axes = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
for w, colour in zip(shown, COLOURS, strict=False):
    ts, flow, _, limit, estimate = (x[0] for x in found["Glorot", w])
    axes[0].plot(ts, error(flow, limit) / size, color=colour, lw=2, label=f"width {w}")
    axes[0].plot(ts, estimate / size, ":", color=colour, lw=2)
axes[0].set(xlabel="time", ylabel="relative error of the function", title="Glorot")
axes[0].set(xlim=(0, 1.5), yscale="log", ylim=(1e-5, 1))

for name, colour in zip(schemes, COLOURS, strict=False):
    runs = [found[name, int(w)] for w in widths]
    true = jnp.stack([error(flow, limit).max(1) for _, flow, _, limit, _ in runs]) / size
    guess = jnp.stack([estimate.max(1) for *_, estimate in runs]) / size
    axes[1].plot(widths, jnp.median(true, 1), "o-", color=colour, label=name)
    axes[1].plot(widths, jnp.median(guess, 1), ":", color=colour, lw=2)
    ratio = guess / true
    print(f"{name}: estimate over error from {ratio.min():.2f} to {ratio.max():.2f}")
axes[1].plot(widths, 1 / jnp.sqrt(widths), "k--", lw=1, label=r"$1/\sqrt{w}$")
axes[1].set(xscale="log", yscale="log", xlabel="width", title="largest over time")
for ax in axes:
    ax.plot([], [], "k:", label="estimate")
    ax.legend(frameon=False, fontsize=8)

# %% [markdown]
# The estimate follows the error over its range, and the largest error falls as $1/\sqrt w$.
#
# ## Summary
#
# - The width times the variances of both layers are the scales $l_1$ and $l_2$. Their sum is the
#   laziness. Compare it with twice the largest singular value of the task.
# - LeCun's and He's weights become lazy with width, Glorot's do not, small ones are rich.
# - `WideLimit` has errors of about $1/\sqrt w$, and `error_estimate` tells them beforehand.
