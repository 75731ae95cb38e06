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
# # When the task changes: continual learning, reversal and transfer
#
# A network has learned a task, and then the task changes. How much does the network forget? Can it
# learn the opposite? Does its knowledge help? Two-layer linear networks have exact answers.
# Gradient flow conserves the balance $\lambda I = W_2^\top W_2 - W_1W_1^\top$ on every task. Each
# task is therefore learned in closed form from the end of the previous one. `lr.applications` has
# an experiment for each question, and every result prints a table.

# %%
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import matplotlib.pyplot as plt

import lazyrich_jax as lr
from lazyrich_jax.plot import COLOURS, LINESTYLES

# %% [markdown]
# All experiments use one task and one network: the semantic hierarchy of eight items, and an 8-8-8
# network with a small start. (The determinants of its function and of the target have the same
# sign; otherwise it would end at a saddle at $\lambda = 0$.) Two further tasks have the same items.
# One shares half of the hierarchy's singular vectors. The other differs by a random matrix of rank
# one.

# %%
task = lr.Task.hierarchy(levels=3)
network = lr.LambdaBalanced(lmda=0.5, scale=0.1)(8, 8, 8, key=jax.random.key(2))
half = lr.applications.related_task(task, 0.5, key=jax.random.key(1))
nudged = lr.applications.low_rank_change(task, rank=1, scale=0.5, key=jax.random.key(2))
for name, m in {
    "start": network.function,
    "hierarchy": task.input_output_correlation,
    "half": half.input_output_correlation,
    "nudged": nudged.input_output_correlation,
}.items():
    print(f"sign of the determinant, {name}: {float(jnp.linalg.slogdet(m)[0]):+.0f}")

# %% [markdown]
# ## Continual learning: how much is forgotten?
#
# The network learns the three tasks in turn, with gradient descent beside the exact solution.

# %%
tasks = [task, half, nudged]
exact = lr.applications.continual(network, tasks, 80.0, points=200)
descent = lr.applications.continual(
    network, tasks, 80.0, points=200, dynamics=lr.GradientDescent(0.05)
)
print(exact)

fig, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
for i, name in enumerate(("hierarchy", "half of it", "nudged")):
    ax.plot(descent.ts, descent.losses[:, i], color=COLOURS[i], lw=2.5, label=name)
    ax.plot(exact.ts, exact.losses[:, i], "k:", lw=1.3)
for change in (80, 160):
    ax.axvline(change, color="0.5", lw=1)
ax.plot([], [], "k:", label="exact")
ax.set(xlabel="time", ylabel="loss on every task")
ax.legend(frameon=False, ncols=4, loc="upper right")
print(f"largest difference of the losses: {jnp.abs(exact.losses - descent.losses).max():.2g}")

# %% [markdown]
# Learning each task raises the losses on the others. If the tasks are learned completely, this cost
# is a difference of correlations. With $\Sigma_{xx} = cI$, training on task $k$ after task $i$
# costs task $i$
#
# $$\mathcal F_{ik} = \frac1{2c}\,|\Sigma_k - \Sigma_i|_F^2 .$$
#
# It does not depend on $\lambda$, on the start, or on the tasks in between. (Below the diagonal
# `forgetting` is the gain from earlier training. We leave it out.)

# %%
sigmas = jnp.stack([t.input_output_correlation for t in tasks])
predicted = jnp.sum((sigmas[:, None] - sigmas) ** 2, axis=(2, 3)) / (2 * task.input_variance)
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3), layout="constrained")
lr.plot.matrix(jnp.triu(exact.forgetting), limit=1.5, ax=axes[0]).set_title("forgetting, measured")
lr.plot.matrix(jnp.triu(predicted), limit=1.5, ax=axes[1]).set_title("predicted")
for ax in axes:
    ax.set(xlabel="after training task", ylabel="loss on task")
print("largest difference:", jnp.abs(jnp.triu(exact.forgetting - predicted)).max())

# %% [markdown]
# ## Reversal: a saddle, and the way out
#
# The strongest change keeps the inputs and reverses the targets. A mode of the converged network
# starts the second stage at $a_0 = -s$, and
#
# $$\dot a = \sqrt{\lambda^2 + 4a^2}\,(s - a)$$
#
# must take it through zero. At $\lambda = 0$ the speed is $2|a|$. It vanishes at zero, and the
# network stays at the saddle for ever. With any balance of either sign the mode passes zero, in a
# time that grows only like $\log(1/|\lambda|)/s$. A network of one layer has no saddle.

# %%
ts = jnp.linspace(0, 80, 200)
lmdas = jnp.array([-30.0, -1.0, -0.1, 0.0, 0.1, 1.0, 30.0])
reversed_ = lr.applications.reversal(network, task, lmdas, duration=jnp.inf, ts=ts)
print(reversed_)
simulated = lr.applications.reversal(
    network, task, lmdas, duration=100.0, ts=ts, dynamics=lr.GradientDescent(0.02)
)

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for j, i in enumerate((3, 4, 5, 6)):
    ax.plot(
        ts, simulated.after.loss[i], color=COLOURS[j], lw=2.5, label=rf"$\lambda = {lmdas[i]:g}$"
    )
    ax.plot(ts, reversed_.after.loss[i], "k:", lw=1.3)
ax.plot(ts, reversed_.shallow_loss, "--", color="0.5", label="one layer")
ax.plot([], [], "k:", label="exact")
ax.set(xlabel="time since the flip", ylabel="loss on the reversed task")
ax.legend(frameon=False)
print(
    "loss at the end, lambda = 0:",
    reversed_.after.loss[3, -1],
    " of the target zero:",
    task.loss(0 * network.function),
)

# %% [markdown]
# The dotted line of $\lambda = 0$ falls to the loss of the zero function and stays there. The
# simulation (solid) follows it, and then leaves it. Two errors move the simulation off the exact
# saddle: rounding, and the last digits of the first task, which are not yet learned at the flip.
# The dynamics magnify them by $e^{2st}$. The time of the escape therefore depends on the computer,
# not on the theory. For all other balances descent and theory agree, and the times in the table
# agree with the predictions from aligned modes.
#
# ## Transfer: does the balance matter for a second task?
#
# In a milder change, the second task is the hierarchy plus a matrix of rank one. Every balance
# starts from the same function and learns both tasks.

# %%
moved = lr.applications.transfer(network, task, nudged, lmdas, duration=jnp.inf, ts=ts)
print(moved)
fig, axes = plt.subplots(1, 2, figsize=(10, 3.3), layout="constrained")
for j, i in enumerate((3, 5, 6)):
    axes[0].semilogy(
        ts,
        moved.after.loss[i],
        color=COLOURS[j],
        ls=LINESTYLES[j],
        lw=2,
        label=rf"$\lambda = {lmdas[i]:g}$",
    )
axes[0].set(
    xlabel="time since the change", ylabel="loss on the second task", ylim=(1e-8, 1), xlim=(0, 60)
)
axes[0].legend(frameon=False)
axes[1].plot(lmdas, moved.kernel_distance, "o-", color=COLOURS[0])
axes[1].set_xscale("symlog", linthresh=0.1)
_ = axes[1].set(
    xlabel=r"$\lambda$", ylabel="kernel distance, second stage", xticks=[-10, -1, 0, 1, 10]
)

# %% [markdown]
# Forgetting is equal at every balance (the table's last column), as predicted. The paths differ.
# Large balances learn the second task fast, with a constant kernel. Small balances learn it slowly,
# by changing their features.
#
# ## Fine-tuning: change the balance of a trained network
#
# Here the balance is an intervention. One network is pretrained at $\lambda = 0.5$. Then
# `network.rebalanced(lmda)` rescales the layers against each other. It changes the balance and
# keeps the function.

# %%
tuned = lr.applications.finetune(network, task, nudged, lmdas, duration=jnp.inf, ts=ts)
print(tuned)
gap = jnp.abs(tuned.after.loss - moved.after.loss).max()
print(f"largest difference of the loss curves from those of `transfer`: {gap:.1g}")

# %% [markdown]
# The numbers equal those of `transfer`. A function and a balance determine the representations, and
# therefore all further learning. The balance during a completely learned first task does not
# matter. Rebalancing a trained network has the same effect as a start with that balance.
#
# ## A new attribute: to which items does it generalise?
#
# So far both signs of $\lambda$ had the same effect. For generalisation they differ. The network
# learns the hierarchy, and then a new attribute of one item ("the canary can sing"). The attribute
# is a new output with a readout row that starts at zero, learned from this item alone. The hidden
# layer determines its generalisation to other items: with $K = XW_1^\top W_1X^\top$ the output for
# item $j$ tends to $K_{j,\text{item}} / K_{\text{item},\text{item}}$.

# %%
told = lr.applications.new_attribute(network, task, 0, lmdas, duration=jnp.inf, ts=ts)
print(told)
descent = lr.applications.new_attribute(
    network, task, 0, lmdas, duration=100.0, ts=ts, dynamics=lr.GradientDescent(0.02)
)

items = ("canary", "robin", "salmon", "sunfish", "oak", "pine", "rose", "daisy")
fig, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
lr.plot.matrix(told.predicted, limit=1, ax=axes[0])
axes[0].set_yticks(range(len(lmdas)), [f"{x:g}" for x in lmdas])
axes[0].set_xticks(range(8), items, rotation=60)
axes[0].set(ylabel=r"$\lambda$", title="how much an item has the attribute")
for j, item in enumerate((0, 1, 2, 4)):
    axes[1].plot(
        ts, descent.generalisation[3, :, item], color=COLOURS[j], lw=2.5, label=items[item]
    )
    axes[1].plot(ts, told.generalisation[3, :, item], "k:", lw=1.3)
axes[1].plot([], [], "k:", label="exact")
axes[1].set(xlim=(0, 10), xlabel="time since the attribute is learned", title=r"$\lambda = 0$")
_ = axes[1].legend(frameon=False)

# %% [markdown]
# For $\lambda \ge 0$ the attribute spreads along the tree: most to the robin, less to the fish, and
# not to the plants. For large negative $\lambda$ it is restricted to the canary. The hidden layer
# then represents all items at equal distances, and has no structure for generalisation.
#
# ## Summary
#
# - After complete learning, forgetting is a difference of correlations, equal for all networks.
# - At $\lambda = 0$ a network never learns the reverse of its task. At any other balance it does,
#   and sooner for larger $|\lambda|$.
# - Large balances of either sign transfer fast and with an unchanged kernel. Only the balance
#   during the second task matters. The balance of the first task can be changed afterwards.
# - Generalisation depends on the sign of $\lambda$: it is structured for $\lambda \ge 0$ and absent
#   for $\lambda \to -\infty$.
