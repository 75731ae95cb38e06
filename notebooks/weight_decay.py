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
# # From lazy to rich by weight decay
#
# Gradient flow conserves the balance $\lambda I = W_2^\top W_2 - W_1W_1^\top$ of two linear layers.
# Its size decides whether they learn lazily, with fixed features, or richly. Weight decay $\gamma$
# of both layers,
#
# $$\dot W_l = -\frac{\partial L}{\partial W_l} - \gamma W_l,$$
#
# takes the balance away: $\lambda(t) = \lambda e^{-2\gamma t}$. A network that starts lazy ends
# rich. The equation still has an exact solution, `lr.ExactSolution(..., weight_decay=gamma)`. It
# answers three questions. *What happens first? When do the features change? Which decay makes them
# change at a given time?*

# %%
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import matplotlib.pyplot as plt

import lazyrich_jax as lr
from lazyrich_jax.plot import COLOURS

# %% [markdown]
# ## First the loss, then the features
#
# The task has white inputs and four modes. The network has a large first layer, $\lambda = -12$,
# and a small function. Lazy learning leaves the input representation $W_1^\top W_1$ near
# $|\lambda|I$. Rich learning makes it $VSV^\top$ of the task's $\Sigma = USV^\top$. The alignment
# of these two kernels tells them apart.

# %%
strengths = jnp.array([2.0, 1.0, 0.5, 0.25])
u, v = (jax.random.orthogonal(key, 4) for key in jax.random.split(jax.random.key(0)))
task = lr.Task.from_correlation((u * strengths) @ v.T)
goal = (v * strengths) @ v.T
ts = jnp.round(jnp.geomspace(0.01, 1000, 151) / 5e-3) * 5e-3  # multiples of a step


def start(lmda):
    return lr.LambdaBalanced(lmda, scale=0.1)(4, 4, 4, key=jax.random.key(1))


def alignment(kernels):
    return jax.vmap(lr.measures.kernel_alignment, (0, None))(kernels, goal)


def exact(lmda, gamma):
    """Loss and alignment at all times."""
    solution = lr.ExactSolution(start(lmda), task, weight_decay=gamma)
    qqt = solution.qqt(ts)
    return jax.vmap(task.loss)(qqt[:, 4:, :4]), alignment(qqt[:, :4, :4])


@jax.jit
@jax.vmap
def descend(lmda, gamma):
    """The same by gradient descent, at every sixth time."""
    law = lr.GradientDescent(5e-3, weight_decay=gamma)
    run = lr.learn(start(lmda), task, ts[::6], dynamics=law)
    return run.loss, alignment(run.input_representation)


# %% [markdown]
# We evaluate the exact solution on a grid of balances and decays at once: 21 x 26 networks at 151
# times, in one program. This section looks at four of them.

# %%
lmda_axis = -12 * 2 ** (jnp.arange(-14, 7) / 2)  # -12 is the 14th
gamma_axis = jnp.append(0.0, 0.08 * 4 ** (jnp.arange(-24, 1) / 8))
sweep = jax.jit(jax.vmap(jax.vmap(exact, (None, 0)), (0, None)))
losses, alignments = sweep(lmda_axis, gamma_axis)

# %%
shown = jnp.array([0, 9, 17, 25])
gammas, loss, aligned = gamma_axis[shown], losses[14, shown], alignments[14, shown]
simulated = descend(jnp.full(4, -12.0), gammas)
crossover = jnp.stack([lr.theory.crossover_time(strengths, -12.0, g) for g in gammas])

fig, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for i, gamma in enumerate(gammas):
    for ax, found, descent in zip(axes, (loss, aligned), simulated, strict=True):
        ax.plot(ts, found[i], color=COLOURS[i], label=rf"$\gamma = {gamma:g}$")
        ax.plot(ts[::6], descent[i], "o", color=COLOURS[i], mfc="w", ms=4)
    if gamma > 0:
        axes[1].axvspan(*crossover[i, jnp.array([0, -1])], color=COLOURS[i], alpha=0.12)
axes[0].set(xscale="log", yscale="log", ylim=(1e-8, 5), xlabel="time", ylabel="loss")
axes[1].set(xscale="log", xlabel="time", ylabel="alignment with the task")
axes[0].legend(frameon=False)
worst = max(
    float(jnp.abs(e[:, ::6] - d).max() / e.max())
    for e, d in zip((loss, aligned), simulated, strict=True)
)
print(f"largest difference of theory and descent: {worst:.2g} of the largest value")

# %% [markdown]
# Lines are exact, circles gradient descent. All four networks learn the loss by $t = 0.6$, at the
# rate $|\lambda|$. Their features change ten to several hundred times later, and the loss shows almost
# nothing of it: it *rises*, to a small value.
#
# The shaded bands are theory too. A mode of strength $s$ learns at the rate
# $\sqrt{\lambda(t)^2 + 4s^2}$. It turns from lazy to rich where $|\lambda(t)| = 2s$:
#
# $$t^* = \frac1{2\gamma}\ln\frac{|\lambda|}{2s},$$
#
# `lr.theory.crossover_time`. A band reaches from the strongest mode to the weakest.
#
# ## Where it ends
#
# At the end the balance is gone, and every singular value of the function is soft-thresholded to
# $\max(s - \gamma, 0)$, from any start that is not a saddle (`lr.theory.soft_thresholded_limit`).
# The loss left over is $\gamma^2/2$ for every mode that survives. This is the price: half the time
# to rich features costs four times the loss.

# %%
for gamma in gammas[1:]:
    end = lr.theory.soft_thresholded_limit(task, gamma, 4)
    left = task.loss(end.function) - task.loss(task.input_output_correlation)
    values = jnp.linalg.svd(end.function, compute_uv=False)
    print(
        f"gamma {gamma:.3f}: singular values {values.round(3)}, "
        f"loss {left:.2e} (4 gamma^2 / 2 = {2 * gamma**2:.2e})"
    )

# %% [markdown]
# ## All balances and all decays
#
# The alignment of the whole grid at three times. The line is the crossover time of the second mode,
# without any fit.

# %%
fig, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained", sharey=True)
for ax, time in zip(axes, (1.0, 30.0, 300.0), strict=True):
    i = int(jnp.argmin(jnp.abs(ts - time)))
    image = ax.pcolormesh(
        -lmda_axis,
        gamma_axis[1:],
        alignments[:, 1:, i].T,
        cmap="cividis",
        vmin=0.8,
        vmax=1,
        rasterized=True,
    )
    line = jnp.log(-lmda_axis / (2 * strengths[1])) / (2 * ts[i])
    ax.plot(-lmda_axis, line, "w--")
    ax.set(xscale="log", yscale="log", xlabel=r"$|\lambda|$", title=f"$t = {ts[i]:.3g}$")
    ax.set_ylim(gamma_axis[1], gamma_axis[-1])
axes[0].set_ylabel(r"weight decay $\gamma$")
_ = fig.colorbar(image, ax=axes, label="alignment with the task")
print(
    f"largest loss at t = {ts[i]:.3g}: {losses[:, :, i].max():.2g}, at {ts[0]:g}: {losses.max():.2g}"
)

# %% [markdown]
# Networks below the line are lazy, those above it rich. The boundary moves down as time passes, and
# no network escapes it.
#
# ## Which decay makes the network rich at a given time?
#
# We want an alignment of 0.95 at $t = 100$. The alignment is a differentiable function of
# $\gamma$. Newton's method in $\log\gamma$ needs a few steps, from the decay whose crossover is at
# that time.


# %%
@jax.jit
def excess(log_gamma):
    """Alignment at time 100 above 0.95, and its derivative by log gamma."""

    def of(x):
        solution = lr.ExactSolution(start(-12.0), task, weight_decay=jnp.exp(x))
        kernel = solution.input_representation(100.0)
        return lr.measures.kernel_alignment(kernel, goal) - 0.95

    return jax.jvp(of, (log_gamma,), (jnp.ones(()),))


log_gamma = jnp.log(lr.theory.crossover_time(1.0, -12.0, 1.0) / 100)
for step in range(5):
    value, slope = excess(log_gamma)
    print(f"gamma {jnp.exp(log_gamma):.6f}: alignment {0.95 + value:.6f}, slope {slope:.3f}")
    log_gamma = log_gamma - value / slope

chosen = jnp.exp(log_gamma)
loss, aligned = descend(jnp.full(4, -12.0), jnp.full(4, chosen))
print(
    f"descent: alignment {aligned[0, 20]:.4f} at t = {ts[120]:g}, {aligned[0, 10]:.4f} at {ts[60]:g}"
)
print(f"its loss: {loss[0, 10] / loss[0, 0]:.2g} of the start's at t = {ts[60]:g}")

# %% [markdown]
# Descent with this decay has an alignment of 0.950 at the chosen time. It had learned the loss a
# hundred times earlier.
#
# ## Summary
#
# - Weight decay removes the balance, $\lambda e^{-2\gamma t}$. Every network ends rich.
# - A lazy start learns the loss first, in a time $1/|\lambda|$. Features follow mode by mode, at
#   $\ln(|\lambda|/2s)/2\gamma$, at almost no change of the loss. A loss curve doesn't show them.
# - The price is a loss of $\gamma^2/2$ a mode. Faster decay is rich earlier and ends higher.
# - Exact derivatives by $\gamma$ choose a decay by its consequences.
