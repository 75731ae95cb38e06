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
# # Designing starts and protocols
#
# The exact solution is a differentiable function of the start, of the times and of the tasks.
# `lr.inference.design` chooses them by gradient: a goal is a number that depends on a start, free
# variables have ranges, and constraints shrink the ranges. Any callable is a goal.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import matplotlib.pyplot as plt

import lazyrich_jax as lr
from lazyrich_jax.plot import COLOURS

u, v = (jax.random.orthogonal(key, 2) for key in jax.random.split(jax.random.key(0)))
task = lr.Task.from_correlation((u * jnp.array([2.0, 1.0])) @ v.T)
c, s = jnp.cos(1.2), jnp.sin(1.2)  # the start is turned against the task
network = lr.balanced_network(0.3 * u @ jnp.array([[c, -s], [s, c]]) @ v.T, 0.0)

# %% [markdown]
# ## A deadline, and what it costs
#
# Which balance has the smallest loss at $t = 0.3$? All starts have the function of `network`. More
# balance is faster without end, in units of learning rate times step. The limit is the step:
# descent with learning rate $\eta$ is stable at the end of learning only if
# $\eta\sqrt{\lambda^2 + 4s^2} < 2$.

# %%
goal = lr.inference.LossAt(task, 0.3)
stable = lr.inference.design(
    goal, network, free={"lmda": (-1000.0, 1000.0)}, learning_rate=0.2, verify=100
)
print(stable)

# %% [markdown]
# With larger weights both the balance and the function grow. At a fixed norm they compete: the sum
# of the squares of all weights is at least $N_h|\lambda|$, which leaves nothing for the function.
# Then the best balance, here for $t = 1$, leaves room for the function.

# %%
norm = 4.0
later = lr.inference.LossAt(task, 1.0)
fixed = lr.inference.design(later, network, free={"lmda": (0.0, 10.0)}, norm=norm, verify=50)
print(fixed)
print("squares of all weights:", sum(jnp.sum(w**2) for w in fixed.start.weights))

ts = jnp.linspace(0, 2, 60)
only = {"lmda": lr.inference.Choice([0.0])}
zero = lr.inference.design(later, network, free=only, norm=norm).start
fig, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
for i, (name, start) in enumerate({r"$\lambda = 0$": zero, "designed": fixed.start}.items()):
    run = lr.learn(start, task, ts, dynamics=lr.GradientDescent(0.001))
    ax.semilogy(ts, run.loss, color=COLOURS[i], lw=2.5, label=f"{name}, by descent")
    ax.semilogy(ts, lr.learn(start, task, ts).loss, "k:")
ax.axvline(1.0, color="0.6", lw=1)
ax.set(xlabel="time", ylabel="loss")
ax.legend(frameon=False)

# %% [markdown]
# ## A given richness at the highest speed
#
# The kernel should move by a given distance, and learning should be fast. One goal has a weight for
# the other. `LearningTime` is the time until the loss above its optimum is one percent of its
# start. Both the balance and the scale are free.

# %%
rich = lr.inference.KernelDistance(task, 0.01)
fast = lr.inference.LearningTime(task)


def both(start):
    return fast(start) + 1e6 * rich(start)


free = {"lmda": (0.01, 3.0), "scale": (0.2, 2.0)}
found = lr.inference.design(both, network, free=free, searches=8)
print(found)
print("distance of the kernel:", rich.distance(found.start))

# %% [markdown]
# ## The order of tasks
#
# Three tasks are learned one after another. Their order is a choice, and the balance is free.

# %%
keys = jax.random.split(jax.random.key(1), 3)
tasks = [lr.Task.random_regression(2, 2, samples=8, key=key) for key in keys]
forgetting = lr.inference.Forgetting(tasks, 1.0)
free = {"lmda": (0.5, 5.0), "order": lr.inference.orders(3)}
print(lr.inference.design(forgetting, network, free=free, searches=3, verify=20))

# %% [markdown]
# The least forgetting is that of the smallest balance, which learns least in the time. The mean
# loss on all tasks at the end is a better goal. How long should each task be trained, if every
# time is between 0.2 and 2?

# %%
after_all = lr.inference.SequenceLoss(tasks, 1.0)
free = {"durations": (0.2, 2.0 * jnp.ones(3)), "order": lr.inference.orders(3)}
print(lr.inference.design(after_all, network, free=free, searches=4))

# %% [markdown]
# ## When to look
#
# We will observe the loss at three times, and want to know $\lambda$ and the scale of the start.
# The best times maximise the determinant of the Fisher information.

# %%
function = network.function


def loss(logarithms, t):
    lmda, scale = jnp.exp(logarithms)
    return lr.ExactSolution(lr.balanced_network(scale**2 * function, lmda), task).loss(t)


information = lr.inference.Information(loss, jnp.log(jnp.array([0.5, 0.5])), noise=0.01)
best = lr.inference.design(
    information, free={"times": (0.0, 4.0 * jnp.ones(3))}, searches=8, verify=200
)
print(best)

# %% [markdown]
# ## What the curve depends on
#
# The derivatives of the loss by every weight are those of gradient flow, also where a change makes
# the weights unbalanced. The derivatives by the balance, at a fixed function, and by the strengths
# of the start's modes are sums of them.

# %%
start = lr.balanced_network(function, 0.5)
s = lr.inference.sensitivity(start, task, ts)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
for i, w in enumerate((s.w1, s.w2)):
    axes[0].plot(ts, w.reshape(len(ts), -1), color=COLOURS[i], lw=1)
    axes[0].plot([], [], color=COLOURS[i], label=f"$W_{i + 1}$")
axes[1].plot(ts, s.lmda, color=COLOURS[2], label=r"$\lambda$")
for i in range(2):
    axes[1].plot(ts, s.strengths[:, i], color=COLOURS[3 + i], label=f"strength {i + 1}")
for ax in axes:
    ax.set(xlabel="time", ylabel="derivative of the loss")
    ax.legend(frameon=False)
