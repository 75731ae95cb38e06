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
# # From lazy to rich: one number decides how a network learns
#
# Two networks compute the same function at the start, see the same data and reach the same
# solution. One of them learns in sudden steps and builds features. The loss of the other falls as
# an exponential, and its features hardly change. In a two-layer linear network $\hat y = W_2W_1x$ a
# single number can make this difference: the balance of its layers, which gradient flow conserves,
#
# $$\lambda I = W_2^\top W_2 - W_1W_1^\top .$$
#
# We vary it over its whole range. We look first at single modes, then at the tangent kernel, and
# last at the shape of the network, which can prevent lazy learning.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import matplotlib.pyplot as plt

import lazyrich_jax as lr
from lazyrich_jax.plot import COLOURS

# %% [markdown]
# ## Each mode has a separate equation
#
# Let $\Sigma = \frac1P\sum_n y_nx_n^\top = USV^\top$ be the task's correlation, and let the
# network start *aligned* with it, $W_2W_1(0) = UA_0V^\top$. It stays aligned, and with white
# inputs every singular value $a$ of the function obeys
#
# $$\dot a = \sqrt{\lambda^2 + 4a^2}\,(s - a).$$
#
# The square root is the speed, $|w_1|^2 + |w_2|^2$ of the mode's two weights. For $|\lambda| \ll a$
# it is $2a$: a mode must grow to become fast, and its curve is a **sigmoid**. For $|\lambda| \gg a$
# it is the constant $|\lambda|$, and the curve is an **exponential**,
#
# $$a(t) = \frac{s\,e^{2st}}{e^{2st} - 1 + s/a_0}\quad(\lambda \to 0), \qquad
# a(t) = s + (a_0 - s)\,e^{-|\lambda|t}\quad(|\lambda| \to \infty).$$
#
# `lr.theory.aligned_modes` has the closed form for all $\lambda$. We compare it with gradient
# descent, from the same small function ($a_0$ of about $10^{-3}$) at four balances.

# %%
strengths = jnp.array([4.0, 2.0, 1.0])
u, v = (jax.random.orthogonal(key, 3) for key in jax.random.split(jax.random.key(0)))
task = lr.Task.from_correlation((u * strengths) @ v.T)
ts = jnp.concatenate([jnp.zeros(1), jnp.round(jnp.geomspace(1, 10_000, 150))]) * 1e-3
lmdas = jnp.array([0.0, 0.3, 3.0, 30.0])


def aligned(lmda):
    return lr.Aligned(task, lmda, scale=0.03)(3, 3, 3, key=jax.random.key(0))


a0 = lr.measures.mode_strengths(aligned(0.0).function, task.input_output_correlation)
modes = jax.jit(jax.vmap(lambda lmda: lr.theory.aligned_modes(ts, strengths, a0, lmda)))(lmdas)
print("modes at the start:", a0)

fig, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained", sharey=True)
gap = 0.0
for lmda, exact, ax in zip(lmdas, modes, axes, strict=True):
    descent = lr.learn(aligned(lmda), task, ts, dynamics=lr.GradientDescent(1e-3))
    lr.plot.modes(descent, task, ax=ax)
    ax.plot(ts, exact, "k:", lw=1.5)
    ax.set(title=rf"$\lambda = {lmda:g}$", xscale="log", xlim=(1e-3, 10), xlabel="time", ylabel="")
    gap = max(
        gap, float(jnp.abs(jnp.einsum("im,tij,jm->tm", u, descent.function, v) - exact).max())
    )
limits = {
    0: ("sigmoid", lr.theory.sigmoidal_modes(ts, strengths, a0)),
    3: ("exponential", lr.theory.exponential_modes(ts, strengths, a0, lmdas[3])),
}
for i, (name, limit) in limits.items():
    axes[i].plot(ts, limit, "--", color="0.45", lw=1)
    axes[i].plot([], [], "--", color="0.45", label=f"{name}")
axes[0].plot([], [], color="0.6", lw=2.2, label="descent")
axes[0].plot([], [], "k:", label="exact")
axes[0].set_ylabel("mode strength")
for i in limits:
    axes[i].legend(loc="upper left", frameon=False)
print(f"largest difference between descent and theory: {gap:.2g}")

# %% [markdown]
# On the left the strong mode is learned first, then the next, then the weak one: three steps, each
# a sigmoid. On the right all three rise together at one rate, $|\lambda|$, which does not depend on
# their strengths. The dots of the closed form lie on the simulation at every balance, and on the
# limits at both ends.
#
# ## The stages disappear at large balances
#
# The time until a mode has reached nine tenths of its strength has a closed form too. For
# small $\lambda$ it is $\frac1{2s}\ln\frac{9(s - a_0)}{a_0}$, different for every mode. For large
# $\lambda$ it is $\ln(10)/|\lambda|$, equal for all modes.

# %%
balances = jnp.geomspace(1e-4, 1e3, 200)
times = jax.jit(jax.vmap(lambda lmda: lr.theory.time_to_reach(0.9, strengths, 1e-3, lmda)))(
    balances
)
fig, ax = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
for i, s in enumerate(strengths):
    ax.loglog(balances, times[:, i], color=COLOURS[i], lw=2, label=f"$s = {s:g}$")
ax.loglog(balances, jnp.log(10) / balances, "k:", label=r"$\ln(10)/\lambda$")
ax.set(xlabel=r"$\lambda$", ylabel="time to 90 %", ylim=(1e-3, 20))
ax.legend(frameon=False)
print(
    "slowest over fastest mode:", times[0].max() / times[0].min(), times[-1].max() / times[-1].min()
)

# %% [markdown]
# The three curves are far apart on the left and one line on the right. They merge where $\lambda$
# exceeds the strength $s$ of the task: the strength is the unit of "large" and "small".
#
# ## Changes of features: the tangent kernel
#
# A network with a constant tangent kernel $K = I \otimes XW_1^\top W_1X^\top + W_2W_2^\top \otimes
# XX^\top$ learns like a linear model with fixed features: it is *lazy*. Two measures give the
# change of the kernel from start to end:
#
# $$\text{kernel distance} = 1 - \frac{\langle K_0, K_\infty\rangle}{|K_0||K_\infty|}, \qquad
# \text{rich-lazy index} = \frac{|K_\infty - K_0|}{|K_0| + |K_\infty|}.$$
#
# The first measures only rotation of the kernel, the second rotation and growth. The start is now
# random, not aligned, with the same function at every $\lambda$. $QQ^\top$ of the exact solution,
# $Q = [W_1^\top; W_2]$, determines the kernel at any time including $t = \infty$.


# %%
def kernels_moved(qqt, x, n_in):
    """Kernel distance and rich-lazy index of every time, relative to the first."""
    kernels = jax.vmap(
        lambda p: lr.kernels.ntk_of_representations(p[:n_in, :n_in], p[n_in:, n_in:], x)
    )(qqt)
    measures = (lr.measures.kernel_distance, lr.measures.rich_lazy_index)
    return tuple(jax.vmap(m, (None, 0))(kernels[0], kernels) for m in measures)


def spectrum(task, sizes, lmdas, ts, scale=0.1, seed=0):
    """Exact distance, index and loss over balance and time."""

    def one(lmda):
        start = lr.LambdaBalanced(lmda, scale)(*sizes, key=jax.random.key(seed))
        qqt = lr.ExactSolution(start, task).qqt(ts)
        n = sizes[0]
        return *kernels_moved(qqt, task.x, n), jax.vmap(task.loss)(qqt[:, n:, :n])

    return jax.jit(jax.vmap(one))(lmdas)


half = jnp.geomspace(1e-2, 1e2, 41)
lmda_axis = jnp.concatenate([-half[::-1], half])
time_axis = jnp.concatenate([jnp.zeros(1), jnp.geomspace(1e-3, 1e3, 90), jnp.array([jnp.inf])])
square = spectrum(task, (3, 3, 3), lmda_axis, time_axis)
distance, index, _ = square

# %% [markdown]
# For comparison we run gradient descent at a few balances until it has converged.

# %%
checked = jnp.array([-10.0, -1.0, -0.1, 0.1, 1.0, 10.0])


@jax.jit
@jax.vmap
def descend(lmda):
    start = lr.LambdaBalanced(lmda, 0.1)(3, 3, 3, key=jax.random.key(0))
    run = lr.learn(start, task, jnp.array([0.0, 40.0]), dynamics=lr.GradientDescent(2e-3))
    return tuple(m[-1] for m in kernels_moved(run.network.qqt, task.x, 3))


simulated = descend(checked)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.3), layout="constrained")
for ax, exact, dots, name in zip(
    axes, (distance, index), simulated, ("kernel distance", "rich-lazy index"), strict=True
):
    ax.plot(lmda_axis, exact[:, -1], color=COLOURS[0], lw=2, label="exact")
    ax.plot(checked, dots, "o", color=COLOURS[1], label="gradient descent")
    ax.set_xscale("symlog", linthresh=1e-2)
    ax.set(xlabel=r"$\lambda$", ylabel=name, xticks=[-100, -1, 0, 1, 100])
    ax.legend(frameon=False)
print(
    "largest difference:",
    *(
        f"{jnp.abs(jnp.interp(checked, lmda_axis, e[:, -1]) - d).max():.2g}"
        for e, d in zip((distance, index), simulated, strict=True)
    ),
)
print(
    f"index at lambda = 10 and 100: {jnp.interp(10.0, lmda_axis, index[:, -1]):.2g},"
    f" {index[-1, -1]:.2g}"
)

# %% [markdown]
# Learning is rich in the middle and lazy on either side. For a square network the sign of $\lambda$
# hardly matters, since either layer can be the large one. At the ends the index falls as
# $1/\lambda^2$ (by a factor of 84 between 10 and 100): the kernel grows as $|\lambda|$ while its
# change falls as $1/|\lambda|$.
#
# ## Architecture: the side that never becomes lazy
#
# Now the layers differ in width. A *funnel* has more inputs than hidden units (here 4-2-2), an
# *inverted funnel* more outputs (2-2-4). If $\lambda$ favours the layer on the wide side (the
# first layer of a funnel, $\lambda < 0$), this large layer spans only two of its four directions.
# The part of the task within these directions is learned in the lazy time $1/|\lambda|$. The other
# part is learned only after the directions have turned towards the task, at the rate
#
# $$\kappa - \tfrac{|\lambda|}2 \approx \frac{s^2}{|\lambda|},\qquad
# \kappa = \sqrt{s^2 + \lambda^2/4},$$
#
# which falls with $|\lambda|$. This is **delayed rich** learning (`lr.theory.delayed_rich_time`).

# %%
u, v = (
    jax.random.orthogonal(k, n)[:, :2] for k, n in zip(jax.random.split(jax.random.key(1)), (2, 4))
)
funnel_task = lr.Task.from_correlation((u * jnp.array([2.0, 1.5])) @ v.T)
funnel = spectrum(funnel_task, (4, 2, 2), lmda_axis, time_axis)
delayed = jax.jit(jax.vmap(lambda lmda: lr.theory.delayed_rich_time(funnel_task, lmda, 2)))(
    lmda_axis
)

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
for name, found, ax in zip(("square 3-3-3", "funnel 4-2-2"), (square, funnel), axes, strict=True):
    image = ax.pcolormesh(
        lmda_axis,
        time_axis[1:-1],
        found[0][:, 1:-1].T,
        cmap="cividis",
        shading="nearest",
        vmin=0,
        vmax=0.4,
        rasterized=True,
    )
    for side in (lmda_axis < 0, lmda_axis > 0):
        ax.plot(lmda_axis[side], 1 / jnp.abs(lmda_axis[side]), "w-", lw=1.5)
    ax.set_xscale("symlog", linthresh=1e-2)
    ax.set(
        title=name,
        xlabel=r"$\lambda$",
        yscale="log",
        ylim=(1e-3, 1e3),
        xticks=[-100, -1, 0, 1, 100],
    )
    print(f"{name}: index at the end {found[1][0, -1]:.4f} at -100, {found[1][-1, -1]:.4f} at 100")
axes[1].plot(lmda_axis[lmda_axis < 0], delayed[lmda_axis < 0, 0], "w--", lw=1.5)
axes[0].set_ylabel("time")
_ = fig.colorbar(image, ax=axes, label="kernel distance from the start")

# %% [markdown]
# The solid white line is the lazy time $1/|\lambda|$, the dashed line the delayed time of the
# stronger mode. In the square network the kernel is constant at both ends. In the funnel it is
# constant only on the right. On the left the kernel moves far, along the dashed line, and later for
# larger $|\lambda|$.
#
# One column of the map, $\lambda = -31.6$, shows the two phases. The exact curves are beside
# gradient descent of the funnel and of its mirror image. The mirror image has the transposed task,
# and the layers exchanged and transposed: the funnel at $\lambda$ becomes an inverted funnel
# (2-2-4) at $-\lambda$.

# %%
column = 5
lmda = lmda_axis[column]
start = lr.LambdaBalanced(lmda, 0.1)(4, 2, 2, key=jax.random.key(0))
mirror = lr.LinearNetwork(tuple(w.T for w in reversed(start.weights)))
mirror_task = lr.Task.from_correlation(funnel_task.input_output_correlation.T)
steps = jnp.concatenate([jnp.zeros(1), jnp.round(jnp.geomspace(1, 50_000, 120))]) * 2e-3
law = lr.GradientDescent(2e-3)
runs = {
    "descent, funnel": lr.learn(start, funnel_task, steps, dynamics=law),
    "descent, inverted funnel": lr.learn(mirror, mirror_task, steps, dynamics=law),
}
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.3), layout="constrained")
lr.plot.loss(runs, ax=axes[0])
for i, (run, t) in enumerate(zip(runs.values(), (funnel_task, mirror_task), strict=True)):
    distances = jax.jit(kernels_moved, static_argnums=2)(run.network.qqt, t.x, t.in_size)[0]
    axes[1].plot(steps, distances, **lr.plot.line(i))
axes[1].set(xlabel=axes[0].get_xlabel(), ylabel="distance of the NTK from its start")
for ax, exact in zip(axes, (funnel[2], funnel[0]), strict=True):
    ax.plot(
        time_axis[1:-1], exact[column, 1:-1], color="0.8", lw=7, zorder=1, label="exact, funnel"
    )
    ax.set(xscale="log", xlim=(2e-3, 100))
    ax.axvline(1 / abs(lmda), color="0.5", lw=1)
    for t in delayed[column]:
        ax.axvline(t, color="0.5", lw=1, ls="--")
axes[0].legend(loc="center right", framealpha=1)
loss = funnel[2][column]
print(f"lambda = {lmda:.3g}, lazy time {1 / abs(lmda):.3f}, delayed times", delayed[column])
print(f"balance of the mirror image: {mirror.lmda:.3g}")
print(
    "loss at the start, at t = 0.3 and at the end:",
    *(f"{jnp.interp(t, time_axis[:-1], loss[:-1]):.3f}" for t in (0.0, 0.3, 1000.0)),
)

# %% [markdown]
# The loss falls at the lazy time (solid line) to a plateau, while the kernel is constant. Around
# the delayed times (dashed, one per mode) the kernel moves, and the loss goes to zero with it.
# Learning is lazy first and rich later.
#
# ## Summary
#
# - With growing $|\lambda|$ aligned modes change from sigmoids, learned one after another, to
#   exponentials of one rate $|\lambda|$. The strength of the task separates the two regimes.
# - The kernel of a square network moves if $|\lambda|$ is small and is constant if it is large, for
#   either sign.
# - If $\lambda$ favours a layer that is wider than the hidden one, the network becomes rich at
#   every $|\lambda|$, after a time that is proportional to $|\lambda|$.
# - Gradient descent lies on the exact curves throughout.
