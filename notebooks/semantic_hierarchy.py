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
# # A semantic hierarchy: the order of learning, and the representations
#
# Children tell animals from plants before they tell birds from fish, and birds from fish before
# canaries from robins. A rich linear network trained on such a tree learns in the same order. We
# ask two questions. In which *order* does a network learn the levels of a tree? Which
# *representation* does it converge to, as the balance $\lambda I = W_2^\top W_2 - W_1W_1^\top$ of
# its layers goes from large negative through zero to large positive values?

# %%
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import matplotlib.pyplot as plt

import lazyrich_jax as lr
from lazyrich_jax.plot import COLOURS

# %% [markdown]
# ## The task
#
# Eight items, one-hot, are the leaves of a binary tree. Every branching is an attribute that
# separates its two sides ($+1$ and $-1$; 0 elsewhere), and one attribute is shared by all. The
# attributes are orthogonal. The singular value decomposition of $\Sigma = \frac1P\sum_n
# y_nx_n^\top$ is therefore the tree: it has a mode for every branching. A higher branching concerns
# more items and has a larger singular value.

# %%
task = lr.Task.hierarchy(levels=3)
items = ("canary", "robin", "salmon", "sunfish", "oak", "pine", "rose", "daisy")
levels = {
    "all, and animal or plant": slice(0, 2),
    "bird or fish, tree or flower": slice(2, 4),
    "canary or robin, ...": slice(4, 8),
}
s = jnp.linalg.norm(task.y, axis=0) / task.samples
for name, level in levels.items():
    print(f"{name}: singular value of the correlation {s[level][0]:.4f}, {len(s[level])} times")

fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
lr.plot.matrix(task.y, ax=axes[0]).set(title="targets", xlabel="attribute")
lr.plot.matrix(task.y @ task.y.T, ax=axes[1]).set(title="similarity of the items' targets")
for ax in axes:
    ax.set_yticks(range(8), items)

# %% [markdown]
# ## The order of learning
#
# One-hot items have $\Sigma_{xx} = cI$ with $c = 1/8$. At $\lambda = 0$, from small weights, an
# aligned mode is a sigmoid (see the notebook `lazy_to_rich`). Half of it is learned at about
#
# $$t \approx \frac1{2s}\ln\frac{s/c}{a_0},$$
#
# so large singular values come first. We compute the whole trajectory of an 8-8-8 network exactly,
# with gradient descent beside it, from a random start that is *not* aligned. At $\lambda = 0$
# gradient flow can't change the sign of $\det W_2W_1$. A start with the opposite sign of the
# target's ends at a saddle, without one of the modes. We check the signs.

# %%
ts = jnp.linspace(0, 120, 241)


def network(lmda, scale):
    return lr.LambdaBalanced(lmda, scale)(8, 8, 8, key=jax.random.key(2))


small = network(0.0, 0.01)
signs = [int(jnp.linalg.slogdet(m)[0]) for m in (small.function, task.input_output_correlation)]
print("signs of the determinants, start and target:", signs)
rich = lr.learn(small, task, ts)
rich_descent = lr.learn(small, task, ts, dynamics=lr.GradientDescent(0.05))


def strengths(trajectory):
    """The learned fraction of every attribute: 1 when it is learned."""
    y = task.y
    return jnp.einsum("tai,ia->ta", trajectory.function, y) / jnp.sum(y * y, axis=0)


fig, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
lr.plot.loss({"gradient descent": rich_descent, "exact": rich}, ax=axes[0])
learned = strengths(rich)
for i, (name, level) in enumerate(levels.items()):
    axes[1].plot(ts, strengths(rich_descent)[:, level], color=COLOURS[i], lw=2.2)
    axes[1].plot(ts, learned[:, level], "k:", lw=1.2)
    axes[1].plot([], [], color=COLOURS[i], label=name)
    half = ts[jnp.argmax(learned[:, level] > 0.5, axis=0)]
    print(f"{name}: half learned between t = {half.min():.1f} and {half.max():.1f}")
axes[1].set(xlabel="time", ylabel="part of the attribute learned")
axes[1].legend(frameon=False, fontsize=8, loc="lower right")
print(
    f"largest difference of the function: {jnp.abs(rich.function - rich_descent.function).max():.2g}"
)

# %% [markdown]
# The network learns level by level, from the root to the leaves. Attributes of one level aren't
# learned at one time, since the start favours some of them and mixes others. But none is half
# learned before the attributes of the levels above.
#
# ## Differentiation in the hidden layer
#
# The hidden layer shows the same order. Let $h_i = W_1x_i$ be the hidden activity of item $i$. We
# plot the squared distance of the canary from its sibling, from a cousin and from a plant.


# %%
def distances(trajectory):
    k = trajectory.input_representation
    d = jnp.diagonal(k, axis1=1, axis2=2)
    return d[:, :1] + d - 2 * k[:, 0]


fig, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained", sharey=True)
lazy = lr.learn(network(-30.0, 0.01), task, ts)
for ax, run, name in zip(axes, (rich, lazy), (r"$\lambda = 0$", r"$\lambda = -30$"), strict=True):
    d = distances(run)
    for i, other in enumerate((4, 2, 1)):
        ax.plot(
            ts,
            d[:, other] / d[-1].max(),
            color=COLOURS[i],
            lw=2,
            label=f"canary, {items[other]}",
            ls=lr.plot.LINESTYLES[i],
        )
    ax.set(title=name, xlabel="time")
axes[0].set_ylabel(r"$|h_i - h_j|^2$ / largest at the end")
axes[0].legend(frameon=False)
_ = axes[1].set_ylim(0, 1.1)

# %% [markdown]
# In the rich network the distances grow one after another, and end in the order of the tree. In the
# network at $\lambda = -30$ the items are equally far apart before learning, and stay so. Its first
# layer is a rotation times $\sqrt{|\lambda|}$, up to small corrections, and hardly changes during
# learning.
#
# ## Converged representations
#
# Converged representations depend only on the task and the balance. With $\Sigma / c = USV^\top$,
#
# $$W_2W_2^\top \to U\,\frac{\sqrt{\lambda^2 + 4S^2} + \lambda}2\,U^\top, \qquad
# W_1^\top W_1 \to V\,\frac{\sqrt{\lambda^2 + 4S^2} - \lambda}2\,V^\top .$$
#
# At $\lambda = 0$ these are $USU^\top$ and $VSV^\top$: both layers represent the task. For $\lambda
# \to +\infty$ they are $\lambda I$ and $VS^2V^\top/\lambda$: only the small layer represents the
# task. For $\lambda \to -\infty$ the layers change places. $QQ^\top$ with $Q = [W_1^\top; W_2]$
# shows them together: the input representation top left, the output representation bottom right,
# and the function in the other blocks.

# %%
final = jnp.array([0.0, jnp.inf])
ends = {lmda: lr.learn(network(lmda, 0.3), task, final) for lmda in (-10.0, 0.0, 10.0)}
fig, axes = plt.subplots(2, 3, figsize=(11, 7), layout="constrained")
for column, (lmda, run) in zip(axes.T, ends.items(), strict=True):
    for index, ax in enumerate(column):
        lr.plot.representation(run, "qqt", index=index, ax=ax)
    column[0].set_title(rf"$\lambda = {lmda:g}$: $QQ^\top$ at $t = 0$")

# %%
fig, axes = plt.subplots(2, 3, figsize=(11, 6.6), layout="constrained")
for column, (lmda, run) in zip(axes.T, ends.items(), strict=True):
    theory = lr.theory.converged_representations(task, lmda, 8)
    for which, ax in zip(("input", "output"), column, strict=True):
        lr.plot.representation(run, which, ax=ax)
        expected = getattr(theory, f"{which}_representation")
        gap = jnp.abs(getattr(run, f"{which}_representation")[-1] - expected).max()
        print(f"lambda = {lmda:g}, {which}: from theory by at most {gap:.1g}")
    column[0].set_title(rf"$\lambda = {lmda:g}$: input, at the end")
    column[1].set_title("output, at the end")

# %% [markdown]
# - $\lambda = 0$: the items' representation shows the tree (blocks within blocks). The attributes'
#   representation is diagonal, with larger entries for attributes of higher branchings.
# - $\lambda = 10$: the output representation is near $\lambda I$, both at the start and at the end.
#   The input representation is almost zero at the start. At the end it is still small (see the
#   colour bar), but it shows the tree.
# - $\lambda = -10$: the roles are exchanged. The items' representation is $|\lambda| I$: all items
#   are equally different, and the hidden layer does not show that canary and robin have much in
#   common.
#
# ## How task-specific is a representation?
#
# We use a score between 0 and 1. For the input representation $W_1^\top W_1$ it is the larger of
# the alignments with $VSV^\top$ and $VS^2V^\top$, and for the output representation with $USU^\top$
# and $US^2U^\top$. The identity does not represent the task. Its score is not 0, but its alignment
# with these matrices.


# %%
def scores(input_representation, output_representation):
    sigma = task.input_output_correlation
    return (
        lr.measures.task_specificity(input_representation, sigma),
        lr.measures.task_specificity(output_representation, sigma.T),
    )


@jax.jit
@jax.vmap
def theory_scores(lmda):
    end = lr.theory.converged_representations(task, lmda, 8)
    return scores(end.input_representation, end.output_representation)


@jax.jit
@jax.vmap
def descent_scores(lmda):
    run = lr.learn(
        network(lmda, 0.3), task, jnp.array([0.0, 400.0]), dynamics=lr.GradientDescent(0.02)
    )
    return scores(run.input_representation[-1], run.output_representation[-1])


half = jnp.geomspace(1e-2, 100, 60)
lmdas = jnp.concatenate([-half[::-1], half])
some = jnp.array([-30.0, -3.0, -0.3, 0.3, 3.0, 30.0])
fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
names = ("input: $W_1^\\top W_1$", "output: $W_2W_2^\\top$")
for i, (line, dots) in enumerate(zip(theory_scores(lmdas), descent_scores(some), strict=True)):
    ax.plot(lmdas, line, color=COLOURS[i], ls=("-", "--")[i], lw=2, label=names[i])
    ax.plot(some, dots, "os"[i], color=COLOURS[i])
blank = float(scores(jnp.eye(8), jnp.eye(8))[0])
ax.axhline(blank, color="0.6", lw=1, label="the identity")
ax.set_xscale("symlog", linthresh=1e-1)
ax.set(xlabel=r"$\lambda$", ylabel="task-specific score", xticks=[-100, -10, -1, 0, 1, 10, 100])
ax.legend(frameon=False, loc="lower center", fontsize=8)
print(f"the identity scores {blank:.3f}")

# %% [markdown]
# Lines are theory, markers gradient descent from random balanced weights. At $\lambda = 0$ both
# representations have the full score. Towards either end the large layer falls to the score of the
# identity. The small layer keeps its score, except for a dip where it is between $VSV^\top$ and
# $VS^2V^\top$. (The identity scores high since the singular values of this tree differ by no more
# than a factor of two.)
#
# ## Summary
#
# - A rich network learns the tree from the root to the leaves, and its hidden layer differentiates
#   in the same order.
# - Lazy networks represent the task too. For $\lambda \to +\infty$ the input representation is
#   small, but as task-specific as in the rich regime. For $\lambda \to -\infty$ the input
#   representation is a multiple of the identity, and only the readout represents the task.
# - The sign of $\lambda$ determines *which* layer represents the task. The kernel distance treats
#   both signs alike and doesn't show it. The notebook on continual learning, reversal and transfer
#   shows the consequences for generalisation.
