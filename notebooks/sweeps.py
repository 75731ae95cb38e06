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
# # Sweeps: a phase diagram of learning
#
# Which starts make a network rich, and which make it lazy? Two numbers matter: the balance
# $\lambda$ of its layers, $\lambda I = W_2^\top W_2 - W_1W_1^\top$, and the scale of its function.
# One exact solution is cheap, and so is a grid of them. `lr.sweeps` evaluates a function of one
# point at every point of a grid. It compiles the function once, evaluates many points at a time in
# bounded memory, and returns a labelled dataset. With a store it can resume after an interruption.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import pathlib
import tempfile

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import lazyrich_jax as lr
from lazyrich_jax.plot import COLOURS

# %% [markdown]
# ## A function of one point, and a grid
#
# The function takes a point, a dictionary of coordinates, and returns a dictionary of measurements
# (with names for the dimensions of an array, such as `("time", losses)`). Random keys are an axis
# like others. We measure the rich-lazy index $|K_\infty - K_0| / (|K_\infty| + |K_0|)$ of the
# tangent kernel $K$. It is 0 if the kernel is constant, and 1 if the start's kernel is negligible
# at the end.

# %%
strengths = jnp.array([2.0, 1.0])
u, v = (
    jax.random.orthogonal(key, n)[:, :2]
    for key, n in zip(jax.random.split(jax.random.key(1)), (2, 3))
)
task = lr.Task.from_correlation((u * strengths) @ v.T)


def start_of(point):
    return lr.LambdaBalanced(point["lmda"], 0.1)(3, 2, 2, key=point["key"])


def measure(point):
    solution = lr.ExactSolution(start_of(point), task, throw=False)
    first, last = solution.ntk(jnp.array([0.0, jnp.inf]), task.x)
    return {"richness": lr.measures.rich_lazy_index(first, last), "result": solution.result}


half = jnp.geomspace(0.01, 30, 20)
grid = lr.sweeps.Grid(
    lmda=jnp.concatenate([-half[::-1], half]), key=jax.random.split(jax.random.key(0), 20)
)
print(grid)

# %% [markdown]
# ## A store that can be resumed
#
# With `store=` the results are written block by block. We use blocks of 100 points, in a temporary
# folder.

# %%
temporary = tempfile.TemporaryDirectory()
store = pathlib.Path(temporary.name) / "richness.zarr"
options = {"store": store, "chunk_size": 100, "progress": False}
data = lr.sweeps.run(measure, grid, **options)
print(lr.sweeps.summary(data.status.values))
print(data)

# %% [markdown]
# Suppose that the machine died while it was writing. One block was never written, and another is
# cut in half. The same call resumes the sweep. It keeps the complete blocks and computes these two
# again. The results are equal bit for bit.

# %%
before = data.load().copy(deep=True)
blocks = sorted(p for p in (store / "richness" / "c").rglob("*") if p.is_file())
stamps = {p: p.stat().st_mtime_ns for p in blocks}
blocks[0].unlink()
blocks[3].write_bytes(blocks[3].read_bytes()[:50])

data = lr.sweeps.run(measure, grid, **options)
again = [p for p in blocks if p.stat().st_mtime_ns != stamps[p]]
print(f"{len(again)} of {len(blocks)} blocks were written again")
print("the same results:", before.identical(data.load()))

# %% [markdown]
# A store refuses another sweep. The error names the differences.

# %%
other = lr.sweeps.Grid(lmda=jnp.array([0.0, 1.0]), key=jax.random.split(jax.random.key(0), 20))
try:
    lr.sweeps.run(measure, other, **options)
except ValueError as error:
    print(str(error).replace(temporary.name, "..."))

# %% [markdown]
# ## The results, beside a simulation
#
# All dimensions of the dataset have names: the mean over keys is `data.richness.mean("key")`. The
# sweep with gradient descent takes the same few lines with another law.


# %%
def measure_descent(point):
    start = start_of(point)
    run = lr.learn(
        start, task, jnp.array([0.0, 300.0]), dynamics=lr.GradientDescent(1e-2), throw=False
    )
    end = jax.tree.map(lambda w: w[-1], run.network)
    first, last = lr.kernels.ntk(start, task.x), lr.kernels.ntk(end, task.x)
    return {"richness": lr.measures.rich_lazy_index(first, last), "result": run.result}


some = lr.sweeps.Grid(
    lmda=grid.axes["lmda"]["lmda"][::3], key=jax.random.split(jax.random.key(0), 20)[:3]
)
descent = lr.sweeps.run(measure_descent, some, progress=False)

fig, ax = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
mean, spread = data.richness.mean("key"), data.richness.std("key")
ax.fill_between(
    data.lmda, mean - spread, mean + spread, color="0.85", lw=0, label="20 keys, mean and std"
)
ax.plot(data.lmda, mean, color="0.5", lw=1)
for i in range(3):
    ax.plot(data.lmda, data.richness[:, i], color=COLOURS[i], lw=1.5, label=f"key {i}, exact")
    ax.plot(
        descent.lmda,
        descent.richness[:, i],
        "os^"[i],
        color=COLOURS[i],
        ms=5,
        label=f"key {i}, descent",
    )
ax.set_xscale("symlog", linthresh=0.01)
ax.set(
    xlabel=r"$\lambda$",
    ylabel="rich-lazy index",
    xticks=[-10, -0.1, 0, 0.1, 10],
    ylim=(-0.03, 1.03),
)
ax.legend(frameon=False, fontsize=8, ncols=2, loc="lower left")
print(
    f"mean index at -30, 0.01 and 30: {float(mean[0]):.2f}, {float(mean[20]):.2f}, {float(mean[-1]):.4f}"
)
gap = np.abs(descent.richness.values - data.richness.values[::3, :3]).max()
print(f"largest difference between descent and exact: {gap:.2g}")

# %% [markdown]
# The index is near one around $\lambda = 0$. On the right it falls to zero. On the left it tends to
# a value that depends on the draw. With three inputs and two hidden units this network is a funnel,
# whose first layer can't span its inputs. A large negative $\lambda$ makes its learning *delayed
# rich* instead of lazy (see the notebook `lazy_to_rich`).
#
# ## The phase diagram
#
# Sweeps of balance and scale over several keys are common. They have a function and a plot,
# `lr.sweeps.phase_diagram` and `lr.plot.phase_diagram`. The network is now square, 2-2-2, and the
# number of balances is even, so that none is zero.

# %%
square = lr.Task.from_correlation((u * strengths) @ jax.random.orthogonal(jax.random.key(5), 2))
diagram = lr.sweeps.phase_diagram(
    square,
    (2, 2, 2),
    jnp.linspace(0, 40, 81),
    lmda=np.r_[-np.geomspace(0.01, 100, 14)[::-1], np.geomspace(0.01, 100, 14)],
    scale=np.geomspace(0.01, 3, 16),
    key=jax.random.split(jax.random.key(2), 6),
    progress=False,
)
print(lr.sweeps.summary(diagram.status.values))
fig, axes = plt.subplots(1, 3, figsize=(13.5, 3.6), layout="constrained")
for name, ax in zip(("richness", "kernel_distance", "convergence_time"), axes, strict=True):
    lr.plot.phase_diagram(diagram, name, ax=ax)

# %% [markdown]
# - The *index* is large (yellow) if two conditions hold: layers of about equal size, with
#   $|\lambda|$ below the strength of the task, and a small scale. It is small at the sides, where
#   one layer is large, and near a scale of one, where the function is as large as the task's and
#   need not grow. It is large again at larger scales, where the weights shrink.
# - The *kernel distance* measures only the rotation of the kernel. At the bottom a small kernel
#   grows from almost zero and turns little. A large kernel of random directions turns most. At the
#   V $|\lambda|$ is of the order of the function, $\text{scale}^2$. Outside of it the kernel starts
#   as a multiple of the identity.
# - The *convergence time* depends mostly on $\lambda$: large balances are fast at every scale.
#
# ## A failure is a value
#
# A sweep takes any function that JAX can map. How large may the learning rate of gradient descent
# be? Descent diverges if it is too large. The sweep doesn't stop, and reports the divergence in the
# `status` of the point. At the solution of a square network with white inputs the largest curvature
# is $\sqrt{\lambda^2 + 4s_1^2}$ ($s_1$: the task's largest singular value). A solution is
# therefore stable for learning rates
#
# $$\eta < \frac2{\sqrt{\lambda^2 + 4s_1^2}} .$$


# %%
def descend(point):
    start = lr.LambdaBalanced(point["lmda"], 0.3)(2, 2, 2, key=jax.random.key(3))
    ts = point["rate"] * jnp.array([0.0, 1000.0])  # 1000 steps
    run = lr.learn(start, square, ts, dynamics=lr.GradientDescent(point["rate"]), throw=False)
    return {"loss": run.loss[-1], "balance": run.network.lmda[-1], "result": run.result}


edge = lr.sweeps.run(
    descend,
    lr.sweeps.Grid(rate=np.geomspace(0.01, 3, 50), lmda=np.geomspace(0.1, 100, 50)),
    progress=False,
)
print(lr.sweeps.summary(edge.status.values))
learned = edge.loss < 1e-3  # NaN and infinity aren't

fig, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", sharey=True)
shown = {
    r"$\log_{10}$ of the loss after 1000 steps": np.log10(np.maximum(edge.loss, 1e-16)),
    "balance at the end / at the start": (edge.balance / edge.lmda).where(learned),
}
for ax, (label, values) in zip(axes, shown.items(), strict=True):
    values = values.where(lr.sweeps.succeeded(edge))
    image = ax.pcolormesh(edge.lmda, edge.rate, values, cmap="cividis", vmax=1, rasterized=True)
    ax.set_facecolor("0.85")
    for factor, style in ((2, "-"), (4, "--")):
        border = factor / np.hypot(edge.lmda, 2 * float(strengths[0]))
        ax.plot(
            edge.lmda,
            border,
            ls=style,
            color=COLOURS[5],
            lw=2,
            label=rf"${factor}/\sqrt{{\lambda^2 + 4s_1^2}}$",
        )
    ax.set(xscale="log", yscale="log", xlabel=r"$\lambda$", ylim=(0.01, 3))
    fig.colorbar(image, ax=ax, label=label)
axes[0].set_ylabel("learning rate")
axes[0].legend(loc="lower left")
solid = 2 / np.hypot(edge.lmda, 2 * float(strengths[0]))
print(f"below the solid line {float(learned.where(edge.rate < solid).mean()):.1%} learn the task")

# %% [markdown]
# Below the solid line descent learns the task. Grey points have diverged (or, on the right,
# haven't learned). There is a third regime in between. For large $\lambda$ descent learns at up to
# *twice* the border, where no solution of this balance is stable. The right panel shows the
# mechanism: gradient flow conserves the balance, but large steps don't. The network leaves its
# valley for one of smaller $|\lambda|$, and therefore smaller curvature: the *catapult* of
# Lewkowycz et al. (2020). The exact solution describes the flow and can't show this. The balance at
# the end marks where descent departs from the flow. For small $\lambda$ no solution is flatter than
# $2s_1$: descent oscillates (yellow) or diverges.
#
# ## Summary
#
# - A sweep is a function of a point and a grid. The result has names and a status for every point.
#   In a store it survives interruptions.
# - Richness needs a small balance and a small scale. Its two measures differ: the index includes
#   growth of the kernel, the distance only rotation.
# - In a funnel, one side of $\lambda = 0$ never becomes lazy.
# - Simulations can be swept like theory, failures included. They show where the flow is no longer a
#   model of descent.
